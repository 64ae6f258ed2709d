//! Sampling of images at coordinates given per output element.
//!
//! Source  ONNX GridSample-20; coordinates of a point are listed last axis first.

use super::lanes::for_each;
use super::layout::operands;
use super::shared::Shared;
use super::{OpContext, OpError, cast};
use crate::tensor::{Dims, Tensor};
use mokume_ir::op::{GridPadding, GridSample, Interpolation};
use mokume_ir::types::Elem;

/// Points per task.
const POINTS: usize = 1024;

/// Runs a grid_sample. Operands of f16 and bf16 arrive as f32; f64 is computed in f32.
pub fn grid_sample(op: &GridSample, inputs: &[&Tensor], cx: &OpContext<'_>) -> Result<Vec<Tensor>, OpError> {
    let [x, grid] = operands(inputs)?;
    let fits = x.rank() >= 3 && grid.rank() == x.rank() && grid.dims()[0] == x.dims()[0] && grid.dims()[x.rank() - 1] == x.rank() - 2;
    if !fits || !x.elem().is_float() || !grid.elem().is_float() {
        return Err(OpError::operands(format!("grid_sample of {x:?} at {grid:?}")));
    }
    let (image, spots) = (cast::convert(x, Elem::F32, false, cx)?, cast::convert(grid, Elem::F32, false, cx)?);
    let dims: Dims = [&x.dims()[..2], &grid.dims()[1..grid.rank() - 1]].concat().into();
    let mut out = cx.alloc(&dims, Elem::F32)?;
    if image.is_empty() && !out.is_empty() {
        return Err(OpError::operands(format!("grid_sample of {x:?}, which is empty")));
    }
    if !out.is_empty() {
        sample(op, &image, spots.slice(), out.slice_mut());
    }
    Ok(vec![cast::convert(&out, x.elem(), false, cx)?])
}

fn sample(op: &GridSample, x: &Tensor, grid: &[f32], out: &mut [f32]) {
    let (batch, channels, sizes) = (x.dims()[0], x.dims()[1], &x.dims()[2..]);
    let (plane, rank) = (sizes.iter().product::<usize>(), sizes.len());
    let points = out.len() / (batch * channels);
    let tasks = points.div_ceil(POINTS);
    let (image, out) = (x.slice::<f32>(), Shared::new(out));
    for_each(batch * tasks, &|task| {
        let (n, first) = (task / tasks, task % tasks * POINTS);
        let count = POINTS.min(points - first);
        let spots = &grid[(n * points + first) * rank..][..count * rank];
        let taps: Vec<Vec<(usize, f32)>> = spots.chunks(rank).map(|spot| taps(op, sizes, spot)).collect();
        for c in 0..channels {
            let image = &image[(n * channels + c) * plane..][..plane];
            // SAFETY: every task has its own points of every plane.
            let part = unsafe { out.part((n * channels + c) * points + first, count) };
            for (out, taps) in part.iter_mut().zip(&taps) {
                *out = taps.iter().map(|&(place, weight)| image[place] * weight).sum();
            }
        }
    });
}

/// The elements of a plane that a point reads, with their weights; those outside, where they count as 0, are left out.
fn taps(op: &GridSample, sizes: &[usize], spot: &[f32]) -> Vec<(usize, f32)> {
    sizes.iter().zip(spot.iter().rev()).fold(vec![(0, 1.0)], |taps, (&size, &coordinate)| {
        let along = taps_along(op, size, coordinate);
        let joined = taps.iter().flat_map(|tap| along.iter().map(move |next| (tap.0 * size + next.0, tap.1 * next.1)));
        joined.collect()
    })
}

fn taps_along(op: &GridSample, size: usize, coordinate: f32) -> Vec<(usize, f32)> {
    let (length, border) = (size as f32, Border::of(op.align_corners, size));
    let at = if op.align_corners { (coordinate + 1.0) / 2.0 * (length - 1.0) } else { ((coordinate + 1.0) * length - 1.0) / 2.0 };
    let at = if op.mode == Interpolation::Nearest { at.round_ties_even() } else { at };
    let at = match op.padding {
        GridPadding::Border if at < border.low || at > border.high => at.clamp(0.0, length - 1.0),
        GridPadding::Reflection => border.reflect(at),
        _ => at,
    };
    let below = at.floor();
    let weights = weights(op.mode, at - below);
    let first = (below as i64).saturating_sub(if op.mode == Interpolation::Cubic { 1 } else { 0 });
    let tap = |(k, weight)| Some((place(op.padding, border, size, first.saturating_add(k))?, weight));
    (0..).zip(weights).filter_map(tap).collect()
}

