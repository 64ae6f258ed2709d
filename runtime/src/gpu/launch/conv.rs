//! Convolution over up to two axes as a product of filters and patches: a block per tile of filters and windows.
//!
//! Arguments  x, filters, bias if there is one, result, filters of a group, elements of a filter, channels and groups, then along both
//!            axes: input, windows, kernel, strides, dilations, padding before.

use super::{Cx, Result, Types, count, misfit, operand};
use crate::gpu::kernel::{Kernel, TILE};
use crate::gpu::memory::DeviceTensor;
use crate::ops::OpError;
use crate::ops::conv::Shape;
use crate::ops::window::{Described, Windows};
use mokume_ir::op::Conv;
use mokume_ir::types::Elem;

/// The kernels of a convolution.
pub(crate) fn kernels(types: &Types<'_>) -> std::result::Result<Vec<Kernel>, String> {
    types.all(Elem::F32)?;
    check_axes(types)?;
    Ok(vec![Kernel::Conv { bias: types.node.inputs.len() > 2 }])
}

/// Windows over more than two axes have no kernel.
pub(super) fn check_axes(types: &Types<'_>) -> std::result::Result<(), String> {
    match types.rank(0).ok_or("the number of its axes is not known")? {
        3 | 4 => Ok(()),
        rank => Err(format!("{} spatial axes", rank.saturating_sub(2))),
    }
}

/// Convolves.
pub(crate) fn conv(op: &Conv, inputs: &[DeviceTensor], cx: &mut Cx<'_>) -> Result<DeviceTensor> {
    let (x, w) = (operand(inputs, 0, Elem::F32)?, operand(inputs, 1, Elem::F32)?);
    let bias = inputs.get(2).map(|_| operand(inputs, 2, Elem::F32)).transpose()?;
    if x.dims.len() < 3 || w.dims.len() != x.dims.len() || bias.is_some_and(|bias| bias.len() != w.dims[0]) {
        return misfit(format!("cannot convolve {:?} with {:?}", x.dims, w.dims));
    }
    let described = Described { strides: &op.strides, dilations: &op.dilations, pads: &op.pads, auto_pad: op.auto_pad, ceil: false };
    let shape = Shape::with(&x.dims, (w.dims[0], w.dims[1]), &w.dims[2..], &described, op.groups)?;
    let y = cx.alloc(&shape.output_dims(), Elem::F32)?;
    [x.len(), w.len(), y.len()].into_iter().try_for_each(|len| count(len).map(drop))?;
    let mut args = vec![x.address(), w.address()];
    args.extend(bias.map(DeviceTensor::address));
    args.push(y.address());
    args.extend([shape.filters, shape.depth(), shape.channels, shape.groups].map(|size| size as u64));
    args.extend(places(&shape.windows)?);
    let tile = TILE as usize;
    let grid = [shape.windows.count().div_ceil(tile), shape.filters.div_ceil(tile), shape.n * shape.groups];
    cx.launch(Kernel::Conv { bias: bias.is_some() }, grid, TILE * TILE, &args)?;
    Ok(y)
}

/// Along both axes: input, windows, kernel, strides, dilations, padding before. One axis alone is the second.
pub(super) fn places(windows: &Windows) -> Result<[u64; 12]> {
    let axes = windows.rank();
    if !(1..=2).contains(&axes) {
        return Err(OpError::unsupported(format!("{axes} spatial axes")).into());
    }
    let both = |values: &[usize], alone: usize| [if axes == 2 { values[0] } else { alone }, values[axes - 1]].map(|value| value as u64);
    let begin: Vec<usize> = windows.begin.iter().map(|&pad| pad as usize).collect();
    let pairs = [
        both(&windows.input, 1),
        both(&windows.output, 1),
        both(&windows.kernel, 1),
        both(&windows.strides, 1),
        both(&windows.dilations, 1),
        both(&begin, 0),
    ];
    let mut words = [0; 12];
    words.iter_mut().zip(pairs.concat()).for_each(|(word, value)| *word = value);
    Ok(words)
}
