//! Quantized convolutions: patches are quantized and packed as rows, multiplied as [`super::bit_matmul`] does, and the results, channels
//! last, are brought to the order of the op.

use super::bit_matmul::{Planned, bias, choice_for, multiply, quantized, rest};
use super::conv::{check_axes, places};
use super::{Cx, Result, Types, count, map, misfit, movement, operand};
use crate::gpu::kernel::Kernel;
use crate::gpu::memory::DeviceTensor;
use crate::gpu::quantize::Patches;
use crate::ops::OpError;
use crate::ops::bit::conv_shape;
use crate::ops::conv::Shape;
use mokume_ir::op::{ActScale, BitConv, Epilogue};
use mokume_ir::types::Elem;

/// Blocks of threads along the rows of a grid.
const MOST_BLOCKS: u32 = 65535;

/// The kernels beside those of its product.
///
/// Errors  why no kernel computes it.
pub(crate) fn kernels(op: &BitConv, types: &Types<'_>) -> std::result::Result<Vec<Kernel>, String> {
    check_axes(types)?;
    match (op.groups, op.a_scale) {
        (1, ActScale::Row) => Err("patches share elements, so they have no scales of their own".into()),
        (1, _) => Ok(vec![Kernel::Copy { bytes: 4 }]),
        (groups, _) => Err(format!("{groups} groups of channels")),
    }
}

/// The convolution; `inputs` are the image and the operands of the steps that follow.
pub(crate) fn bit_conv(op: &BitConv, planned: Planned<'_>, inputs: &[DeviceTensor], cx: &mut Cx<'_>) -> Result<DeviceTensor> {
    let (x, weights) = (operand(inputs, 0, Elem::F32)?, planned.weights);
    let shape = conv_shape(op, &x.dims, (weights.n, weights.k))?;
    let (windows, m) = (shape.windows.count(), shape.n * shape.windows.count());
    let dims = shape.output_dims();
    [x.len(), m * weights.n].into_iter().try_for_each(|len| count(len).map(drop))?;
    let y = cx.alloc(&dims, Elem::F32)?;
    if y.len() == 0 {
        return Ok(y);
    }
    let choice = choice_for(planned.choices, m);
    let layout = choice.spec.layout(weights.n, weights.k);
    if choice.spec.grid(&layout, m, 1)[1] > MOST_BLOCKS {
        return Err(OpError::unsupported(format!("{m} windows in one convolution")).into());
    }
    let source = [x.clone(), patches(&shape, cx)?];
    let rows = quantized(&planned.op, &choice.spec, &layout, weights, planned.rows, (&source, m), cx)?;
    let added = bias(choice, &inputs[1..], weights.n)?;
    let last = cx.alloc(&[shape.n, windows, weights.n], Elem::F32)?;
    multiply(choice, &layout, weights, (&rows, m), added, &last, cx)?;
    movement::swap(&last, &y, cx)?;
    match rest(&op.epilogue) {
        None => Ok(y),
        Some(map) => {
            let others = channels_first(op, &inputs[1 + usize::from(added.is_some())..], dims.len());
            map::run(&map, &std::iter::once(y).chain(others).collect::<Vec<_>>(), &dims, cx)
        }
    }
}

/// What describes the patches, on the device.
fn patches(shape: &Shape, cx: &mut Cx<'_>) -> Result<DeviceTensor> {
    let small = |size: u64| i32::try_from(size).or_else(|_| misfit(format!("a size of {size}")));
    let words = places(&shape.windows)?;
    let mut places = [0; 12];
    for (place, word) in places.iter_mut().zip(words) {
        *place = small(word)?;
    }
    let patches = Patches { channels: small(shape.channels as u64)?, places };
    let described = cx.alloc(&[Patches::NUMBERS], Elem::I32)?;
    cx.device.write(described.address(), bytemuck::cast_slice(&patches.words()))?;
    Ok(described)
}

/// The operands of the steps after the kernel's ending: what is per channel broadcasts along the first axis after the images.
fn channels_first(op: &BitConv, operands: &[DeviceTensor], rank: usize) -> Vec<DeviceTensor> {
    let steps = op.epilogue.iter().filter(|step| step.takes_operand());
    let rest = steps.skip(op.epilogue.iter().filter(|step| step.takes_operand()).count().saturating_sub(operands.len()));
    let shaped = |(step, x): (&Epilogue, &DeviceTensor)| match step {
        Epilogue::Bias => {
            let mut dims = vec![1; rank - 1];
            dims[0] = x.len();
            x.clone().with_sizes(&dims)
        }
        _ => x.clone(),
    };
    rest.zip(operands).map(shaped).collect()
}
