//! Rows of codes with a scale each, packed: keys and values that are quantized per token, as they lie in state.
//!
//! Layout  codes are split into parts of 8, 4, 2 and 1 bits, low bits first: those of 3 bits into 2 and 1. A part of `p` bits takes
//!         `n = ceil(w p / 8)` bytes of a row of `w` codes, and byte `i` holds codes `i`, `i + n`, … from its low bits up. The parts
//!         of a row follow each other. Scales, and zero points counted in codes, lie in tensors of their own.

use super::{Scales, Tensor};
use crate::ops::OpError;
use crate::ops::quantize::{RowCoder, scales_of};
use crate::ops::scratch;
use crate::ops::simd::vectorized;
use mokume_ir::quant::{Granularity, QuantType};
use mokume_ir::types::Elem;
use std::ops::Range;
use std::sync::Arc;

/// Rows of codes with a scale each.
#[derive(Clone)]
pub struct PackedRows {
    quant: QuantType,
    /// Codes of a row.
    width: usize,
    /// u8 `[..., bytes of a row]`
    codes: Tensor,
    /// f32, one per row.
    scales: Tensor,
    /// u8, one per row where the type has zero points.
    zeros: Option<Tensor>,
}

impl PackedRows {
    /// Rows of a tensor of sizes `dims`, to be written.
    fn zeros(dims: &[usize], quant: QuantType) -> Result<Self, OpError> {
        let Some((&width, rows)) = dims.split_last() else { return Err(OpError::operands("a scalar has no rows")) };
        let levels = quant.levels.affine(quant.bits).0 == 1 || !quant.zero_point;
        if quant.granularity != Granularity::Row || !quant.is_valid() || !levels {
            return Err(OpError::unsupported(format!("packed rows of {quant}")));
        }
        let codes = Tensor::zeros(&[rows, &[row_bytes(quant.bits, width)]].concat(), Elem::U8);
        let zeros = quant.zero_point.then(|| Tensor::zeros(rows, Elem::U8));
        Ok(PackedRows { quant, width, codes, scales: Tensor::zeros(rows, Elem::F32), zeros })
    }
    /// The rows of a dense tensor of codes.
    ///
    /// Errors  when it has not a scale per row.
    fn of(tensor: &Tensor) -> Result<Self, OpError> {
        let quant = tensor.elem.quant().ok_or_else(|| OpError::operands(format!("{tensor:?} is not quantized")))?;
        let mut rows = PackedRows::zeros(&tensor.dims, quant)?;
        rows.fill(0, 0, rows.scales.len(), &Source::of(tensor)?)?;
        Ok(rows)
    }
    /// Puts the rows of `more` behind these along `axis`: codes of the same type, or f32 values, which are quantized.
    fn append(&mut self, axis: usize, more: &Tensor) -> Result<(), OpError> {
        let source = Source::of(more)?;
        let count = more.dims[axis];
        let (at, inner) = (self.scales.dims[axis], self.scales.dims[axis + 1..].iter().product::<usize>());
        self.codes.extend(axis, count);
        self.scales.extend(axis, count);
        self.zeros.iter_mut().for_each(|zeros| zeros.extend(axis, count));
        self.fill(axis, at * inner, count * inner, &source)
    }
    /// Writes `count` rows of each block of the axes from `axis` on, from row `at` on.
    fn fill(&mut self, axis: usize, at: usize, count: usize, source: &Source<'_>) -> Result<(), OpError> {
        let (bytes, width, quant) = (row_bytes(self.quant.bits, self.width), self.width, self.quant);
        let coder = RowCoder::new(&quant)?;
        let offset = quant.levels.affine(quant.bits).1;
        let blocks: usize = self.scales.dims[..axis].iter().product();
        scratch::with(width, |memory: &mut [u8]| {
            for block in 0..blocks {
                let codes = &mut self.codes.block_mut::<u8>(axis, block)[at * bytes..][..count * bytes];
                let scales = &mut self.scales.block_mut::<f32>(axis, block)[at..][..count];
                let mut zeros = self.zeros.as_mut().map(|zeros| &mut zeros.block_mut::<u8>(axis, block)[at..][..count]);
                for (i, scale) in scales.iter_mut().enumerate() {
                    let zero;
                    (*scale, zero) = source.row(block * count + i, &coder, memory);
                    zeros.iter_mut().for_each(|zeros| zeros[i] = (zero - offset) as u8);
                    pack(memory, quant.bits, &mut codes[i * bytes..][..bytes]);
                }
            }
        });
        Ok(())
    }
    /// The real values of rows `rows` of block `index` of the axes from `axis` on.
    ///
    /// Panics  when `out` has not their size.
    pub fn unpack(&self, axis: usize, index: usize, rows: Range<usize>, out: &mut [f32]) {
        assert_eq!(out.len(), rows.len() * self.width, "values of rows {rows:?}");
        let bytes = row_bytes(self.quant.bits, self.width);
        let codes = &self.codes.block::<u8>(axis, index)[rows.start * bytes..rows.end * bytes];
        let scales = &self.scales.block::<f32>(axis, index)[rows.clone()];
        let zeros = self.zeros.as_ref().map_or(&[][..], |zeros| &zeros.block::<u8>(axis, index)[rows]);
        let (step, offset) = self.quant.levels.affine(self.quant.bits);
        unpack_rows(codes, scales, zeros, self.quant.bits, [step as f32, -offset as f32], self.width, out);
    }
    /// A code per byte, in the order of rows.
    fn dense(&self, dims: &[usize]) -> Tensor {
        let mut dense = Tensor::zeros(dims, Elem::Quant(self.quant));
        let (codes, bytes) = (self.codes.dense(), row_bytes(self.quant.bits, self.width));
        let rows = dense.bytes_mut().chunks_exact_mut(self.width.max(1)).zip(codes.bytes().chunks_exact(bytes.max(1)));
        rows.for_each(|(to, from)| unpack_codes(from, self.quant.bits, to));
        let offset = self.quant.levels.affine(self.quant.bits).1;
        let zeros = self.zeros.iter().flat_map(|zeros| zeros.dense().slice::<u8>().to_vec());
        let zero_points = zeros.map(|zero| i32::from(zero) + offset).collect();
        dense.scales = Some(Arc::new(Scales { scales: self.scales.dense().slice().to_vec(), zero_points }));
        dense
    }
    /// Bytes of all rows, their scales and zero points, without room to grow.
    fn bytes(&self) -> usize {
        self.codes.len() + 4 * self.scales.len() + self.zeros.as_ref().map_or(0, Tensor::len)
    }
}

