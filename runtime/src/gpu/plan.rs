//! How a program runs on a device: one step per node or cluster of nodes, and the kernels they need.
//!
//! A value has its sizes from its type, under the sizes that the inputs give to symbols. Integers of rank 0 and 1 that follow
//! from inputs and constants alone are computed on the host: they are sizes and the like. Everything else is computed on the
//! device, or refused.

use super::arch::Arch;
use super::choose::{CLASSES, Choice};
use super::cluster::{Clusters, is_elementwise};
use super::kernel::Kernel;
use super::launch::bit_conv;
use super::launch::bit_matmul::{self, Choices, Quantized, Rows};
use super::launch::{self, Types};
use super::map::Map;
use super::quantize::Source;
use super::tuning::Tuning;
use crate::row_op::is_row_norm;
use crate::state::{append_axis, append_coder, is_append_coder};
use mokume_ir::diag::{Diagnostic, Report};
use mokume_ir::graph::{Def, Graph, Module, Node};
use mokume_ir::ids::{ConstId, NodeId, ValueId};
use mokume_ir::op::Op;
use mokume_ir::order::needed;
use mokume_ir::types::Elem;
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// The steps of a program, in order.
pub struct Plan {
    pub(crate) steps: Vec<Step>,
    /// The kernels that the steps launch.
    pub kernels: BTreeSet<Kernel>,
}

/// One step.
pub(crate) struct Step {
    /// The node whose outputs it gives.
    pub(crate) node: NodeId,
    pub(crate) work: Work,
    pub(crate) operands: Vec<ValueId>,
    /// Values that nothing reads after this step.
    pub(crate) frees: Vec<ValueId>,
}

/// What a step does.
pub(crate) enum Work {
    /// The op library, on the host.
    Host,
    /// The same elements, other sizes.
    View,
    /// An elementwise kernel.
    Map(Map),
    /// Operand 1 is appended to operand 0 in place, along this axis; values to codes quantized.
    Append(usize),
    /// The product of quantized weights, which are no operand; the first operands are those of the source of its rows.
    Product(ConstId, Rows, Box<Choices>),
    /// Rows of quantized weights, which are no operand.
    Table(ConstId),
    /// The kernels of the op.
    Op,
}

impl Plan {
    /// The plan of a module's entry function on an architecture.
    ///
    /// Errors  naming every node that no device kernel computes.
    pub fn new(module: &Module, arch: Arch, tuning: &Tuning) -> Result<Self, Report> {
        let mut planner = Planner { module, arch, tuning, graph: module.main(), host: HashSet::new(), clusters: Clusters::new() };
        let nodes = needed(planner.graph);
        let refused: Vec<Diagnostic> =
            nodes.iter().filter_map(|&id| planner.place(id).err().map(|why| refusal(&planner.graph[id], &why))).collect();
        match Report::from_findings(refused) {
            Some(report) => Err(report),
            None => Ok(planner.finish(&nodes)),
        }
    }
    /// The kernels of products, each with the most rows that it is for, and how many products have it.
    pub fn products(&self) -> BTreeMap<(usize, Choice), usize> {
        let mut counts = BTreeMap::new();
        for step in &self.steps {
            let Work::Product(_, _, choices) = &step.work else { continue };
            CLASSES.into_iter().zip(choices.iter()).for_each(|(most, choice)| *counts.entry((most, *choice)).or_default() += 1);
        }
        counts
    }
}

fn refusal(node: &Node, why: &str) -> Diagnostic {
    let message = format!("{} has no device kernel: {why}", node.op.name());
    Diagnostic::unsupported("gpu::op", message).at(node.loc.to_string()).help("compile for the CPU only, or leave the op out of the model")
}

struct Planner<'m> {
    module: &'m Module,
    arch: Arch,
    tuning: &'m Tuning,
    graph: &'m Graph,
    /// Values that are computed on the host.
    host: HashSet<ValueId>,
    clusters: Clusters,
}

