//! The interpreter: runs the steps of a function in order, and control flow by running functions.

use crate::bind::Scope;
use crate::cpu::call::Product;
use crate::cpu::run::{self, Activations, Matmul, Operand};
use crate::error::{of_op, of_result};
use crate::ops::row_op::RowOp;
use crate::ops::{self, OpContext, OpError, bit_gather};
use crate::profile::Recorder;
use crate::program::{Program, Source, Step};
use crate::tensor::{Tensor, elem_bytes};
use mokume_ir::diag::Diagnostic;
use mokume_ir::dim::Symbol;
use mokume_ir::graph::{Graph, Node};
use mokume_ir::ids::{FuncId, NodeId};
use mokume_ir::op::{If, Loop, Op};
use mokume_ir::types::Elem;
use smallvec::SmallVec;
use std::time::Instant;

/// Functions nested deeper than this are refused: functions must not recurse.
const MAX_DEPTH: usize = 100;

/// Called with the outputs of every node that ran.
pub(crate) type Observer<'o> = dyn FnMut(FuncId, NodeId, &[Tensor]) + Send + 'o;

/// One run of a program.
pub(crate) struct Run<'r, 'o> {
    pub(crate) program: &'r Program,
    /// Memory for outputs of ops.
    pub(crate) alloc: &'r dyn Fn(&[usize], Elem) -> Tensor,
    pub(crate) observe: Option<&'o mut Observer<'o>>,
    pub(crate) profile: Option<&'o mut Recorder>,
    /// A loop that repeats more often is refused.
    pub(crate) max_trips: u64,
    pub(crate) depth: usize,
}

/// The values of a function while it runs, by slot.
struct Frame<'s> {
    values: Vec<Option<Tensor>>,
    scope: Scope<'s>,
}

impl Run<'_, '_> {
    /// Runs a function on arguments, whose symbols `scope` holds.
    pub(crate) fn function(&mut self, function: FuncId, arguments: Vec<Tensor>, scope: Scope<'_>) -> Result<Vec<Tensor>, Diagnostic> {
        let program = self.program;
        let (graph, schedule) = (&program.module[function], program.schedule(function));
        let mut frame = Frame { values: vec![None; schedule.slots], scope };
        for (slot, argument) in frame.values.iter_mut().zip(arguments) {
            *slot = Some(argument);
        }
        for (i, step) in schedule.steps.iter().enumerate() {
            match step.together {
                0 => {}
                1 => self.step(function, graph, step, &mut frame)?,
                count => self.together(function, graph, &schedule.steps[i..i + count], &mut frame)?,
            }
        }
        let outputs = schedule.outputs.iter().map(|&source| self.operand(&frame, source).cloned());
        outputs.collect::<Result<_, _>>().map_err(|error| function_failed(graph, &error))
    }

    fn step(&mut self, function: FuncId, graph: &Graph, step: &Step, frame: &mut Frame<'_>) -> Result<(), Diagnostic> {
        let node = &graph[step.node];
        let start = self.profile.is_some().then(Instant::now);
        let outputs = match &node.op {
            Op::Concat(_) if step.append.is_some() => self.append(node, step, frame),
            Op::Call(call) => self.nested(call.function, self.operands(node, step, frame)?, &frame.scope),
            Op::If(branches) => self.branch(branches, node, self.operands(node, step, frame)?, &frame.scope),
            Op::Loop(repeat) => self.repeat(repeat, node, self.operands(node, step, frame)?, &frame.scope),
            Op::BitGather(_) => self.rows(function, node, step, frame),
            _ => match self.program.loaded().products(function, step.node) {
                Some(_) if matches!(node.op, Op::BitMatmul(_)) => {
                    self.observe_row_op(function, graph, step, frame)?;
                    self.matmuls(function, std::slice::from_ref(step), frame).map_err(|error| of_op(node, error))
                }
                Some(products) => self.conv(products, node, step, frame),
                None => self.op(node, step, frame),
            },
        }?;
        if let (Some(profile), Some(start)) = (&mut self.profile, start) {
            profile.add(function, step.node, start);
        }
        self.finish(function, graph, step, outputs, frame)
    }

