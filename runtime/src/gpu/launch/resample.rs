//! Resize: one axis after the other, a thread per element; the host says what every position is made of.
//!
//! Arguments  x, counts, sources and weights of positions, result, number of results, input and output size of the axis, elements per
//!            position of the axis, places for terms, the value where there are no terms.

use super::{Cx, Result, Types, count, operand};
use crate::gpu::kernel::{Kernel, THREADS};
use crate::gpu::memory::DeviceTensor;
use crate::ops::OpContext;
use crate::ops::resample::{Table, tables};
use crate::tensor::Tensor;
use mokume_ir::op::{CoordinateMode, Resize};
use mokume_ir::types::Elem;

/// The kernels of a resize.
pub(crate) fn kernels(op: &Resize, types: &Types<'_>) -> std::result::Result<Vec<Kernel>, String> {
    if types.elem(0)? != Elem::F32 {
        return Err(format!("elements of type {}", types.elem(0)?));
    }
    let region = op.roi && op.coordinates == CoordinateMode::TfCropAndResize;
    let known = op.sizes.as_ref().is_none_or(|sizes| sizes.known().is_some());
    match op.scales_operand.is_none() && known && !region {
        true => Ok(vec![Kernel::Resample]),
        false => Err("scales, sizes or a region are known only from data".into()),
    }
}

/// Resizes.
pub(crate) fn resize(op: &Resize, inputs: &[DeviceTensor], cx: &mut Cx<'_>) -> Result<DeviceTensor> {
    let mut current = operand(inputs, 0, Elem::F32)?.clone();
    let tables = {
        let size_of = |symbol: &mokume_ir::dim::Symbol| cx.scope.size_of(symbol);
        tables(op, &current.dims, &OpContext { alloc: &Tensor::zeros, size_of: &size_of })?
    };
    for table in &tables {
        current = along(table, op.extrapolation, &current, cx)?;
    }
    Ok(current)
}

fn along(table: &Table, extrapolation: f32, x: &DeviceTensor, cx: &mut Cx<'_>) -> Result<DeviceTensor> {
    let mut dims = x.dims.to_vec();
    dims[table.axis] = table.output;
    let inner: usize = dims[table.axis + 1..].iter().product();
    let y = cx.alloc(&dims, Elem::F32)?;
    let len = count(y.len().max(x.len())).map(|_| y.len())?;
    let mut upload = |bytes: &[u8], elem: Elem| -> Result<DeviceTensor> {
        let tensor = cx.alloc(&[bytes.len() / 4], elem)?;
        cx.device.write(tensor.address(), bytes)?;
        Ok(tensor)
    };
    let counts = upload(bytemuck::cast_slice(&table.counts), Elem::I32)?;
    let sources = upload(bytemuck::cast_slice(&table.sources), Elem::I32)?;
    let weights = upload(bytemuck::cast_slice(&table.weights), Elem::F32)?;
    let mut args = [x, &counts, &sources, &weights, &y].map(DeviceTensor::address).to_vec();
    args.extend([len, x.dims[table.axis], table.output, inner, table.width].map(|size| size as u64));
    args.push(extrapolation.to_bits().into());
    cx.launch(Kernel::Resample, [len.div_ceil(THREADS as usize), 1, 1], THREADS, &args)?;
    Ok(y)
}
