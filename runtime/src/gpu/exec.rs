//! Runs a program on a device: constants are uploaded when first needed and stay, state stays, and small integers that are sizes
//! and the like are computed on the host.

use super::arch::Arch;
use super::check::{self, CheckError};
use super::choose::Choice;
use super::codes;
use super::device::{Address, Device, DeviceError};
use super::kernel::Kernel;
use super::launch::bit_conv;
use super::launch::bit_matmul::{self, Packed, Planned, Quantized, Weights};
use super::launch::{self, Cx, LaunchError, movement};
use super::memory::{Block, DeviceTensor, Pool};
use super::plan::{Plan, Step, Work};
use super::state::DeviceStates;
use super::timeline::Timeline;
use crate::bind::{Constraint, Declared, Scope};
use crate::exec::Observer;
use crate::ops::{self, OpContext, OpError};
use crate::profile::Recorder;
use crate::program::Program;
use crate::tensor::{Tensor, elem_bytes};
use mokume_ir::diag::{Diagnostic, Report};
use mokume_ir::dim::Symbol;
use mokume_ir::graph::{Def, Graph, Node};
use mokume_ir::ids::{ConstId, ValueId};
use mokume_ir::op::Op;
use mokume_ir::types::Elem;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// A program on a device.
pub(crate) struct DeviceRun {
    program: Arc<Program>,
    plan: Plan,
    device: Box<dyn Device>,
    pool: Pool,
    names: HashMap<Kernel, String>,
    constants: HashMap<ConstId, DeviceTensor>,
    weights: HashMap<ConstId, Weights>,
    /// The rows that were packed last.
    packed: Option<Packed>,
    states: DeviceStates,
    /// Where kernels say which node met a wrong value: its number, or 0.
    fault: Arc<Block>,
}

/// A value while a program runs: on the device, on the host, or both.
#[derive(Clone, Default)]
struct Held {
    device: Option<DeviceTensor>,
    host: Option<Tensor>,
}

/// The values of a run.
struct Frame<'s> {
    values: HashMap<ValueId, Held>,
    scope: Scope<'s>,
}

/// Who watches a run.
#[derive(Default)]
pub(crate) struct Watch<'o> {
    pub(crate) observe: Option<&'o mut Observer<'o>>,
    pub(crate) profile: Option<&'o mut Recorder>,
}

