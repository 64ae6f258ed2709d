//! Rows of activations as kernels read them, packed on the host: what the kernels that quantize on the device write.

use super::spec::{CHUNK, FRAGMENT, Layout, Lowering, MatmulSpec, bit_of, byte_of};
use crate::bit_product::ByteCode;

/// Packed rows.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DeviceRows {
    /// Bytes or planes.
    pub activations: Vec<u8>,
    /// One per row and block.
    pub corrections: Vec<i32>,
    /// One per row, or per row and block.
    pub centers: Vec<i32>,
    /// As many.
    pub scales: Vec<f32>,
}

/// Packs rows of codes with a scale and a zero point each, or one per block; `w_offset` is `cw` of weights without zero points.
pub fn pack(spec: &MatmulSpec, layout: &Layout, code: ByteCode, w_offset: i32, codes: &[u8], scales: &[f32], zeros: &[i32]) -> DeviceRows {
    let bytes: Vec<i8> = codes.iter().map(|&u| u.wrapping_sub(code.bias as u8) as i8).collect();
    let factor = if spec.w_zero { code.step } else { code.step.wrapping_mul(w_offset) };
    let m = scales.len() / layout.row_scales.max(1);
    let mut activations = vec![0; spec.row_bytes(layout, m)];
    let mut corrections = Vec::with_capacity(m * layout.blocks);
    for (row, bytes) in bytes.chunks(layout.k.max(1)).enumerate() {
        let sum = |g| bytes[layout.block_range(g)].iter().map(|&b| i32::from(b)).sum::<i32>();
        corrections.extend((0..layout.blocks).map(|g| sum(g).wrapping_mul(factor)));
        bytes.iter().enumerate().for_each(|(k, &b)| put(spec, layout, m, &mut activations, (row, layout.padded(k)), b as u8));
    }
    let centers = zeros.iter().map(|&zero| code.center.wrapping_sub(zero)).collect();
    DeviceRows { activations, corrections, centers, scales: scales.to_vec() }
}

/// Puts one byte where it belongs.
fn put(spec: &MatmulSpec, layout: &Layout, m: usize, out: &mut [u8], (row, at): (usize, usize), byte: u8) {
    if spec.lowering == Lowering::Integer {
        out[row * layout.chunks * CHUNK + at] = byte;
        return;
    }
    let (tokens, (word, bit)) = (spec.tile.tokens as usize, bit_of(at % CHUNK));
    let group = (at / CHUNK * m.div_ceil(tokens) + row / tokens) * spec.group_bytes();
    if spec.lowering == Lowering::IntegerGroup {
        out[group + byte_of(row, at % CHUNK)] = byte;
        return;
    }
    for plane in 0..spec.a_bits as usize {
        let line = plane * tokens + row % tokens;
        let start = group + line / 8 * FRAGMENT + (line % 8 * 4 + word) * 4;
        out[start + bit as usize / 8] |= (byte >> plane & 1) << (bit % 8);
    }
}