    /// Takes the outputs of a step into the frame.
    fn finish(
        &mut self,
        function: FuncId,
        graph: &Graph,
        step: &Step,
        outputs: Vec<Tensor>,
        frame: &mut Frame<'_>,
    ) -> Result<(), Diagnostic> {
        let node = &graph[step.node];
        if outputs.len() != node.outputs.len() {
            return Err(of_result(node, format!("{} outputs where {} are declared", outputs.len(), node.outputs.len())));
        }
        for (output, axis, symbol) in &step.binds {
            if let Some(&size) = outputs[*output].dims().get(*axis) {
                frame.scope.bind(symbol, size as i64);
            }
        }
        if let Some(observe) = &mut self.observe {
            let dense: Vec<Tensor> = outputs.iter().map(Tensor::dense).collect();
            observe(function, step.node, &dense);
        }
        for (slot, output) in frame.values[step.output..].iter_mut().zip(outputs) {
            *slot = Some(output);
        }
        step.frees.iter().for_each(|&slot| frame.values[slot] = None);
        Ok(())
    }

    /// Matmuls of the same activations; their time is told of the first.
    fn together(&mut self, function: FuncId, graph: &Graph, steps: &[Step], frame: &mut Frame<'_>) -> Result<(), Diagnostic> {
        self.observe_row_op(function, graph, &steps[0], frame)?;
        let start = self.profile.is_some().then(Instant::now);
        let outputs = self.matmuls(function, steps, frame).map_err(|error| of_op(&graph[steps[0].node], error))?;
        if let (Some(profile), Some(start)) = (&mut self.profile, start) {
            profile.add(function, steps[0].node, start);
        }
        for (step, output) in steps.iter().zip(outputs) {
            self.finish(function, graph, step, vec![output], frame)?;
        }
        Ok(())
    }

    /// Shows the observer what a node gives whose rows are otherwise never there as a whole.
    fn observe_row_op(&mut self, function: FuncId, graph: &Graph, step: &Step, frame: &Frame<'_>) -> Result<(), Diagnostic> {
        let Some(before) = step.before.as_ref().filter(|_| self.observe.is_some()) else { return Ok(()) };
        let inputs = before.inputs.iter().map(|&source| self.operand(frame, source)).collect::<Result<Vec<_>, _>>();
        let cx = OpContext { alloc: self.alloc, size_of: &|symbol| frame.scope.size_of(symbol) };
        let outputs = inputs.and_then(|inputs| run_dense(&graph[before.node].op, &inputs, &cx));
        let outputs = outputs.map_err(|error| of_op(&graph[before.node], error))?;
        if let Some(observe) = &mut self.observe {
            observe(function, before.node, &outputs);
        }
        Ok(())
    }

    fn matmuls(&self, function: FuncId, steps: &[Step], frame: &Frame<'_>) -> Result<Vec<Tensor>, OpError> {
        let dense = |source: Source| self.operand(frame, source).map(Tensor::dense);
        let before = steps[0].before.as_ref();
        let sources = before.map_or(&steps[0].inputs[..1], |before| &before.inputs);
        let inputs = sources.iter().map(|&source| dense(source)).collect::<Result<SmallVec<[Tensor; 3]>, _>>()?;
        let (x, parameters) = inputs.split_first().ok_or_else(|| OpError::operands("activations are missing"))?;
        let row = x.dims().last().copied().unwrap_or(0);
        let before = before.map(|before| RowOp::new(&self.program.module[function][before.node].op, row, parameters)).transpose()?;
        let made_here = |source: Source| steps.iter().position(|step| source == Source::Slot(step.output));
        let operand = |source: Source| match made_here(source) {
            Some(earlier) => Ok(Operand::Earlier(earlier)),
            None => dense(source).map(Operand::Tensor),
        };
        let size_of = |symbol: &Symbol| frame.scope.size_of(symbol);
        let cx = OpContext { alloc: self.alloc, size_of: &size_of };
        let matmul = |step: &Step| {
            let matmul = self.program.matmul(function, step).ok_or_else(|| OpError::operands("no product of quantized weights"))?;
            let operands = step.inputs[2..].iter().map(|&source| operand(source)).collect::<Result<_, _>>()?;
            Ok(Matmul { operands, ..matmul })
        };
        let all = steps.iter().map(matmul).collect::<Result<SmallVec<[_; 3]>, OpError>>()?;
        run::matmuls(&all, &Activations { x, before }, &cx)
    }

