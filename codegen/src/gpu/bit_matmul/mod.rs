//! The kernels of `bit_matmul`: a frame that brings operands to shared memory chunk by chunk, a step that multiplies a chunk, and
//! an end that scales and stores.

mod args;
mod binary;
mod end;
mod finish;
mod frame;
mod group;
mod integer;
mod integer_group;

use super::build::{Build, Result};
use mokume_runtime::gpu::spec::{FinishSpec, MatmulSpec};

/// Emits the kernel of `spec` into the module.
///
/// Errors  when LLVM refuses it.
pub fn emit(build: &Build<'_>, spec: &MatmulSpec) -> Result<()> {
    frame::emit(build, spec)
}

/// Emits the kernel that makes results of raw sums.
///
/// Errors  when LLVM refuses it.
pub fn emit_finish(build: &Build<'_>, spec: &FinishSpec) -> Result<()> {
    finish::emit(build, spec)
}
