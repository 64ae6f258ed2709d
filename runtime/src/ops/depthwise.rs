//! Depthwise convolution in one or two spatial axes: bound by memory, so each plane is padded once and swept in vectors.

use super::conv::Shape;
use super::scratch;
use super::simd::{mul_add, vectorized};
use super::window::Windows;
use crate::tensor::Tensor;
use rayon::prelude::*;

/// Computes the convolution when it is of this kind; false (and nothing done) otherwise.
pub fn depthwise(shape: &Shape, inputs: &[&Tensor], y: &mut [f32]) -> bool {
    if shape.channels != 1 || !(1..=2).contains(&shape.windows.rank()) || shape.windows.count() == 0 {
        return false;
    }
    let padded = Padded::new(&shape.windows);
    let (x, w) = (inputs[0].slice::<f32>(), inputs[1].slice::<f32>());
    let (plane, taps) = (shape.windows.plane(), shape.windows.taps());
    let bias = inputs.get(2).map(|bias| bias.slice::<f32>());
    y.par_chunks_mut(shape.windows.count()).enumerate().for_each(|(i, y)| {
        let filter = i % (shape.groups * shape.filters);
        let x = &x[i / shape.filters * plane..][..plane];
        let taps = padded.taps(&w[filter * taps..(filter + 1) * taps]);
        padded.sweep(x, &taps, bias.map_or(0.0, |bias| bias[filter]), y);
    });
    true
}

/// Elements computed at once, in registers.
const BLOCK: usize = 64;

/// A plane with its padding written out, each row split by column modulo the stride, so that windows read neighbors.
struct Padded {
    input: [usize; 2],
    output: [usize; 2],
    strides: [usize; 2],
    dilations: [usize; 2],
    kernel: [usize; 2],
    begin: [isize; 2],
    /// Rows of the padded plane.
    height: usize,
    /// Elements of one phase of a row.
    phase: usize,
}

impl Padded {
    fn new(windows: &Windows) -> Self {
        let two = |sizes: &[usize]| if let [h, w] = sizes { [*h, *w] } else { [1, sizes[0]] };
        let begin = if let [h, w] = windows.begin[..] { [h, w] } else { [0, windows.begin[0]] };
        let [input, output, strides, dilations, kernel] =
            [&windows.input, &windows.output, &windows.strides, &windows.dilations, &windows.kernel].map(|sizes| two(sizes));
        let reach = |axis: usize| (output[axis] - 1) * strides[axis] + (kernel[axis] - 1) * dilations[axis] + 1;
        let phase = reach(1).div_ceil(strides[1]) + BLOCK;
        Padded { input, output, strides, dilations, kernel, begin, height: reach(0), phase }
    }
    fn row(&self) -> usize {
        self.phase * self.strides[1]
    }
    /// Offset (from the first element under a window) and weight of every tap.
    fn taps(&self, w: &[f32]) -> Vec<(usize, f32)> {
        let offset = |tap: usize| {
            let (y, x) = (tap / self.kernel[1] * self.dilations[0], tap % self.kernel[1] * self.dilations[1]);
            y * self.row() + x % self.strides[1] * self.phase + x / self.strides[1]
        };
        w.iter().enumerate().map(|(tap, &w)| (offset(tap), w)).collect()
    }
    fn sweep(&self, x: &[f32], taps: &[(usize, f32)], bias: f32, y: &mut [f32]) {
        scratch::with(self.height * self.row(), |padded: &mut [f32]| {
            self.fill(x, padded);
            for (at, y) in y.chunks_mut(self.output[1]).enumerate() {
                sweep_row(&padded[at * self.strides[0] * self.row()..], taps, bias, y);
            }
        });
    }
    fn fill(&self, x: &[f32], padded: &mut [f32]) {
        for (at, row) in padded.chunks_mut(self.row()).enumerate() {
            row.fill(0.0);
            if let Some(y) = at.checked_add_signed(-self.begin[0]).filter(|&y| y < self.input[0]) {
                let x = &x[y * self.input[1]..(y + 1) * self.input[1]];
                row.chunks_mut(self.phase).enumerate().for_each(|(phase, to)| self.fill_phase(x, phase, to));
            }
        }
    }
    /// Columns `phase, phase + stride, …` of a padded row.
    fn fill_phase(&self, x: &[f32], phase: usize, to: &mut [f32]) {
        let (stride, first) = (self.strides[1], phase as isize - self.begin[1]);
        let skip = (-first).max(0).unsigned_abs().div_ceil(stride).min(to.len());
        let start = (first + (skip * stride) as isize) as usize;
        let from = x.get(start..).unwrap_or_default();
        match stride {
            1 => {
                let len = from.len().min(to.len() - skip);
                to[skip..skip + len].copy_from_slice(&from[..len]);
            }
            _ => to[skip..].iter_mut().zip(from.iter().step_by(stride)).for_each(|(to, from)| *to = *from),
        }
    }
}

vectorized! {
    /// One output row; every tap of the last block lies in `x`.
    fn sweep_row<const FMA: bool>(x: &[f32], taps: &[(usize, f32)], bias: f32, y: &mut [f32]) -> () {
        for (block, y) in y.chunks_mut(BLOCK).enumerate() {
            let mut sums = [bias; BLOCK];
            for &(offset, w) in taps {
                let Some(x) = x[offset + block * BLOCK..].first_chunk::<BLOCK>() else { continue };
                for i in 0..BLOCK {
                    sums[i] = mul_add::<FMA>(w, x[i], sums[i]);
                }
            }
            y.copy_from_slice(&sums[..y.len()]);
        }
    }
}
