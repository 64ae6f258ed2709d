//! Constants: tensors known when compiling. Content-hashed, so that equal tensors are one constant; data stays mapped.

use crate::arena::Arena;
use crate::ids::ConstId;
use crate::types::{Elem, Shape, TensorType};
use bytes::Bytes;
use std::collections::HashMap;

/// BLAKE3 of type and contents.
pub type Hash = [u8; 32];

/// A constant tensor.
///
/// Layout  row major, little endian. Plain types narrower than a byte are packed densely, first element in the low bits.
///         Codes of quantized types are packed the same way, but every row (last axis) starts on a byte. Bool is one byte,
///         0 or 1. Strings are each a u32 length and UTF-8 bytes.
#[derive(Debug, Clone)]
pub struct Constant {
    /// Type; every dimension is a number.
    pub ty: TensorType,
    /// The elements.
    pub data: Bytes,
    /// f32 scales and zero points of a quantized type.
    pub quant: Option<QuantData>,
    /// Identity.
    pub hash: Hash,
}

/// Scales of a quantized constant, laid out as its [`Granularity`](crate::quant::Granularity) says.
#[derive(Debug, Clone)]
pub struct QuantData {
    /// f32, little endian.
    pub scales: Bytes,
    /// i32 levels, little endian, one per scale; empty without zero points.
    pub zero_points: Bytes,
}

impl Constant {
    /// A constant of a plain type.
    ///
    /// Panics  when the data does not have the size the type asks for: check with [`packed_bytes`] first.
    pub fn new(dims: &[usize], elem: Elem, data: Bytes) -> Self {
        Self::with_quant(dims, elem, data, None)
    }
    /// A constant of a quantized type.
    ///
    /// Panics  as [`Constant::new`].
    pub fn with_quant(dims: &[usize], elem: Elem, data: Bytes, quant: Option<QuantData>) -> Self {
        assert!(
            elem == Elem::String || packed_bytes(dims, elem) == Some(data.len()),
            "constant of {dims:?} {elem} has {} bytes",
            data.len()
        );
        let ty = TensorType::new(Shape::known(dims), elem);
        let mut hasher = blake3::Hasher::new();
        hasher.update(ty.to_string().as_bytes());
        hasher.update(&data);
        if let Some(quant) = &quant {
            hasher.update(&quant.scales);
            hasher.update(&quant.zero_points);
        }
        Constant { ty, data, quant, hash: hasher.finalize().into() }
    }
    /// An i64 tensor.
    pub fn i64s(dims: &[usize], values: &[i64]) -> Self {
        Self::new(dims, Elem::I64, Bytes::from(bytemuck::cast_slice(values).to_vec()))
    }
    /// An f32 tensor.
    pub fn f32s(dims: &[usize], values: &[f32]) -> Self {
        Self::new(dims, Elem::F32, Bytes::from(bytemuck::cast_slice(values).to_vec()))
    }
    /// The sizes.
    pub fn dims(&self) -> Vec<usize> {
        self.ty.shape.as_known().unwrap_or_default()
    }
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.dims().iter().product()
    }
    /// True when there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// True for a quantized constant whose data was released, as kernels hold it in their own layout.
    pub fn is_released(&self) -> bool {
        let bytes = self.ty.shape.as_known().and_then(|dims| packed_bytes(&dims, self.ty.elem));
        self.ty.elem.quant().is_some() && self.quant.is_none() && self.data.is_empty() && bytes.is_some_and(|bytes| bytes > 0)
    }
    /// Bytes of data, scales and zero points.
    pub fn byte_len(&self) -> usize {
        self.data.len() + self.quant.as_ref().map_or(0, |q| q.scales.len() + q.zero_points.len())
    }
    /// The elements as integers, when the type is an 8- to 64-bit integer or bool.
    pub fn to_i64s(&self) -> Option<Vec<i64>> {
        fn read<const N: usize>(data: &[u8], from: fn([u8; N]) -> i64) -> Vec<i64> {
            data.as_chunks::<N>().0.iter().map(|&chunk| from(chunk)).collect()
        }
        match self.ty.elem {
            Elem::I64 => Some(read(&self.data, i64::from_le_bytes)),
            Elem::U64 => Some(read(&self.data, |b| u64::from_le_bytes(b) as i64)),
            Elem::I32 => Some(read(&self.data, |b| i32::from_le_bytes(b) as i64)),
            Elem::U32 => Some(read(&self.data, |b| u32::from_le_bytes(b) as i64)),
            Elem::I16 => Some(read(&self.data, |b| i16::from_le_bytes(b) as i64)),
            Elem::U16 => Some(read(&self.data, |b| u16::from_le_bytes(b) as i64)),
            Elem::I8 => Some(read(&self.data, |b| i8::from_le_bytes(b) as i64)),
            Elem::U8 | Elem::Bool => Some(read(&self.data, |b| u8::from_le_bytes(b) as i64)),
            _ => None,
        }
    }
    /// The elements, when the type is string and the data is well formed.
    pub fn strings(&self) -> Option<Vec<&str>> {
        (self.ty.elem == Elem::String).then(|| read_strings(&self.data))?
    }
    /// The elements, when the type is f32.
    pub fn to_f32s(&self) -> Option<Vec<f32>> {
        (self.ty.elem == Elem::F32).then(|| self.data.as_chunks::<4>().0.iter().map(|&chunk| f32::from_le_bytes(chunk)).collect())
    }
}

