//! Pooling over up to two axes: a thread per window.
//!
//! Arguments  x, result, number of results, then as `conv` documents them the places of windows, then padding after along both axes.

use super::conv::{check_axes, places};
use super::{Cx, Result, Types, count, misfit, operand};
use crate::gpu::kernel::{Kernel, THREADS};
use crate::gpu::memory::DeviceTensor;
use crate::ops::operands::positive;
use crate::ops::window::{Described, Windows};
use mokume_ir::op::{Pool, PoolKind};
use mokume_ir::types::Elem;

/// The kernels of a pooling.
pub(crate) fn kernels(op: &Pool, types: &Types<'_>) -> std::result::Result<Vec<Kernel>, String> {
    types.all(Elem::F32)?;
    check_axes(types)?;
    match (op.kind, op.indices) {
        (PoolKind::Lp, _) => Err("the p-norm of windows".into()),
        (_, true) => Err("indices of maxima".into()),
        _ => Ok(vec![kernel(op)]),
    }
}

fn kernel(op: &Pool) -> Kernel {
    let mean = op.kind == PoolKind::Average;
    Kernel::Pool { mean, padding: mean && op.count_include_pad }
}

/// Pools.
pub(crate) fn pool(op: &Pool, inputs: &[DeviceTensor], cx: &mut Cx<'_>) -> Result<DeviceTensor> {
    let x = operand(inputs, 0, Elem::F32)?;
    if x.dims.len() < 3 {
        return misfit(format!("windows over {:?}", x.dims));
    }
    let described = Described { strides: &op.strides, dilations: &op.dilations, pads: &op.pads, auto_pad: op.auto_pad, ceil: op.ceil };
    let kernel_sizes = op.kernel.iter().map(|&size| positive(size, "a window size")).collect::<std::result::Result<Vec<_>, _>>()?;
    let windows = Windows::new(&x.dims[2..], &kernel_sizes, &described)?;
    let dims: Vec<usize> = x.dims[..2].iter().chain(&windows.output).copied().collect();
    let y = cx.alloc(&dims, Elem::F32)?;
    let len = count(y.len().max(x.len())).map(|_| y.len())?;
    let mut args = vec![x.address(), y.address(), len as u64];
    args.extend(places(&windows)?);
    let after = |axis: usize| windows.end[axis] as u64;
    args.extend([if windows.rank() == 2 { after(0) } else { 0 }, after(windows.rank() - 1)]);
    cx.launch(kernel(op), [len.div_ceil(THREADS as usize), 1, 1], THREADS, &args)?;
    Ok(y)
}
