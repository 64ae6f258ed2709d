//! Matrix products.
//!
//! Floats go to the `gemm` crate, few rows (decoding) to a matrix-vector product that is bound by memory. Integers are exact.

use super::gemm::{Matrix, Sizes, Target, product};
use super::gemv::{MAX_ROWS, MAX_ROWS_TRANSPOSED, gemv};
use super::operands::{at_least_rank, no_code, operand, operand_of};
use super::real::Real;
use super::shared::Shared;
use super::{OpContext, OpError};
use crate::tensor::{Dims, Scalar, Tensor};
use mokume_ir::op::Matmul;
use mokume_ir::types::Elem;
use rayon::prelude::*;

/// Batched matrix product with broadcast batch axes.
///
/// Errors  when the sizes do not fit, or for types other than floats and integers.
pub fn matmul(op: &Matmul, inputs: &[&Tensor], cx: &OpContext<'_>) -> Result<Vec<Tensor>, OpError> {
    let a = operand(inputs, 0)?;
    let b = operand_of(inputs, 1, a.elem())?;
    let plan = Plan::new(op, a, b)?;
    let y = match a.elem() {
        Elem::F32 => floats::<f32>(&plan, a, b, cx),
        Elem::F64 => floats::<f64>(&plan, a, b, cx),
        Elem::I8 => integers::<i8, i32>(&plan, a, b, Elem::I32, cx, |a, b, sum| sum.wrapping_add(a as i32 * b as i32)),
        Elem::U8 => integers::<u8, i32>(&plan, a, b, Elem::I32, cx, |a, b, sum| sum.wrapping_add(a as i32 * b as i32)),
        Elem::I32 => integers::<i32, i32>(&plan, a, b, Elem::I32, cx, |a, b, sum| sum.wrapping_add(a.wrapping_mul(b))),
        Elem::U32 => integers::<u32, u32>(&plan, a, b, Elem::U32, cx, |a, b, sum| sum.wrapping_add(a.wrapping_mul(b))),
        Elem::I64 => integers::<i64, i64>(&plan, a, b, Elem::I64, cx, |a, b, sum| sum.wrapping_add(a.wrapping_mul(b))),
        Elem::U64 => integers::<u64, u64>(&plan, a, b, Elem::U64, cx, |a, b, sum| sum.wrapping_add(a.wrapping_mul(b))),
        other => return no_code("matmul", other),
    }?;
    Ok(vec![y])
}

/// Sizes and strides of the product, and which matrices each batch multiplies.
struct Plan {
    dims: Dims,
    sizes: Sizes,
    a_strides: (usize, usize),
    b_strides: (usize, usize),
    /// Start of the left and right matrix of every batch.
    batches: Vec<(usize, usize)>,
}

impl Plan {
    fn new(op: &Matmul, a: &Tensor, b: &Tensor) -> Result<Self, OpError> {
        at_least_rank(a, 2)?;
        at_least_rank(b, 2)?;
        let ((m, k), a_strides) = matrix_of(a, op.transpose_a);
        let ((k_b, n), b_strides) = matrix_of(b, op.transpose_b);
        let (a_batch, b_batch) = (&a.dims()[..a.rank() - 2], &b.dims()[..b.rank() - 2]);
        let mismatch = || OpError::operands(format!("cannot multiply {:?} by {:?}", a.dims(), b.dims()));
        let mut dims = broadcast(a_batch, b_batch).filter(|_| k == k_b).ok_or_else(mismatch)?;
        let batches = starts(&dims, a_batch, m * k).into_iter().zip(starts(&dims, b_batch, k * n)).collect();
        dims.extend([m, n]);
        let plan = Plan { dims, sizes: Sizes { m, n, k }, a_strides, b_strides, batches };
        Ok(if b_batch.iter().all(|&d| d == 1) && !op.transpose_a { plan.merged() } else { plan })
    }
    /// One product for all batches, which share the right matrix.
    fn merged(mut self) -> Self {
        let in_order = self.batches.iter().enumerate().all(|(i, batch)| batch.0 == i * self.sizes.m * self.sizes.k);
        if in_order && !self.batches.is_empty() {
            self.sizes.m *= self.batches.len();
            self.batches.truncate(1);
        }
        self
    }
}

