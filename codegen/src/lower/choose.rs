//! Which kernel every weight matrix of a module gets.

use super::{Reason, Target};
use crate::kernel::tuning::Key;
use crate::kernel::{KernelSpec, cost};
use mokume_ir::constant::Constant;
use mokume_ir::graph::{Def, Graph, Module, Node};
use mokume_ir::ids::ConstId;
use mokume_ir::op::Op;
use mokume_ir::quant::Levels;
use mokume_ir::verify::Verified;
use mokume_runtime::bit_product::BitProduct;
use mokume_runtime::cpu::kernels::{groups_of, kernel_of};
use mokume_runtime::cpu::spec::{LANES, SHARED_ROWS, ScaleFormat, Strategy, max_terms};
use std::collections::{BTreeMap, BTreeSet};

/// Filters per group below which packed tiles would be mostly padding.
const MIN_FILTERS: usize = LANES / 4;
/// Rows that share unpacked weights, as assumed when the kernel of a convolution is chosen. Of matmuls, decoding one row at a time
/// counts most.
const WINDOWS: usize = 2 * SHARED_ROWS;

/// The kernel of a weight matrix `[n, k]`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Plan {
    pub(super) spec: KernelSpec,
    pub(super) reason: Reason,
    pub(super) levels: Levels,
    pub(super) groups: usize,
    pub(super) n: usize,
    pub(super) k: usize,
}

type Plans = BTreeMap<ConstId, Plan>;

/// Plans for all weights that get a kernel; names of the nodes that do not, and why.
pub(super) fn plan(proof: Verified<'_>, target: &Target) -> (Plans, Vec<(String, String)>) {
    let module = proof.module();
    let (mut plans, mut refused) = (Plans::new(), BTreeSet::new());
    let mut interpreted = Vec::new();
    for (_, graph) in module.functions.iter() {
        refused.extend(other_uses(graph));
        for node in graph.node_ids().map(|id| &graph[id]).filter(|node| is_product(&node.op)) {
            let weights = node.inputs.get(1).and_then(|&value| graph.constant(value));
            match weights
                .ok_or_else(|| "its weights are no constant".to_string())
                .and_then(|id| Ok((id, plan_node(module, node, id, target)?)))
            {
                Ok((id, plan)) if *plans.entry(id).or_insert(plan) == plan => {}
                Ok((id, _)) => {
                    refused.insert(id);
                }
                Err(why) => {
                    refused.extend(weights);
                    interpreted.push((node.loc.to_string(), why));
                }
            }
        }
    }
    let tables: BTreeSet<ConstId> = module.functions.iter().flat_map(|(_, graph)| tables(graph)).collect();
    plans.retain(|id, plan| !refused.contains(id) && (plan.groups == 1 || !tables.contains(id)));
    (plans, interpreted)
}

fn is_product(op: &Op) -> bool {
    matches!(op, Op::BitMatmul(_) | Op::BitConv(_))
}

/// Constants that something reads in another way than a product its weights, or a `bit_gather` its rows.
pub(super) fn other_uses(graph: &Graph) -> impl Iterator<Item = ConstId> {
    let weights = |node: &Node, index: usize| is_product(&node.op) && index == 1 || is_table(&node.op) && index == 0;
    let nodes = graph.node_ids().map(|id| &graph[id]);
    let operands = nodes.flat_map(move |node| node.inputs.iter().enumerate().filter(move |(index, _)| !weights(node, *index)));
    let outputs = graph.outputs().iter().map(|port| port.value);
    operands.map(|(_, &value)| value).chain(outputs).filter_map(|value| match graph[value].def {
        Def::Const(id) => Some(id),
        _ => None,
    })
}

fn is_table(op: &Op) -> bool {
    matches!(op, Op::BitGather(_))
}

/// Constants whose rows are read.
fn tables(graph: &Graph) -> impl Iterator<Item = ConstId> {
    graph.node_ids().map(|id| &graph[id]).filter(|node| is_table(&node.op)).filter_map(|node| graph.constant(*node.inputs.first()?))
}