impl Planner<'_> {
    /// Decides where a node runs.
    fn place(&mut self, id: NodeId) -> Result<(), String> {
        let node = &self.graph[id];
        if self.on_host(node) {
            self.host.extend(&node.outputs);
            return Ok(());
        }
        check_sizes(self.graph, node)?;
        if is_append_coder(self.graph, id) {
            return Ok(());
        }
        if append_coder(self.graph, id).is_some() {
            return launch::codes::kernels(&launch::Types { graph: self.graph, node }).map(|_| ());
        }
        if is_elementwise(&node.op) {
            return self.clusters.add(self.graph, id);
        }
        if is_view(&node.op) || is_row_norm(self.graph, id) {
            return Ok(());
        }
        match node.op {
            Op::BitMatmul(_) => self.choices(node).map(|_| ()),
            Op::BitConv(ref op) => bit_conv::kernels(op, &Types { graph: self.graph, node }).and_then(|_| self.choices(node)).map(|_| ()),
            _ => launch::kernels(self.graph, node).map(|_| ()),
        }
    }
    fn choices(&self, node: &Node) -> Result<Choices, String> {
        bit_matmul::choices(self.module, self.graph, node, self.arch, self.tuning)
    }
    /// Whether everything a node reads is on the host, and what it gives are a few integers.
    fn on_host(&self, node: &Node) -> bool {
        let few = |value: &ValueId| {
            let (elem, dims) = (self.graph.ty(*value).elem(), self.graph.ty(*value).dims());
            elem.is_some_and(|elem| elem.is_int() || elem == Elem::Bool) && dims.is_some_and(|dims| dims.len() <= 1)
        };
        let control = matches!(node.op, Op::Call(_) | Op::If(_) | Op::Loop(_));
        let shape = matches!(node.op, Op::ShapeOf(_) | Op::SizeOf(_) | Op::DimsOf(_));
        let known = |value: &ValueId| self.host.contains(value) || !matches!(self.graph[*value].def, Def::Node(..)) && few(value);
        !control && node.outputs.iter().all(few) && (shape || (!node.inputs.is_empty() && node.inputs.iter().all(known)))
    }
    fn finish(self, nodes: &[NodeId]) -> Plan {
        let mut plan = Plan { steps: vec![], kernels: BTreeSet::new() };
        let elsewhere = |id: NodeId| self.clusters.is_joined(id) || is_row_norm(self.graph, id) || is_append_coder(self.graph, id);
        for &id in nodes.iter().filter(|id| !elsewhere(**id)) {
            let step = self.step(id);
            plan.kernels.extend(self.kernels(&step));
            plan.steps.push(step);
        }
        free_after_last_use(self.graph, &mut plan.steps);
        plan
    }
    fn step(&self, id: NodeId) -> Step {
        let node = &self.graph[id];
        let mut operands = node.inputs.to_vec();
        let work = if node.outputs.iter().all(|value| self.host.contains(value)) {
            Work::Host
        } else if let Some(axis) = append_axis(self.graph, id) {
            if let Some(coder) = append_coder(self.graph, id) {
                operands[1] = self.graph[coder].inputs[0];
            }
            Work::Append(axis)
        } else if let Some(cluster) = self.clusters.get(id) {
            operands = cluster.operands.clone();
            Work::Map(cluster.map.clone())
        } else if is_view(&node.op) {
            Work::View
        } else if let (Ok(choices), Some(weights)) = (self.choices(node), node.inputs.get(1).and_then(|&value| self.graph.constant(value)))
        {
            operands.remove(1);
            let rows = self.rows(node);
            if let Some((norm, _)) = self.graph.producer(node.inputs[0]).filter(|_| !matches!(rows.source, Source::Plain | Source::Patches))
            {
                operands.splice(..1, self.graph[norm].inputs.iter().copied());
            }
            Work::Product(weights, rows, Box::new(choices))
        } else if let (Op::BitGather(_), Some(weights)) = (&node.op, self.graph.constant(node.inputs[0])) {
            operands.remove(0);
            Work::Table(weights)
        } else {
            Work::Op
        };
        Step { node: id, work, operands, frees: vec![] }
    }
    /// Where a product's rows come from.
    fn rows(&self, node: &Node) -> Rows {
        if matches!(node.op, Op::BitConv(_)) {
            return Rows::PATCHES;
        }
        let norm = self.graph.producer(node.inputs[0]).filter(|(id, _)| is_row_norm(self.graph, *id));
        match norm.map(|(_, norm)| &norm.op) {
            Some(Op::RmsNorm(op)) => Rows { source: Source::RmsNorm, epsilon: op.epsilon },
            Some(Op::LayerNorm(op)) => Rows { source: Source::LayerNorm, epsilon: op.epsilon },
            _ => Rows::PLAIN,
        }
    }
    fn kernels(&self, step: &Step) -> Vec<Kernel> {
        match &step.work {
            Work::Host | Work::View => vec![],
            Work::Map(map) => [true, false].map(|flat| Kernel::Map(map.with_form(flat))).to_vec(),
            Work::Product(_, rows, choices) => {
                let node = &self.graph[step.node];
                let product = Quantized::of(&node.op).map(|op| bit_matmul::kernels(&op, rows, choices));
                let beside = match &node.op {
                    Op::BitConv(op) => bit_conv::kernels(op, &Types { graph: self.graph, node }).ok(),
                    _ => None,
                };
                product.into_iter().chain(beside).flatten().collect()
            }
            Work::Append(_) if append_coder(self.graph, step.node).is_some() => {
                launch::codes::kernels(&Types { graph: self.graph, node: &self.graph[step.node] }).unwrap_or_default()
            }
            Work::Append(_) | Work::Table(_) | Work::Op => launch::kernels(self.graph, &self.graph[step.node]).unwrap_or_default(),
        }
    }
}

/// Whether the op gives the elements of operand 0 as they are.
fn is_view(op: &Op) -> bool {
    matches!(op, Op::Reshape(_) | Op::Squeeze(_) | Op::Unsqueeze(_))
}

/// Every output must be a tensor whose sizes follow from those of the inputs.
fn check_sizes(graph: &Graph, node: &Node) -> Result<(), String> {
    for &value in &node.outputs {
        let dims = graph.ty(value).dims().ok_or("the number of its axes is not known")?;
        for dim in dims {
            let mut unknown = false;
            dim.symbols(&mut |symbol| unknown |= symbol.is_unknown());
            if unknown {
                return Err(format!("its size {dim} is known only from data"));
            }
        }
    }
    Ok(())
}

fn free_after_last_use(graph: &Graph, steps: &mut [Step]) {
    let mut live: HashSet<ValueId> = graph.outputs().iter().map(|port| port.value).collect();
    for step in steps.iter_mut().rev() {
        let made = graph[step.node].outputs.iter();
        for &value in step.operands.iter().chain(made) {
            if live.insert(value) && !matches!(graph[value].def, Def::Const(_)) {
                step.frees.push(value);
            }
        }
    }
}
