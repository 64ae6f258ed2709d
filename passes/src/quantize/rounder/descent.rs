//! Coordinate descent: one code at a time goes where the error of its row is least, the others as they are.

use super::lattice::Lattice;
use super::linalg::product;
use super::problem::{Choice, Problem};
use rayon::prelude::*;

/// Improves the codes of `choice` until nothing changes, or `sweeps` times over all columns; the scales stay.
pub fn descend(problem: &Problem, choice: &mut Choice, sweeps: usize) {
    let cols = problem.cols.max(1);
    let miss: Vec<f32> = problem.decode(choice).iter().zip(&problem.target).map(|(q, t)| q - t).collect();
    let mut slope = product(&miss, &problem.metric32, problem.cols, problem.cols);
    let mut codes = choice.codes.clone();
    let rows = codes.par_chunks_mut(cols).zip(choice.grids.par_chunks(problem.blocks())).zip(slope.par_chunks_mut(cols));
    rows.for_each(|((codes, grids), slope)| {
        let lattices: Vec<Lattice> = grids.iter().map(|&grid| problem.codes.lattice(grid)).collect();
        let mut walker = Walker { problem, codes, lattices: &lattices, slope };
        (0..sweeps).take_while(|_| walker.sweep() > 0).for_each(drop);
    });
    choice.improve(problem, &Choice::new(problem, codes, choice.grids.clone()));
}

/// A row whose codes change one at a time.
struct Walker<'p> {
    problem: &'p Problem,
    codes: &'p mut [u8],
    lattices: &'p [Lattice],
    /// The error of the row, times the metric.
    slope: &'p mut [f32],
}

impl Walker<'_> {
    /// One pass over the columns; how many codes changed.
    fn sweep(&mut self) -> usize {
        let block = self.problem.block();
        let mut changed = 0;
        for col in 0..self.codes.len() {
            let (lattice, weight) = (self.lattices[col / block], self.problem.diagonal[col]);
            let now = lattice.number(f32::from(self.codes[col]));
            let code = self.problem.codes.nearest(now - self.slope[col] / weight, lattice) as u8;
            if code != self.codes[col] {
                self.set(col, code, lattice);
                changed += 1;
            }
        }
        changed
    }
    fn set(&mut self, col: usize, code: u8, lattice: Lattice) {
        let step = (f32::from(code) - f32::from(self.codes[col])) * lattice.width;
        let line = &self.problem.metric32[col * self.problem.cols..][..self.problem.cols];
        self.slope.iter_mut().zip(line).for_each(|(slope, h)| *slope += step * h);
        self.codes[col] = code;
    }
}
