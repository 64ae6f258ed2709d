//! Layer norm, RMS norm and group norm: a block per row.
//!
//! Arguments  x, scale, bias if there is one, result, elements of a row, elements after which scale repeats, epsilon.

use super::{Cx, Result, Types, count, misfit, operand};
use crate::gpu::kernel::{Kernel, ROW_THREADS};
use crate::gpu::memory::DeviceTensor;
use crate::ops::layout::axis;
use crate::ops::operands::positive;
use mokume_ir::op::{GroupNorm, Op};
use mokume_ir::types::Elem;

/// The kernels of a norm.
pub(crate) fn kernels(types: &Types<'_>) -> std::result::Result<Vec<Kernel>, String> {
    types.all(Elem::F32)?;
    Ok(vec![Kernel::Norm { center: matches!(types.node.op, Op::LayerNorm(_)), bias: types.node.inputs.len() > 2 }])
}

/// Normalizes rows of the axes from an axis on: axis, epsilon, whether the mean is subtracted.
pub(crate) fn norm(how: (i64, f32, bool), inputs: &[DeviceTensor], cx: &mut Cx<'_>) -> Result<DeviceTensor> {
    let (x, scale) = (operand(inputs, 0, Elem::F32)?, operand(inputs, 1, Elem::F32)?);
    let bias = inputs.get(2).map(|_| operand(inputs, 2, Elem::F32)).transpose()?;
    let (rows, row) = x.dims.split_at(axis(how.0, x.dims.len())?);
    let own = scale.dims.iter().position(|&size| size != 1).map_or(&[][..], |first| &scale.dims[first..]);
    if !(row.ends_with(own) || scale.len() == 1) || bias.is_some_and(|bias| bias.len() != scale.len()) {
        return misfit(format!("scale {:?} does not fit rows of {row:?}", scale.dims));
    }
    let (rows, row) = (rows.iter().product(), row.iter().product::<usize>());
    count(x.len())?;
    let y = cx.alloc(&x.dims, Elem::F32)?;
    let mut args = vec![x.address(), scale.address()];
    args.extend(bias.map(DeviceTensor::address));
    args.extend([y.address(), row as u64, scale.len() as u64, how.1.to_bits().into()]);
    let rows = if row == 0 { 0 } else { rows };
    cx.launch(Kernel::Norm { center: how.2, bias: bias.is_some() }, [rows, 1, 1], ROW_THREADS, &args)?;
    Ok(y)
}

/// The kernels of a group norm.
pub(crate) fn group_kernels(types: &Types<'_>) -> std::result::Result<Vec<Kernel>, String> {
    types.all(Elem::F32)?;
    Ok(vec![Kernel::GroupNorm])
}

/// Normalizes groups of channels.
///
/// Arguments  x, scale, bias, result, elements of a group, elements of a channel, channels of a group, groups, epsilon.
pub(crate) fn group_norm(op: &GroupNorm, inputs: &[DeviceTensor], cx: &mut Cx<'_>) -> Result<DeviceTensor> {
    let (x, scale, bias) = (operand(inputs, 0, Elem::F32)?, operand(inputs, 1, Elem::F32)?, operand(inputs, 2, Elem::F32)?);
    let groups = positive(op.groups, "the number of groups")?;
    let [n, channels, ref plane @ ..] = x.dims[..] else { return misfit(format!("channels of {:?}", x.dims)) };
    if !channels.is_multiple_of(groups) || scale.len() != channels || bias.len() != channels {
        return misfit(format!("{channels} channels in {groups} groups, {} scales", scale.len()));
    }
    let plane: usize = plane.iter().product();
    count(x.len())?;
    let y = cx.alloc(&x.dims, Elem::F32)?;
    let mut args = [x, scale, bias, &y].map(DeviceTensor::address).to_vec();
    args.extend([channels / groups * plane, plane, channels / groups, groups].map(|size| size as u64));
    args.push(op.epsilon.to_bits().into());
    let blocks = if y.len() == 0 { 0 } else { n * groups };
    cx.launch(Kernel::GroupNorm, [blocks, 1, 1], ROW_THREADS, &args)?;
    Ok(y)
}
