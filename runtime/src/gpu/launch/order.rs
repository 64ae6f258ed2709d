//! Arg reductions and top k, a block per line; running sums and products, a thread per line.
//!
//! Arguments  x, result (of top k values, then indices), lines (of what runs), elements of a line, elements between neighbors of a line,
//!            how many are sought (by top k).

use super::{Cx, Result, Types, count, misfit, one};
use crate::gpu::kernel::{Kernel, ROW_THREADS, THREADS};
use crate::gpu::memory::DeviceTensor;
use crate::ops::OpError;
use crate::ops::layout::{around, axis};
use mokume_ir::op::{ArgReduce, Cumulative, TopK};
use mokume_ir::types::Elem;

/// The kernels of an arg reduction.
pub(crate) fn arg_kernels(op: &ArgReduce, types: &Types<'_>) -> std::result::Result<Vec<Kernel>, String> {
    Ok(vec![Kernel::ArgReduce { largest: op.largest, last: op.last, elem: ordered(types)? }])
}

/// The kernels of a top k.
pub(crate) fn top_kernels(op: &TopK, types: &Types<'_>) -> std::result::Result<Vec<Kernel>, String> {
    types.known(&[&op.k])?;
    Ok(vec![Kernel::TopK { largest: op.largest, elem: ordered(types)? }])
}

/// Elements whose order fits a word beside their place.
fn ordered(types: &Types<'_>) -> std::result::Result<Elem, String> {
    match types.elem(0)? {
        elem @ (Elem::F32 | Elem::I32) => Ok(elem),
        other => Err(format!("the order of {other}")),
    }
}

/// The kernels of running sums.
pub(crate) fn cumulative_kernels(op: &Cumulative, types: &Types<'_>) -> std::result::Result<Vec<Kernel>, String> {
    types.known(&[&op.axis])?;
    match types.elem(0)? {
        elem @ (Elem::F32 | Elem::I32 | Elem::I64) => Ok(vec![running(op, elem)]),
        other => Err(format!("running sums of {other}")),
    }
}

fn running(op: &Cumulative, elem: Elem) -> Kernel {
    Kernel::Cumulative { product: op.product, exclusive: op.exclusive, reverse: op.reverse, elem }
}

/// Where the extremes are; the result has sizes `dims`.
pub(crate) fn arg_reduce(op: &ArgReduce, inputs: &[DeviceTensor], dims: &[usize], cx: &mut Cx<'_>) -> Result<DeviceTensor> {
    let x = one(inputs)?;
    let (outer, size, inner) = around(&x.dims, axis(op.axis, x.dims.len())?);
    if size == 0 {
        return misfit(format!("the extremes of {:?}", x.dims));
    }
    count(x.len())?;
    let y = cx.alloc(dims, Elem::I64)?;
    let args = [x.address(), y.address(), size as u64, inner as u64];
    cx.launch(Kernel::ArgReduce { largest: op.largest, last: op.last, elem: x.elem }, [outer * inner, 1, 1], ROW_THREADS, &args)?;
    Ok(y)
}

/// Values and indices of the best; results of sizes `dims`.
pub(crate) fn top_k(op: &TopK, inputs: &[DeviceTensor], dims: &[Vec<usize>], cx: &mut Cx<'_>) -> Result<Vec<DeviceTensor>> {
    let x = one(inputs)?;
    let (outer, size, inner) = around(&x.dims, axis(op.axis, x.dims.len())?);
    let &[k] = &cx.ints(&op.k)?[..] else { return misfit("top k needs one k") };
    let k = usize::try_from(k).ok().filter(|&k| k <= size);
    let k = k.ok_or_else(|| OpError::operands(format!("top {:?} of {size} elements", op.k)))?;
    count(x.len())?;
    let (values, indices) = (cx.alloc(&dims[0], x.elem)?, cx.alloc(&dims[1], Elem::I64)?);
    let lines = if k == 0 { 0 } else { outer * inner };
    let args = [x.address(), values.address(), indices.address(), size as u64, inner as u64, k as u64];
    cx.launch(Kernel::TopK { largest: op.largest, elem: x.elem }, [lines, 1, 1], ROW_THREADS, &args)?;
    Ok(vec![values, indices])
}

/// Running sums or products.
pub(crate) fn cumulative(op: &Cumulative, inputs: &[DeviceTensor], cx: &mut Cx<'_>) -> Result<DeviceTensor> {
    let x = one(inputs)?;
    let &[along] = &cx.ints(&op.axis)?[..] else { return misfit("running sums need one axis") };
    let (outer, size, inner) = around(&x.dims, axis(along, x.dims.len())?);
    count(x.len())?;
    let y = cx.alloc(&x.dims, x.elem)?;
    let lines = if size == 0 { 0 } else { outer * inner };
    let args = [x.address(), y.address(), lines as u64, size as u64, inner as u64];
    cx.launch(running(op, x.elem), [lines.div_ceil(THREADS as usize), 1, 1], THREADS, &args)?;
    Ok(y)
}
