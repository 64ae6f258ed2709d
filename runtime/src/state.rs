//! State: inputs that take what an output gave in the run before.
//!
//! A state that grows by a `concat` and is read by `attention` only is kept in place: the tensor has room to grow along its
//! axis, the concat appends, and attention reads block by block. Every other state is an ordinary tensor.

use crate::bind::{Constraint, Declared, Got, Scope, constraints};
use crate::tensor::Tensor;
use mokume_ir::diag::{Diagnostic, Report};
use mokume_ir::graph::{Graph, State, Use};
use mokume_ir::ids::{NodeId, ValueId};
use mokume_ir::op::Op;
use mokume_ir::quant::Granularity;
use mokume_ir::types::Elem;

/// The states of a program and what they hold.
pub(crate) struct States {
    states: Vec<State>,
    /// What the outputs gave last; none before the first run.
    held: Vec<Option<Tensor>>,
}

impl States {
    /// The states that `main` declares.
    ///
    /// Errors  when one refers to an input or output that does not exist, or that another one has.
    pub(crate) fn new(main: &Graph) -> Result<Self, Report> {
        for (i, state) in main.states.iter().enumerate() {
            let exists = (state.input as usize) < main.inputs().len() && (state.output as usize) < main.outputs().len();
            let taken = main.states[..i].iter().any(|other| other.input == state.input || other.output == state.output);
            if !exists || taken {
                let message = format!("state {i} joins input {} and output {}, which do not exist or are taken", state.input, state.output);
                return Err(Diagnostic::input("run::state::ports", message).into());
            }
        }
        Ok(States { states: main.states.clone(), held: vec![None; main.states.len()] })
    }
    pub(crate) fn is_input(&self, index: usize) -> bool {
        self.states.iter().any(|state| state.input as usize == index)
    }
    pub(crate) fn is_output(&self, index: usize) -> bool {
        self.states.iter().any(|state| state.output as usize == index)
    }
    /// Forgets what was held.
    pub(crate) fn reset(&mut self) {
        self.held.iter_mut().for_each(|held| *held = None);
    }
    /// What the held states, and the emptiness of growing ones, say about symbols.
    pub(crate) fn constraints<'a>(&self, declared: &'a [Declared]) -> Vec<Constraint<'a>> {
        let pairs = self.states.iter().zip(&self.held);
        pairs
            .flat_map(|(state, held)| {
                let input = &declared[state.input as usize];
                match (held, state.axis) {
                    (Some(tensor), _) => constraints(input, tensor),
                    (None, Some(axis)) => empty_along(input, axis as usize),
                    (None, None) => vec![],
                }
            })
            .collect()
    }
    /// All arguments of the entry function: the given ones, and between them what the states hold, which leaves here.
    ///
    /// Errors  when the size of a state that is not held yet follows from no input.
    pub(crate) fn arguments(&mut self, given: Vec<Tensor>, declared: &[Declared], scope: &Scope<'_>) -> Result<Vec<Tensor>, Report> {
        let initial = self.states.iter().zip(&self.held).map(|(state, held)| match held {
            Some(_) => Ok(None),
            None => initial(&declared[state.input as usize], state.axis, scope).map(Some),
        });
        let initial = initial.collect::<Result<Vec<_>, Diagnostic>>()?;
        let mut given = given.into_iter();
        let mut states: Vec<_> = self.held.iter_mut().zip(initial).map(|(held, initial)| held.take().or(initial)).collect();
        let argument = |index: usize| match self.states.iter().position(|state| state.input as usize == index) {
            Some(state) => states[state].take(),
            None => given.next(),
        };
        Ok((0..declared.len()).filter_map(argument).collect())
    }
    /// Bytes of what is held, without room to grow.
    pub(crate) fn bytes(&self) -> usize {
        self.held.iter().flatten().map(Tensor::held_bytes).sum()
    }
    /// Keeps the outputs that are states; gives the others.
    pub(crate) fn keep(&mut self, outputs: Vec<Tensor>) -> Vec<Tensor> {
        let mut visible = Vec::new();
        for (index, output) in outputs.into_iter().enumerate() {
            match self.states.iter().position(|state| state.output as usize == index) {
                Some(state) => self.held[state] = Some(output),
                None => visible.push(output),
            }
        }
        visible
    }
}

