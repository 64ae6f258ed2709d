//! Softmax and its relatives along one axis.

use super::operands::{axis_of, operand};
use super::real::{Real, for_reals};
use super::{OpContext, OpError, simd};
use crate::tensor::Tensor;
use mokume_ir::op::{Hardmax, LogSoftmax, Softmax};
use rayon::prelude::*;

/// e^x / Σe^x along an axis.
pub fn softmax(op: &Softmax, inputs: &[&Tensor], cx: &OpContext<'_>) -> Result<Vec<Tensor>, OpError> {
    let x = operand(inputs, 0)?;
    if let Some(y) = rows_of_f32(x, op.axis, cx)? {
        return Ok(vec![y]);
    }
    for_reals!("softmax", x.elem(), T => along::<T>(x, op.axis, cx, |line| {
        let (_, sum) = exponentials(line);
        line.each(|x| *x /= sum);
    }))
}

/// x - ln Σe^x along an axis.
pub fn log_softmax(op: &LogSoftmax, inputs: &[&Tensor], cx: &OpContext<'_>) -> Result<Vec<Tensor>, OpError> {
    let x = operand(inputs, 0)?;
    for_reals!("log_softmax", x.elem(), T => along::<T>(x, op.axis, cx, |line| {
        let most = line.max();
        let mut sum = T::ZERO;
        line.each(|x| {
            *x -= most;
            sum += x.exp();
        });
        let ln = sum.ln();
        line.each(|x| *x -= ln);
    }))
}

/// 1 at the first maximum along an axis, 0 elsewhere.
pub fn hardmax(op: &Hardmax, inputs: &[&Tensor], cx: &OpContext<'_>) -> Result<Vec<Tensor>, OpError> {
    let x = operand(inputs, 0)?;
    for_reals!("hardmax", x.elem(), T => along::<T>(x, op.axis, cx, |line| {
        let most = line.max();
        let mut found = false;
        line.each(|x| {
            let first = !found && *x == most;
            found |= first;
            *x = if first { T::ONE } else { T::ZERO };
        });
    }))
}

/// Softmax of a row in place; a row of -inf alone becomes 0.
pub fn softmax_row<T: Real>(row: &mut [T]) {
    let most = T::largest(row);
    if most == T::NEG_INFINITY && row.iter().all(|&x| x == most) {
        return row.fill(T::ZERO);
    }
    let scale = T::ONE / T::exp_shifted(row, most);
    row.iter_mut().for_each(|x| *x *= scale);
}

/// Rows per task, so that a task is worth its start.
fn rows_per_task(row: usize) -> usize {
    (1usize << 14).div_ceil(row.max(1))
}

/// Softmax over the last axis of f32; none when it is another case.
fn rows_of_f32(x: &Tensor, axis: i64, cx: &OpContext<'_>) -> Result<Option<Tensor>, OpError> {
    let axis = axis_of(axis, x.rank())?;
    let row = x.dims()[axis];
    if x.elem() != mokume_ir::types::Elem::F32 || axis + 1 != x.rank() || x.is_empty() {
        return Ok(None);
    }
    let mut y = cx.alloc(x.dims(), x.elem())?;
    let block = row * rows_per_task(row);
    y.slice_mut::<f32>().par_chunks_mut(block).zip(x.slice::<f32>().par_chunks(block)).for_each(|(y, x)| {
        y.copy_from_slice(x);
        y.chunks_mut(row).for_each(|row| {
            let most = simd::max(row);
            let scale = 1.0 / simd::exp_shifted(row, most);
            row.iter_mut().for_each(|x| *x *= scale);
        });
    });
    Ok(Some(y))
}

/// The elements along the axis at one place of the others.
struct Line<'a, T> {
    block: &'a mut [T],
    first: usize,
    step: usize,
}

impl<T: Real> Line<'_, T> {
    fn each(&mut self, visit: impl FnMut(&mut T)) {
        self.block[self.first..].iter_mut().step_by(self.step).for_each(visit);
    }
    fn max(&mut self) -> T {
        let mut most = T::NEG_INFINITY;
        self.each(|x| most = most.max(*x));
        most
    }
}

/// Replaces every element by `e^(x - max)`; gives max and sum.
fn exponentials<T: Real>(line: &mut Line<'_, T>) -> (T, T) {
    let most = line.max();
    let mut sum = T::ZERO;
    line.each(|x| {
        *x = (*x - most).exp();
        sum += *x;
    });
    (most, sum)
}

/// A copy of `x` with `change` applied to every line along `axis`.
fn along<T: Real>(x: &Tensor, axis: i64, cx: &OpContext<'_>, change: impl Fn(&mut Line<'_, T>) + Sync) -> Result<Vec<Tensor>, OpError> {
    let axis = axis_of(axis, x.rank())?;
    let mut y = cx.alloc(x.dims(), x.elem())?;
    let step: usize = x.dims()[axis + 1..].iter().product();
    let block = x.dims()[axis] * step;
    if block > 0 {
        y.slice_mut::<T>().par_chunks_mut(block).zip(x.slice::<T>().par_chunks(block)).for_each(|(y, x)| {
            y.copy_from_slice(x);
            (0..step).for_each(|first| change(&mut Line { block: y, first, step }));
        });
    }
    Ok(vec![y])
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_close, numbers, run};
    use super::*;

    #[test]
    fn every_axis_sums_to_one() {
        let x = numbers(&[3, 5, 70], 1);
        for (axis, step, size) in [(0, 350, 3), (1, 70, 5), (-1, 1, 70)] {
            let y = run(Softmax { axis }, std::slice::from_ref(&x));
            let y = y[0].slice::<f32>();
            let sum: f32 = (0..size).map(|i| y[i * step]).sum();
            assert!((sum - 1.0).abs() < 1e-6);
            let ln = run(LogSoftmax { axis }, std::slice::from_ref(&x));
            assert_close(&ln[0].slice::<f32>().iter().map(|x| x.exp()).collect::<Vec<_>>(), y, 1e-6);
        }
    }

    #[test]
    fn large_numbers_do_not_overflow() {
        let y = run(Softmax { axis: 0 }, &[Tensor::f32s(&[3], &[1000.0, 999.0, f32::NEG_INFINITY])]);
        assert_close(y[0].slice(), &[0.731_058_6, 0.268_941_4, 0.0], 1e-6);
    }

    #[test]
    fn hardmax_takes_the_first() {
        let y = run(Hardmax { axis: 1 }, &[Tensor::f32s(&[2, 3], &[1.0, 3.0, 3.0, 5.0, 4.0, 4.0])]);
        assert_eq!(y[0].slice::<f32>(), &[0.0, 1.0, 0.0, 1.0, 0.0, 0.0]);
    }
}