/// Weights of the neighbors of a point `ratio` behind one of them.
fn weights(mode: Interpolation, ratio: f32) -> Vec<f32> {
    const A: f32 = -0.75;
    let near = |t: f32| ((A + 2.0) * t - (A + 3.0)) * t * t + 1.0;
    let far = |t: f32| ((A * t - 5.0 * A) * t + 8.0 * A) * t - 4.0 * A;
    match mode {
        Interpolation::Nearest => vec![1.0],
        Interpolation::Linear => vec![1.0 - ratio, ratio],
        Interpolation::Cubic => vec![far(ratio + 1.0), near(ratio), near(1.0 - ratio), far(2.0 - ratio)],
    }
}

/// Where index `i` reads; none outside.
fn place(padding: GridPadding, border: Border, size: usize, i: i64) -> Option<usize> {
    let last = size as i64 - 1;
    match padding {
        GridPadding::Zeros => (0..=last).contains(&i).then_some(i as usize),
        GridPadding::Border => Some(i.clamp(0, last) as usize),
        GridPadding::Reflection => Some((border.reflect(i as f32) as i64).clamp(0, last) as usize),
    }
}

/// Where an image ends: at the centers of its corner samples, or half a sample further.
#[derive(Clone, Copy)]
struct Border {
    low: f32,
    high: f32,
}

impl Border {
    fn of(align_corners: bool, size: usize) -> Self {
        let margin = if align_corners { 0.0 } else { 0.5 };
        Border { low: -margin, high: size as f32 - 1.0 + margin }
    }
    /// `at` mirrored at the borders until it lies between them.
    fn reflect(self, at: f32) -> f32 {
        let range = self.high - self.low;
        let beyond = if at < self.low { self.low - at } else { at - self.high };
        if !(at < self.low || at > self.high) {
            return at;
        }
        let turns = (beyond / range).trunc();
        let rest = beyond - turns * range;
        // An even number of turns ends beside the border that was crossed.
        if (at < self.low) == (turns % 2.0 == 0.0) { self.low + rest } else { self.high - rest }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::tests::{fails, run_op as run};

    fn sampled(mode: Interpolation, padding: GridPadding, align_corners: bool, spots: &[f32]) -> Vec<f32> {
        let x = Tensor::f32s(&[1, 1, 2, 2], &[1.0, 2.0, 3.0, 4.0]);
        let grid = Tensor::f32s(&[1, 1, spots.len() / 2, 2], spots);
        run(GridSample { mode, padding, align_corners }, &[&x, &grid])[0].slice::<f32>().to_vec()
    }

    #[test]
    fn corners_and_center() {
        let spots = [-1.0, -1.0, 1.0, 1.0, 0.0, 0.0, 1.0, -1.0];
        assert_eq!(sampled(Interpolation::Linear, GridPadding::Zeros, true, &spots), [1.0, 4.0, 2.5, 2.0]);
        assert_eq!(sampled(Interpolation::Linear, GridPadding::Zeros, false, &spots), [0.25, 1.0, 2.5, 0.5]);
        assert_eq!(sampled(Interpolation::Nearest, GridPadding::Border, true, &[5.0, -5.0, -0.9, 0.9]), [2.0, 3.0]);
        assert_eq!(sampled(Interpolation::Nearest, GridPadding::Reflection, true, &[3.0, -1.0]), [1.0]);
    }

    #[test]
    fn strange_coordinates_do_not_panic() {
        for mode in [Interpolation::Nearest, Interpolation::Linear, Interpolation::Cubic] {
            for padding in [GridPadding::Zeros, GridPadding::Border, GridPadding::Reflection] {
                let spots = [f32::NAN, f32::INFINITY, -1e30, f32::NEG_INFINITY];
                assert_eq!(sampled(mode, padding, false, &spots).len(), 2);
            }
        }
        let op = GridSample { mode: Interpolation::Linear, padding: GridPadding::Zeros, align_corners: false };
        assert!(fails(op, &[&Tensor::f32s(&[1, 1, 2], &[0.0; 2]), &Tensor::f32s(&[1, 1, 2], &[0.0; 2])]));
    }
}