    fn op(&mut self, node: &Node, step: &Step, frame: &Frame<'_>) -> Result<Vec<Tensor>, Diagnostic> {
        let inputs = step.inputs.iter().map(|&source| self.operand(frame, source)).collect::<Result<Vec<_>, _>>();
        let size_of = |symbol: &Symbol| frame.scope.size_of(symbol);
        let cx = OpContext { alloc: self.alloc, size_of: &size_of };
        inputs.and_then(|inputs| run_dense(&node.op, &inputs, &cx)).map_err(|error| of_op(node, error))
    }

    /// Rows of quantized weights, of which kernels may hold the codes.
    fn rows(&mut self, function: FuncId, node: &Node, step: &Step, frame: &Frame<'_>) -> Result<Vec<Tensor>, Diagnostic> {
        let Some(table) = self.program.loaded().table(function, step.node) else { return self.op(node, step, frame) };
        let size_of = |symbol: &Symbol| frame.scope.size_of(symbol);
        let cx = OpContext { alloc: self.alloc, size_of: &size_of };
        let indices = step.inputs.get(1).ok_or_else(|| OpError::operands("indices are missing"));
        let outputs = indices.and_then(|&indices| self.operand(frame, indices));
        let outputs = outputs.and_then(|indices| bit_gather::rows(table.dims(), indices, &cx, |row, out| table.row(row, out)));
        outputs.map_err(|error| of_op(node, error))
    }

    /// A quantized convolution by its kernels; its weights are no operand.
    fn conv(&self, products: &[Product], node: &Node, step: &Step, frame: &Frame<'_>) -> Result<Vec<Tensor>, Diagnostic> {
        let others = step.inputs.iter().enumerate().filter(|(index, _)| *index != 1);
        let inputs = others.map(|(_, &source)| self.operand(frame, source).map(Tensor::dense)).collect::<Result<Vec<_>, _>>();
        let size_of = |symbol: &Symbol| frame.scope.size_of(symbol);
        let cx = OpContext { alloc: self.alloc, size_of: &size_of };
        let inputs = inputs.map_err(|error| of_op(node, error))?;
        let inputs: Vec<&Tensor> = inputs.iter().collect();
        let outputs = match (&node.op, self.program.weight_levels(step)) {
            (Op::BitConv(op), Some(levels)) => run::conv(op, products, levels, &inputs, &cx),
            _ => Err(OpError::operands("no product of quantized weights")),
        };
        outputs.map_err(|error| of_op(node, error))
    }

    fn operand<'a>(&self, frame: &'a Frame<'_>, source: Source) -> Result<&'a Tensor, OpError>
    where
        Self: 'a,
    {
        match source {
            Source::Const(id) => self.program.constant(id),
            Source::Slot(slot) => frame.values[slot].as_ref().ok_or_else(|| OpError::operands("an operand is not computed yet")),
        }
    }

    fn operands(&self, node: &Node, step: &Step, frame: &Frame<'_>) -> Result<Vec<Tensor>, Diagnostic> {
        let operands = step.inputs.iter().map(|&source| self.operand(frame, source).cloned());
        operands.collect::<Result<_, _>>().map_err(|error| of_op(node, error))
    }

    /// Operand 1 behind operand 0, which leaves the frame so that it may be changed in place.
    fn append(&self, node: &Node, step: &Step, frame: &mut Frame<'_>) -> Result<Vec<Tensor>, Diagnostic> {
        let axis = step.append.unwrap_or(0);
        let past = match step.inputs[0] {
            Source::Slot(slot) => frame.values[slot].take(),
            Source::Const(_) => None,
        };
        let appended = self.operand(frame, step.inputs[1]).and_then(|more| {
            let past = past.ok_or_else(|| OpError::operands("the state is gone"))?;
            Ok(vec![past.appended(axis, more)?])
        });
        appended.map_err(|error| of_op(node, error))
    }

