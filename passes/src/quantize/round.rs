//! Round to nearest: scales, zero points and codes of one group of numbers.
//!
//! A group is a row of a weight matrix or a block of it. `real = scale * (level - zero_point)`, level = `step * code + offset`.
//!
//! Source  ONNX QuantizeLinear (round half to even, saturate).

use half::f16;
use mokume_ir::quant::Levels;

/// How the numbers of a group become codes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rounding {
    /// Bits of a code.
    pub bits: u8,
    /// Which levels codes stand for; unsigned has a zero point.
    pub levels: Levels,
    /// Shrink the range to where the squared error is least, instead of covering the largest number.
    pub search: bool,
    /// Round scales to f16, in which kernels store them.
    pub half_scales: bool,
}

/// Scale and zero point of a group.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Grid {
    /// Real units per level.
    pub scale: f32,
    /// The level of 0.0; 0 unless unsigned.
    pub zero_point: i32,
}

impl Default for Grid {
    fn default() -> Self {
        Grid { scale: 1.0, zero_point: 0 }
    }
}

/// Parts of the full range that are tried.
pub const PARTS: [f32; 12] = [1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.5, 0.4, 0.3];

/// 1.5 * 2^23.
const ROUNDER: f32 = 12_582_912.0;

impl Rounding {
    /// Scale and zero point for `group`, and its codes written to `codes`.
    ///
    /// Numbers that are not finite count as 0.
    pub fn quantize(&self, group: &[f32], codes: &mut [u8]) -> Grid {
        let grid = self.grid(group);
        self.encode(group, grid, codes);
        grid
    }
    /// The number that `code` stands for.
    pub fn decode(&self, code: u8, grid: Grid) -> f32 {
        let (step, offset) = self.levels.affine(self.bits);
        grid.scale * (step * i32::from(code) + offset - grid.zero_point) as f32
    }
    /// The largest level that codes use on the positive side, in a symmetric grid.
    fn top(&self) -> f32 {
        let (low, high) = self.levels.range(self.bits);
        high.max(if high == 0 { -low } else { 0 }) as f32
    }
    fn grid(&self, group: &[f32]) -> Grid {
        let (low, high) = range(group);
        let full = self.spanning((low, high), 1.0);
        if !self.search || (low, high) == (0.0, 0.0) {
            return full;
        }
        let scored = PARTS.iter().map(|&part| self.spanning((low, high), part)).map(|grid| (self.squared_error(group, grid), grid));
        scored.min_by(|a, b| a.0.total_cmp(&b.0)).map_or(full, |best| best.1)
    }
    /// The grid whose levels span `part` of `low ..= high`.
    pub fn spanning(&self, (low, high): (f32, f32), part: f32) -> Grid {
        match self.levels {
            Levels::Unsigned => self.asymmetric(low * part, high * part),
            _ => Grid { scale: self.stored(high.max(-low) / self.top() * part), zero_point: 0 },
        }
    }
    fn asymmetric(&self, low: f32, high: f32) -> Grid {
        let top = ((1u32 << self.bits) - 1) as f32;
        let scale = self.stored((high - low) / top);
        Grid { scale, zero_point: round(-low / scale).clamp(0.0, top) as i32 }
    }
    /// A scale that can be stored; a range of 0 gives 1. Scales too small for f16 stay as they are.
    pub fn stored(&self, exact: f32) -> f32 {
        let scale = if exact > 0.0 && exact.is_finite() { exact } else { 1.0 };
        let is_half = self.half_scales && (f16::MIN_POSITIVE.to_f32()..=f16::MAX.to_f32()).contains(&scale);
        if is_half { f16::from_f32(scale).to_f32() } else { scale }
    }
    /// Step, offset and largest code in f32.
    fn affine(&self) -> (f32, f32, f32) {
        let (step, offset) = self.levels.affine(self.bits);
        (step as f32, offset as f32, (self.levels.count(self.bits) - 1) as f32)
    }
    /// The smallest code that is used: two's complement leaves out the level that has no opposite.
    pub fn lowest(&self) -> u8 {
        u8::from(self.levels == Levels::Signed && self.bits > 1)
    }
    /// Squared error of the numbers of a group on a grid.
    pub fn squared_error(&self, group: &[f32], grid: Grid) -> f32 {
        let (step, offset, last) = self.affine();
        let (lowest, zero, inverse) = (f32::from(self.lowest()), grid.zero_point as f32, 1.0 / grid.scale);
        let error = |x: f32| {
            let level = x * inverse + zero;
            let code = round((level - offset) / step).clamp(lowest, last);
            let miss = step * code + offset - level;
            miss * miss
        };
        group.iter().map(|&x| error(finite(x))).sum::<f32>() * grid.scale * grid.scale
    }
    fn encode(&self, group: &[f32], grid: Grid, codes: &mut [u8]) {
        let (step, offset, last) = self.affine();
        let (lowest, zero) = (f32::from(self.lowest()), grid.zero_point as f32);
        for (code, &x) in codes.iter_mut().zip(group) {
            let level = match step {
                1.0 => round(finite(x) / grid.scale) + zero - offset,
                _ => round((finite(x) / grid.scale - offset) / step),
            };
            *code = level.clamp(lowest, last) as u8;
        }
    }
}

