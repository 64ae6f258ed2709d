//! Kernels of ops. One file per op family; arguments as the launches of `runtime/src/gpu/launch` document them.

mod attention;
mod codes;
mod conv;
mod convert;
mod emit;
mod function;
mod hadamard;
mod half;
mod index;
mod map;
mod math;
mod matmul;
mod movement;
mod normalize;
mod order;
mod pool;
mod reduce;
mod resample;
mod rotary;
mod scatter;
mod softmax;

use super::build::{Build, Param, Result};
use super::{bit_matmul, quantize};
use mokume_runtime::gpu::kernel::{Kernel, RANK};

/// Adds a kernel to the module.
///
/// Errors  when LLVM refuses it.
pub fn emit(build: &Build<'_>, kernel: &Kernel) -> Result<()> {
    let name = kernel.symbol();
    match kernel {
        Kernel::Map(map) => map::emit(build, &name, map),
        Kernel::Copy { bytes } => movement::copy(build, &name, *bytes),
        Kernel::Gather { bytes, wide } => index::gather(build, &name, *bytes, *wide),
        Kernel::BitGather { bits, step, zeros, wide } => index::bit_gather(build, &name, (*bits, *step), *zeros, *wide),
        Kernel::Reduce { kind, elem } => reduce::emit(build, &name, *kind, *elem),
        Kernel::ArgReduce { largest, last, elem } => order::arg_reduce(build, &name, *largest, *last, *elem),
        Kernel::TopK { largest, elem } => order::top_k(build, &name, *largest, *elem),
        Kernel::Cumulative { product, exclusive, reverse, elem } => order::cumulative(build, &name, *product, *exclusive, *reverse, *elem),
        Kernel::ScatterElements { kind, elem, wide } => scatter::elements(build, &name, *kind, *elem, *wide),
        Kernel::ScatterNd { kind, elem } => scatter::slices(build, &name, *kind, *elem),
        Kernel::Softmax { log } => softmax::emit(build, &name, *log),
        Kernel::Norm { center, bias } => normalize::emit(build, &name, *center, *bias),
        Kernel::Hadamard { block } => hadamard::emit(build, &name, *block),
        Kernel::Rotary { interleaved, whole } => rotary::emit(build, &name, *interleaved, *whole),
        Kernel::Attention(config) => attention::emit(build, &name, config),
        Kernel::Codes(row) => quantize::codes::emit(build, row, &name),
        Kernel::Matmul => matmul::emit(build, &name),
        Kernel::Conv { bias } => conv::emit(build, &name, *bias),
        Kernel::Pool { mean, padding } => pool::emit(build, &name, *mean, *padding),
        Kernel::GroupNorm => normalize::emit_group(build, &name),
        Kernel::Resample => resample::emit(build, &name),
        Kernel::BitMatmul(spec) => bit_matmul::emit(build, spec),
        Kernel::Finish(spec) => bit_matmul::emit_finish(build, spec),
        Kernel::Quantize(spec) => quantize::emit(build, spec),
        Kernel::Range(spec) => quantize::emit_range(build, spec),
    }
}

/// Addresses, then sizes.
fn params(addresses: usize, sizes: usize) -> Vec<Param> {
    [vec![Param::Address; addresses], vec![Param::I64; sizes]].concat()
}

/// Addresses and a size, then per set of axes their sizes and strides.
fn strided(addresses: usize, sizes: usize, sets: usize) -> Vec<Param> {
    params(addresses, sizes + sets * RANK)
}