/// Rows and columns of the last two axes, and the distance of either.
fn matrix_of(x: &Tensor, transposed: bool) -> ((usize, usize), (usize, usize)) {
    let (rows, cols) = (x.dims()[x.rank() - 2], x.dims()[x.rank() - 1]);
    if transposed { ((cols, rows), (1, cols)) } else { ((rows, cols), (cols, 1)) }
}

/// Numpy broadcasting of two shapes.
pub fn broadcast(a: &[usize], b: &[usize]) -> Option<Dims> {
    let rank = a.len().max(b.len());
    let size = |dims: &[usize], axis: usize| (axis + dims.len()).checked_sub(rank).map_or(1, |i| dims[i]);
    (0..rank)
        .map(|axis| match (size(a, axis), size(b, axis)) {
            (a, b) if a == b || b == 1 => Some(a),
            (1, b) => Some(b),
            _ => None,
        })
        .collect()
}

/// Positions, in units of `step`, of the blocks of a tensor with batch axes `from` that broadcast to `to`.
pub fn starts(to: &[usize], from: &[usize], step: usize) -> Vec<usize> {
    let mut positions = vec![0];
    let mut strides: Dims = from.iter().map(|_| 0).collect();
    let mut stride = step;
    for axis in (0..from.len()).rev() {
        strides[axis] = if from[axis] == 1 { 0 } else { stride };
        stride *= from[axis];
    }
    for (axis, &size) in to.iter().enumerate() {
        let stride = (axis + from.len()).checked_sub(to.len()).map_or(0, |i| strides[i]);
        positions = positions.iter().flat_map(|&p| (0..size).map(move |i| p + i * stride)).collect();
    }
    positions
}

fn floats<T: Real>(plan: &Plan, a: &Tensor, b: &Tensor, cx: &OpContext<'_>) -> Result<Tensor, OpError> {
    let mut y = cx.alloc(&plan.dims, T::ELEM)?;
    let Sizes { m, n, k } = plan.sizes;
    let few = if plan.b_strides.0 == 1 { MAX_ROWS_TRANSPOSED } else { MAX_ROWS };
    if T::ELEM == Elem::F32 && m <= few && plan.a_strides.1 == 1 {
        few_rows(plan, a.slice(), b.slice(), y.slice_mut());
        return Ok(y);
    }
    let (a, b, out) = (a.slice::<T>(), b.slice::<T>(), Shared::new(y.slice_mut::<T>()));
    plan.batches.par_iter().enumerate().for_each(|(i, &(a_start, b_start))| {
        let a = Matrix { data: &a[a_start..], rows: plan.a_strides.0, cols: plan.a_strides.1 };
        let b = Matrix { data: &b[b_start..], rows: plan.b_strides.0, cols: plan.b_strides.1 };
        let target = Target { start: i * m * n, rows: n, add: false };
        // SAFETY: every batch has its own part of the output.
        unsafe { product(Sizes { m, n, k }, a, b, &out, target, true) }
    });
    Ok(y)
}

fn few_rows(plan: &Plan, a: &[f32], b: &[f32], y: &mut [f32]) {
    let Sizes { m, n, k } = plan.sizes;
    if m * n == 0 {
        return;
    }
    y.par_chunks_mut(m * n).zip(&plan.batches).for_each(|(y, &(a_start, b_start))| {
        let a = &a[a_start..a_start + m * k];
        let b = &b[b_start..b_start + n * k];
        gemv(plan.sizes, a, b, plan.b_strides.0 == 1, y);
    });
}

/// Rows of the result that one task computes.
const ROWS: usize = 4;