impl Tensor {
    /// A tensor of codes without elements, to which rows are appended.
    ///
    /// Errors  when rows of this type have not a scale each.
    pub(crate) fn no_rows(dims: &[usize], quant: QuantType) -> Result<Tensor, OpError> {
        let packed = Some(Arc::new(PackedRows::zeros(dims, quant)?));
        Ok(Tensor { packed, ..Tensor::zeros(&[0], Elem::Quant(quant)) }.with_dims(dims))
    }
    fn with_dims(self, dims: &[usize]) -> Tensor {
        Tensor { dims: dims.into(), ..self }
    }
    /// The rows of a quantized tensor.
    ///
    /// Errors  when it has not a scale per row.
    pub fn packed_rows(&self) -> Result<Arc<PackedRows>, OpError> {
        self.packed.clone().map_or_else(|| PackedRows::of(self).map(Arc::new), Ok)
    }
    /// As [`Tensor::appended`] for codes; values of f32 are quantized where they go.
    pub(super) fn appended_rows(mut self, axis: usize, more: &Tensor) -> Result<Tensor, OpError> {
        if axis + 1 >= self.rank() {
            return Err(OpError::operands(format!("parts of quantized rows along axis {axis}")));
        }
        let mut rows = match self.packed.take() {
            Some(rows) => rows,
            None => Arc::new(PackedRows::of(&self)?),
        };
        Arc::make_mut(&mut rows).append(axis, more)?;
        let mut dims = self.dims.clone();
        dims[axis] += more.dims[axis];
        let place = if self.buffer.is_empty() { self } else { Tensor::zeros(&[0], self.elem) };
        Ok(Tensor { packed: Some(rows), scales: None, ..place }.with_dims(&dims))
    }
    /// The packed tensor with a code per byte.
    pub(super) fn dense_rows(&self, rows: &PackedRows) -> Tensor {
        rows.dense(&self.dims)
    }
    /// Bytes that the elements take, with scales and without room to grow.
    pub(crate) fn held_bytes(&self) -> usize {
        self.packed.as_ref().map_or(self.len() * super::elem_bytes(self.elem), |rows| rows.bytes())
    }
}

