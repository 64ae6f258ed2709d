//! Maxima and means of f32 windows over one or two axes: lines of a window first, in vectors, then its columns.

use super::pool::padded_along;
use super::scratch;
use super::simd::vectorized;
use super::window::Windows;
use mokume_ir::op::{Pool, PoolKind};
use rayon::prelude::*;
use std::ops::Range;

/// Elements per task, at least.
const TASK: usize = 1 << 13;

/// Whether a pool is of this kind.
pub fn has_planes(op: &Pool, windows: &Windows) -> bool {
    matches!(op.kind, PoolKind::Max | PoolKind::Average) && !op.indices && (1..=2).contains(&windows.rank())
}

/// Computes such a pool; there is at least one window and one element.
pub fn pool_planes(op: &Pool, x: &[f32], windows: &Windows, y: &mut [f32]) {
    let is_mean = op.kind == PoolKind::Average;
    let last = windows.rank() - 1;
    let axis = |axis: usize| Axis::new(windows, axis, is_mean.then_some(op.count_include_pad));
    let (lines, columns) = (if last == 1 { axis(0) } else { Axis::one() }, axis(last));
    let planes = Planes { is_mean, lines, columns };
    let min = (TASK / windows.plane().max(1)).max(1);
    y.par_chunks_mut(windows.count()).zip(x.par_chunks(windows.plane())).with_min_len(min).for_each(|(y, x)| planes.pool(x, y));
}

/// The windows along one axis.
struct Axis {
    input: usize,
    stride: usize,
    dilation: usize,
    /// Position of the first element of the first window.
    first: isize,
    /// Elements of a window.
    kernel: usize,
    /// What a mean divides by, per window; its length is the number of windows.
    counts: Vec<f32>,
}

impl Axis {
    fn new(windows: &Windows, axis: usize, include_padding: Option<bool>) -> Self {
        let mut found = Axis {
            input: windows.input[axis],
            stride: windows.strides[axis],
            dilation: windows.dilations[axis],
            first: windows.position(axis, 0, 0),
            kernel: windows.kernel[axis],
            counts: vec![],
        };
        let count = |at: usize| match include_padding {
            Some(true) => padded_along(windows, axis, at),
            _ => found.inside(at).count(),
        };
        found.counts = (0..windows.output[axis]).map(|at| count(at) as f32).collect();
        found
    }
    /// An axis of one element.
    fn one() -> Self {
        Axis { input: 1, stride: 1, dilation: 1, first: 0, kernel: 1, counts: vec![1.0] }
    }
    fn position(&self, window: usize, tap: usize) -> isize {
        self.first + (window * self.stride + tap * self.dilation) as isize
    }
    /// Elements of a window that lie in the plane.
    fn inside(&self, window: usize) -> impl Iterator<Item = usize> {
        let at = move |tap: usize| usize::try_from(self.position(window, tap)).ok().filter(|&at| at < self.input);
        (0..self.kernel).filter_map(at)
    }
    /// The windows whose element `tap` lies in the plane.
    fn windows_with(&self, tap: usize) -> Range<usize> {
        let steps = |to: isize| (to - self.position(0, tap)).max(0).unsigned_abs().div_ceil(self.stride).min(self.counts.len());
        steps(0)..steps(self.input as isize)
    }
}

struct Planes {
    is_mean: bool,
    lines: Axis,
    columns: Axis,
}

impl Planes {
    fn pool(&self, x: &[f32], y: &mut [f32]) {
        let width = self.columns.input;
        scratch::with(width, |line: &mut [f32]| {
            for (at, y) in y.chunks_mut(self.columns.counts.len()).enumerate() {
                line.fill(self.nothing());
                self.lines.inside(at).for_each(|from| self.join(line, &x[from * width..][..width]));
                self.line(line, self.lines.counts[at], y);
            }
        });
    }
    /// The result of no elements.
    fn nothing(&self) -> f32 {
        if self.is_mean { 0.0 } else { f32::NEG_INFINITY }
    }
    fn join(&self, y: &mut [f32], x: &[f32]) {
        if self.is_mean { add_line(y, x) } else { max_line(y, x) }
    }
    fn line(&self, line: &[f32], count: f32, y: &mut [f32]) {
        y.fill(self.nothing());
        for tap in 0..self.columns.kernel {
            let windows = self.columns.windows_with(tap);
            if windows.is_empty() {
                continue;
            }
            let from = &line[self.columns.position(windows.start, tap).unsigned_abs()..];
            match (self.columns.stride, self.is_mean) {
                (1, _) => self.join(&mut y[windows], from),
                (stride, true) => y[windows].iter_mut().zip(from.iter().step_by(stride)).for_each(|(y, &x)| *y += x),
                (stride, false) => y[windows].iter_mut().zip(from.iter().step_by(stride)).for_each(|(y, &x)| *y = larger(*y, x)),
            }
        }
        if self.is_mean {
            y.iter_mut().zip(&self.columns.counts).for_each(|(y, columns)| *y /= count * columns);
        }
    }
}

#[inline(always)]
fn larger(a: f32, b: f32) -> f32 {
    if b > a { b } else { a }
}

vectorized! {
    fn add_line<const FMA: bool>(y: &mut [f32], x: &[f32]) -> () {
        for (y, &x) in y.iter_mut().zip(x) {
            *y += x;
        }
    }
}

vectorized! {
    fn max_line<const FMA: bool>(y: &mut [f32], x: &[f32]) -> () {
        for (y, &x) in y.iter_mut().zip(x) {
            *y = larger(*y, x);
        }
    }
}
