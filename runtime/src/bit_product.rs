//! What a `bit_matmul` kernel computes, on any machine.
//!
//! A weight is `level = step_w * u + offset_w` of an unsigned code `u`; an activation is `level = step_a * b + center` of a small
//! signed byte `b` ([`ByteCode`]). With `cw = offset_w - zero_w[n, g]` and `ca = center - zero_a[m]` the sum over a scale block `g` is
//!
//! ```text
//! Σ (level_a - zero_a)(level_w - zero_w) = step_a step_w Σ b u  +  step_a cw Σ b  +  ca Σ (level_w - zero_w)
//! ```
//!
//! exact modulo 2^32, so exact when the left side fits ([`max_terms`]). A kernel computes `Σ b u`; `step_a [cw] Σ b` comes with the
//! activations, `Σ (level_w - zero_w)` with the weights.
//!
//! Where activations have a scale (and zero point) per group of a row, `g` counts the blocks in which both operands have one scale: the
//! smaller of both sizes, one of which is a multiple of the other. `zero_a` and `ca` are then those of `[m, g]`.

use mokume_ir::quant::{Levels, QuantType, common_block};
use std::fmt;

/// What a kernel computes: everything but how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BitProduct {
    /// Bits of a weight code, 1–8.
    pub w_bits: u8,
    /// Bits of an activation code, 1–8.
    pub a_bits: u8,
    /// Whether the top bit of an activation byte counts negative (see [`ByteCode`]).
    pub a_signed: bool,
    /// log2 of the product of both level steps.
    pub shift: u8,
    /// Whether weights bring `cw` per column and block; otherwise it is one number, folded into the corrections.
    pub w_zero: bool,
    /// Whether rows bring `ca`; otherwise it is 0.
    pub a_center: bool,
    /// Whether rows bring their scale and `ca` per block, rather than once.
    pub a_blocks: bool,
    /// Elements per scale block along k; none for one scale per column.
    pub block: Option<u32>,
}

impl BitProduct {
    /// The product of signed weights and signed activations, which need neither zero points nor centers.
    pub const fn signed(w_bits: u8, a_bits: u8, block: Option<u32>) -> Self {
        BitProduct { w_bits, a_bits, a_signed: true, shift: 0, w_zero: false, a_center: false, a_blocks: false, block }
    }
    /// The product of weights of type `w` and activations of these codes; none when no kernel has such scales.
    pub fn of(w: &QuantType, a_bits: u8, a_levels: Levels) -> Option<Self> {
        let block = w.granularity.row_block().ok()?;
        let code = ByteCode::of(a_levels, a_bits);
        let steps = (code.step * w.levels.affine(w.bits).0) as u32;
        Some(BitProduct {
            w_bits: w.bits,
            a_bits,
            a_signed: code.signed,
            shift: steps.trailing_zeros() as u8,
            w_zero: w.zero_point,
            a_center: code.center != 0 || a_levels == Levels::Unsigned,
            a_blocks: false,
            block,
        })
    }
    /// The product when activations have a scale per so many elements of a row; none when these do not go with the blocks of the weights.
    pub fn with_groups(self, group: Option<u32>) -> Option<Self> {
        Some(BitProduct { a_blocks: group.is_some(), block: common_block(group, self.block).ok()?, ..self })
    }
    /// `w4a8s_x1_wz_ac_ag_g32`, for names of functions.
    pub fn symbol(&self) -> String {
        let flag = |on: bool, name: &'static str| if on { name } else { "" };
        let block = self.block.map_or(String::new(), |size| format!("_g{size}"));
        let (signed, steps) = (flag(self.a_signed, "s"), 1 << self.shift);
        let flags = [flag(self.w_zero, "_wz"), flag(self.a_center, "_ac"), flag(self.a_blocks, "_ag")].concat();
        format!("w{}a{}{signed}_x{steps}{flags}{block}", self.w_bits, self.a_bits)
    }
    /// The product whose [`BitProduct::symbol`] this is.
    pub fn from_symbol(symbol: &str) -> Option<Self> {
        let mut words = symbol.split('_');
        let (w_bits, activations) = words.next()?.strip_prefix('w')?.split_once('a')?;
        let steps: u32 = words.next()?.strip_prefix('x')?.parse().ok()?;
        let rest: Vec<&str> = words.collect();
        let block = rest.last().and_then(|word| word.strip_prefix('g')).map(str::parse);
        let product = BitProduct {
            w_bits: w_bits.parse().ok()?,
            a_bits: activations.trim_end_matches('s').parse().ok()?,
            a_signed: activations.ends_with('s'),
            shift: u8::try_from(steps.checked_ilog2()?).ok()?,
            w_zero: rest.contains(&"wz"),
            a_center: rest.contains(&"ac"),
            a_blocks: rest.contains(&"ag"),
            block: block.transpose().ok()?,
        };
        let widths = 1..=8u8;
        let widths = widths.contains(&product.w_bits) && widths.contains(&product.a_bits);
        let blocks = product.block != Some(0) && (product.block.is_some() || !product.a_blocks);
        (widths && blocks && product.symbol() == symbol).then_some(product)
    }
}

/// `w4a8s x1 block 32`
impl fmt::Display for BitProduct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "w{}a{}{} x{}", self.w_bits, self.a_bits, if self.a_signed { "s" } else { "u" }, 1 << self.shift)?;
        match self.block {
            Some(size) => write!(f, " block {size}")?,
            None => f.write_str(" per channel")?,
        }
        let flags = [(self.w_zero, " weight zeros"), (self.a_center, " centers"), (self.a_blocks, " activation groups")];
        flags.iter().filter(|flag| flag.0).try_for_each(|flag| f.write_str(flag.1))
    }
}

/// How an activation code `u` becomes the signed byte that kernels multiply: `b = u - bias`, `level = step * b + center`.
///
/// In `bits` bits, `b` is two's complement when `signed`, else unsigned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByteCode {
    /// Subtracted from the code.
    pub bias: i32,
    /// Levels per unit of `b`.
    pub step: i32,
    /// The level of `b = 0`.
    pub center: i32,
    /// Whether `b` may be negative.
    pub signed: bool,
}

impl ByteCode {
    /// The byte form of codes of these levels.
    pub fn of(levels: Levels, bits: u8) -> Self {
        let (step, offset) = levels.affine(bits);
        let bias = match levels {
            Levels::Signed | Levels::Odd => 1 << (bits - 1),
            Levels::Five | Levels::Ternary => -offset,
            Levels::Unsigned if bits == 8 => 128,
            Levels::Unsigned => 0,
        };
        ByteCode { bias, step, center: offset + step * bias, signed: bias != 0 }
    }
}

/// How many products of levels of these magnitudes an i32 always holds.
pub fn max_terms(a_magnitude: u32, w_magnitude: u32) -> usize {
    (i32::MAX as u64 / (a_magnitude as u64 * w_magnitude as u64).max(1)) as usize
}