fn integers<T: Scalar, S: Scalar>(
    plan: &Plan,
    a: &Tensor,
    b: &Tensor,
    elem: Elem,
    cx: &OpContext<'_>,
    mul_add: impl Fn(T, T, S) -> S + Sync,
) -> Result<Tensor, OpError> {
    let mut y = cx.alloc(&plan.dims, elem)?;
    let (a, b) = (a.slice::<T>(), b.slice::<T>());
    let Sizes { m, n, k } = plan.sizes;
    if m * n == 0 {
        return Ok(y);
    }
    y.slice_mut::<S>().par_chunks_mut(m * n).zip(&plan.batches).for_each(|(y, &(a_start, b_start))| {
        y.par_chunks_mut(n * ROWS).enumerate().for_each(|(block, y)| {
            y.fill(S::default());
            for (i, row) in y.chunks_mut(n).enumerate() {
                for p in 0..k {
                    let a = a[a_start + (block * ROWS + i) * plan.a_strides.0 + p * plan.a_strides.1];
                    let b = &b[b_start + p * plan.b_strides.0..];
                    row.iter_mut().zip(b.iter().step_by(plan.b_strides.1)).for_each(|(y, &b)| *y = mul_add(a, b, *y));
                }
            }
        });
    });
    Ok(y)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_close, numbers, refuses, run};
    use super::*;

    fn naive(op: &Matmul, a: &Tensor, b: &Tensor) -> Vec<f32> {
        let plan = Plan::new(&Matmul { transpose_a: op.transpose_a, transpose_b: op.transpose_b }, a, b).unwrap();
        let Sizes { m, n, k } = plan.sizes;
        let (x, y) = (a.slice::<f32>(), b.slice::<f32>());
        let term = |(a, b): (usize, usize), i: usize, j: usize, p: usize| {
            x[a + i * plan.a_strides.0 + p * plan.a_strides.1] as f64 * y[b + p * plan.b_strides.0 + j * plan.b_strides.1] as f64
        };
        let cell = |batch, i: usize| (0..k).map(|p| term(batch, i / n, i % n, p)).sum::<f64>() as f32;
        plan.batches.iter().flat_map(|&batch| (0..m * n).map(move |i| cell(batch, i))).collect()
    }

    fn check(a: &[usize], b: &[usize], dims: &[usize]) {
        let swapped = |dims: &[usize]| {
            let mut dims = dims.to_vec();
            let rank = dims.len();
            dims.swap(rank - 2, rank - 1);
            dims
        };
        for (transpose_a, transpose_b) in [(false, false), (false, true), (true, false), (true, true)] {
            let op = Matmul { transpose_a, transpose_b };
            let a = numbers(&if transpose_a { swapped(a) } else { a.to_vec() }, 1);
            let b = numbers(&if transpose_b { swapped(b) } else { b.to_vec() }, 2);
            let y = run(op.clone(), &[a.clone(), b.clone()]);
            assert_eq!(y[0].dims(), dims);
            assert_close(y[0].slice(), &naive(&op, &a, &b), 1e-5);
        }
    }

    #[test]
    fn batches_broadcast() {
        check(&[3, 5], &[5, 7], &[3, 7]);
        check(&[1, 300], &[300, 700], &[1, 700]);
        check(&[33, 70], &[70, 65], &[33, 65]);
        check(&[2, 1, 6, 4], &[3, 4, 5], &[2, 3, 6, 5]);
        check(&[2, 3, 2, 4], &[4, 300], &[2, 3, 2, 300]);
        check(&[1, 3, 8, 4], &[2, 1, 4, 9], &[2, 3, 8, 9]);
        check(&[0, 8, 4], &[4, 9], &[0, 8, 9]);
        check(&[3, 0], &[0, 9], &[3, 9]);
        check(&[8, 0], &[0, 9], &[8, 9]);
    }

    #[test]
    fn integers_are_exact() {
        let a = Tensor::of(&[2, 3], Elem::I8, &[-128i8, 127, 1, 2, 3, 4]);
        let b = Tensor::of(&[3, 2], Elem::I8, &[-128i8, 1, 127, 0, 1, 1]);
        let y = run(Matmul { transpose_a: false, transpose_b: false }, &[a, b]);
        assert_eq!(y[0].slice::<i32>(), &[128 * 128 + 127 * 127 + 1, -127, -256 + 381 + 4, 6]);
    }

    #[test]
    fn threads_do_not_change_the_result() {
        let (a, b) = (numbers(&[130, 700], 1), numbers(&[700, 190], 2));
        let on = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| run(Matmul { transpose_a: false, transpose_b: false }, &[a.clone(), b.clone()]))
        };
        assert_eq!(on(1)[0].slice::<f32>(), on(3)[0].slice::<f32>());
    }

    #[test]
    fn misfits_are_refused() {
        let op = || Matmul { transpose_a: false, transpose_b: false };
        assert!(refuses(op(), &[numbers(&[2, 3], 1), numbers(&[4, 2], 1)]));
        assert!(refuses(op(), &[numbers(&[2, 2, 3], 1), numbers(&[3, 3, 2], 1)]));
        assert!(refuses(op(), &[numbers(&[3], 1), numbers(&[3, 2], 1)]));
    }
}
