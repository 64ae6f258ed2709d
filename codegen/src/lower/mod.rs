//! From a verified module to a program: chooses a kernel for every quantized product, packs its weights, emits code.
//!
//! A product has a kernel when its weights are a constant, all users of that constant agree on the kernel, and its sums fit
//! i32; other products are left to the op library, and reported.

mod choose;

pub(crate) use choose::check_product;

use crate::cpu;
use crate::error::CodegenError;
use crate::gpu;
use crate::kernel::pack::{self, Weights};
use crate::kernel::{KernelSpec, Strategy};
use crate::tuning::Tuning;
use bytes::Bytes;
use choose::Plan;
use mokume_ir::constant::Constant;
use mokume_ir::diag::{Diagnostic, Report};
use mokume_ir::graph::Module;
use mokume_ir::ids::ConstId;
use mokume_ir::quant::Levels;
use mokume_ir::verify::verify;
use mokume_runtime::cpu::isa::IsaLevel;
use mokume_runtime::cpu::kernels::{Dense, Kernels, PackedWeights};
use mokume_runtime::gpu::arch::Arch;
use mokume_runtime::program::Program;
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// What to compile for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Instruction set levels; one object file each.
    pub levels: Vec<IsaLevel>,
    /// Overrides the cost model.
    pub strategy: Option<Strategy>,
    /// GPU architectures; PTX for each.
    pub archs: Vec<Arch>,
    /// What was measured; it comes before the cost model.
    pub tuning: Tuning,
}

impl Default for Target {
    /// Every level of the CPU, no GPU, kernels chosen by the cost model.
    fn default() -> Self {
        Target { levels: IsaLevel::ALL.to_vec(), strategy: None, archs: vec![], tuning: Tuning::default() }
    }
}

/// Which kernel serves which weights, and which products have none.
#[derive(Debug, Clone, Default)]
pub struct Choices {
    /// Kernel and why it was chosen, and how many weight matrices use it.
    pub kernels: BTreeMap<(KernelSpec, Reason), usize>,
    /// Node and why it has no kernel.
    pub interpreted: Vec<(String, String)>,
}

/// Why products are formed in a kernel's way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// The cost model says that it is the cheapest.
    CostModel,
    /// It was the fastest.
    Measured,
    /// The target asks for it.
    Asked,
}

/// `cost model`
impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reason::CostModel => "cost model",
            Reason::Measured => "measured",
            Reason::Asked => "asked for",
        })
    }
}

/// One line per kernel, then one per product without.
impl fmt::Display for Choices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kernels.iter().try_for_each(|((spec, why), count)| writeln!(f, "{spec} ({why}): {count} weight matrices"))?;
        self.interpreted.iter().try_for_each(|(node, why)| writeln!(f, "no kernel for {node}: {why}"))
    }
}

/// Compiles a module; it is consumed, and the data of weights is dropped as soon as they are packed.
///
/// Errors  when the module is not valid, or LLVM fails.
pub fn compile(mut module: Module, target: &Target) -> Result<(Program, Choices), Report> {
    let (plans, interpreted) = choose::plan(verify(&module)?, target);
    let device = gpu::program::compile(&module, &target.archs, &target.tuning.gpu)?;
    if target.levels.is_empty() {
        let read: BTreeSet<ConstId> = module.functions.iter().flat_map(|(_, graph)| choose::other_uses(graph)).collect();
        module.constants.release(|id| read.contains(&id) || !device.weights.contains_key(&id));
        return Ok((Program::unloaded(module, Kernels { device, ..Kernels::default() }), Choices::default()));
    }
    let kernels = lower(&mut module, &plans, target).map_err(|error| Diagnostic::unsupported("codegen::kernels", error.to_string()))?;
    let kernels = Kernels { device, ..kernels };
    let mut choices = Choices { interpreted, ..Choices::default() };
    plans.values().for_each(|plan| *choices.kernels.entry((plan.spec, plan.reason)).or_default() += 1);
    Ok((Program::compiled(module, kernels)?, choices))
}

