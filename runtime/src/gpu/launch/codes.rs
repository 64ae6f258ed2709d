//! Appending to state in codes: a warp per row finds its scale and writes its codes where they go.
//!
//! Arguments  values, result, rows of a block of the values, bytes between blocks of the result, bytes of a block before the rows.

use super::movement::{MIN_ROOM, copy_words};
use super::{Cx, Result, Types, count, misfit};
use crate::gpu::codes::CodeRow;
use crate::gpu::kernel::Kernel;
use crate::gpu::memory::DeviceTensor;
use crate::gpu::spec::WARP;
use crate::ops::OpError;
use mokume_ir::quant::QuantType;
use mokume_ir::types::Elem;

/// The kernels of appending f32 values to codes.
pub(crate) fn kernels(types: &Types<'_>) -> std::result::Result<Vec<Kernel>, String> {
    let ty = types.elem(0)?.quant().ok_or("the state is not quantized")?;
    let width = types.size(0, 3).ok_or("the width of the state is not known")?;
    Ok(vec![Kernel::Codes(CodeRow::of(&ty, width)?), Kernel::Copy { bytes: 4 }])
}

/// `past` with the codes of `more` behind it along `axis`, in place where there is room.
pub(crate) fn append(past: DeviceTensor, ty: QuantType, more: &DeviceTensor, axis: usize, cx: &mut Cx<'_>) -> Result<DeviceTensor> {
    let rest = |dims: &[usize]| (dims[..axis].to_vec(), dims[axis + 1..].to_vec());
    let fits = axis + 1 < past.dims.len() && past.dims.len() == more.dims.len() && more.elem == Elem::F32;
    if !fits || rest(&past.dims) != rest(&more.dims) || more.spare.is_some() {
        return misfit(format!("{:?} does not continue {:?} along axis {axis}", more.dims, past.dims));
    }
    let row = CodeRow::of(&ty, past.dims.last().copied().unwrap_or(0)).map_err(OpError::unsupported)?;
    let inner = past.dims[axis + 1..past.dims.len() - 1].iter().product::<usize>() * row.bytes();
    let (outer, old) = (past.dims[..axis].iter().product::<usize>(), past.dims[axis]);
    let mut dims = past.dims.to_vec();
    dims[axis] += more.dims[axis];
    let grown = match past.spare {
        Some((at, stride)) if at == axis && stride >= dims[axis] * inner => past.with_sizes(&dims),
        held => {
            let stride = (dims[axis] * 2).max(MIN_ROOM) * inner;
            let room = cx.alloc(&[outer, stride], past.elem)?.with_spare(&dims, axis, stride);
            let from = held.map_or(old * inner, |(_, stride)| stride);
            copy_words((&past, from / 4), (&room, stride / 4), [outer, old * inner / 4], cx)?;
            room
        }
    };
    let stride = grown.block_stride(axis).unwrap_or(dims[axis] * inner);
    let rows = count(more.len() / row.width as usize)?;
    let of_block = rows.checked_div(outer).unwrap_or(0);
    let args = [more.address(), grown.address(), of_block as u64, stride as u64, (old * inner) as u64];
    cx.launch(Kernel::Codes(row), [rows, 1, 1], WARP, &args)?;
    Ok(grown)
}
