//! Programs: a module made ready to run. Immutable and shared by sessions.

use crate::convert;
use crate::cpu::kernels::{Kernels, Loaded};
use crate::cpu::run::Matmul;
use crate::ops::OpError;
use crate::row_op::is_row_op;
use crate::tensor::Tensor;
use mokume_ir::diag::Report;
use mokume_ir::dim::Symbol;
use mokume_ir::graph::{Def, Graph, Module};
use mokume_ir::ids::{ConstId, FuncId, Id, NodeId, ValueId};
use mokume_ir::op::Op;
use mokume_ir::order::needed;
use mokume_ir::quant::Levels;
use smallvec::SmallVec;
use std::collections::HashMap;
use std::sync::OnceLock;

/// A module ready to run.
pub struct Program {
    /// What it computes.
    pub module: Module,
    schedules: Vec<Schedule>,
    constants: Vec<OnceLock<Tensor>>,
    kernels: Kernels,
    loaded: Loaded,
}

/// The nodes of a function in the order they run.
pub(crate) struct Schedule {
    pub(crate) steps: Vec<Step>,
    pub(crate) outputs: Vec<Source>,
    /// Number of values that exist at some time; inputs come first.
    pub(crate) slots: usize,
}

/// One node of a schedule.
pub(crate) struct Step {
    pub(crate) node: NodeId,
    pub(crate) inputs: Vec<Source>,
    /// The slot of the first output; the others follow.
    pub(crate) output: usize,
    /// Slots that nothing reads after this step.
    pub(crate) frees: Vec<usize>,
    /// Operand 1 is appended to operand 0 in place, along this axis; values to codes quantized.
    pub(crate) append: Option<usize>,
    /// Data dependent symbols that the size of an output gives: output, axis, symbol.
    pub(crate) binds: Vec<(usize, usize, Symbol)>,
    /// What the activations of a matmul go through first.
    pub(crate) before: Option<Before>,
    /// This and so many steps behind it are matmuls of the same activations, which run together; 0 inside of such a group.
    pub(crate) together: usize,
}

/// A norm or rotation that the matmuls that read its rows compute while they quantize them.
pub(crate) struct Before {
    pub(crate) node: NodeId,
    pub(crate) inputs: Vec<Source>,
}

/// Where an operand comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    Slot(usize),
    Const(ConstId),
}

impl Program {
    /// A program that interprets `module` with the op library only.
    pub fn interpret(module: Module) -> Self {
        let schedules = module.functions.iter().map(|(_, graph)| Schedule::new(graph)).collect();
        let constants = module.constants.iter().map(|_| OnceLock::new()).collect();
        Program { module, schedules, constants, kernels: Kernels::default(), loaded: Loaded::default() }
    }
    /// A program that runs products by compiled kernels, and the rest with the op library.
    ///
    /// Errors  when the kernels do not fit the module or this machine.
    pub fn compiled(module: Module, kernels: Kernels) -> Result<Self, Report> {
        let loaded = Loaded::load(&kernels, &module)?;
        let mut program = Program { kernels, loaded, ..Program::interpret(module) };
        program.gather_matmuls();
        Ok(program)
    }
    /// A program whose kernels are not loaded: to look at, or to run where no node needs them.
    pub fn unloaded(module: Module, kernels: Kernels) -> Self {
        Program { kernels, ..Program::interpret(module) }
    }
    /// The compiled kernels.
    pub fn kernels(&self) -> &Kernels {
        &self.kernels
    }
    /// The kernels as loaded for this machine.
    pub fn loaded(&self) -> &Loaded {
        &self.loaded
    }
    /// Lets matmuls of the same activations run together, so that these are computed and quantized once.
    fn gather_matmuls(&mut self) {
        let mut schedules = std::mem::take(&mut self.schedules);
        for (schedule, (function, graph)) in schedules.iter_mut().zip(self.module.functions.iter()) {
            schedule.gather(graph, |a, b| match (self.matmul(function, a), self.matmul(function, b)) {
                (Some(a), Some(b)) => a.shares_rows_with(&b),
                _ => false,
            });
            schedule.take_row_ops(graph, |step| self.matmul(function, step).is_some());
        }
        self.schedules = schedules;
    }
    /// The matmul of a step that has a kernel; without the operands of its epilogue.
    pub(crate) fn matmul(&self, function: FuncId, step: &Step) -> Option<Matmul<'_>> {
        let Op::BitMatmul(op) = &self.module[function][step.node].op else { return None };
        let product = self.loaded.products(function, step.node)?.first()?;
        Some(Matmul { op, product, levels: self.weight_levels(step)?, operands: SmallVec::new() })
    }
    /// The levels of the weights of a product.
    pub(crate) fn weight_levels(&self, step: &Step) -> Option<Levels> {
        match step.inputs.get(1)? {
            Source::Const(id) => self.module.constants[*id].ty.elem.quant().map(|quant| quant.levels),
            Source::Slot(_) => None,
        }
    }
    pub(crate) fn schedule(&self, function: FuncId) -> &Schedule {
        &self.schedules[function.index()]
    }
    /// The tensor of a constant, made when first asked for.
    pub(crate) fn constant(&self, id: ConstId) -> Result<&Tensor, OpError> {
        let cell = &self.constants[id.index()];
        if let Some(tensor) = cell.get() {
            return Ok(tensor);
        }
        let constant = &self.module.constants[id];
        if constant.is_released() {
            return Err(OpError::unsupported("the weights are in the layout of native kernels, which are not loaded"));
        }
        let tensor = convert::to_tensor(constant)?;
        Ok(cell.get_or_init(|| tensor))
    }
}