impl DeviceRun {
    /// Plans a program for a device.
    ///
    /// Errors  naming every node that no device kernel computes, or when the device has no memory.
    pub(crate) fn new(program: Arc<Program>, mut device: Box<dyn Device>, arch: Arch) -> Result<Self, Report> {
        let plan = Plan::new(&program.module, arch, &program.kernels().device.tuning)?;
        let mut pool = Pool::default();
        let fault = pool.alloc(device.as_mut(), 8).map_err(Diagnostic::from)?;
        let states = DeviceStates::new(&program.module.main().states);
        let (names, constants, weights) = (HashMap::new(), HashMap::new(), HashMap::new());
        Ok(DeviceRun { program, plan, device, pool, names, constants, weights, packed: None, states, fault })
    }
    /// Checks the kernels of products, and those that quantize their rows, against the ops of the CPU.
    pub(crate) fn check_kernels(&mut self) -> Result<(), Report> {
        let choices: BTreeSet<Choice> = self.plan.products().into_keys().map(|(_, choice)| choice).collect();
        choices.iter().try_for_each(|choice| check::check(self.device.as_mut(), choice)).map_err(wrong_kernel)?;
        for kernel in &self.plan.kernels {
            match kernel {
                Kernel::Quantize(spec) => check::check_rows(self.device.as_mut(), spec).map_err(wrong_kernel)?,
                Kernel::Range(spec) => check::check_range(self.device.as_mut(), spec).map_err(wrong_kernel)?,
                _ => {}
            }
        }
        Ok(())
    }
    /// Forgets all state.
    pub(crate) fn reset(&mut self) {
        self.states.reset();
    }
    /// Bytes of device memory.
    pub(crate) fn bytes(&self) -> usize {
        self.pool.bytes()
    }
    /// Bytes of the held states.
    pub(crate) fn state_bytes(&self) -> usize {
        self.states.bytes()
    }
    /// What the held states say about symbols.
    pub(crate) fn constraints<'a>(&self, declared: &'a [Declared]) -> Vec<Constraint<'a>> {
        self.states.constraints(declared)
    }
    /// Runs the program on its visible inputs; gives the visible outputs. An error also forgets all state.
    pub(crate) fn run(&mut self, given: Vec<Tensor>, scope: Scope<'_>, watch: Watch<'_>) -> Result<Vec<Tensor>, Report> {
        let program = self.program.clone();
        let result = self.try_run(program.module.main(), given, scope, watch);
        Ok(result.inspect_err(|_| self.reset())?)
    }

    fn try_run(&mut self, graph: &Graph, given: Vec<Tensor>, scope: Scope<'_>, mut watch: Watch<'_>) -> Result<Vec<Tensor>, Diagnostic> {
        self.device.fill(self.fault.address, 0, 8)?;
        let mut frame = Frame { values: HashMap::new(), scope };
        self.bind(graph, given, &mut frame)?;
        let entry = self.program.module.entry;
        let mut timeline = watch.profile.as_ref().map(|recorder| Timeline::new(self.device.as_mut(), entry, recorder)).transpose()?;
        if timeline.is_none() {
            self.device.begin_batch()?;
        }
        for number in 0..self.plan.steps.len() {
            self.step(graph, number, &mut frame, (&mut watch.observe, &mut timeline))?;
        }
        if let (Some(timeline), Some(recorder)) = (timeline, watch.profile) {
            timeline.finish(self.device.as_mut(), recorder)?;
        }
        self.packed = None;
        let outputs = self.outputs(graph, &frame)?;
        self.check_faults(graph)?;
        Ok(outputs)
    }
    /// Values for all inputs.
    fn bind(&mut self, graph: &Graph, given: Vec<Tensor>, frame: &mut Frame<'_>) -> Result<(), Diagnostic> {
        let mut given = given.into_iter();
        for (index, port) in graph.inputs().iter().enumerate() {
            let held = match self.states.take(index) {
                None => Held { host: given.next(), device: None },
                Some((_, Some(tensor))) => Held { device: Some(tensor), host: None },
                Some((state, None)) => Held { device: Some(self.initial(graph, port.value, state.axis, &frame.scope)?), host: None },
            };
            frame.values.insert(port.value, held);
        }
        Ok(())
    }
    /// Zeros; nothing along the growing axis.
    fn initial(&mut self, graph: &Graph, value: ValueId, axis: Option<u32>, scope: &Scope<'_>) -> Result<DeviceTensor, Diagnostic> {
        let unsized_state = || Diagnostic::input("run::state::size", format!("no input tells the size of a state: {}", graph.ty(value)));
        let dims = graph.ty(value).dims().ok_or_else(unsized_state)?.iter().enumerate();
        let sizes = dims.map(|(i, dim)| if Some(i as u32) == axis { Some(0) } else { scope.size(dim) });
        let sizes = sizes.collect::<Option<Vec<usize>>>().ok_or_else(unsized_state)?;
        let elem = graph.ty(value).elem().ok_or_else(unsized_state)?;
        let bytes = sizes.iter().product::<usize>() * elem_bytes(elem);
        let block = self.pool.alloc(self.device.as_mut(), bytes)?;
        self.device.fill(block.address, 0, bytes)?;
        Ok(DeviceTensor::new(block, &sizes, elem))
    }

    fn step(
        &mut self,
        graph: &Graph,
        number: usize,
        frame: &mut Frame<'_>,
        (observe, timeline): (&mut Option<&mut Observer<'_>>, &mut Option<Timeline>),
    ) -> Result<(), Diagnostic> {
        let id = self.plan.steps[number].node;
        let node = &graph[id];
        let is_on_host = matches!(self.plan.steps[number].work, Work::Host);
        let from = timeline.is_some().then(|| Timeline::moment(self.device.as_mut(), is_on_host)).transpose()?;
        let outputs = self.outcome(graph, number, frame).map_err(|error| error.at(node))?;
        if let (Some(timeline), Some(from)) = (timeline, from) {
            timeline.add(id, from, Timeline::moment(self.device.as_mut(), is_on_host)?);
        }
        if let Some(observe) = observe {
            let tensors = outputs.iter().map(|held| self.on_host(held)).collect::<Result<Vec<_>, _>>().map_err(|error| error.at(node))?;
            observe(self.program.module.entry, id, &tensors);
        }
        frame.values.extend(node.outputs.iter().copied().zip(outputs));
        for value in &self.plan.steps[number].frees {
            frame.values.remove(value);
        }
        Ok(())
    }
    fn outcome(&mut self, graph: &Graph, number: usize, frame: &mut Frame<'_>) -> Result<Vec<Held>, LaunchError> {
        let node = &graph[self.plan.steps[number].node];
        if matches!(self.plan.steps[number].work, Work::Host) {
            let outputs = self.host_step(graph, node, frame)?;
            return Ok(outputs.into_iter().map(|tensor| Held { host: Some(tensor), device: None }).collect());
        }
        let dims = node.outputs.iter().map(|&value| sizes(graph, value, &frame.scope)).collect::<Result<Vec<_>, _>>()?;
        let operands = self.plan.steps[number].operands.clone();
        let inputs = operands.iter().map(|&value| self.on_device(graph, value, frame)).collect::<Result<Vec<_>, _>>()?;
        if let Work::Append(_) = self.plan.steps[number].work {
            frame.values.remove(&operands[0]);
        }
        if let Work::Product(id, ..) | Work::Table(id) = self.plan.steps[number].work {
            self.upload_weights(id)?;
        }
        let fault = (self.fault.address, number as u64 + 1);
        let (device, pool) = (self.device.as_mut(), &mut self.pool);
        let mut cx = Cx { device, pool, names: &mut self.names, scope: &frame.scope, packed: &mut self.packed, fault };
        let outputs = on_device(&self.plan.steps[number], node, inputs, &self.weights, &dims, &mut cx)?;
        Ok(outputs.into_iter().map(|tensor| Held { device: Some(tensor), host: None }).collect())
    }
    /// A step on the host, whose operands are there.
    fn host_step(&self, graph: &Graph, node: &Node, frame: &Frame<'_>) -> Result<Vec<Tensor>, LaunchError> {
        let operands = node.inputs.iter().map(|&value| match graph[value].def {
            Def::Const(id) => self.program.constant(id),
            _ => frame
                .values
                .get(&value)
                .and_then(|held| held.host.as_ref())
                .ok_or_else(|| OpError::operands("an operand is not on the host")),
        });
        let operands = operands.collect::<Result<Vec<&Tensor>, _>>()?;
        let size_of = |symbol: &Symbol| frame.scope.size_of(symbol);
        let cx = OpContext { alloc: &Tensor::zeros, size_of: &size_of };
        Ok(ops::run(&node.op, &operands, &cx)?)
    }
    /// An operand on the device, copied there if it is not yet.
    fn on_device(&mut self, graph: &Graph, value: ValueId, frame: &mut Frame<'_>) -> Result<DeviceTensor, LaunchError> {
        if let Def::Const(id) = graph[value].def {
            if let Some(tensor) = self.constants.get(&id) {
                return Ok(tensor.clone());
            }
            let program = self.program.clone();
            let tensor = self.upload(program.constant(id)?)?;
            self.constants.insert(id, tensor.clone());
            return Ok(tensor);
        }
        let held = frame.values.get_mut(&value).ok_or_else(|| OpError::operands("an operand is not computed yet"))?;
        match (&held.device, &held.host) {
            (Some(tensor), _) => Ok(tensor.clone()),
            (None, Some(tensor)) => {
                let tensor = self.upload(&tensor.clone())?;
                held.device = Some(tensor.clone());
                Ok(tensor)
            }
            (None, None) => Err(OpError::operands("an operand is missing").into()),
        }
    }
    /// The weights of a product in the layout of kernels.
    fn upload_weights(&mut self, id: ConstId) -> Result<(), LaunchError> {
        if self.weights.contains_key(&id) {
            return Ok(());
        }
        let program = self.program.clone();
        let packed =
            program.kernels().device.weights.get(&id).ok_or_else(|| OpError::unsupported("its weights are not packed for a device"))?;
        let constant = &program.module.constants[id];
        let (Some(quant), &[n, k]) = (constant.ty.elem.quant(), &constant.dims()[..]) else {
            return Err(OpError::operands("packed weights are no matrix").into());
        };
        packed.check(&quant, (n, k)).map_err(OpError::operands)?;
        let [planes, scales, zeros, sums] =
            [&packed.planes, &packed.scales, &packed.zeros, &packed.sums].map(|bytes| self.upload_bytes(bytes));
        self.weights.insert(id, Weights { quant, n, k, planes: planes?, scales: scales?, zeros: zeros?, sums: sums? });
        Ok(())
    }
    fn upload_bytes(&mut self, bytes: &[u8]) -> Result<DeviceTensor, LaunchError> {
        let block = self.pool.alloc(self.device.as_mut(), bytes.len())?;
        self.device.write(block.address, bytes)?;
        Ok(DeviceTensor::new(block, &[bytes.len()], Elem::U8))
    }
    fn upload(&mut self, tensor: &Tensor) -> Result<DeviceTensor, LaunchError> {
        let block = self.pool.alloc(self.device.as_mut(), tensor.bytes().len())?;
        self.device.write(block.address, tensor.bytes())?;
        Ok(DeviceTensor::new(block, tensor.dims(), tensor.elem()))
    }
    /// A value on the host.
    fn on_host(&mut self, held: &Held) -> Result<Tensor, LaunchError> {
        match held {
            Held { host: Some(tensor), .. } => Ok(tensor.clone()),
            Held { device: Some(from), .. } if from.elem.quant().is_some() => self.codes_on_host(from),
            Held { device: Some(from), .. } => {
                let mut tensor = Tensor::zeros(&from.dims, from.elem);
                self.read(from, tensor.bytes_mut())?;
                Ok(tensor)
            }
            _ => Err(OpError::operands("a value is missing").into()),
        }
    }
    /// State in codes on the host.
    fn codes_on_host(&mut self, from: &DeviceTensor) -> Result<Tensor, LaunchError> {
        let ty = from.elem.quant().ok_or_else(|| OpError::operands("a value is not quantized"))?;
        let mut bytes = vec![0; from.bytes()];
        if let Some((axis, stride)) = from.spare {
            let blocks: usize = from.dims[..axis].iter().product();
            let block = bytes.len().checked_div(blocks).unwrap_or(0);
            for (index, bytes) in bytes.chunks_mut(block.max(1)).enumerate() {
                self.device.read(from.address() + (index * stride) as Address, bytes)?;
            }
        }
        Ok(codes::to_host(&bytes, &from.dims, ty)?)
    }
    /// Copies a tensor to the host, block by block where it has room to grow.
    fn read(&mut self, from: &DeviceTensor, bytes: &mut [u8]) -> Result<(), DeviceError> {
        let Some((axis, stride)) = from.spare else { return self.device.read(from.address(), bytes) };
        let (width, block) = (elem_bytes(from.elem), from.dims[axis..].iter().product::<usize>());
        for (index, bytes) in bytes.chunks_mut((block * width).max(1)).enumerate() {
            self.device.read(from.address() + (index * stride * width) as Address, bytes)?;
        }
        Ok(())
    }
    /// Keeps the outputs that are states; copies the others to the host.
    fn outputs(&mut self, graph: &Graph, frame: &Frame<'_>) -> Result<Vec<Tensor>, Diagnostic> {
        let mut visible = Vec::new();
        for (index, port) in graph.outputs().iter().enumerate() {
            let failed = |error: LaunchError| Diagnostic::input("run::output", format!("output \"{}\": {error}", port.name));
            let held = match (frame.values.get(&port.value), graph[port.value].def) {
                (Some(held), _) => held.clone(),
                (None, Def::Const(id)) => {
                    Held { host: Some(self.program.constant(id).map_err(|error| failed(error.into()))?.clone()), device: None }
                }
                _ => Held::default(),
            };
            if graph.states.iter().any(|state| state.output as usize == index) {
                let tensor = match held.device {
                    Some(tensor) => tensor,
                    None => self.on_host(&held).and_then(|tensor| self.upload(&tensor)).map_err(failed)?,
                };
                self.states.keep(index, tensor);
            } else {
                visible.push(self.on_host(&held).map_err(failed)?);
            }
        }
        Ok(visible)
    }
    /// Whether a kernel met a wrong value.
    fn check_faults(&mut self, graph: &Graph) -> Result<(), Diagnostic> {
        let mut number = [0; 8];
        self.device.read(self.fault.address, &mut number)?;
        let step = (u64::from_le_bytes(number) as usize).checked_sub(1).and_then(|number| self.plan.steps.get(number));
        match step {
            None => Ok(()),
            Some(step) => Err(crate::error::of_op(&graph[step.node], OpError::operands("an index is out of range"))),
        }
    }
}

