//! Gather.
//!
//! Arguments  x, indices, result, number of elements, size of the axis, number of indices, elements per index, where faults are
//!            told, the number of the node.

use super::{Cx, Result, Types, count, misfit, one};
use crate::gpu::kernel::{Kernel, THREADS};
use crate::gpu::memory::DeviceTensor;
use crate::ops::OpError;
use crate::ops::layout::{around, axis};
use crate::tensor::elem_bytes;
use mokume_ir::op::Gather;
use mokume_ir::types::Elem;

/// The kernels of a gather.
pub(crate) fn kernels(types: &Types<'_>) -> std::result::Result<Vec<Kernel>, String> {
    Ok(vec![kernel(types.elem(0)?, types.elem(1)?)?])
}

fn kernel(elem: Elem, index: Elem) -> std::result::Result<Kernel, String> {
    let wide = match index {
        Elem::I64 => true,
        Elem::I32 => false,
        other => return Err(format!("indices of type {other}")),
    };
    match elem_bytes(elem) {
        bytes @ (1 | 2 | 4 | 8) if elem.quant().is_none() => Ok(Kernel::Gather { bytes: bytes as u8, wide }),
        _ => Err(format!("elements of type {elem}")),
    }
}

/// Slices of `x` along an axis.
pub(crate) fn gather(op: &Gather, inputs: &[DeviceTensor], cx: &mut Cx<'_>) -> Result<DeviceTensor> {
    let x = one(inputs)?;
    let Some(indices) = inputs.get(1).filter(|indices| indices.spare.is_none()) else { return misfit("indices are missing") };
    let axis = axis(op.axis, x.dims.len())?;
    let (_, size, inner) = around(&x.dims, axis);
    let dims: Vec<usize> = [&x.dims[..axis], &indices.dims, &x.dims[axis + 1..]].concat();
    let len = count(dims.iter().product())?;
    let kernel = kernel(x.elem, indices.elem).map_err(OpError::unsupported)?;
    let y = cx.alloc(&dims, x.elem)?;
    let sizes = [len, size, indices.len(), inner].map(|size| size as u64);
    let args = [&[x.address(), indices.address(), y.address()], &sizes[..], &[cx.fault.0, cx.fault.1]].concat();
    cx.launch(kernel, [len.div_ceil(THREADS as usize), 1, 1], THREADS, &args)?;
    Ok(y)
}
