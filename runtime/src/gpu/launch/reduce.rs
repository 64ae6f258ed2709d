//! Reductions: a block per result.
//!
//! Arguments  x, result, elements per result, sizes and strides of the kept axes, sizes and strides of the reduced axes.

use super::{Cx, Result, Types, count, dense, one, walk};
use crate::gpu::kernel::{Kernel, ROW_THREADS};
use crate::gpu::memory::DeviceTensor;
use crate::ops::layout::axes;
use mokume_ir::op::{Reduce, ReduceKind};
use mokume_ir::types::Elem;

/// The kernels of a reduction.
pub(crate) fn kernels(op: &Reduce, types: &Types<'_>) -> std::result::Result<Vec<Kernel>, String> {
    if !op.all {
        types.known(&[&op.axes])?;
    }
    let elem = types.elem(0)?;
    use ReduceKind::{Max, Min, Prod, Sum};
    match elem {
        Elem::F32 => Ok(vec![Kernel::Reduce { kind: op.kind, elem }]),
        Elem::I32 | Elem::I64 if matches!(op.kind, Sum | Prod | Max | Min) => Ok(vec![Kernel::Reduce { kind: op.kind, elem }]),
        Elem::Bool if matches!(op.kind, Max | Min) => Ok(vec![Kernel::Reduce { kind: op.kind, elem }]),
        other => Err(format!("{} of {other}", op.kind.name())),
    }
}

/// Reduces to a result of sizes `dims`.
pub(crate) fn reduce(op: &Reduce, inputs: &[DeviceTensor], dims: &[usize], cx: &mut Cx<'_>) -> Result<DeviceTensor> {
    let x = one(inputs)?;
    let rank = x.dims.len();
    let reduced = if op.all { (0..rank).collect() } else { axes(&cx.ints(&op.axes)?, rank)? };
    let strides = dense(&x.dims);
    let part = |chosen: bool| {
        let axes = (0..rank).filter(|axis| reduced.contains(axis) == chosen);
        axes.map(|axis| (x.dims[axis], strides[axis])).unzip::<usize, i64, Vec<_>, Vec<_>>()
    };
    let ((kept, kept_strides), (inner, inner_strides)) = (part(false), part(true));
    let (outer, each) = (count(kept.iter().product())?, count(inner.iter().product())?);
    let (kept, inner) = (walk(&kept, &[kept_strides])?, walk(&inner, &[inner_strides])?);
    let y = cx.alloc(dims, x.elem)?;
    let mut args = vec![x.address(), y.address(), each as u64];
    for walk in [kept, inner] {
        args.extend(walk.dims);
        args.extend(walk.strides[0]);
    }
    cx.launch(Kernel::Reduce { kind: op.kind, elem: x.elem }, [outer, 1, 1], ROW_THREADS, &args)?;
    Ok(y)
}