/// Where rows come from.
enum Source<'a> {
    Reals(&'a [f32]),
    Codes(&'a [u8], &'a Scales),
}

impl<'a> Source<'a> {
    fn of(tensor: &'a Tensor) -> Result<Self, OpError> {
        if tensor.elem == Elem::F32 {
            return Ok(Source::Reals(tensor.slice()));
        }
        let (scales, rows) = (scales_of(tensor)?, tensor.dims[..tensor.rank().saturating_sub(1)].iter().product::<usize>());
        let zeros = if tensor.elem.quant().is_some_and(|quant| quant.zero_point) { rows } else { 0 };
        match scales.scales.len() == rows && scales.zero_points.len() == zeros {
            true => Ok(Source::Codes(tensor.slice(), scales)),
            false => Err(OpError::operands(format!("{tensor:?} has not a scale per row"))),
        }
    }
    /// The codes, scale and zero point of a row.
    fn row(&self, index: usize, coder: &RowCoder, codes: &mut [u8]) -> (f32, i32) {
        let range = index * codes.len()..(index + 1) * codes.len();
        match self {
            Source::Reals(x) => coder.code(&x[range], 0, codes),
            Source::Codes(all, scales) => {
                codes.copy_from_slice(&all[range]);
                (scales.scales[index], scales.zero_points.get(index).copied().unwrap_or(0))
            }
        }
    }
}

/// Shift and bits of every part of a code.
#[inline(always)]
pub(crate) fn parts(bits: u8) -> impl Iterator<Item = (u32, u32)> {
    let bits = u32::from(bits);
    let wider = move |part: u32| bits & !(2 * part - 1);
    [8, 4, 2, 1].into_iter().filter(move |part| bits & part != 0).map(move |part| (wider(part), part))
}

/// Bytes of a part of `bits` bits.
#[inline(always)]
fn part_bytes(bits: u32, width: usize) -> usize {
    (width * bits as usize).div_ceil(8)
}

/// Bytes of a row of `width` codes.
pub fn row_bytes(bits: u8, width: usize) -> usize {
    parts(bits).map(|(_, part)| part_bytes(part, width)).sum()
}

/// Packs a row.
fn pack(codes: &[u8], bits: u8, mut out: &mut [u8]) {
    out.fill(0);
    for (shift, part) in parts(bits) {
        let (bytes, rest) = out.split_at_mut(part_bytes(part, codes.len()));
        for (k, codes) in codes.chunks(bytes.len().max(1)).enumerate() {
            let of_part = |code: u8| (u32::from(code) >> shift & ((1 << part) - 1)) << (k as u32 * part);
            bytes.iter_mut().zip(codes).for_each(|(byte, &code)| *byte |= of_part(code) as u8);
        }
        out = rest;
    }
}

/// The inverse of [`pack`].
pub(crate) fn unpack_codes(mut bytes: &[u8], bits: u8, codes: &mut [u8]) {
    codes.fill(0);
    for (shift, part) in parts(bits) {
        let (of_part, rest) = bytes.split_at(part_bytes(part, codes.len()));
        for (k, codes) in codes.chunks_mut(of_part.len().max(1)).enumerate() {
            let code = |byte: u8| (u32::from(byte) >> (k as u32 * part) & ((1 << part) - 1)) << shift;
            codes.iter_mut().zip(of_part).for_each(|(to, &byte)| *to |= code(byte) as u8);
        }
        bytes = rest;
    }
}

