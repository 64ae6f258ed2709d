//! Softmax and its logarithm: a block per line.
//!
//! Arguments  x, result, elements of a line, elements between neighbors of a line.

use super::{Cx, Result, Types, count, operand};
use crate::gpu::kernel::{Kernel, ROW_THREADS};
use crate::gpu::memory::DeviceTensor;
use crate::ops::layout::{around, axis};
use mokume_ir::op::Op;
use mokume_ir::types::Elem;

/// The kernels of a softmax.
pub(crate) fn kernels(types: &Types<'_>) -> std::result::Result<Vec<Kernel>, String> {
    types.all(Elem::F32)?;
    Ok(vec![Kernel::Softmax { log: matches!(types.node.op, Op::LogSoftmax(_)) }])
}

/// Softmax along an axis.
pub(crate) fn softmax(along: i64, log: bool, inputs: &[DeviceTensor], cx: &mut Cx<'_>) -> Result<DeviceTensor> {
    let x = operand(inputs, 0, Elem::F32)?;
    let (outer, size, inner) = around(&x.dims, axis(along, x.dims.len())?);
    count(x.len())?;
    let y = cx.alloc(&x.dims, Elem::F32)?;
    let lines = if size == 0 { 0 } else { outer * inner };
    cx.launch(Kernel::Softmax { log }, [lines, 1, 1], ROW_THREADS, &[x.address(), y.address(), size as u64, inner as u64])?;
    Ok(y)
}
