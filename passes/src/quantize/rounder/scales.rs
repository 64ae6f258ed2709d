//! Scales and zero points before there are codes: every group by itself, weighted by how much its inputs count.

use super::lattice::Codes;
use super::problem::{Choice, Problem};
use crate::quantize::round::{Grid, Rounding, range};
use rayon::prelude::*;

/// Fractions of the full range that are tried: 1, 31/32, … 8/32.
const STEPS: std::ops::RangeInclusive<u32> = 8..=32;

/// Rounds of fitting the scale to the codes and the codes to the scale.
const FITS: usize = 4;

/// The scales whose squared error, weighted by the diagonal of the metric, is least, and the nearest codes.
pub fn nearest(problem: &Problem) -> Choice {
    let (cols, blocks) = (problem.cols.max(1), problem.blocks());
    let mut codes = vec![0u8; problem.target.len()];
    let mut grids = vec![Grid::default(); problem.rows * blocks];
    let rows = problem.target.par_chunks(cols).zip(codes.par_chunks_mut(cols)).zip(grids.par_chunks_mut(blocks));
    rows.for_each(|((target, codes), grids)| {
        let groups = target.chunks(problem.block()).zip(codes.chunks_mut(problem.block()));
        for (((target, codes), weights), grid) in groups.zip(problem.diagonal.chunks(problem.block())).zip(grids) {
            *grid = search(&problem.format.rounding, problem.codes, target, weights);
            encode(problem.codes, target, *grid, codes);
        }
    });
    Choice::new(problem, codes, grids)
}

/// Nearest codes.
fn encode(codes: Codes, target: &[f32], grid: Grid, out: &mut [u8]) {
    let lattice = codes.lattice(grid);
    out.iter_mut().zip(target).for_each(|(code, &x)| *code = codes.nearest(x, lattice) as u8);
}

/// The grid of one group.
fn search(rounding: &Rounding, codes: Codes, target: &[f32], weights: &[f32]) -> Grid {
    let full = rounding.spanning(range(target), 1.0);
    if !rounding.search {
        return full;
    }
    let candidates = STEPS.rev().map(|part| rounding.spanning(range(target), part as f32 / 32.0));
    let scored = candidates.map(|grid| (error(codes, target, weights, grid), grid));
    let mut best = scored.min_by(|a, b| a.0.total_cmp(&b.0)).unwrap_or((f32::INFINITY, full));
    for _ in 0..FITS {
        let fitted = fit(rounding, codes, target, weights, best.1);
        let error = error(codes, target, weights, fitted);
        if error >= best.0 {
            break;
        }
        best = (error, fitted);
    }
    best.1
}

/// Sums that are kept side by side.
const LANES: usize = 8;

/// `Σ weight (nearest(x) - x)²`.
fn error(codes: Codes, target: &[f32], weights: &[f32], grid: Grid) -> f32 {
    let lattice = codes.lattice(grid);
    let mut sums = [0f32; LANES];
    for (target, weights) in target.chunks(LANES).zip(weights.chunks(LANES)) {
        for ((sum, &x), &weight) in sums.iter_mut().zip(target).zip(weights) {
            let miss = lattice.number(codes.nearest(x, lattice)) - x;
            *sum += weight * miss * miss;
        }
    }
    sums.iter().sum()
}

/// The scale that is best for the codes that are nearest now.
fn fit(rounding: &Rounding, codes: Codes, target: &[f32], weights: &[f32], grid: Grid) -> Grid {
    let lattice = codes.lattice(grid);
    let (mut cross, mut square) = (0f32, 0f32);
    for (&x, &weight) in target.iter().zip(weights) {
        let level = codes.level(codes.nearest(x, lattice), grid);
        cross += weight * level * x;
        square += weight * level * level;
    }
    if cross > 0.0 { Grid { scale: rounding.stored(cross / square), ..grid } } else { grid }
}