impl Schedule {
    fn new(graph: &Graph) -> Self {
        let nodes = needed(graph);
        let coders: HashMap<NodeId, NodeId> = nodes.iter().filter_map(|&id| Some((id, crate::state::append_coder(graph, id)?))).collect();
        let nodes: Vec<NodeId> = nodes.into_iter().filter(|id| !coders.values().any(|coder| coder == id)).collect();
        let slots = slots(graph, &nodes);
        let source = |value: ValueId| match graph[value].def {
            Def::Const(id) => Source::Const(id),
            _ => Source::Slot(slots[&value]),
        };
        let steps = nodes.iter().map(|&id| Step {
            node: id,
            inputs: operands(graph, id, coders.get(&id)).map(source).collect(),
            output: graph[id].outputs.first().map_or(0, |value| slots[value]),
            frees: vec![],
            append: crate::state::append_axis(graph, id),
            binds: binds(graph, id),
            before: None,
            together: 1,
        });
        let mut schedule = Schedule {
            steps: steps.collect(),
            outputs: graph.outputs().iter().map(|port| source(port.value)).collect(),
            slots: slots.len(),
        };
        schedule.free_after_last_use(graph);
        schedule
    }
    /// Moves every step that may run together with an earlier one behind that one; it needs nothing that others made in between.
    fn gather(&mut self, graph: &Graph, may_join: impl Fn(&Step, &Step) -> bool) {
        for first in 0..self.steps.len() {
            if self.steps[first].together == 0 || !may_join(&self.steps[first], &self.steps[first]) {
                continue;
            }
            let mut made: Vec<usize> = vec![];
            for other in first + 1..self.steps.len() {
                let (a, b) = (&self.steps[first], &self.steps[other]);
                let reads = |slot: &usize| b.inputs.contains(&Source::Slot(*slot));
                if b.inputs.first() == a.inputs.first() && !made.iter().any(reads) && may_join(a, b) {
                    let step = self.steps.remove(other);
                    let behind = first + self.steps[first].together;
                    self.steps.insert(behind, Step { together: 0, ..step });
                    self.steps[first].together += 1;
                } else {
                    made.extend(b.output..b.output + graph[b.node].outputs.len());
                }
            }
        }
        self.steps.iter_mut().for_each(|step| step.frees.clear());
        self.free_after_last_use(graph);
    }
    /// Lets products that run together compute the rows that only they read.
    fn take_row_ops(&mut self, graph: &Graph, is_product: impl Fn(&Step) -> bool) {
        let mut number = 0;
        while number < self.steps.len() {
            match self.row_op_of(graph, number).filter(|_| is_product(&self.steps[number])) {
                Some(at) => {
                    let taken = self.steps.remove(at);
                    self.steps[number - 1].before = Some(Before { node: taken.node, inputs: taken.inputs });
                }
                None => number += 1,
            }
        }
        self.steps.iter_mut().for_each(|step| step.frees.clear());
        self.free_after_last_use(graph);
    }
    /// The number of the step that computes the activations of step `number` and those that run together with it, and nothing else.
    fn row_op_of(&self, graph: &Graph, number: usize) -> Option<usize> {
        let step = &self.steps[number];
        let at = self.steps[..number].iter().position(|other| step.inputs.first() == Some(&Source::Slot(other.output)))?;
        let found = &self.steps[at];
        let readers = graph[graph[found.node].outputs[0]].uses.len();
        (is_row_op(graph, found.node) && readers == step.together && found.binds.is_empty()).then_some(at)
    }
    fn free_after_last_use(&mut self, graph: &Graph) {
        let mut live = vec![false; self.slots];
        for output in &self.outputs {
            if let Source::Slot(slot) = output {
                live[*slot] = true;
            }
        }
        for step in self.steps.iter_mut().rev() {
            let made = step.output..step.output + graph[step.node].outputs.len();
            let before = step.before.iter().flat_map(|before| &before.inputs);
            let read = step.inputs.iter().chain(before).filter_map(|input| match input {
                Source::Slot(slot) => Some(*slot),
                Source::Const(_) => None,
            });
            for slot in made.chain(read) {
                if !std::mem::replace(&mut live[slot], true) {
                    step.frees.push(slot);
                }
            }
        }
    }
}

/// The operands of a node; what it appends as codes is given as values.
fn operands(graph: &Graph, id: NodeId, coder: Option<&NodeId>) -> impl Iterator<Item = ValueId> {
    let values = coder.map(|&coder| graph[coder].inputs[0]);
    graph[id].inputs.iter().enumerate().map(move |(i, &value)| values.filter(|_| i == 1).unwrap_or(value))
}

/// A slot for every input and every output of `nodes`, in this order.
fn slots(graph: &Graph, nodes: &[NodeId]) -> HashMap<ValueId, usize> {
    let inputs = graph.inputs().iter().map(|port| port.value);
    let made = nodes.iter().flat_map(|&id| graph[id].outputs.iter().copied());
    inputs.chain(made).enumerate().map(|(slot, value)| (value, slot)).collect()
}

fn binds(graph: &Graph, id: NodeId) -> Vec<(usize, usize, Symbol)> {
    let mut binds = Vec::new();
    for (output, &value) in graph[id].outputs.iter().enumerate() {
        for (axis, dim) in graph.ty(value).dims().unwrap_or(&[]).iter().enumerate() {
            if let Some(symbol) = dim.as_symbol().filter(|symbol| symbol.is_unknown()) {
                binds.push((output, axis, symbol.clone()));
            }
        }
    }
    binds
}