/// Half to even for magnitudes below 2^22, without a call: adding and subtracting 1.5 * 2^23 drops the fraction.
fn round(x: f32) -> f32 {
    let x = x.clamp(-4_000_000.0, 4_000_000.0);
    (x + ROUNDER) - ROUNDER
}

fn finite(x: f32) -> f32 {
    if x.is_finite() { x } else { 0.0 }
}

/// Smallest and largest number, 0 included.
pub fn range(group: &[f32]) -> (f32, f32) {
    group.iter().fold((0f32, 0f32), |(low, high), &x| (low.min(finite(x)), high.max(finite(x))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(rounding: Rounding, group: &[f32]) -> Vec<f32> {
        let mut codes = vec![0; group.len()];
        let grid = rounding.quantize(group, &mut codes);
        let (step, offset) = rounding.levels.affine(rounding.bits);
        codes.iter().map(|&code| grid.scale * (step * i32::from(code) + offset - grid.zero_point) as f32).collect()
    }

    fn sample(len: usize) -> Vec<f32> {
        (0..len).map(|i| ((i * 7919 % 1009) as f32 / 504.5 - 1.0).powi(3)).collect()
    }

    #[test]
    fn the_error_is_at_most_half_a_step() {
        for (levels, bits, step) in [(Levels::Signed, 8, 1.0), (Levels::Signed, 4, 1.0), (Levels::Odd, 4, 2.0), (Levels::Unsigned, 3, 1.0)]
        {
            let (group, rounding) = (sample(200), Rounding { bits, levels, search: false, half_scales: false });
            let mut codes = vec![0; group.len()];
            let scale = rounding.quantize(&group, &mut codes).scale;
            for (x, y) in group.iter().zip(decode(rounding, &group)) {
                // An asymmetric zero point is rounded too, which costs up to another half step at the ends.
                let allowed = if levels == Levels::Unsigned { scale } else { scale * step / 2.0 };
                assert!((x - y).abs() <= allowed * 1.001, "{levels:?} {bits}: {x} became {y}");
            }
        }
    }

    #[test]
    fn searching_never_makes_the_squared_error_larger() {
        let group = sample(333);
        let error = |rounding| group.iter().zip(decode(rounding, &group)).map(|(x, y)| (x - y).powi(2)).sum::<f32>();
        for (levels, bits) in
            [(Levels::Ternary, 2), (Levels::Five, 3), (Levels::Odd, 1), (Levels::Odd, 2), (Levels::Signed, 4), (Levels::Unsigned, 4)]
        {
            let (plain, searched) =
                (Rounding { bits, levels, search: false, half_scales: false }, Rounding { bits, levels, search: true, half_scales: false });
            assert!(error(searched) <= error(plain) * 1.0001, "{levels:?} {bits}");
        }
    }

    #[test]
    fn nothing_and_not_a_number_are_zero() {
        let rounding = Rounding { bits: 4, levels: Levels::Signed, search: true, half_scales: false };
        assert_eq!(decode(rounding, &[0.0, -0.0]), [0.0, 0.0]);
        assert_eq!(decode(rounding, &[f32::NAN, 7.0, f32::INFINITY, -7.0])[1..], [7.0, 0.0, -7.0]);
    }

    #[test]
    fn halves_round_to_even() {
        let rounding = Rounding { bits: 8, levels: Levels::Signed, search: false, half_scales: false };
        assert_eq!(decode(rounding, &[127.0, 0.5, 1.5, 2.5, -0.5]), [127.0, 0.0, 2.0, 2.0, 0.0]);
    }
}
