//! The cost model: how many vector instructions a kernel spends per chunk of weights, and which strategy is cheaper.
//!
//! The unit is one instruction on a register of the level's width; a chunk is [`CHUNK`](super::CHUNK) elements along k of as many
//! columns as a register has lanes. Counts follow the code that [`crate::cpu`] emits.

use super::{KernelSpec, Strategy, parts};
use mokume_runtime::cpu::isa::IsaLevel;
use std::fmt;

/// Instructions of both strategies, and the choice.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cost {
    /// Per chunk and row, by planes.
    pub planes: f32,
    /// Per chunk and row, by unpacking.
    pub unpack: f32,
}

impl Cost {
    /// Costs of `bit_matmul` on `w_bits` by `a_bits`, for `rows` rows that share unpacked weights.
    pub fn of(w_bits: u8, a_bits: u8, level: IsaLevel, rows: u32) -> Self {
        Cost { planes: planes(w_bits, a_bits, level), unpack: unpack(w_bits, level, rows) }
    }
    /// The cheaper strategy.
    pub fn strategy(&self) -> Strategy {
        if self.planes < self.unpack { Strategy::Planes } else { Strategy::Unpack }
    }
}

/// `unpack (planes 96.0, unpack 11.5 instructions per chunk and row)`
impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.strategy().name();
        write!(f, "{name} (planes {:.1}, unpack {:.1} instructions per chunk and row)", self.planes, self.unpack)
    }
}

/// The strategy for a kernel that runs at every one of `levels`: packed weights are shared, so one must serve all; the newest
/// level decides.
pub fn choose(w_bits: u8, a_bits: u8, levels: &[IsaLevel], rows: u32) -> Strategy {
    let newest = levels.iter().max().copied().unwrap_or(IsaLevel::X86_64);
    Cost::of(w_bits, a_bits, newest, rows).strategy()
}

/// And, count and add for every pair of planes; shift and add for every power of two.
fn planes(w_bits: u8, a_bits: u8, level: IsaLevel) -> f32 {
    let (pairs, powers) = (f32::from(w_bits) * f32::from(a_bits), f32::from(w_bits + a_bits - 1));
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
    let n_parts = parts(w_bits).count() as f32;
    let fields = if w_bits == 8 { 0.0 } else { 8.0 * (3.0 * n_parts - 1.0) };
    let products = match level {
        IsaLevel::Avx512 => 8.0,
        IsaLevel::Neon if w_bits == 8 => 16.0,
        IsaLevel::Neon => 8.0,
        IsaLevel::Avx2 if w_bits <= 4 => 26.0,
        IsaLevel::Avx2 if w_bits == 8 => 52.0,
        IsaLevel::Avx2 => 34.0,
        IsaLevel::X86_64 => 72.0,
    };
    fields / rows.max(1) as f32 + products
}

/// A description with the strategy that the cost model or `forced` asks for.
pub fn with_strategy(spec: KernelSpec, levels: &[IsaLevel], rows: u32, forced: Option<Strategy>) -> KernelSpec {
    KernelSpec { strategy: forced.unwrap_or_else(|| choose(spec.w_bits, spec.a_bits, levels, rows)), ..spec }
}
