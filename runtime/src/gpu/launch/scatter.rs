//! Scatters: a copy of the operand, into which updates are written in order: a thread has all that may meet at one place.
//!
//! Arguments of elements  result, indices, updates, lines, indices of a line, size of the axis, elements between neighbors of a line of the
//!                        result and of the indices, sizes of the other axes, strides of the result and of the indices along them, where
//!                        faults are told, the number of the node.
//! Arguments of slices    result, indices, updates, elements of a slice, slices, indices of a place, sizes and strides of the axes that
//!                        places go along, where faults are told, the number of the node.

use super::{Cx, Result, Types, count, dense, misfit, walk};
use crate::gpu::kernel::{Kernel, RANK, THREADS};
use crate::gpu::memory::DeviceTensor;
use crate::ops::OpError;
use crate::ops::layout::axis;
use crate::tensor::elem_bytes;
use mokume_ir::op::{ScatterElements, ScatterKind, ScatterNd};
use mokume_ir::types::Elem;

/// The kernels of a scatter of elements.
pub(crate) fn element_kernels(op: &ScatterElements, types: &Types<'_>) -> std::result::Result<Vec<Kernel>, String> {
    let elem = joined(op.kind, types.elem(0)?)?;
    Ok(vec![Kernel::ScatterElements { kind: op.kind, elem, wide: wide(types.elem(1)?)? }])
}

/// The kernels of a scatter of slices.
pub(crate) fn slice_kernels(op: &ScatterNd, types: &Types<'_>) -> std::result::Result<Vec<Kernel>, String> {
    match types.elem(1)? {
        Elem::I64 => Ok(vec![Kernel::ScatterNd { kind: op.kind, elem: joined(op.kind, types.elem(0)?)? }]),
        other => Err(format!("indices of type {other}")),
    }
}

fn joined(kind: ScatterKind, elem: Elem) -> std::result::Result<Elem, String> {
    let is_stored = elem.quant().is_none() && matches!(elem_bytes(elem), 1 | 2 | 4 | 8);
    match (kind, elem) {
        (_, Elem::F32 | Elem::I32 | Elem::I64) => Ok(elem),
        (ScatterKind::None, _) if is_stored && elem != Elem::F64 => Ok(elem),
        _ => Err(format!("scatter {} of {elem}", kind.name())),
    }
}

fn wide(index: Elem) -> std::result::Result<bool, String> {
    match index {
        Elem::I64 => Ok(true),
        Elem::I32 => Ok(false),
        other => Err(format!("indices of type {other}")),
    }
}

/// Operand, indices and updates, dense, and a copy of the operand.
fn operands<'t>(inputs: &'t [DeviceTensor], cx: &mut Cx<'_>) -> Result<(DeviceTensor, &'t DeviceTensor, &'t DeviceTensor)> {
    let [x, indices, updates] = inputs else { return misfit("a scatter has three operands") };
    if inputs.iter().any(|operand| operand.spare.is_some()) || x.elem != updates.elem {
        return misfit(format!("a scatter of {} into {}", updates.elem, x.elem));
    }
    inputs.iter().try_for_each(|operand| count(operand.len()).map(drop))?;
    let y = cx.alloc(&x.dims, x.elem)?;
    cx.device.copy(y.address(), x.address(), x.bytes())?;
    Ok((y, indices, updates))
}

/// Writes elements along an axis.
pub(crate) fn elements(op: &ScatterElements, inputs: &[DeviceTensor], cx: &mut Cx<'_>) -> Result<DeviceTensor> {
    let (y, indices, updates) = operands(inputs, cx)?;
    let along = axis(op.axis, y.dims.len())?;
    let within = |axis: usize| axis == along || indices.dims[axis] <= y.dims[axis];
    if indices.dims.len() != y.dims.len() || updates.dims != indices.dims || !(0..y.dims.len()).all(within) {
        return misfit(format!("a scatter of {:?} at {:?} into {:?}", updates.dims, indices.dims, y.dims));
    }
    let (y_strides, strides) = (dense(&y.dims), dense(&indices.dims));
    let others = |values: &[i64]| -> Vec<i64> { (0..values.len()).filter(|&axis| axis != along).map(|axis| values[axis]).collect() };
    let dims: Vec<usize> = (0..y.dims.len()).filter(|&axis| axis != along).map(|axis| indices.dims[axis]).collect();
    let walk = walk(&dims, &[others(&y_strides), others(&strides)])?;
    let lines: usize = dims.iter().product();
    let mut args = vec![y.address(), indices.address(), updates.address()];
    args.extend([lines, indices.dims[along], y.dims[along], y_strides[along] as usize, strides[along] as usize].map(|size| size as u64));
    args.extend(walk.dims);
    walk.strides.iter().for_each(|strides| args.extend(strides));
    args.extend([cx.fault.0, cx.fault.1]);
    let kernel = Kernel::ScatterElements { kind: op.kind, elem: y.elem, wide: wide(indices.elem).map_err(OpError::unsupported)? };
    cx.launch(kernel, [lines.div_ceil(THREADS as usize), 1, 1], THREADS, &args)?;
    Ok(y)
}

/// Writes slices.
pub(crate) fn slices(op: &ScatterNd, inputs: &[DeviceTensor], cx: &mut Cx<'_>) -> Result<DeviceTensor> {
    let (y, indices, updates) = operands(inputs, cx)?;
    let wrong = || misfit(format!("a scatter of {:?} at {:?} into {:?}", updates.dims, indices.dims, y.dims));
    let Some((&depth, lead)) = indices.dims.split_last() else { return wrong() };
    if depth == 0 || depth > y.dims.len().min(RANK) || updates.dims[..] != [lead, &y.dims[depth..]].concat() {
        return wrong();
    }
    let columns: usize = y.dims[depth..].iter().product();
    let (mut sizes, mut strides) = ([1; RANK], [0; RANK]);
    for (axis, &stride) in dense(&y.dims).iter().take(depth).enumerate() {
        (sizes[axis], strides[axis]) = (y.dims[axis] as u64, stride as u64);
    }
    let mut args = vec![y.address(), indices.address(), updates.address()];
    args.extend([columns, lead.iter().product(), depth].map(|size| size as u64));
    args.extend(sizes);
    args.extend(strides);
    args.extend([cx.fault.0, cx.fault.1]);
    cx.launch(Kernel::ScatterNd { kind: op.kind, elem: y.elem }, [columns.div_ceil(THREADS as usize), 1, 1], THREADS, &args)?;
    Ok(y)
}
