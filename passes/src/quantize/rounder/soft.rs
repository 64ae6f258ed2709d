//! Soft rounding: numbers are drawn to levels more and more strongly while they settle their errors with each other.
//!
//! ADMM for `min (x - t) H (x - t)ᵀ` with x on the levels, in the metric `R = r diag(H)`:
//! `x = t + (u - y - t) R (H + R)⁻¹`, `u = φ(x + y)`, `y += x - u`. φ moves a number towards the nearest level; its strength
//! λ grows from 0, where it does nothing, to 1, where it rounds. Steps of x are lengthened (over-relaxation).
//!
//! Source  soft-rounding (arXiv 1508.05046) as the proximal step; a diagonal metric, since inputs differ in size.

use super::RoundError;
use super::lattice::{Codes, Lattice};
use super::linalg::{Layout, cholesky, inverse, tile_multiply_add};
use super::problem::{Choice, Problem};
use super::refit::refit;
use crate::quantize::round::Grid;
use rayon::prelude::*;
use serde::Deserialize;

/// Rows handled by one task.
const ROWS: usize = 64;

/// How numbers are drawn to levels.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Soft {
    /// Steps.
    pub steps: usize,
    /// Part of the steps at whose end numbers are rounded.
    pub ramp: f64,
    /// `r`: how strongly numbers stay at their levels while errors are settled, as a part of the diagonal of the metric.
    pub hold: f64,
    /// Steps between two looks at the error of the rounded numbers.
    pub look: usize,
    /// Steps of a first, short run, whose codes give the scales of the second; 0 keeps the scales.
    pub first: usize,
    /// How far past the settled numbers to go: 1 is none, below 2.
    pub relax: f32,
}

impl Default for Soft {
    fn default() -> Self {
        Soft::DEFAULT
    }
}

impl Soft {
    /// What did best on held-out tokens of real layers.
    pub const DEFAULT: Soft = Soft { steps: 160, ramp: 0.9, hold: 0.6, look: 5, first: 40, relax: 1.6 };

    /// Codes for the scales of `start`, row by row never worse than it.
    pub fn round(&self, problem: &Problem, start: &Choice) -> Result<Choice, RoundError> {
        let settling = self.settling(problem)?;
        if self.first == 0 {
            return Ok(self.run(problem, start, &settling));
        }
        let first = Soft { steps: self.first, ..*self };
        let mut best = first.run(problem, start, &settling);
        refit(problem, &mut best);
        Ok(self.run(problem, &best, &settling))
    }
    fn run(&self, problem: &Problem, start: &Choice, settling: &[f32]) -> Choice {
        let (cols, blocks) = (problem.cols.max(1), problem.blocks());
        let mut codes = start.codes.clone();
        let tasks = codes.par_chunks_mut(ROWS * cols).zip(problem.target.par_chunks(ROWS * cols));
        tasks.zip(start.grids.par_chunks(ROWS * blocks)).for_each(|((codes, target), grids)| {
            Drawing::new(problem, settling, target, grids, codes).run(self);
        });
        let mut best = start.clone();
        best.improve(problem, &Choice::new(problem, codes, start.grids.clone()));
        best
    }
    /// `R (H + R)⁻¹`.
    fn settling(&self, problem: &Problem) -> Result<Vec<f32>, RoundError> {
        let k = problem.cols;
        let held = |i: usize| self.hold * problem.metric[i * (k + 1)];
        let mut sum = problem.metric.clone();
        (0..k).for_each(|i| sum[i * (k + 1)] += held(i));
        let factor = cholesky(sum, k).ok_or(RoundError::NotPositive { k, damping: self.hold })?;
        let inverse = inverse(&factor, k);
        Ok(inverse.iter().enumerate().map(|(i, x)| (held(i / k) * x) as f32).collect())
    }
    /// How strongly numbers are drawn at `step`, as `1 / (1 - λ)`.
    fn pull(&self, step: usize) -> f32 {
        let strength = step as f64 / (self.ramp * self.steps as f64).max(1.0);
        (1.0 / (1.0 - strength).max(1e-6)) as f32
    }
    /// Whether to look at the error of the rounded numbers after `step`.
    fn looks(&self, step: usize) -> bool {
        step + 1 == self.steps || (step + 1).is_multiple_of(self.look.max(1)) && self.pull(step) > 2.0
    }
}

/// Some rows on their way to levels.
struct Drawing<'p> {
    problem: &'p Problem,
    settling: &'p [f32],
    target: &'p [f32],
    lattices: Vec<Lattice>,
    /// The best codes so far.
    codes: &'p mut [u8],
    /// Their errors.
    errors: Vec<f32>,
    u: Vec<f32>,
    y: Vec<f32>,
}

