//! Elementwise kernels.
//!
//! Arguments  result, number of elements, operands; flat: a stride per operand, 0 or 1; else: sizes, then strides per operand.

use super::{Cx, Result, count, misfit, spread, walk};
use crate::gpu::kernel::{Kernel, THREADS};
use crate::gpu::map::Map;
use crate::gpu::memory::DeviceTensor;

/// Computes the expression for a result of sizes `dims`.
pub(crate) fn run(map: &Map, inputs: &[DeviceTensor], dims: &[usize], cx: &mut Cx<'_>) -> Result<DeviceTensor> {
    let len = count(dims.iter().product())?;
    if inputs.len() != map.inputs.len() || inputs.iter().zip(&map.inputs).any(|(x, elem)| x.elem != *elem || x.spare.is_some()) {
        return misfit("operands of other types than the expression has");
    }
    let y = cx.alloc(dims, map.output())?;
    let mut args = vec![y.address(), len as u64];
    args.extend(inputs.iter().map(DeviceTensor::address));
    let flat = flat_strides(inputs, dims, len);
    match &flat {
        Some(strides) => args.extend(strides),
        None => {
            let strides = inputs.iter().map(|x| spread(&x.dims, dims)).collect::<Option<Vec<_>>>();
            let Some(strides) = strides else { return misfit(format!("operands that do not broadcast to {dims:?}")) };
            let walk = walk(dims, &strides)?;
            args.extend(walk.dims);
            walk.strides.iter().for_each(|strides| args.extend(strides));
        }
    }
    cx.launch(Kernel::Map(map.with_form(flat.is_some())), [len.div_ceil(THREADS as usize), 1, 1], THREADS, &args)?;
    Ok(y)
}

/// A stride per operand, when every one is whole or one element.
fn flat_strides(inputs: &[DeviceTensor], dims: &[usize], len: usize) -> Option<Vec<u64>> {
    let stride = |x: &DeviceTensor| match x.len() {
        1 => Some(0),
        own if own == len && dims.ends_with(trimmed(&x.dims)) => Some(1),
        _ => None,
    };
    inputs.iter().map(stride).collect()
}

/// Sizes without leading axes of size 1.
fn trimmed(dims: &[usize]) -> &[usize] {
    &dims[dims.iter().position(|&size| size != 1).unwrap_or(dims.len())..]
}