fn lower(module: &mut Module, plans: &BTreeMap<ConstId, Plan>, target: &Target) -> Result<Kernels, CodegenError> {
    let specs: BTreeSet<KernelSpec> = plans.values().map(|plan| plan.spec).collect();
    let levels: BTreeSet<IsaLevel> = if specs.is_empty() { BTreeSet::new() } else { target.levels.iter().copied().collect() };
    let objects = levels.into_par_iter().map(|level| Ok((level, Bytes::from(cpu::compile(&specs, level)?))));
    let objects = objects.collect::<Result<Vec<_>, CodegenError>>()?;
    let mut weights = BTreeMap::new();
    for (&id, plan) in plans {
        let bytes = packed(&module.constants[id], plan);
        let dense = Dense::of(plan.levels, &plan.spec.layout(plan.n / plan.groups, plan.k));
        let packed = PackedWeights { strategy: plan.spec.strategy, scales: plan.spec.scales, groups: plan.groups, dense, bytes };
        weights.insert(id, packed);
        module.constants.release(|other| other != id);
    }
    Ok(Kernels { objects, weights, ..Kernels::default() })
}

/// The groups of a weight matrix in the layout of its kernel.
fn packed(constant: &Constant, plan: &Plan) -> Bytes {
    let (scales, zero_points) = match &constant.quant {
        Some(quant) => (words(&quant.scales, f32::from_le_bytes), words(&quant.zero_points, i32::from_le_bytes)),
        None => (vec![], vec![]),
    };
    let (n, row) = (plan.n / plan.groups, (plan.k * plan.spec.w_bits as usize).div_ceil(8));
    let groups = (0..plan.groups).flat_map(|group| {
        let weights = Weights {
            levels: plan.levels,
            n,
            k: plan.k,
            block: block_of(constant),
            codes: &constant.data[group * n * row..(group + 1) * n * row],
            scales: part(&scales, group, plan.groups),
            zero_points: part(&zero_points, group, plan.groups),
        };
        pack::pack(&plan.spec, &weights)
    });
    Bytes::from(groups.collect::<Vec<u8>>())
}

/// Elements of a row of weights that share a scale; none is all.
fn block_of(constant: &Constant) -> Option<usize> {
    let block = constant.ty.elem.quant()?.granularity.row_block().ok()?;
    block.map(|size| size as usize)
}

fn words<T>(bytes: &[u8], from: fn([u8; 4]) -> T) -> Vec<T> {
    bytes.as_chunks::<4>().0.iter().map(|&word| from(word)).collect()
}

/// The scales of one group; one scale alone is everybody's.
fn part<T>(scales: &[T], group: usize, groups: usize) -> &[T] {
    let each = scales.len() / groups;
    if scales.len() == 1 { scales } else { &scales[group * each..(group + 1) * each] }
}

/// The numbers of a quantized matrix.
pub(crate) struct Numbers<'a> {
    constant: &'a Constant,
    levels: Levels,
    scales: Vec<f32>,
    zero_points: Vec<i32>,
}

/// The numbers of a quantized matrix `[n, k]`.
pub(crate) fn numbers_of(constant: &Constant) -> Numbers<'_> {
    let (scales, zero_points) = match &constant.quant {
        Some(quant) => (words(&quant.scales, f32::from_le_bytes), words(&quant.zero_points, i32::from_le_bytes)),
        None => (vec![], vec![]),
    };
    let levels = constant.ty.elem.quant().map_or(Levels::Signed, |quant| quant.levels);
    Numbers { constant, levels, scales, zero_points }
}

impl Numbers<'_> {
    /// The matrix as it is packed.
    pub(crate) fn weights(&self) -> Weights<'_> {
        let dims = self.constant.dims();
        let (n, k) = (dims.first().copied().unwrap_or(0), dims.get(1).copied().unwrap_or(0));
        let Numbers { levels, scales, zero_points, .. } = self;
        Weights { levels: *levels, n, k, block: block_of(self.constant), codes: &self.constant.data, scales, zero_points }
    }
}
