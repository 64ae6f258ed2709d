//! Programs: a module made ready to run. Immutable and shared by sessions.

use crate::convert;
use crate::cpu::kernels::{Kernels, Loaded};
use crate::ops::OpError;
use crate::tensor::Tensor;
use mokume_ir::diag::Report;
use mokume_ir::dim::Symbol;
use mokume_ir::graph::{Def, Graph, Module};
use mokume_ir::ids::{ConstId, FuncId, Id, NodeId, ValueId};
use mokume_ir::order::needed;
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
    /// Operand 1 is appended to operand 0 in place, along this axis.
    pub(crate) append: Option<usize>,
    /// Data dependent symbols that the size of an output gives: output, axis, symbol.
    pub(crate) binds: Vec<(usize, usize, Symbol)>,
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
        Ok(Program { kernels, loaded, ..Program::interpret(module) })
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
        let slots = slots(graph, &nodes);
        let source = |value: ValueId| match graph[value].def {
            Def::Const(id) => Source::Const(id),
            _ => Source::Slot(slots[&value]),
        };
        let steps = nodes.iter().map(|&id| Step {
            node: id,
            inputs: graph[id].inputs.iter().map(|&value| source(value)).collect(),
            output: graph[id].outputs.first().map_or(0, |value| slots[value]),
            frees: vec![],
            append: crate::state::append_axis(graph, id),
            binds: binds(graph, id),
        });
        let mut schedule = Schedule {
            steps: steps.collect(),
            outputs: graph.outputs().iter().map(|port| source(port.value)).collect(),
            slots: slots.len(),
        };
        schedule.free_after_last_use(graph);
        schedule
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
            let read = step.inputs.iter().filter_map(|input| match input {
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