    fn nested(&mut self, function: FuncId, arguments: Vec<Tensor>, outer: &Scope<'_>) -> Result<Vec<Tensor>, Diagnostic> {
        let graph = &self.program.module[function];
        if self.depth >= MAX_DEPTH || arguments.len() != graph.inputs().len() {
            let why = if self.depth >= MAX_DEPTH { "functions nest too deep" } else { "the number of arguments differs" };
            return Err(function_failed(graph, &OpError::operands(why)));
        }
        let types = graph.inputs().iter().map(|port| graph.ty(port.value));
        let scope = Scope::of_call(outer, types, &arguments);
        self.depth += 1;
        let outputs = self.function(function, arguments, scope);
        self.depth -= 1;
        outputs
    }

    fn branch(&mut self, op: &If, node: &Node, mut operands: Vec<Tensor>, outer: &Scope<'_>) -> Result<Vec<Tensor>, Diagnostic> {
        let captures = operands.split_off(1.min(operands.len()));
        let condition = operands.pop().and_then(|condition| truth(&condition));
        let condition = condition.ok_or_else(|| of_op(node, OpError::operands("the condition must be one bool")))?;
        self.nested(if condition { op.then_branch } else { op.else_branch }, captures, outer)
    }

    fn repeat(&mut self, op: &Loop, node: &Node, operands: Vec<Tensor>, outer: &Scope<'_>) -> Result<Vec<Tensor>, Diagnostic> {
        let mut state = LoopState::new(op, operands).map_err(|error| of_op(node, error))?;
        while state.goes_on() {
            if state.trip >= self.max_trips {
                return Err(of_op(node, OpError::operands(format!("more than {} repetitions", self.max_trips))));
            }
            let outputs = self.nested(op.body, state.arguments(), outer)?;
            state.advance(outputs).map_err(|error| of_op(node, error))?;
        }
        self.stacked(state, node, outer).map_err(|error| of_op(node, error))
    }

    /// Final carried values, then the scanned ones stacked.
    fn stacked(&self, state: LoopState, node: &Node, scope: &Scope<'_>) -> Result<Vec<Tensor>, OpError> {
        let mut outputs = state.carried;
        let scans = node.outputs.len().saturating_sub(outputs.len());
        for scan in 0..scans {
            let parts: Vec<&Tensor> = state.scanned.iter().filter_map(|row| row.get(scan)).collect();
            outputs.push(match parts.is_empty() {
                true => self.empty_scan(node, outputs.len(), scope)?,
                false => self.stack(&parts)?,
            });
        }
        Ok(outputs)
    }

    fn stack(&self, parts: &[&Tensor]) -> Result<Tensor, OpError> {
        let first = parts[0];
        if let Some(other) = parts.iter().find(|part| part.dims() != first.dims() || part.elem() != first.elem()) {
            return Err(OpError::operands(format!("scanned values of sizes {:?} and {:?}", first.dims(), other.dims())));
        }
        let dims = [&[parts.len()], first.dims()].concat();
        if first.elem() == Elem::String {
            return Ok(Tensor::strings(&dims, parts.iter().flat_map(|part| part.string_slice().to_vec()).collect()));
        }
        let no_symbols = |_: &Symbol| None;
        let mut stacked = OpContext { alloc: self.alloc, size_of: &no_symbols }.alloc(&dims, first.elem())?;
        let size = first.len() * elem_bytes(first.elem());
        for (row, part) in stacked.bytes_mut().chunks_mut(size.max(1)).zip(parts) {
            row.copy_from_slice(part.bytes());
        }
        Ok(stacked)
    }

