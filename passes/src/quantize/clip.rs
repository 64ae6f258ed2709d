//! How far the levels of activations reach: up to the largest number seen, or only to where the squared error is least.
//!
//! The tails of activations are long: with few bits it is better to cut off a few large numbers than to have few levels for all others.

use super::calibrate::Ranges;
use super::mixed::stored::Activations;
use super::round::Rounding;
use mokume_ir::ids::{FuncId, ValueId};
use rayon::prelude::*;
use std::collections::HashMap;

/// Parts of the full range that are tried: each is so much of the one before it.
const STEP: f32 = 0.93;
/// How many.
const STEPS: i32 = 40;
/// How often both ends are looked at.
const ROUNDS: usize = 2;

/// Shrinks ranges to where the squared error of the numbers seen is least.
pub fn clip(activations: &Activations, ranges: &mut Ranges, numbers: &HashMap<(FuncId, ValueId), Vec<f32>>) {
    for (key, range) in ranges {
        numbers.get(key).into_iter().for_each(|seen| *range = clipped(&activations.rounding(), *range, seen));
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
    fn what_fits_stays() {
        let seen: Vec<f32> = (0..256).map(|i| i as f32).collect();
        assert_eq!(clipped(&rounding(8), (0.0, 255.0), &seen), (0.0, 255.0));
        assert_eq!(clipped(&rounding(8), (0.0, 0.0), &[0.0]), (0.0, 0.0));
    }
}