/// The axis along which node `id` may append in place: it joins a growing state and one more operand to the next state,
/// nothing else reads the old state, and only `attention` reads the new one.
pub(crate) fn append_axis(graph: &Graph, id: NodeId) -> Option<usize> {
    let node = &graph[id];
    let (Op::Concat(concat), [past, _], [present]) = (&node.op, &node.inputs[..], &node.outputs[..]) else { return None };
    let axis = usize::try_from(concat.axis).ok()?;
    let joins = |state: &State| {
        let (input, output) = (graph.inputs().get(state.input as usize), graph.outputs().get(state.output as usize));
        state.axis == Some(axis as u32)
            && input.is_some_and(|port| port.value == *past)
            && output.is_some_and(|port| port.value == *present)
    };
    let sole_reader = graph[*past].uses[..] == [Use::Operand(id, 0)];
    (graph.states.iter().any(joins) && sole_reader && read_by_blocks(graph, *present, axis)).then_some(axis)
}

/// The node that quantizes what node `id` appends in place, if nothing else reads its codes: rows are then quantized where they go.
pub(crate) fn append_coder(graph: &Graph, id: NodeId) -> Option<NodeId> {
    append_axis(graph, id)?;
    let (coder, node) = graph.producer(graph[id].inputs[1])?;
    let found =
        matches!(&node.op, Op::Quantize(op) if op.to.granularity == Granularity::Row && op.clip.is_none()) && node.inputs.len() == 1;
    (found && graph.single_user(node.outputs[0]) == Some(id)).then_some(coder)
}

/// Whether a node only quantizes what is appended in place.
pub(crate) fn is_append_coder(graph: &Graph, id: NodeId) -> bool {
    let reader = graph[id].outputs.first().and_then(|&codes| graph.single_user(codes));
    reader.is_some_and(|reader| append_coder(graph, reader) == Some(id))
}

/// Whether only `attention`, as keys or values along `axis`, and one output read `value`.
fn read_by_blocks(graph: &Graph, value: ValueId, axis: usize) -> bool {
    let uses = &graph[value].uses;
    let outputs = uses.iter().filter(|read| matches!(read, Use::Output(_))).count();
    let by_blocks = |read: &Use| match *read {
        Use::Output(_) => true,
        Use::Operand(node, operand) => axis == 2 && matches!(graph[node].op, Op::Attention(_)) && (operand == 1 || operand == 2),
    };
    outputs == 1 && uses.iter().all(by_blocks)
}

fn empty_along(input: &Declared, axis: usize) -> Vec<Constraint<'_>> {
    let dim = input.ty.dims().and_then(|dims| dims.get(axis));
    dim.map(|dim| Constraint { input, axis, dim, size: 0, got: Got::State(axis, 0) }).into_iter().collect()
}

/// Zeros, or no rows of codes; nothing along the growing axis.
fn initial(input: &Declared, axis: Option<u32>, scope: &Scope<'_>) -> Result<Tensor, Diagnostic> {
    let unsized_state =
        || Diagnostic::input("run::state::size", format!("no input tells the size of state \"{}\": {}", input.name, input.ty));
    let ty = input.ty.as_tensor().ok_or_else(unsized_state)?;
    let dims = ty.shape.dims().ok_or_else(unsized_state)?.iter().enumerate();
    let sizes = dims.map(|(i, dim)| if Some(i as u32) == axis { Some(0) } else { scope.size(dim) });
    let sizes = sizes.collect::<Option<Vec<usize>>>().ok_or_else(unsized_state)?;
    match ty.elem {
        Elem::Quant(quant) if sizes.contains(&0) => Tensor::no_rows(&sizes, quant)
            .map_err(|error| Diagnostic::unsupported("run::state::codes", format!("state \"{}\": {error}", input.name))),
        Elem::Quant(_) => {
            Err(Diagnostic::unsupported("run::state::codes", format!("state \"{}\" of codes has a fixed size: {ty}", input.name)))
        }
        elem => Ok(Tensor::zeros(&sizes, elem)),
    }
}
