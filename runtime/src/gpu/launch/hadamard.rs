//! Hadamard transforms: a block of threads per block of elements.
//!
//! Arguments  x, result.

use super::{Cx, Result, Types, count, misfit, operand};
use crate::gpu::kernel::{Kernel, ROW_THREADS};
use crate::gpu::memory::DeviceTensor;
use mokume_ir::hadamard;
use mokume_ir::op::{Hadamard, Op};
use mokume_ir::types::Elem;

/// A thread keeps one element per row of the core in registers.
const MAX_CORE: usize = 64;

/// The kernel of a transform.
pub(crate) fn kernels(op: &Hadamard, types: &Types<'_>) -> std::result::Result<Vec<Kernel>, String> {
    types.all(Elem::F32)?;
    let matrix = usize::try_from(op.block).ok().and_then(hadamard::Hadamard::new);
    match (matrix.map(|matrix| matrix.core()), u32::try_from(op.block)) {
        (Some(core), Ok(block)) if core <= MAX_CORE => Ok(vec![Kernel::Hadamard { block }]),
        _ => Err(format!("{} of order {} is too large for the registers of a thread", Op::from(op.clone()).name(), op.block)),
    }
}

/// Transforms blocks of the last axis.
pub(crate) fn hadamard(op: &Hadamard, inputs: &[DeviceTensor], cx: &mut Cx<'_>) -> Result<DeviceTensor> {
    let x = operand(inputs, 0, Elem::F32)?;
    let (Some(&last), Ok(block)) = (x.dims.last(), u32::try_from(op.block)) else { return misfit("a block of a scalar") };
    if block == 0 || !last.is_multiple_of(block as usize) {
        return misfit(format!("a last axis of {last} in blocks of {block}"));
    }
    let blocks = count(x.len())? / block as usize;
    let y = cx.alloc(&x.dims, Elem::F32)?;
    cx.launch(Kernel::Hadamard { block }, [blocks, 1, 1], ROW_THREADS, &[x.address(), y.address()])?;
    Ok(y)
}
