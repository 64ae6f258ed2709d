//! Products of f32 matrices: by the library of the device where it has one, else by a block per tile.
//!
//! Arguments  a, b, result, rows, columns, terms, elements of a between rows and between terms, elements of b between terms and between
//!            columns, size of the inner batch axis, elements of a between outer and inner batches, the same of b.

use super::{Cx, Result, Types, Walk, count, misfit, operand, spread, walk};
use crate::gpu::device::Product;
use crate::gpu::kernel::{Kernel, RANK, TILE};
use crate::gpu::memory::DeviceTensor;
use crate::ops::OpError;
use crate::ops::layout::broadcast;
use mokume_ir::op::Matmul;
use mokume_ir::types::Elem;

/// The kernels of a product.
pub(crate) fn kernels(types: &Types<'_>) -> std::result::Result<Vec<Kernel>, String> {
    types.all(Elem::F32)?;
    Ok(vec![Kernel::Matmul])
}

/// Batched product.
pub(crate) fn matmul(op: &Matmul, inputs: &[DeviceTensor], cx: &mut Cx<'_>) -> Result<DeviceTensor> {
    let (a, b) = (operand(inputs, 0, Elem::F32)?, operand(inputs, 1, Elem::F32)?);
    let wrong = || misfit(format!("cannot multiply {:?} by {:?}", a.dims, b.dims));
    let ([a_batch @ .., a_rows, a_columns], [b_batch @ .., b_rows, b_columns]) = (&a.dims[..], &b.dims[..]) else { return wrong() };
    let ((m, k), a_steps) = oriented(*a_rows, *a_columns, op.transpose_a);
    let ((k_b, n), b_steps) = oriented(*b_rows, *b_columns, op.transpose_b);
    let batch = broadcast(&[a_batch, b_batch])?;
    let (Some(a_strides), Some(b_strides), true) = (spread(a_batch, &batch), spread(b_batch, &batch), k == k_b) else { return wrong() };
    let scaled = |strides: Vec<i64>, each: usize| strides.iter().map(|stride| stride * each as i64).collect::<Vec<_>>();
    let walk = walk(&batch, &[scaled(a_strides, m * k), scaled(b_strides, k * n)])?;
    if walk.dims[..RANK - 2].iter().any(|&size| size != 1) {
        return Err(OpError::unsupported("more than two uneven batch axes").into());
    }
    let dims: Vec<usize> = batch.iter().copied().chain([m, n]).collect();
    [a.len(), b.len(), dims.iter().product()].into_iter().try_for_each(|len| count(len).map(drop))?;
    let y = cx.alloc(&dims, Elem::F32)?;
    if multiplied(op, (a, b, &y), (m, n, k), &walk, cx)? {
        return Ok(y);
    }
    let mut args = vec![a.address(), b.address(), y.address()];
    args.extend([m, n, k, a_steps.0, a_steps.1, b_steps.0, b_steps.1].map(|size| size as u64));
    args.push(walk.dims[RANK - 1]);
    walk.strides.iter().for_each(|strides| args.extend(&strides[RANK - 2..]));
    let grid = [n.div_ceil(TILE as usize), m.div_ceil(TILE as usize), batch.iter().product()];
    cx.launch(Kernel::Matmul, grid, TILE * TILE, &args)?;
    Ok(y)
}

/// Whether the device's own library computes the product, which takes `a` in rows and at most one batch axis.
fn multiplied(
    op: &Matmul,
    (a, b, y): (&DeviceTensor, &DeviceTensor, &DeviceTensor),
    (m, n, k): (usize, usize, usize),
    walk: &Walk,
    cx: &mut Cx<'_>,
) -> Result<bool> {
    if op.transpose_a || walk.dims[RANK - 2] != 1 || y.len() == 0 || k == 0 {
        return Ok(false);
    }
    // One matrix for all batches lets their rows be one matrix too.
    let batch = walk.dims[RANK - 1] as usize;
    let stride = |operand: usize| walk.strides[operand][RANK - 1] as usize;
    let joined = batch > 1 && stride(1) == 0 && stride(0) == m * k;
    let (batch, m) = if joined { (1, batch * m) } else { (batch, m) };
    let (a_stride, b_stride) = if joined { (0, 0) } else { (stride(0), stride(1)) };
    let product = Product {
        batch,
        m,
        n,
        k,
        a: a.address(),
        a_stride,
        b: b.address(),
        b_stride,
        b_transposed: op.transpose_b,
        c: y.address(),
        c_stride: m * n,
    };
    Ok(cx.device.multiply(&product)?)
}

/// Sizes of a matrix and elements between its rows and its columns.
fn oriented(rows: usize, columns: usize, transposed: bool) -> ((usize, usize), (usize, usize)) {
    if transposed { ((columns, rows), (1, columns)) } else { ((rows, columns), (columns, 1)) }
}
