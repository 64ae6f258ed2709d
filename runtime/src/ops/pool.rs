//! Pooling over windows of any number of spatial axes.

use super::operands::{at_least_rank, no_code, operand, positive};
use super::pool_planes::{has_planes, pool_planes};
use super::real::Real;
use super::window::{Described, Windows, advance};
use super::{OpContext, OpError};
use crate::tensor::{Dims, Scalar, Tensor};
use mokume_ir::op::{Pool, PoolKind};
use mokume_ir::types::Elem;
use rayon::prelude::*;
use std::ops::Range;

/// Maximum, mean or p-norm of windows.
///
/// Errors  when the windows do not fit, or for types other than floats (maxima: and 8-bit integers).
pub fn pool(op: &Pool, inputs: &[&Tensor], cx: &OpContext<'_>) -> Result<Vec<Tensor>, OpError> {
    let x = operand(inputs, 0)?;
    at_least_rank(x, 2)?;
    let described = Described { strides: &op.strides, dilations: &op.dilations, pads: &op.pads, auto_pad: op.auto_pad, ceil: op.ceil };
    let kernel = op.kernel.iter().map(|&size| positive(size, "a window size")).collect::<Result<Dims, _>>()?;
    let windows = Windows::new(&x.dims()[2..], &kernel, &described)?;
    let dims: Dims = x.dims()[..2].iter().chain(&windows.output).copied().collect();
    if x.elem() == Elem::F32 && !dims.contains(&0) && has_planes(op, &windows) {
        let mut y = cx.alloc(&dims, Elem::F32)?;
        pool_planes(op, x.slice(), &windows, y.slice_mut());
        return Ok(vec![y]);
    }
    match (op.kind, x.elem()) {
        (PoolKind::Max, Elem::F32) => maxima::<f32>(op, x, &windows, &dims, cx),
        (PoolKind::Max, Elem::F64) => maxima::<f64>(op, x, &windows, &dims, cx),
        (PoolKind::Max, Elem::I8) => maxima::<i8>(op, x, &windows, &dims, cx),
        (PoolKind::Max, Elem::U8) => maxima::<u8>(op, x, &windows, &dims, cx),
        (_, Elem::F32) => sums::<f32>(op, x, &windows, &dims, cx),
        (_, Elem::F64) => sums::<f64>(op, x, &windows, &dims, cx),
        (_, other) => no_code("pool", other),
    }
}

/// The part of a window inside the plane, per axis: positions `start, start + dilation, …` below `end`.
struct Inside<'a> {
    windows: &'a Windows,
    ranges: Vec<Range<usize>>,
}

impl<'a> Inside<'a> {
    fn new(windows: &'a Windows) -> Self {
        Inside { windows, ranges: vec![0..0; windows.rank()] }
    }
    fn move_to(&mut self, at: &[usize]) {
        for (axis, &at) in at.iter().enumerate() {
            let (first, dilation) = (self.windows.position(axis, at, 0), self.windows.dilations[axis]);
            let skip = (-first).max(0).unsigned_abs().div_ceil(dilation);
            let start = (first + (skip * dilation) as isize) as usize;
            let end = (first + self.windows.span(axis) as isize).clamp(0, self.windows.input[axis] as isize) as usize;
            self.ranges[axis] = start.min(end)..end;
        }
    }
    /// Calls `visit` with the position of every element, in order.
    fn each(&self, mut visit: impl FnMut(usize)) {
        self.descend(0, 0, &mut visit);
    }
    fn descend(&self, axis: usize, base: usize, visit: &mut impl FnMut(usize)) {
        let Some(range) = self.ranges.get(axis) else { return visit(base) };
        let base = base * self.windows.input[axis];
        let positions = range.clone().step_by(self.windows.dilations[axis]);
        match axis + 1 == self.ranges.len() {
            true => positions.for_each(|at| visit(base + at)),
            false => positions.for_each(|at| self.descend(axis + 1, base + at, visit)),
        }
    }
}

