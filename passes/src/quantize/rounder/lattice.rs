//! The numbers that codes can stand for: evenly spaced in every set of levels.

use crate::quantize::round::{Grid, Rounding};

/// Codes of a [`Rounding`] as an interval of integers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Codes {
    step: f32,
    offset: f32,
    lowest: f32,
    last: f32,
}

/// A group's numbers: `start + width * code`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Lattice {
    /// Distance of neighbors.
    pub width: f32,
    /// What code 0 stands for.
    pub start: f32,
    /// 1 / width.
    inverse: f32,
}

impl Codes {
    /// Those of `rounding`.
    pub fn new(rounding: &Rounding) -> Self {
        let (step, offset) = rounding.levels.affine(rounding.bits);
        let last = (rounding.levels.count(rounding.bits) - 1) as f32;
        Codes { step: step as f32, offset: offset as f32, lowest: f32::from(rounding.lowest()), last }
    }
    /// The numbers of a group.
    pub fn lattice(&self, grid: Grid) -> Lattice {
        let width = grid.scale * self.step;
        Lattice { width, start: grid.scale * (self.offset - grid.zero_point as f32), inverse: 1.0 / width }
    }
    /// What `code` stands for, in units of the scale.
    pub fn level(&self, code: f32, grid: Grid) -> f32 {
        self.step * code + (self.offset - grid.zero_point as f32)
    }
    /// The code whose number is nearest to `x`, as a float.
    #[inline(always)]
    pub fn nearest(&self, x: f32, lattice: Lattice) -> f32 {
        round(self.place(x, lattice))
    }
    /// Where soft rounding moves `x` between its two neighbors: at `pull` 1 it stays, at infinity it becomes the nearest; points
    /// outside become the end.
    ///
    /// Source  soft-rounding (arXiv 1508.05046): the proximal step of a penalty that is 0 on the levels and a concave parabola
    /// between neighbors, of weight `1 - 1 / pull`.
    #[inline(always)]
    pub fn pulled(&self, x: f32, lattice: Lattice, pull: f32) -> f32 {
        let at = self.place(x, lattice);
        let near = round(at);
        let below = if near > at { near - 1.0 } else { near };
        lattice.number(below + ((at - below - 0.5) * pull + 0.5).clamp(0.0, 1.0))
    }
    /// `x` in codes, inside of the ends.
    #[inline(always)]
    fn place(&self, x: f32, lattice: Lattice) -> f32 {
        ((x - lattice.start) * lattice.inverse).clamp(self.lowest, self.last)
    }
}

impl Lattice {
    /// What `code` stands for; codes between codes are points between neighbors.
    #[inline(always)]
    pub fn number(&self, code: f32) -> f32 {
        self.start + self.width * code
    }
}

/// 1.5 * 2^23.
const ROUNDER: f32 = 12_582_912.0;

/// Half to even for codes, without a call: adding and subtracting 1.5 * 2^23 drops the fraction.
#[inline(always)]
fn round(x: f32) -> f32 {
    (x + ROUNDER) - ROUNDER
}