fn wrong_kernel(error: CheckError) -> Diagnostic {
    match error {
        CheckError::Device(error) => error.into(),
        wrong => Diagnostic::input("gpu::kernel::wrong", format!("the device computes something else than the reference: {wrong}"))
            .help("run with --device cpu, and check the device with tools/gpu/check"),
    }
}

/// A step on the device.
fn on_device(
    step: &Step,
    node: &Node,
    mut inputs: Vec<DeviceTensor>,
    weights: &HashMap<ConstId, Weights>,
    dims: &[Vec<usize>],
    cx: &mut Cx<'_>,
) -> launch::Result<Vec<DeviceTensor>> {
    match &step.work {
        Work::View => match inputs.drain(..).next() {
            Some(x) if x.spare.is_none() && x.len() == dims[0].iter().product::<usize>() => Ok(vec![x.with_sizes(&dims[0])]),
            _ => launch::misfit(format!("elements do not fit {:?}", dims[0])),
        },
        Work::Map(map) => Ok(vec![launch::map::run(map, &inputs, &dims[0], cx)?]),
        Work::Append(axis) => {
            let (Some(more), Some(past)) = (inputs.pop(), inputs.pop()) else { return launch::misfit("the state is gone") };
            Ok(vec![match past.elem.quant() {
                Some(ty) => launch::codes::append(past, ty, &more, *axis, cx)?,
                None => movement::append(past, &more, *axis, cx)?,
            }])
        }
        Work::Product(id, rows, choices) => {
            let (Some(op), Some(weights)) = (Quantized::of(&node.op), weights.get(id)) else {
                return launch::misfit("its weights are not on the device");
            };
            let planned = Planned { op, weights, rows, choices };
            let y = match &node.op {
                Op::BitConv(op) => bit_conv::bit_conv(op, planned, &inputs, cx)?,
                _ => bit_matmul::bit_matmul(planned, &inputs, cx)?,
            };
            Ok(vec![y])
        }
        Work::Table(id) => match weights.get(id) {
            Some(weights) => Ok(vec![launch::index::rows(weights, &inputs, cx)?]),
            None => launch::misfit("its weights are not on the device"),
        },
        Work::Op | Work::Host => launch::run(&node.op, &inputs, dims, cx),
    }
}

/// The sizes of a value, from its type.
fn sizes(graph: &Graph, value: ValueId, scope: &Scope<'_>) -> Result<Vec<usize>, OpError> {
    let dims = graph.ty(value).dims().ok_or_else(|| OpError::operands("the number of axes of a result is not known"))?;
    dims.iter().map(|dim| scope.size(dim).ok_or_else(|| OpError::operands(format!("dimension {dim} has no value")))).collect()
}
