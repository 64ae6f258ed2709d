//! Rows of codes on a device: keys and values that are quantized per token, as kernels write and read them.
//!
//! Layout  the codes of a row, packed as on the host (`tensor/packed.rs`), up to a multiple of four bytes; its scale; and where the type
//!         has zero points, what is subtracted from codes. The last two are f32.

use crate::ops::OpError;
use crate::tensor::{Scales, Tensor, parts, row_bytes, unpack_codes};
use mokume_ir::quant::{Granularity, Levels, QuantType};
use mokume_ir::types::Elem;
use std::sync::Arc;

/// What kernels that write or read rows of codes depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CodeRow {
    /// Bits of a code.
    pub bits: u8,
    /// Levels of the codes; unsigned has a zero point.
    pub levels: Levels,
    /// Codes of a row.
    pub width: u32,
}

/// Some bits of all codes of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// Where its bytes begin in the row.
    pub start: usize,
    /// How many they are; byte `i` holds codes `i`, `i + bytes`, … from its low bits up.
    pub bytes: usize,
    /// The lowest of its bits in a code.
    pub shift: u32,
    /// How many bits.
    pub bits: u32,
}

impl CodeRow {
    /// Rows of `width` codes of this type.
    ///
    /// Errors  when no kernel takes them.
    pub fn of(ty: &QuantType, width: usize) -> Result<Self, String> {
        let zero_points = ty.zero_point == (ty.levels == Levels::Unsigned);
        match u32::try_from(width) {
            Ok(width @ 1..) if ty.granularity == Granularity::Row && ty.is_valid() && zero_points => {
                Ok(CodeRow { bits: ty.bits, levels: ty.levels, width })
            }
            _ => Err(format!("rows of {width} codes of {ty}")),
        }
    }
    /// Whether every row has a zero point.
    pub fn zero_point(&self) -> bool {
        self.levels == Levels::Unsigned
    }
    /// Where the scale of a row lies.
    pub fn scale_at(&self) -> usize {
        row_bytes(self.bits, self.width as usize).next_multiple_of(4)
    }
    /// Bytes of a row.
    pub fn bytes(&self) -> usize {
        self.scale_at() + if self.zero_point() { 8 } else { 4 }
    }
    /// The parts of its codes, low bits first.
    pub fn parts(&self) -> Vec<Part> {
        let mut start = 0;
        let part = |(shift, bits): (u32, u32)| {
            let bytes = (self.width as usize * bits as usize).div_ceil(8);
            start += bytes;
            Part { start: start - bytes, bytes, shift, bits }
        };
        parts(self.bits).map(part).collect()
    }
    /// `u4w64`
    pub fn symbol(&self) -> String {
        format!("{}{}w{}", self.levels.name(), self.bits, self.width)
    }
}

/// A tensor of these rows, whose bytes lie one after the other.
///
/// Errors  when no kernel writes such rows.
pub(crate) fn to_host(bytes: &[u8], dims: &[usize], ty: QuantType) -> Result<Tensor, OpError> {
    let width = dims.last().copied().unwrap_or(0);
    let row = CodeRow::of(&ty, width).map_err(OpError::unsupported)?;
    let mut tensor = Tensor::zeros(dims, Elem::Quant(ty));
    let mut scales = Scales { scales: vec![], zero_points: vec![] };
    let word = |bytes: &[u8], at: usize| f32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    for (codes, bytes) in tensor.slice_mut::<u8>().chunks_exact_mut(width).zip(bytes.chunks_exact(row.bytes())) {
        unpack_codes(&bytes[..row_bytes(row.bits, width)], row.bits, codes);
        scales.scales.push(word(bytes, row.scale_at()));
        if row.zero_point() {
            scales.zero_points.push(word(bytes, row.scale_at() + 4) as i32);
        }
    }
    tensor.scales = Some(Arc::new(scales));
    Ok(tensor)
}
