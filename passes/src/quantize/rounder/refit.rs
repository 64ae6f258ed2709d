//! The scales that are best for codes as they are: a small least-squares problem per row.
//!
//! With levels `c_g` of group g, `q = Σ_g s_g c_g`: the error is `s A sᵀ - 2 s b + const`, `A_gh = c_g H c_hᵀ`, `b_g = c_g H tᵀ`.

use super::linalg::{Layout, cholesky, dot, tile_multiply_add};
use super::problem::{Choice, Problem};
use crate::quantize::round::Grid;
use rayon::prelude::*;

/// Rows handled by one task.
const ROWS: usize = 32;

/// Scales of every row for the codes of `choice`, where that is better; whether it is anywhere.
pub fn refit(problem: &Problem, choice: &mut Choice) -> bool {
    let (cols, blocks) = (problem.cols.max(1), problem.blocks());
    let mut next = choice.clone();
    let tasks = next.grids.par_chunks_mut(ROWS * blocks).zip(choice.codes.par_chunks(ROWS * cols));
    tasks.zip(problem.target.par_chunks(ROWS * cols)).for_each(|((grids, codes), target)| refit_rows(problem, grids, codes, target));
    next.errors = problem.errors(&next);
    choice.improve(problem, &next)
}

fn refit_rows(problem: &Problem, grids: &mut [Grid], codes: &[u8], target: &[f32]) {
    let (cols, block, blocks) = (problem.cols, problem.block(), problem.blocks());
    let rows = codes.len() / cols;
    let levels: Vec<f64> = (0..codes.len())
        .map(|i| f64::from(problem.codes.level(f32::from(codes[i]), grids[i / cols * blocks + i % cols / block])))
        .collect();
    let mut normal = vec![0.0; rows * blocks * blocks];
    let mut right = vec![0.0; rows * blocks];
    let mut image = vec![0.0; rows * cols];
    for group in 0..blocks {
        let (first, width) = (group * block, block.min(cols - group * block));
        image.fill(0.0);
        let lines = (&problem.metric[first * cols..], Layout::Rows(cols));
        tile_multiply_add(1.0, (&levels[first..], Layout::Rows(cols)), lines, width, &mut image, (cols, cols));
        for row in 0..rows {
            let (image, span) = (&image[row * cols..][..cols], row * cols..(row + 1) * cols);
            let others = levels[span.clone()].chunks(block).zip(image.chunks(block));
            let normal = normal[(row * blocks + group) * blocks..].iter_mut();
            normal.zip(others).for_each(|(x, (levels, image))| *x = dot(levels, image));
            right[row * blocks + group] = image.iter().zip(&target[span]).map(|(a, &b)| a * f64::from(b)).sum();
        }
    }
    for ((normal, right), grids) in normal.chunks(blocks * blocks).zip(right.chunks(blocks)).zip(grids.chunks_mut(blocks)) {
        solve(problem, normal.to_vec(), right, grids);
    }
}

/// Puts the solution of the normal equations into `grids`, if all of its scales are positive.
fn solve(problem: &Problem, mut normal: Vec<f64>, right: &[f64], grids: &mut [Grid]) {
    let n = right.len();
    for i in (0..n).filter(|i| normal[i * (n + 1)] == 0.0).collect::<Vec<_>>() {
        normal[i * (n + 1)] = 1.0;
    }
    let Some(factor) = cholesky(normal, n) else { return };
    let mut scales = right.to_vec();
    for i in 0..n {
        scales[i] = (scales[i] - dot(&scales[..i], &factor[i * n..][..i])) / factor[i * (n + 1)];
    }
    for i in (0..n).rev() {
        let below: f64 = (i + 1..n).map(|j| scales[j] * factor[j * n + i]).sum();
        scales[i] = (scales[i] - below) / factor[i * (n + 1)];
    }
    for (grid, scale) in grids.iter_mut().zip(scales).filter(|(_, scale)| *scale > 0.0 && scale.is_finite()) {
        grid.scale = problem.format.rounding.stored(scale as f32);
    }
}
