//! Whole programs for devices: the kernels that a module needs, as PTX per architecture or in the emulator, and its packed weights.

use super::build::Build;
use super::emulate::Emulator;
use super::{ops, pack, ptx};
use crate::error::CodegenError;
use crate::lower::numbers_of;
use bytes::Bytes;
use inkwell::context::Context;
use mokume_ir::diag::{Diagnostic, Report};
use mokume_ir::graph::{Graph, Module, Node};
use mokume_ir::ids::ConstId;
use mokume_ir::op::Op;
use mokume_ir::quant::Levels;
use mokume_runtime::bit_product::BitProduct;
use mokume_runtime::gpu::arch::Arch;
use mokume_runtime::gpu::code::{DeviceCode, DeviceWeights};
use mokume_runtime::gpu::kernel::Kernel;
use mokume_runtime::gpu::plan::Plan;
use mokume_runtime::gpu::tuning::Tuning;
use std::collections::{BTreeMap, BTreeSet};

/// Code and weights of a module for architectures.
///
/// Errors  naming every node that no device kernel computes; when LLVM fails.
pub fn compile(module: &Module, archs: &[Arch], tuning: &Tuning) -> Result<DeviceCode, Report> {
    let tuning = tuning.of_archs(archs);
    let archs: BTreeSet<Arch> = archs.iter().copied().collect();
    if archs.is_empty() {
        return Ok(DeviceCode::default());
    }
    let mut ptx = Vec::with_capacity(archs.len());
    for arch in archs {
        let kernels = Plan::new(module, arch, &tuning)?.kernels;
        ptx.push((arch, Bytes::from(text(&kernels, arch).map_err(failed)?)));
    }
    Ok(DeviceCode { ptx, weights: weights(module)?, tuning })
}

/// An emulator with the kernels of a module for an architecture.
///
/// Errors  as [`compile`].
pub fn emulator(module: &Module, arch: Arch, tuning: &Tuning) -> Result<Emulator, Report> {
    let kernels = Plan::new(module, arch, tuning)?.kernels;
    let context = Context::create();
    let build = built(&context, &kernels).map_err(failed)?;
    Emulator::new(&build.finish()).map_err(failed)
}

/// The weights of all quantized products and tables in the layout of kernels.
///
/// Errors  when a product has sums that may not fit i32, or scales that no kernel has.
pub fn weights(module: &Module) -> Result<BTreeMap<ConstId, DeviceWeights>, Report> {
    let mut packed = BTreeMap::new();
    let graph = module.main();
    for constant in graph.node_ids().map(|id| &graph[id]).filter_map(|node| table(graph, node)) {
        let quant = module.constants[constant].ty.elem.quant();
        if let Some(product) = quant.and_then(|quant| BitProduct::of(&quant, 8, Levels::Signed)) {
            packed.entry(constant).or_insert_with(|| laid_out(&pack_all(&product, &module.constants[constant])));
        }
    }
    for node in graph.node_ids().map(|id| &graph[id]) {
        let (bits, levels) = match &node.op {
            Op::BitMatmul(op) => (op.a_bits, op.a_levels),
            Op::BitConv(op) => (op.a_bits, op.a_levels),
            _ => continue,
        };
        let refused = |why: &str| {
            Diagnostic::unsupported("gpu::op", format!("{} has no device kernel: {why}", node.op.name())).at(node.loc.to_string())
        };
        let id = node.inputs.get(1).and_then(|&value| graph.constant(value)).ok_or_else(|| refused("its weights are no constant"))?;
        let constant = &module.constants[id];
        let quant = constant.ty.elem.quant().ok_or_else(|| refused("its weights are not quantized"))?;
        let product = BitProduct::of(&quant, bits, levels).ok_or_else(|| refused("no kernel has weights with such scales"))?;
        crate::lower::check_product(&node.op, constant, &product).map_err(|why| refused(&why))?;
        packed.entry(id).or_insert_with(|| laid_out(&pack_all(&product, constant)));
    }
    Ok(packed)
}

/// The weights whose rows a node takes.
fn table(graph: &Graph, node: &Node) -> Option<ConstId> {
    matches!(node.op, Op::BitGather(_)).then(|| graph.constant(node.inputs[0]))?
}

fn pack_all(product: &BitProduct, constant: &mokume_ir::constant::Constant) -> pack::DeviceWeights {
    let numbers = numbers_of(constant);
    // Centers are packed for all, as constants may be shared by products that differ in their activations.
    pack::pack(&BitProduct { a_center: true, ..*product }, &numbers.weights())
}

fn laid_out(weights: &pack::DeviceWeights) -> DeviceWeights {
    DeviceWeights {
        planes: Bytes::copy_from_slice(&weights.planes),
        scales: Bytes::copy_from_slice(bytemuck::cast_slice(&weights.scales)),
        zeros: Bytes::copy_from_slice(bytemuck::cast_slice(&weights.zeros)),
        sums: Bytes::copy_from_slice(bytemuck::cast_slice(&weights.sums)),
    }
}

fn text(kernels: &BTreeSet<Kernel>, arch: Arch) -> Result<String, CodegenError> {
    let context = Context::create();
    ptx::emit(&built(&context, kernels)?.finish(), arch)
}

fn built<'c>(context: &'c Context, kernels: &BTreeSet<Kernel>) -> Result<Build<'c>, CodegenError> {
    let build = Build::new(context, "kernels");
    kernels.iter().try_for_each(|kernel| ops::emit(&build, kernel))?;
    Ok(build)
}

fn failed(error: CodegenError) -> Report {
    Diagnostic::unsupported("codegen::gpu", error.to_string()).into()
}