vectorized! {
    /// `scale (step code - center)`, where the center is the zero point if there is one. All numbers but the last are whole.
    fn unpack_rows<const FMA: bool>(
        codes: &[u8], scales: &[f32], zeros: &[u8], bits: u8, affine: [f32; 2], width: usize, out: &mut [f32],
    ) -> () {
        let [step, fixed] = affine;
        let bytes = row_bytes(bits, width);
        for (row, &scale) in scales.iter().enumerate() {
            let (codes, out) = (&codes[row * bytes..][..bytes], &mut out[row * width..][..width]);
            let center = if zeros.is_empty() { fixed } else { f32::from(zeros[row]) };
            match bits {
                8 => part_of::<8, false>(codes, [step, center, scale], out),
                4 => part_of::<4, false>(codes, [step, center, scale], out),
                2 => part_of::<2, false>(codes, [step, center, scale], out),
                1 => part_of::<1, false>(codes, [step, center, scale], out),
                _ => parts_of(codes, bits, [step, center, scale], out),
            }
        }
    }
}

/// A row of codes of several parts: the widest writes, the others add, the last scales.
#[inline(always)]
fn parts_of(codes: &[u8], bits: u8, [step, center, scale]: [f32; 3], out: &mut [f32]) {
    let (two, one) = (bits & 2 != 0, bits & 1 != 0);
    let mut begin = 0;
    if bits & 4 != 0 {
        let end = part_bytes(4, out.len());
        part_of::<4, false>(&codes[..end], [step, center, 1.0], out);
        begin = end;
    }
    if two {
        let (end, factors) = (begin + part_bytes(2, out.len()), [step * f32::from(1u8 << (bits & 4)), 0.0, if one { 1.0 } else { scale }]);
        match begin {
            0 => part_of::<2, false>(&codes[..end], [step, center, 1.0], out),
            _ => part_of::<2, true>(&codes[begin..end], factors, out),
        }
        begin = end;
    }
    if one {
        part_of::<1, true>(&codes[begin..], [step * f32::from(1u8 << (bits & 6)), 0.0, scale], out);
    }
}

/// Replaces every element by `(weight bits - center) scale`, or adds `weight bits` to it and then scales; whole registers at a time
/// where the bytes are some.
#[inline(always)]
fn part_of<const PART: usize, const ADD: bool>(bytes: &[u8], factors: [f32; 3], out: &mut [f32]) {
    match bytes.len() {
        n if n.is_multiple_of(16) && out.len() == n * 8 / PART => lines::<PART, 16, ADD>(bytes, factors, out),
        n if n.is_multiple_of(8) && out.len() == n * 8 / PART => lines::<PART, 8, ADD>(bytes, factors, out),
        n => {
            let places = out.iter_mut().enumerate();
            places.for_each(|(i, out)| *out = value::<PART, ADD>(bytes[i % n], i / n * PART, factors, *out));
        }
    }
}

#[inline(always)]
fn lines<const PART: usize, const LANES: usize, const ADD: bool>(bytes: &[u8], factors: [f32; 3], out: &mut [f32]) {
    let (from, to) = (bytes.as_chunks::<LANES>().0, out.as_chunks_mut::<LANES>().0);
    for k in 0..8 / PART {
        let to = &mut to[k * from.len()..][..from.len()];
        for line in 0..from.len() {
            let (from, mut values) = (from[line], to[line]);
            for i in 0..LANES {
                values[i] = value::<PART, ADD>(from[i], k * PART, factors, values[i]);
            }
            to[line] = values;
        }
    }
}

