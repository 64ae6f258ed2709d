//! GPTQ: column by column, the error that is made moves into the columns that are still to come.
//!
//! With `H = (I + U) D (I + U)ᵀ`, U strictly upper, the error of a row is `Σ_j D_j (e_j + Σ_{i<j} e_i U_ij)²`: in the order of
//! the columns, each is rounded to the level nearest to what makes its term 0. Columns that count most come first.
//!
//! Source  GPTQ (arXiv 2210.17323) with act-order and static groups, in the form of LDLQ (arXiv 2307.13304, section 3).

use super::RoundError;
use super::linalg::{Layout, cholesky, tile_multiply_add};
use super::problem::{Choice, Problem};
use crate::quantize::round::Grid;
use rayon::prelude::*;

/// Columns whose errors move on together.
const BLOCK: usize = 96;

/// Rows handled by one task.
const ROWS: usize = 32;

/// Codes for the scales of `start`.
pub fn gptq(problem: &Problem, start: &Choice) -> Result<Choice, RoundError> {
    let (cols, blocks) = (problem.cols.max(1), problem.blocks());
    let order = order(problem);
    let feedback = Feedback { problem, factor: factor(problem, &order)?, order };
    let mut codes = vec![0u8; start.codes.len()];
    let tasks = codes.par_chunks_mut(ROWS * cols).zip(problem.target.par_chunks(ROWS * cols));
    tasks.zip(start.grids.par_chunks(ROWS * blocks)).for_each(|((codes, target), grids)| feedback.round(target, grids, codes));
    Ok(Choice::new(problem, codes, start.grids.clone()))
}

/// Columns, those that count most first.
fn order(problem: &Problem) -> Vec<usize> {
    let mut order: Vec<usize> = (0..problem.cols).collect();
    order.sort_by(|&a, &b| problem.diagonal[b].total_cmp(&problem.diagonal[a]));
    order
}

/// `U` of the metric in this order of columns.
fn factor(problem: &Problem, order: &[usize]) -> Result<Vec<f32>, RoundError> {
    let k = problem.cols;
    let reversed = (0..k * k).map(|i| problem.metric[order[k - 1 - i / k] * k + order[k - 1 - i % k]]).collect();
    let lower = cholesky(reversed, k).ok_or(RoundError::NotPositive { k, damping: 0.0 })?;
    let at = |i: usize, j: usize| lower[(k - 1 - i) * k + k - 1 - j];
    let upper = |i: usize, j: usize| if i < j { (at(i, j) / at(j, j)) as f32 } else { 0.0 };
    Ok((0..k * k).map(|i| upper(i / k, i % k)).collect())
}

/// How errors move on.
struct Feedback<'p> {
    problem: &'p Problem,
    /// Columns in the order in which they are rounded.
    order: Vec<usize>,
    /// `U` in that order.
    factor: Vec<f32>,
}

impl Feedback<'_> {
    /// Codes of some rows.
    fn round(&self, target: &[f32], grids: &[Grid], codes: &mut [u8]) {
        let cols = self.problem.cols;
        let mut wanted: Vec<f32> = target.chunks(cols).flat_map(|row| self.order.iter().map(|&col| row[col])).collect();
        let mut errors = vec![0f32; target.len() / cols * BLOCK];
        for first in (0..cols).step_by(BLOCK) {
            let (last, width) = ((first + BLOCK).min(cols), BLOCK.min(cols - first));
            let rows = wanted.chunks_mut(cols).zip(target.chunks(cols)).zip(codes.chunks_mut(cols));
            for (((wanted, target), codes), (grids, errors)) in rows.zip(grids.chunks(self.problem.blocks()).zip(errors.chunks_mut(BLOCK)))
            {
                self.round_block(&mut wanted[first..last], target, grids, codes, &mut errors[..width], first);
            }
            if last < cols {
                let rest = (&self.factor[first * cols + last..], Layout::Rows(cols));
                tile_multiply_add(1.0, (&errors, Layout::Rows(BLOCK)), rest, width, &mut wanted[last..], (cols - last, cols));
            }
        }
    }
    /// Codes of columns `first ..` of one row, and their errors.
    fn round_block(&self, wanted: &mut [f32], target: &[f32], grids: &[Grid], codes: &mut [u8], errors: &mut [f32], first: usize) {
        let (cols, block) = (self.problem.cols, self.problem.block());
        for j in 0..wanted.len() {
            let col = self.order[first + j];
            let lattice = self.problem.codes.lattice(grids[col / block]);
            let code = self.problem.codes.nearest(wanted[j], lattice);
            let error = target[col] - lattice.number(code);
            let factors = &self.factor[(first + j) * cols + first..][..wanted.len()];
            wanted[j + 1..].iter_mut().zip(&factors[j + 1..]).for_each(|(x, factor)| *x += error * factor);
            (codes[col], errors[j]) = (code as u8, error);
        }
    }
}
