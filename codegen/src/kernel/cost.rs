//! The cost model: how many vector instructions a kernel spends per chunk of weights, and which strategy is cheaper.
//!
//! The unit is one instruction on a register of the level's width; a chunk is [`CHUNK`](super::CHUNK) elements along k of as many
//! columns as a register has lanes. Counts follow the code that [`crate::cpu`] emits.

use super::{BitProduct, Strategy, parts, tables};
use mokume_runtime::cpu::isa::IsaLevel;
use std::fmt;

/// What indices cost per bit of a weight, a look-up with its sum per bit, table and half chunk, and the loads of a table, in instructions
/// of unpacking that take as long; fitted to measurements (docs/measurements/kernels.md). Tables of long rows come from the second cache.
const INDICES: f32 = 6.5;
const LOOK_UP_AND_SUM: f32 = 1.5;
const TABLE_LOADS: f32 = 16.0;

/// Instructions of every strategy, and the choice.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cost {
    /// Per chunk and row, by planes.
    pub planes: f32,
    /// Per chunk and row, by unpacking.
    pub unpack: f32,
    /// Per chunk and row, by looking up.
    pub lookup: f32,
}

impl Cost {
    /// Costs of a product at a level, for `rows` rows that share unpacked weights.
    pub fn of(product: &BitProduct, level: IsaLevel, rows: u32) -> Self {
        Cost { planes: planes(product, level), unpack: unpack(product.w_bits, level, rows), lookup: lookup(product, level, rows) }
    }
    /// The cheapest strategy.
    pub fn strategy(&self) -> Strategy {
        let others = [(self.planes, Strategy::Planes), (self.lookup, Strategy::Lookup)];
        others.into_iter().fold((self.unpack, Strategy::Unpack), |best, other| if other.0 < best.0 { other } else { best }).1
    }
}

/// `unpack (planes 96.0, unpack 11.5, lookup 20.0 instructions per chunk and row)`
impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Cost { planes, unpack, lookup } = self;
        write!(f, "{} ", self.strategy().name())?;
        write!(f, "(planes {planes:.1}, unpack {unpack:.1}, lookup {lookup:.1} instructions per chunk and row)")
    }
}

/// The strategy for a kernel that runs at every one of `levels`: packed weights are shared, so one must serve all; the newest
/// level decides.
pub fn choose(product: &BitProduct, levels: &[IsaLevel], rows: u32) -> Strategy {
    let newest = levels.iter().max().copied().unwrap_or(IsaLevel::X86_64);
    Cost::of(product, newest, rows).strategy()
}

/// And, count and add for every pair of planes; shift and add for every power of two.
fn planes(BitProduct { w_bits, a_bits, .. }: &BitProduct, level: IsaLevel) -> f32 {
    let (pairs, powers) = (f32::from(*w_bits) * f32::from(*a_bits), f32::from(w_bits + a_bits - 1));
    let count = match level {
        IsaLevel::Avx512 => 1.0,
        IsaLevel::Neon => 3.0,
        IsaLevel::Avx2 => 10.0,
        IsaLevel::X86_64 => 16.0,
    };
    pairs * (2.0 + count) + powers * 2.0
}

/// Shift and mask for every part of eight fields, shared by the rows; then the products.
fn unpack(w_bits: u8, level: IsaLevel, rows: u32) -> f32 {
    let fields = if w_bits == 8 { 0.0 } else { fields(w_bits, parts(w_bits).count(), level) };
    fields / rows.max(1) as f32 + products(w_bits, level)
}

/// Indices per bit, and per table look-ups and sums. Elsewhere pairs of bits are joined and unpacked.
fn lookup(product: &BitProduct, level: IsaLevel, rows: u32) -> f32 {
    let (bits, tables) = (f32::from(product.w_bits), tables(product) as f32);
    let look_up = match level {
        IsaLevel::Avx512 => 1.0,
        IsaLevel::Neon => 4.0,
        IsaLevel::Avx2 | IsaLevel::X86_64 => f32::INFINITY,
    };
    let by_tables = bits * (INDICES + tables * LOOK_UP_AND_SUM * (look_up + 1.0)) + TABLE_LOADS * tables;
    let joined = 6.0 * (product.w_bits / 2) as f32 + fields(product.w_bits, product.w_bits.div_ceil(2).into(), level);
    let by_bytes = joined / rows.max(1) as f32 + products(product.w_bits, level);
    if rows == 1 { by_tables.min(by_bytes) } else { by_bytes }
}

/// Instructions that make bytes of fields in `n_parts` parts: shift and mask, and joining them, which AVX-512 does with the mask; there
/// the first field of a vector is not shifted.
fn fields(w_bits: u8, n_parts: usize, level: IsaLevel) -> f32 {
    match level {
        IsaLevel::Avx512 => 16.0 * n_parts as f32 - f32::from(w_bits),
        _ => 8.0 * (3.0 * n_parts as f32 - 1.0),
    }
}

fn products(w_bits: u8, level: IsaLevel) -> f32 {
    match level {
        IsaLevel::Avx512 => 8.0,
        IsaLevel::Neon if w_bits == 8 => 16.0,
        IsaLevel::Neon => 8.0,
        IsaLevel::Avx2 if w_bits <= 4 => 26.0,
        IsaLevel::Avx2 if w_bits == 8 => 52.0,
        IsaLevel::Avx2 => 34.0,
        IsaLevel::X86_64 => 72.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unpacking_is_chosen_but_for_few_bits_on_both_sides() {
        let chosen = |w, a, level, rows| Cost::of(&BitProduct::signed(w, a, None), level, rows).strategy();
        for (w, a, strategy) in [
            (1, 8, Strategy::Unpack),
            (1, 6, Strategy::Unpack),
            (1, 1, Strategy::Planes),
            (2, 8, Strategy::Unpack),
            (3, 6, Strategy::Unpack),
            (8, 8, Strategy::Unpack),
        ] {
            assert_eq!(chosen(w, a, IsaLevel::Avx512, 1), strategy, "w{w}a{a}");
        }
        assert_eq!(chosen(1, 8, IsaLevel::Avx512, 8), Strategy::Unpack);
        assert_eq!(chosen(1, 8, IsaLevel::Avx2, 1), Strategy::Unpack);
    }
}