    /// A scanned output without repetitions: size 0 on axis 0, the other sizes as declared by the body.
    fn empty_scan(&self, node: &Node, output: usize, scope: &Scope<'_>) -> Result<Tensor, OpError> {
        let Op::Loop(op) = &node.op else { return Err(OpError::operands("not a loop")) };
        let body = &self.program.module[op.body];
        let port = body.outputs().get(output + 1).ok_or_else(|| OpError::operands("the body has too few outputs"))?;
        let ty = body.ty(port.value).as_tensor().ok_or_else(|| OpError::unsupported("scanned sequences"))?;
        let sizes = ty.shape.dims().unwrap_or(&[]).iter();
        let sizes = sizes.map(|dim| dim.eval(&|symbol| scope.size_of(symbol)).and_then(|size| usize::try_from(size).ok()).unwrap_or(0));
        let dims: Vec<usize> = std::iter::once(0).chain(sizes).collect();
        Ok(if ty.elem == Elem::String { Tensor::strings(&dims, vec![]) } else { Tensor::zeros(&dims, ty.elem) })
    }
}

struct LoopState {
    /// None: without bound.
    trips: Option<u64>,
    trip: u64,
    condition: bool,
    carried: Vec<Tensor>,
    n_carried: usize,
    captures: Vec<Tensor>,
    /// What every repetition gave to the scanned outputs.
    scanned: Vec<Vec<Tensor>>,
}

impl LoopState {
    fn new(op: &Loop, operands: Vec<Tensor>) -> Result<Self, OpError> {
        let mut rest = operands.into_iter();
        let mut next = |wanted: bool| if wanted { rest.next() } else { None };
        let trips = next(op.trip_count).map(|count| trip_count(&count)).transpose()?;
        let condition =
            next(op.condition).map(|condition| truth(&condition).ok_or_else(|| OpError::operands("the condition must be one bool")));
        let condition = condition.transpose()?.unwrap_or(true);
        let carried: Vec<Tensor> = rest.by_ref().take(op.carried as usize).collect();
        Ok(LoopState { trips, trip: 0, condition, n_carried: op.carried as usize, carried, captures: rest.collect(), scanned: vec![] })
    }
    fn goes_on(&self) -> bool {
        self.condition && self.trips.is_none_or(|trips| self.trip < trips)
    }
    fn arguments(&mut self) -> Vec<Tensor> {
        let mut arguments = vec![Tensor::i64s(&[], &[self.trip as i64]), Tensor::of(&[], Elem::Bool, &[u8::from(self.condition)])];
        arguments.append(&mut self.carried);
        arguments.extend(self.captures.iter().cloned());
        arguments
    }
    fn advance(&mut self, outputs: Vec<Tensor>) -> Result<(), OpError> {
        let mut outputs = outputs.into_iter();
        let condition = outputs.next().and_then(|condition| truth(&condition));
        self.condition = condition.ok_or_else(|| OpError::operands("the body's condition must be one bool"))?;
        self.carried = outputs.by_ref().take(self.n_carried).collect();
        self.scanned.push(outputs.collect());
        self.trip += 1;
        Ok(())
    }
}

fn trip_count(count: &Tensor) -> Result<u64, OpError> {
    match (count.elem(), count.len()) {
        (Elem::I64, 1) => Ok(count.slice::<i64>()[0].max(0) as u64),
        _ => Err(OpError::operands("the trip count must be one i64")),
    }
}

/// Runs an op on dense operands; `attention` reads keys and values by blocks.
fn run_dense(op: &Op, inputs: &[&Tensor], cx: &OpContext<'_>) -> Result<Vec<Tensor>, OpError> {
    if matches!(op, Op::Attention(_)) || inputs.iter().all(|input| input.is_dense()) {
        return ops::run(op, inputs, cx);
    }
    let dense: Vec<Tensor> = inputs.iter().map(|input| input.dense()).collect();
    ops::run(op, &dense.iter().collect::<Vec<_>>(), cx)
}

/// The value of a bool tensor of one element.
fn truth(tensor: &Tensor) -> Option<bool> {
    (tensor.elem() == Elem::Bool && tensor.len() == 1).then(|| tensor.slice::<u8>()[0] != 0)
}

fn function_failed(graph: &Graph, error: &OpError) -> Diagnostic {
    Diagnostic::input("run::function", format!("function \"{}\": {error}", graph.name))
}