#[inline(always)]
fn value<const PART: usize, const ADD: bool>(byte: u8, down: usize, [weight, center, scale]: [f32; 3], before: f32) -> f32 {
    let bits = ((byte as u32 >> down) & ((1 << PART) - 1)) as i32 as f32 * weight;
    if ADD { (before + bits) * scale } else { (bits - center) * scale }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{numbers, run};
    use mokume_ir::op::{Dequantize, Quantize};
    use mokume_ir::quant::Levels;

    fn types() -> Vec<QuantType> {
        let plain = |bits, levels, zero_point| QuantType { bits, levels, granularity: Granularity::Row, zero_point };
        let mut types: Vec<_> = (1..=8).map(|bits| plain(bits, Levels::Unsigned, true)).collect();
        types.extend((1..=8).map(|bits| plain(bits, Levels::Signed, bits % 2 == 0)));
        types.extend([plain(3, Levels::Odd, false), plain(3, Levels::Five, false), plain(2, Levels::Ternary, false)]);
        types
    }

    #[test]
    fn rows_appended_as_values_equal_those_quantized_before() {
        for to in types() {
            for width in [1, 7, 64, 70] {
                let dims = |count: usize| [2, 3, count, width];
                let (first, second) = (numbers(&dims(5), 1), numbers(&dims(1), 2));
                let codes = |x: &Tensor| run(Quantize { to, clip: None }, std::slice::from_ref(x)).remove(0);
                let empty = || Tensor::no_rows(&dims(0), to).unwrap();
                let values = empty().appended(2, &first).unwrap().appended(2, &second).unwrap();
                let coded = empty().appended(2, &codes(&first)).unwrap().appended(2, &codes(&second)).unwrap();
                let joined = run(mokume_ir::op::Concat { axis: 2 }, &[codes(&first), codes(&second)]).remove(0);
                for tensor in [values.dense(), coded.dense()] {
                    assert_eq!((tensor.slice::<u8>(), &tensor.scales, tensor.dims()), (joined.slice(), &joined.scales, joined.dims()));
                }
                let reals = run(Dequantize {}, std::slice::from_ref(&joined)).remove(0);
                let mut unpacked = vec![0.0; 4 * width];
                values.packed_rows().unwrap().unpack(2, 4, 2..6, &mut unpacked);
                assert_eq!(&unpacked, &reals.block::<f32>(2, 4)[2 * width..]);
                let of_dense = joined.packed_rows().unwrap();
                of_dense.unpack(2, 4, 2..6, &mut unpacked);
                assert_eq!(&unpacked, &reals.block::<f32>(2, 4)[2 * width..]);
            }
        }
    }

    #[test]
    fn rows_are_dense() {
        assert_eq!([8, 4, 3, 2, 1, 5].map(|bits| row_bytes(bits, 64)), [64, 32, 24, 16, 8, 40]);
        let to = QuantType { bits: 3, levels: Levels::Unsigned, granularity: Granularity::Row, zero_point: true };
        let state = Tensor::no_rows(&[1, 2, 0, 64], to).unwrap().appended(2, &numbers(&[1, 2, 9, 64], 1)).unwrap();
        assert_eq!(state.held_bytes(), 2 * 9 * (24 + 4 + 1));
    }

    #[test]
    fn shared_rows_are_not_changed_and_misfits_are_refused() {
        let to = QuantType { bits: 4, levels: Levels::Signed, granularity: Granularity::Row, zero_point: false };
        let state = Tensor::no_rows(&[1, 1, 0, 8], to).unwrap().appended(2, &numbers(&[1, 1, 3, 8], 1)).unwrap();
        let (kept, before) = (state.clone(), state.dense());
        let longer = state.appended(2, &numbers(&[1, 1, 1, 8], 2)).unwrap();
        assert_eq!((kept.dense().slice::<u8>(), longer.dims()), (before.slice::<u8>(), &[1, 1, 4, 8][..]));
        assert!(longer.clone().appended(2, &numbers(&[1, 1, 1, 9], 1)).is_err());
        assert!(longer.clone().appended(3, &numbers(&[1, 1, 4, 8], 1)).is_err());
        assert!(longer.appended(2, &Tensor::i64s(&[1, 1, 1, 8], &[0; 8])).is_err());
        assert!(Tensor::no_rows(&[0, 8], QuantType { granularity: Granularity::Tensor, ..to }).is_err());
    }
}
