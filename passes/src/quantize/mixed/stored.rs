//! What an artifact holds of a quantized weight.

use crate::quantize::round::Rounding;
use crate::quantize::rounder::Format;
use crate::quantize::sites::Site;
use mokume_ir::quant::Levels;

/// Rows that are packed together.
const ROWS: usize = 16;
/// Elements of a block of scales that are packed together.
const CHUNK: usize = 32;
/// Bits to a multiple of which the scales of packed rows are filled up.
const FILLED: usize = 512;

/// How the activations of products are rounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Activations {
    /// Bits of a code.
    pub bits: u8,
    /// Which levels codes stand for.
    pub levels: Levels,
    /// Elements of a row of a matmul that share a scale; 0 is all.
    pub group: usize,
}

impl Activations {
    /// The levels without a range.
    pub fn rounding(&self) -> Rounding {
        Rounding { bits: self.bits, levels: self.levels, search: false, half_scales: false }
    }
}

/// Bits of the weight of a product with everything that belongs to it.
///
/// Codes, with rows filled up to 16 and blocks to 32: so many bits each, three of five levels in 7, five of three in 8. Per row and block (the smaller one, where
/// activations have groups too) a scale, f16 in blocks and f32 without; a zero point and, where the codes of activations are not around 0 (unsigned and odd levels), the
/// sum of the levels, 32 bits each; of 16 rows, filled up to 64 bytes. For float activations the weight is kept as it is: codes without
/// filling, scales in f32.
pub fn stored_bits(site: &Site, format: &Format, activations: Option<Activations>) -> u64 {
    let (rows, cols) = (site.rows, site.cols);
    let zero = if format.rounding.levels == Levels::Unsigned { 32 } else { 0 };
    let stored = match activations {
        None => rows * ((cols * usize::from(format.rounding.bits)).next_multiple_of(8) + format.blocks(cols) * (32 + zero)),
        Some(activations) => {
            let block = block(site, format, activations.group);
            let scale = if format.rounding.half_scales { 16 } else { 32 };
            let sum = if matches!(activations.levels, Levels::Unsigned | Levels::Odd) { 32 } else { 0 };
            let blocks = cols.div_ceil(block).max(1);
            let head = (ROWS * blocks * (scale + zero + sum)).next_multiple_of(FILLED);
            rows.div_ceil(ROWS) * (head + code_bits(ROWS * blocks * block.next_multiple_of(CHUNK), format))
        }
    };
    stored as u64
}

/// Columns in which both operands have one scale.
fn block(site: &Site, format: &Format, group: usize) -> usize {
    let own = format.block(site.cols);
    if group == 0 || site.conv { own } else { own.min(group) }
}

/// Bits of so many packed codes.
fn code_bits(codes: usize, format: &Format) -> usize {
    match format.rounding.levels {
        Levels::Five => (codes.div_ceil(3) * 7).next_multiple_of(8),
        Levels::Ternary => codes.div_ceil(5) * 8,
        _ => codes * usize::from(format.rounding.bits),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quantize::round::Rounding;
    use mokume_ir::ids::{ConstId, NodeId, ValueId};

    fn site(rows: usize, cols: usize) -> Site {
        let (node, x, weight) = (NodeId(0), ValueId(0), ConstId(0));
        Site { node, x, weight, rows, cols, taps: 1, transposed: false, conv: false }
    }

    fn per_weight(bits: u8, group: usize, levels: Levels, activations: Option<Activations>) -> f64 {
        let rounding = Rounding { bits, levels, search: true, half_scales: group > 0 };
        stored_bits(&site(64, 128), &Format { rounding, group }, activations) as f64 / (64.0 * 128.0)
    }

    fn of(levels: Levels, group: usize) -> Option<Activations> {
        Some(Activations { bits: 8, levels, group })
    }

    #[test]
    fn scales_zero_points_and_sums_count() {
        let signed = of(Levels::Signed, 0);
        assert_eq!(per_weight(3, 64, Levels::Signed, signed), 3.25);
        assert_eq!(per_weight(4, 0, Levels::Signed, signed), 4.25);
        assert_eq!(per_weight(4, 32, Levels::Signed, of(Levels::Unsigned, 0)), 5.5);
        assert_eq!(per_weight(4, 32, Levels::Unsigned, signed), 5.5);
        assert_eq!(per_weight(4, 64, Levels::Signed, of(Levels::Signed, 32)), 4.5);
        assert_eq!(per_weight(2, 64, Levels::Odd, None), 2.5);
        assert!((per_weight(3, 64, Levels::Five, signed) - 2.586).abs() < 1e-3);
        assert!((per_weight(2, 64, Levels::Ternary, signed) - 1.852).abs() < 1e-3);
    }

    #[test]
    fn so_does_padding() {
        let rounding = Rounding { bits: 4, levels: Levels::Signed, search: true, half_scales: true };
        let bits = |rows, cols, group| stored_bits(&site(rows, cols), &Format { rounding, group }, of(Levels::Signed, 0));
        assert_eq!(bits(1, 64, 16), 16 * 4 * (32 * 4 + 16));
        assert_eq!(bits(17, 40, 32), 32 * 2 * (32 * 4 + 16));
        assert_eq!(bits(16, 96, 32), 16 * 3 * 32 * 4 + 1024);
    }
}