impl<'p> Drawing<'p> {
    fn new(problem: &'p Problem, settling: &'p [f32], target: &'p [f32], grids: &[Grid], codes: &'p mut [u8]) -> Self {
        let lattices = grids.iter().map(|&grid| problem.codes.lattice(grid)).collect();
        let (rows, y) = (target.len() / problem.cols, vec![0.0; target.len()]);
        Drawing { problem, settling, target, lattices, codes, errors: vec![f32::INFINITY; rows], u: target.to_vec(), y }
    }
    fn run(mut self, soft: &Soft) {
        let (mut gap, mut x) = (vec![0f32; self.u.len()], vec![0f32; self.u.len()]);
        for step in 0..soft.steps {
            self.settle(&mut gap, &mut x);
            self.draw(&x, soft.pull(step), soft.relax);
            if soft.looks(step) {
                self.look(&mut gap, &mut x);
            }
        }
    }
    /// `x = t + (u - y - t) R (H + R)⁻¹`.
    fn settle(&self, gap: &mut [f32], x: &mut [f32]) {
        let k = self.problem.cols;
        for (((gap, u), y), t) in gap.iter_mut().zip(&self.u).zip(&self.y).zip(self.target) {
            *gap = u - y - t;
        }
        x.copy_from_slice(self.target);
        tile_multiply_add(1.0, (gap, Layout::Rows(k)), (self.settling, Layout::Rows(k)), k, x, (k, k));
    }
    /// `u = φ(x + y)`, `y += x - u`, where x went on past where it settled.
    fn draw(&mut self, x: &[f32], pull: f32, relax: f32) {
        let (cols, block, blocks) = (self.problem.cols, self.problem.block(), self.problem.blocks());
        let codes = self.problem.codes;
        let rows = x.chunks(cols).zip(self.u.chunks_mut(cols)).zip(self.y.chunks_mut(cols)).zip(self.lattices.chunks(blocks));
        for (((x, u), y), lattices) in rows {
            for (((x, u), y), &lattice) in x.chunks(block).zip(u.chunks_mut(block)).zip(y.chunks_mut(block)).zip(lattices) {
                for ((x, u), y) in x.iter().zip(u).zip(y) {
                    let at = relax * x + (1.0 - relax) * *u + *y;
                    *u = codes.pulled(at, lattice, pull);
                    *y = at - *u;
                }
            }
        }
    }
    /// Keeps the nearest codes of rows where they are the best so far.
    fn look(&mut self, miss: &mut [f32], image: &mut [f32]) {
        let k = self.problem.cols;
        miss.copy_from_slice(&self.u);
        self.each_block(miss, |codes, lattice, x, t| *x = lattice.number(codes.nearest(*x, lattice)) - t);
        image.fill(0.0);
        tile_multiply_add(1.0, (miss, Layout::Rows(k)), (&self.problem.metric32, Layout::Rows(k)), k, image, (k, k));
        for (row, (miss, image)) in miss.chunks(k).zip(image.chunks(k)).enumerate() {
            let error: f32 = miss.iter().zip(image).map(|(a, b)| a * b).sum();
            if error < self.errors[row] {
                self.errors[row] = error;
                self.keep(row);
            }
        }
    }
    /// Applies `change` to the numbers of all blocks and their targets.
    fn each_block(&self, numbers: &mut [f32], change: impl Fn(Codes, Lattice, &mut f32, f32)) {
        let (cols, block, codes) = (self.problem.cols, self.problem.block(), self.problem.codes);
        let rows = numbers.chunks_mut(cols).zip(self.target.chunks(cols)).zip(self.lattices.chunks(self.problem.blocks()));
        for ((numbers, target), lattices) in rows {
            for ((numbers, target), &lattice) in numbers.chunks_mut(block).zip(target.chunks(block)).zip(lattices) {
                numbers.iter_mut().zip(target).for_each(|(x, &t)| change(codes, lattice, x, t));
            }
        }
    }
    /// Keeps the nearest codes of a row.
    fn keep(&mut self, row: usize) {
        let (cols, block, blocks) = (self.problem.cols, self.problem.block(), self.problem.blocks());
        let (codes, u) = (&mut self.codes[row * cols..][..cols], &self.u[row * cols..][..cols]);
        for ((codes, u), &lattice) in codes.chunks_mut(block).zip(u.chunks(block)).zip(&self.lattices[row * blocks..]) {
            codes.iter_mut().zip(u).for_each(|(code, &u)| *code = self.problem.codes.nearest(u, lattice) as u8);
        }
    }
}
