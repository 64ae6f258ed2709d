//! Rotary position embedding: a thread per element.
//!
//! Arguments  x, cosines, sines, result, number of elements, elements of a row, half of those that rotate, sizes of the leading axes,
//!            elements of angles between neighbors along them.

use super::{Cx, Result, Types, count, misfit, operand, spread, walk};
use crate::gpu::kernel::{Kernel, THREADS};
use crate::gpu::memory::DeviceTensor;
use mokume_ir::op::Rotary;
use mokume_ir::types::Elem;

/// The kernels of a rotation: with one angle per pair, and per element.
pub(crate) fn kernels(op: &Rotary, types: &Types<'_>) -> std::result::Result<Vec<Kernel>, String> {
    types.all(Elem::F32)?;
    Ok([true, false].map(|whole| Kernel::Rotary { interleaved: op.interleaved, whole }).to_vec())
}

/// Rotates pairs of the last axis.
pub(crate) fn rotary(op: &Rotary, inputs: &[DeviceTensor], cx: &mut Cx<'_>) -> Result<DeviceTensor> {
    let (x, cos, sin) = (operand(inputs, 0, Elem::F32)?, operand(inputs, 1, Elem::F32)?, operand(inputs, 2, Elem::F32)?);
    let wrong = || misfit(format!("rotation of {:?} by angles {:?} and {:?}", x.dims, cos.dims, sin.dims));
    let (Some((&row, lead)), Some((&angles, angle_lead))) = (x.dims.split_last(), cos.dims.split_last()) else { return wrong() };
    let rotated = if op.dims == 0 { row } else { usize::try_from(op.dims).unwrap_or(usize::MAX) };
    let Some(strides) = spread(angle_lead, lead) else { return wrong() };
    let fits = rotated <= row && rotated % 2 == 0 && (angles == rotated || angles == rotated / 2);
    if !fits || cos.dims != sin.dims {
        return wrong();
    }
    let strides = strides.iter().map(|stride| stride * angles as i64).collect();
    let (walk, len) = (walk(lead, &[strides])?, count(x.len())?);
    let y = cx.alloc(&x.dims, Elem::F32)?;
    let mut args = vec![x.address(), cos.address(), sin.address(), y.address(), len as u64, row as u64, rotated as u64 / 2];
    args.extend(walk.dims);
    args.extend(walk.strides[0]);
    let kernel = Kernel::Rotary { interleaved: op.interleaved, whole: angles == rotated };
    cx.launch(kernel, [len.div_ceil(THREADS as usize), 1, 1], THREADS, &args)?;
    Ok(y)
}