fn plan_node(module: &Module, node: &Node, id: ConstId, target: &Target) -> Result<Plan, String> {
    let constant = &module.constants[id];
    let spec = kernel_of(node, module, id, Strategy::Unpack, scale_format(constant)).ok_or("no kernel has weights with such scales")?;
    let (levels, groups) = (constant.ty.elem.quant().map_or(Levels::Signed, |quant| quant.levels), groups_of(&node.op));
    let [n, k] = constant.dims()[..] else { return Err("its weights are no matrix".into()) };
    if k == 0 || n == 0 || groups == 0 || !n.is_multiple_of(groups) {
        return Err(format!("weights of {n} by {k} in {groups} groups"));
    }
    if groups > 1 && n / groups < MIN_FILTERS {
        return Err(format!("only {} filters per group", n / groups));
    }
    check_sums(&node.op, constant, spec.block.map_or(k, |size| (size as usize).min(k)))?;
    let rows = if matches!(node.op, Op::BitConv(_)) { WINDOWS } else { 1 };
    let (strategy, reason) = strategy(&spec.product, target, rows, (n / groups, k));
    Ok(Plan { spec: KernelSpec { strategy, ..spec }, reason, levels, groups, n, k })
}

/// What the target asks for, or what was the fastest at the newest level, or what the cost model says.
fn strategy(product: &BitProduct, target: &Target, rows: usize, size: (usize, usize)) -> (Strategy, Reason) {
    let newest = target.levels.iter().max();
    let measured = || target.tuning.cpu.find(&Key::new(*newest?, product, rows, size));
    match (target.strategy, measured()) {
        (Some(asked), _) => (asked, Reason::Asked),
        (None, Some(fastest)) => (fastest, Reason::Measured),
        (None, None) => (cost::choose(product, &target.levels, rows as u32), Reason::CostModel),
    }
}

/// Whether the sums of a product with these weights always fit i32.
pub(crate) fn check_product(op: &Op, constant: &Constant, product: &BitProduct) -> Result<(), String> {
    let [_, k] = constant.dims()[..] else { return Err("its weights are no matrix".into()) };
    check_sums(op, constant, product.block.map_or(k, |size| (size as usize).min(k)))
}

fn scale_format(weights: &Constant) -> ScaleFormat {
    let scales = weights.quant.as_ref().map(|data| data.scales.as_chunks::<4>().0).unwrap_or_default();
    ScaleFormat::of(&scales.iter().map(|&scale| f32::from_le_bytes(scale)).collect::<Vec<_>>())
}

/// Whether sums of `terms` products always fit i32.
fn check_sums(op: &Op, constant: &Constant, terms: usize) -> Result<(), String> {
    let (bits, levels) = match op {
        Op::BitMatmul(op) => (op.a_bits, op.a_levels),
        Op::BitConv(op) => (op.a_bits, op.a_levels),
        _ => return Err("no product".into()),
    };
    let (low, high) = levels.range(bits);
    let activations = if levels == Levels::Unsigned { high - low } else { high.max(-low) };
    let most = max_terms(activations as u32, largest_weight(constant));
    if terms <= most { Ok(()) } else { Err(format!("sums of {terms} products may exceed i32; at most {most} fit")) }
}

/// The largest `|level - zero|` that the type and zero points allow.
fn largest_weight(constant: &Constant) -> u32 {
    let Some(quant) = constant.ty.elem.quant() else { return 0 };
    let (low, high) = quant.levels.range(quant.bits);
    let zeros = constant.quant.as_ref().map(|data| data.zero_points.as_chunks::<4>().0).unwrap_or_default();
    let zeros = zeros.iter().map(|&zero| i32::from_le_bytes(zero)).chain((!quant.zero_point).then_some(0));
    zeros.map(|zero| low.abs_diff(zero).max(high.abs_diff(zero))).max().unwrap_or(0)
}
