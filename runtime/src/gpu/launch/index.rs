//! Gathers.
//!
//! Arguments  `gather`: x, indices, result, number of elements, size of the axis, number of indices, elements per index.
//!            `bit_gather`: planes, scales, zeros, indices, result, number of elements, rows, elements of a row, of a block, of a padded
//!            block, fragments of columns, the level of code 0 where there are no zeros.
//!            Both: where faults are told, the number of the node.

use super::bit_matmul::Weights;
use super::{Cx, Result, Types, count, misfit, one};
use crate::bit_product::BitProduct;
use crate::gpu::kernel::{Kernel, THREADS};
use crate::gpu::memory::DeviceTensor;
use crate::gpu::spec::Layout;
use crate::ops::OpError;
use crate::ops::layout::{around, axis};
use crate::tensor::elem_bytes;
use mokume_ir::op::Gather;
use mokume_ir::quant::{Levels, QuantType};
use mokume_ir::types::Elem;

/// The kernels of a gather.
pub(crate) fn kernels(types: &Types<'_>) -> std::result::Result<Vec<Kernel>, String> {
    Ok(vec![kernel(types.elem(0)?, types.elem(1)?)?])
}

/// The kernel that takes rows of quantized weights.
pub(crate) fn table_kernel(types: &Types<'_>) -> std::result::Result<Kernel, String> {
    if types.graph.constant(types.node.inputs[0]).is_none() {
        return Err("its weights are no constant".into());
    }
    let quant = types.elem(0)?.quant().ok_or("its weights are not quantized")?;
    rows_kernel(&quant, types.elem(1)?)
}

fn rows_kernel(quant: &QuantType, index: Elem) -> std::result::Result<Kernel, String> {
    product(quant).ok_or("no kernel has weights with such scales")?;
    let step = quant.levels.affine(quant.bits).0 as u8;
    Ok(Kernel::BitGather { bits: quant.bits, step, zeros: quant.zero_point, wide: is_wide(index)? })
}

/// Any product of the weights: all have one layout.
fn product(quant: &QuantType) -> Option<BitProduct> {
    BitProduct::of(quant, 8, Levels::Signed)
}

fn is_wide(index: Elem) -> std::result::Result<bool, String> {
    match index {
        Elem::I64 => Ok(true),
        Elem::I32 => Ok(false),
        other => Err(format!("indices of type {other}")),
    }
}

fn kernel(elem: Elem, index: Elem) -> std::result::Result<Kernel, String> {
    let wide = is_wide(index)?;
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

/// Rows of quantized weights.
pub(crate) fn rows(weights: &Weights, inputs: &[DeviceTensor], cx: &mut Cx<'_>) -> Result<DeviceTensor> {
    let indices = one(inputs)?;
    let kernel = rows_kernel(&weights.quant, indices.elem).map_err(OpError::unsupported)?;
    let Some(product) = product(&weights.quant) else { return misfit("no kernel has weights with such scales") };
    let layout = Layout::of(&product, weights.n, weights.k);
    let dims: Vec<usize> = [&indices.dims, &[weights.k][..]].concat();
    let len = count(dims.iter().product())?;
    let y = cx.alloc(&dims, Elem::F32)?;
    let addresses = [&weights.planes, &weights.scales, &weights.zeros, indices, &y].map(DeviceTensor::address);
    let sizes = [len, layout.n, layout.k, layout.block, layout.padded_block, layout.columns()].map(|size| size as u64);
    let offset = i64::from(weights.quant.levels.affine(weights.quant.bits).1) as u64;
    let args = [&addresses, &sizes[..], &[offset, cx.fault.0, cx.fault.1]].concat();
    cx.launch(kernel, [len.div_ceil(THREADS as usize), 1, 1], THREADS, &args)?;
    Ok(y)
}