fn read_strings(mut data: &[u8]) -> Option<Vec<&str>> {
    let mut strings = Vec::new();
    while let Some((len, rest)) = data.split_first_chunk::<4>() {
        let (text, rest) = rest.split_at_checked(u32::from_le_bytes(*len) as usize)?;
        strings.push(std::str::from_utf8(text).ok()?);
        data = rest;
    }
    data.is_empty().then_some(strings)
}

/// Bytes that a tensor takes as a constant; none when it overflows.
pub fn packed_bytes(dims: &[usize], elem: Elem) -> Option<usize> {
    let bits = elem.bits() as usize;
    let (rows, row) = match (elem, dims) {
        (Elem::Quant(_), [rows @ .., row]) => (product(rows)?, *row),
        _ => (1, product(dims)?),
    };
    row.checked_mul(bits)?.div_ceil(8).checked_mul(rows)
}

fn product(dims: &[usize]) -> Option<usize> {
    dims.iter().try_fold(1usize, |product, &dim| product.checked_mul(dim))
}

/// The constants of a module.
#[derive(Debug, Clone, Default)]
pub struct Constants {
    items: Arena<ConstId, Constant>,
    by_hash: HashMap<Hash, ConstId>,
}

impl Constants {
    /// The id of this constant, which is stored unless an equal one is.
    pub fn intern(&mut self, constant: Constant) -> ConstId {
        if let Some(&id) = self.by_hash.get(&constant.hash) {
            return id;
        }
        let hash = constant.hash;
        let id = self.items.push(constant);
        self.by_hash.insert(hash, id);
        id
    }
    /// Releases the data of constants that `keep` refuses; their ids stay, empty.
    pub fn release(&mut self, keep: impl Fn(ConstId) -> bool) {
        for id in self.items.ids() {
            if !keep(id) && self.by_hash.remove(&self.items[id].hash).is_some() {
                self.items[id].data = Bytes::new();
                self.items[id].quant = None;
            }
        }
    }
    /// All constants with their ids.
    pub fn iter(&self) -> impl Iterator<Item = (ConstId, &Constant)> {
        self.items.iter()
    }
    /// The constant, or none when the id is not of this module.
    pub fn get(&self, id: ConstId) -> Option<&Constant> {
        self.items.get(id)
    }
}

impl std::ops::Index<ConstId> for Constants {
    type Output = Constant;
    fn index(&self, id: ConstId) -> &Constant {
        &self.items[id]
    }
}
