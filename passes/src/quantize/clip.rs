//! How far the levels of activations reach: up to the largest number seen, or only to where the squared error is least.
//!
//! The tails of activations are long: with few bits it is better to cut off a few large numbers than to have few levels for all others.
//! Where a range is found of every row as the model runs, one part of it is chosen for all rows: that of the least squared errors, those
//! of every row taken relative to its squares, because a norm follows sooner or later.
//!
//! Source  Ashkboos et al., "QuaRot", 2024, section 4.2 (a part of 0.9 for all activations of 4 bits).

use super::calibrate::{Activation, Range, Ranges, Watch};
use super::mixed::stored::Activations;
use super::round::{PARTS, Rounding, range};
use mokume_ir::constant::Constant;
use rayon::prelude::*;
use std::collections::HashMap;

/// Parts of the full range that are tried: each is so much of the one before it.
const STEP: f32 = 0.93;
/// How many.
const STEPS: i32 = 40;
/// How often both ends are looked at.
const ROUNDS: usize = 2;

/// Shrinks spans to where the squared error of the numbers seen is least.
pub fn clip(activations: &Activations, spans: &mut HashMap<Activation, (f32, f32)>, numbers: &HashMap<Activation, Vec<f32>>) {
    for (key, span) in spans {
        numbers.get(key).into_iter().for_each(|seen| *span = clipped(&activations.rounding(), *span, seen));
    }
}

/// Rows of a tensor that are tried, evenly spread.
const ROWS: usize = 64;

/// The errors of rows by the part of their range that levels span.
pub struct RowParts {
    activations: Activations,
    errors: HashMap<Activation, [f64; PARTS.len()]>,
}

impl RowParts {
    /// Of rows that are rounded so.
    pub fn new(activations: Activations) -> Self {
        RowParts { activations, errors: HashMap::new() }
    }
    /// The best part for each value that was seen, where that is not all.
    pub fn best(self) -> Ranges {
        let best = |errors: [f64; PARTS.len()]| PARTS.iter().zip(errors).min_by(|a, b| a.1.total_cmp(&b.1)).map(|best| *best.0);
        let chosen = self.errors.into_iter().filter_map(|(key, errors)| Some((key, best(errors).filter(|&part| part < 1.0)?)));
        chosen.map(|(key, part)| (key, Range::Part(part))).collect()
    }
    /// The error of a row over its squares, by part; none of a row of zeros.
    fn relative(&self, row: &[f32]) -> Option<[f64; PARTS.len()]> {
        let squares: f64 = row.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
        let size = if self.activations.group == 0 { row.len() } else { self.activations.group };
        let error = |part: f32| row.chunks(size).map(|group| f64::from(self.error(group, part))).sum::<f64>() / squares;
        (squares > 0.0 && squares.is_finite()).then(|| PARTS.map(error))
    }
    fn error(&self, group: &[f32], part: f32) -> f32 {
        let rounding = self.activations.rounding();
        rounding.squared_error(group, rounding.spanning(range(group), part))
    }
}

impl Watch for RowParts {
    fn read(&mut self, key: Activation, tensor: &Constant) {
        let (Some(values), Some(&cols)) = (tensor.to_f32s(), tensor.dims().last()) else { return };
        let rows: Vec<&[f32]> = values.chunks_exact(cols.max(1)).collect();
        let taken = rows.len().min(ROWS);
        let found: Vec<_> = (0..taken).into_par_iter().filter_map(|i| self.relative(rows[i * rows.len() / taken])).collect();
        let sums = self.errors.entry(key).or_default();
        found.iter().for_each(|row| sums.iter_mut().zip(row).for_each(|(sum, error)| *sum += error));
    }
}

/// The part of `low ..= high` whose levels are nearest to `seen`.
fn clipped(rounding: &Rounding, (low, high): (f32, f32), seen: &[f32]) -> (f32, f32) {
    let error = |low: f32, high: f32| {
        let grid = rounding.spanning((low, high), 1.0);
        let sums: Vec<f64> = seen.par_chunks(CHUNK).map(|chunk| f64::from(rounding.squared_error(chunk, grid))).collect();
        sums.into_iter().sum::<f64>()
    };
    let mut best = narrowed(|part| error(low * part, high * part));
    let mut ends = (low * best, high * best);
    for _ in 0..ROUNDS {
        best = narrowed(|part| error(low * part, ends.1));
        ends.0 = low * best;
        best = narrowed(|part| error(ends.0, high * part));
        ends.1 = high * best;
    }
    ends
}

/// Numbers whose errors are summed in f32.
const CHUNK: usize = 4096;

/// The part that has the least error; of equal ones the largest.
fn narrowed(error: impl Fn(f32) -> f64) -> f32 {
    let parts = (0..STEPS).map(|step| STEP.powi(step));
    let scored = parts.map(|part| (error(part), part));
    scored.min_by(|a, b| a.0.total_cmp(&b.0)).map_or(1.0, |best| best.1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mokume_ir::ids::{FuncId, ValueId};
    use mokume_ir::quant::Levels;

    fn rounding(bits: u8) -> Rounding {
        Rounding { bits, levels: Levels::Unsigned, search: false, half_scales: false }
    }

    /// Most numbers within 1, and one far out.
    fn tailed() -> Vec<f32> {
        (0..4000).map(|i| (i * 37 % 1999) as f32 / 1000.0 - 1.0).chain([20.0]).collect()
    }

    #[test]
    fn few_bits_leave_out_what_lies_far_out() {
        let (low, high) = clipped(&rounding(3), (-1.0, 20.0), &tailed());
        assert!(high < 10.0 && (-1.0..0.0).contains(&low), "{low} {high}");
        let (_, high) = clipped(&rounding(8), (-1.0, 20.0), &tailed());
        assert!(high > 10.0, "{high}");
    }

    #[test]
    fn rows_with_tails_span_a_part_of_their_range_and_even_ones_all() {
        let (levels, group) = (Levels::Unsigned, 0);
        let part = |bits: u8, values: &[f32]| {
            let (mut parts, key) = (RowParts::new(Activations { bits, levels, group }), (FuncId(0), ValueId(0)));
            parts.read(key, &Constant::f32s(&[2, values.len() / 2], values));
            parts.best().get(&key).copied()
        };
        let Some(Range::Part(part_of_tailed)) = part(4, &[&tailed()[1..], &tailed()[1..]].concat()) else { panic!("all of it") };
        assert!((0.0..0.9).contains(&part_of_tailed), "{part_of_tailed}");
        assert_eq!(part(8, &(0..512).map(|i| (i % 256) as f32).collect::<Vec<_>>()), None);
        assert_eq!(part(4, &[0.0; 8]), None);
    }

    #[test]
    fn what_fits_stays() {
        let seen: Vec<f32> = (0..256).map(|i| i as f32).collect();
        assert_eq!(clipped(&rounding(8), (0.0, 255.0), &seen), (0.0, 255.0));
        assert_eq!(clipped(&rounding(8), (0.0, 0.0), &[0.0]), (0.0, 0.0));
    }
}