/// Calls `write` with every window of a plane and its number.
fn each_window(windows: &Windows, mut write: impl FnMut(usize, &[usize], &Inside<'_>)) {
    let (mut at, mut inside) = (Dims::from_elem(0, windows.rank()), Inside::new(windows));
    for number in 0..windows.count() {
        inside.move_to(&at);
        write(number, &at, &inside);
        advance(&mut at, &windows.output);
    }
}

fn maxima<T: Scalar>(op: &Pool, x: &Tensor, windows: &Windows, dims: &[usize], cx: &OpContext<'_>) -> Result<Vec<Tensor>, OpError> {
    let mut y = cx.alloc(dims, x.elem())?;
    if windows.count() == 0 || y.is_empty() {
        return Ok(if op.indices { vec![y, cx.alloc(dims, Elem::I64)?] } else { vec![y] });
    }
    let planes = x.slice::<T>().par_chunks(windows.plane());
    let outputs = y.slice_mut::<T>().par_chunks_mut(windows.count());
    if !op.indices {
        outputs.zip(planes).for_each(|(y, x)| each_window(windows, |i, _, inside| y[i] = largest(x, inside).0));
        return Ok(vec![y]);
    }
    let mut indices = cx.alloc(dims, Elem::I64)?;
    let numbered = indices.slice_mut::<i64>().par_chunks_mut(windows.count()).enumerate();
    outputs.zip(planes).zip(numbered).for_each(|((y, x), (plane, indices))| {
        each_window(windows, |i, _, inside| {
            let (value, at) = largest(x, inside);
            let at = if op.column_major { column_major(at, &windows.input) } else { at };
            (y[i], indices[i]) = (value, (plane * windows.plane() + at) as i64);
        });
    });
    Ok(vec![y, indices])
}

/// The largest element of a window and its position, the first of equals.
fn largest<T: Scalar>(x: &[T], inside: &Inside<'_>) -> (T, usize) {
    let mut best: Option<(T, usize)> = None;
    inside.each(|at| {
        if best.is_none_or(|(value, _)| x[at] > value) {
            best = Some((x[at], at));
        }
    });
    best.unwrap_or_default()
}

fn column_major(mut at: usize, input: &[usize]) -> usize {
    let mut index = Dims::from_elem(0, input.len());
    for (index, &size) in index.iter_mut().zip(input).rev() {
        *index = at % size;
        at /= size;
    }
    index.iter().zip(input).rev().fold(0, |flat, (&at, &size)| flat * size + at)
}

fn sums<T: Real>(op: &Pool, x: &Tensor, windows: &Windows, dims: &[usize], cx: &OpContext<'_>) -> Result<Vec<Tensor>, OpError> {
    let mut y = cx.alloc(dims, x.elem())?;
    if windows.count() == 0 || y.is_empty() {
        return Ok(vec![y]);
    }
    let p = T::of(op.p as f64);
    let planes = x.slice::<T>().par_chunks(windows.plane());
    y.slice_mut::<T>().par_chunks_mut(windows.count()).zip(planes).for_each(|(y, x)| {
        each_window(windows, |i, at, inside| {
            y[i] = match (op.kind, op.p) {
                (PoolKind::Average, _) => mean(x, inside, op.count_include_pad.then(|| padded_size(windows, at))),
                (_, 1) => sum(x, inside, T::abs),
                (_, 2) => sum(x, inside, |x| x * x).sqrt(),
                _ => sum(x, inside, |x| x.abs().powf(p)).powf(T::ONE / p),
            }
        });
    });
    Ok(vec![y])
}

fn sum<T: Real>(x: &[T], inside: &Inside<'_>, term: impl Fn(T) -> T) -> T {
    let mut sum = T::ZERO;
    inside.each(|at| sum += term(x[at]));
    sum
}

/// Mean over the elements inside, or the sum over `size`.
fn mean<T: Real>(x: &[T], inside: &Inside<'_>, size: Option<usize>) -> T {
    let count = || inside.ranges.iter().zip(&inside.windows.dilations).map(|(range, d)| range.len().div_ceil(*d)).product();
    sum(x, inside, |x| x) / T::of(size.unwrap_or_else(count) as f64)
}

/// Elements of a window in the plane or its padding; windows that round up reach beyond both.
fn padded_size(windows: &Windows, at: &[usize]) -> usize {
    (0..windows.rank()).map(|axis| padded_along(windows, axis, at[axis])).product()
}

/// Size along one axis, with padding.
pub fn padded_along(windows: &Windows, axis: usize, at: usize) -> usize {
    let (first, dilation) = (windows.position(axis, at, 0), windows.dilations[axis]);
    let limit = windows.input[axis] as isize + windows.end[axis];
    ((limit - first).max(0) as usize).div_ceil(dilation).min(windows.kernel[axis])
}

#[cfg(test)]
mod tests {
    use super::super::testing::run;
    use super::*;
    use mokume_ir::op::AutoPad;

    fn op(kind: PoolKind, kernel: &[i64], stride: i64, pads: &[i64]) -> Pool {
        let (strides, dilations) = (vec![stride; kernel.len()], vec![1; kernel.len()]);
        let (kernel, pads) = (kernel.to_vec(), pads.to_vec());
        let (ceil, count_include_pad, indices, column_major) = (false, false, false, false);
        Pool { kind, kernel, strides, dilations, pads, auto_pad: AutoPad::Explicit, ceil, count_include_pad, p: 2, indices, column_major }
    }

    fn grid() -> Tensor {
        Tensor::f32s(&[1, 1, 3, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0])
    }

    #[test]
    fn maxima_and_their_indices() {
        let y = run(Pool { indices: true, ..op(PoolKind::Max, &[2, 2], 1, &[0; 4]) }, &[grid()]);
        assert_eq!(y[0].slice::<f32>(), &[5.0, 6.0, 8.0, 9.0]);
        assert_eq!(y[1].slice::<i64>(), &[4, 5, 7, 8]);
        let y = run(Pool { indices: true, column_major: true, ..op(PoolKind::Max, &[2, 2], 1, &[0; 4]) }, &[grid()]);
        assert_eq!(y[1].slice::<i64>(), &[4, 7, 5, 8]);
        let y = run(Pool { dilations: vec![2, 2], ..op(PoolKind::Max, &[2, 2], 1, &[1; 4]) }, &[grid()]);
        assert_eq!(y[0].slice::<f32>(), &[5.0, 6.0, 5.0, 8.0, 9.0, 8.0, 5.0, 6.0, 5.0]);
    }

    #[test]
    fn means_count_padding_or_not() {
        let mean = op(PoolKind::Average, &[2, 2], 2, &[1; 4]);
        assert_eq!(run(mean.clone(), &[grid()])[0].slice::<f32>(), &[1.0, 2.5, 5.5, 7.0]);
        let y = run(Pool { count_include_pad: true, ..mean }, &[grid()]);
        assert_eq!(y[0].slice::<f32>(), &[0.25, 1.25, 2.75, 7.0]);
        let y = run(Pool { count_include_pad: true, ceil: true, ..op(PoolKind::Average, &[2, 2], 2, &[0; 4]) }, &[grid()]);
        assert_eq!(y[0].slice::<f32>(), &[3.0, 4.5, 7.5, 9.0]);
    }

    #[test]
    fn planes_are_pooled_as_windows_are() {
        let x = super::super::testing::numbers(&[2, 3, 9, 11], 4);
        let wide: Vec<f64> = x.slice::<f32>().iter().map(|&x| x.into()).collect();
        let wide = Tensor::of(x.dims(), Elem::F64, &wide);
        for (kernel, stride, pads, dilation) in [([3, 3], 1, [1; 4], 1), ([3, 2], 2, [0, 1, 2, 1], 1), ([2, 3], 3, [1, 0, 0, 2], 2)] {
            for (kind, count_include_pad, ceil) in
                [(PoolKind::Max, false, true), (PoolKind::Average, true, true), (PoolKind::Average, false, false)]
            {
                let op = Pool { dilations: vec![dilation; 2], count_include_pad, ceil, ..op(kind, &kernel, stride, &pads) };
                let want: Vec<f32> = run(op.clone(), std::slice::from_ref(&wide))[0].slice::<f64>().iter().map(|&y| y as f32).collect();
                let y = run(op, std::slice::from_ref(&x));
                super::super::testing::assert_close(y[0].slice(), &want, 1e-6);
            }
        }
    }

    #[test]
    fn norms_and_one_axis() {
        let x = Tensor::f32s(&[1, 1, 4], &[3.0, -4.0, 5.0, 12.0]);
        assert_eq!(run(op(PoolKind::Lp, &[2], 2, &[0, 0]), std::slice::from_ref(&x))[0].slice::<f32>(), &[5.0, 13.0]);
        assert_eq!(run(Pool { p: 1, ..op(PoolKind::Lp, &[2], 2, &[0, 0]) }, &[x])[0].slice::<f32>(), &[7.0, 17.0]);
    }
}
