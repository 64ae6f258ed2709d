//! Sessions: run a program on inputs, with threads, state and memory of their own.

use crate::bind::{Constraint, Declared, Scope, arrange, constraints, solve};
use crate::crew;
use crate::exec::{Observer, Run};
use crate::gpu::arch::Arch;
use crate::gpu::device::Device;
use crate::gpu::exec::{DeviceRun, Watch};
use crate::plan::{Memory, Planner, signature};
use crate::profile::{Event, Recorder};
use crate::program::Program;
use crate::state::States;
use crate::tensor::Tensor;
use mokume_ir::diag::{Diagnostic, Report};
use mokume_ir::graph::Port;
use mokume_ir::ids::{FuncId, NodeId};
use rayon::{ThreadPool, ThreadPoolBuilder};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;

/// How a session runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionOptions {
    /// Threads; 0 for one per core.
    pub threads: usize,
    /// A loop that repeats more often is refused.
    pub max_trips: u64,
}

impl Default for SessionOptions {
    fn default() -> Self {
        SessionOptions { threads: 0, max_trips: 1 << 24 }
    }
}

/// More threads than this are refused.
pub const MAX_THREADS: usize = 1024;

/// Outputs by name.
pub type Outputs = Vec<(String, Tensor)>;

/// Runs a program. States live as long as the session, or until [`Session::reset`].
pub struct Session {
    program: Arc<Program>,
    pool: ThreadPool,
    options: SessionOptions,
    /// Every input, state included, in the order of the entry function.
    declared: Vec<Declared>,
    inputs: Vec<Declared>,
    outputs: Vec<Declared>,
    states: States,
    planner: Planner,
    /// Runs the program instead of this machine's processor.
    device: Option<DeviceRun>,
}

impl Session {
    /// A session of `program` without state.
    ///
    /// Errors  when the threads are too many or cannot be started.
    pub fn new(program: Arc<Program>, options: SessionOptions) -> Result<Self, Report> {
        if options.threads > MAX_THREADS {
            let message = format!("{} threads are too many: at most {MAX_THREADS} are", options.threads);
            return Err(Diagnostic::input("run::threads", message).help("--threads 0 takes one per core").into());
        }
        let pool = ThreadPoolBuilder::new().num_threads(options.threads).thread_name(|i| format!("mokume-{i}")).build();
        let pool = pool.map_err(|error| Diagnostic::input("run::threads", format!("{} threads do not start: {error}", options.threads)))?;
        let main = program.module.main();
        let declare = |port: &Port| Declared { name: port.name.clone(), ty: main.ty(port.value).clone() };
        let declared: Vec<Declared> = main.inputs().iter().map(declare).collect();
        let states = States::new(main)?;
        let inputs = declared.iter().enumerate().filter(|(i, _)| !states.is_input(*i)).map(|(_, input)| input.clone()).collect();
        let outputs = main.outputs().iter().enumerate().filter(|(i, _)| !states.is_output(*i)).map(|(_, port)| declare(port)).collect();
        Ok(Session { program, pool, options, declared, inputs, outputs, states, planner: Planner::default(), device: None })
    }
    /// A session of `program` without state, on a device that runs kernels for `arch`.
    ///
    /// Errors  naming every node that no device kernel computes, or when the device has no memory.
    pub fn on_device(program: Arc<Program>, device: Box<dyn Device>, arch: Arch) -> Result<Self, Report> {
        let session = Session::new(program.clone(), SessionOptions { threads: 1, ..Default::default() })?;
        Ok(Session { device: Some(DeviceRun::new(program, device, arch)?), ..session })
    }
    /// Checks the kernels of quantized products against the definition, on the device of this session if it has one.
    ///
    /// Errors  naming the kernel that computes something else.
    pub fn check_kernels(&mut self) -> Result<(), Report> {
        self.device.as_mut().map_or(Ok(()), DeviceRun::check_kernels)
    }
    /// Name and type of every input; states are hidden.
    pub fn inputs(&self) -> &[Declared] {
        &self.inputs
    }
    /// Name and type of every output; states are hidden.
    pub fn outputs(&self) -> &[Declared] {
        &self.outputs
    }
    /// The program.
    pub fn program(&self) -> &Arc<Program> {
        &self.program
    }
    /// Bytes that the last run took beside constants, inputs and state.
    pub fn peak_bytes(&self) -> usize {
        self.device.as_ref().map_or_else(|| self.planner.peak_bytes(), DeviceRun::bytes)
    }
    /// Bytes of the state that the last run left, without room to grow.
    pub fn state_bytes(&self) -> usize {
        self.device.as_ref().map_or_else(|| self.states.bytes(), DeviceRun::state_bytes)
    }
    /// Forgets all state.
    pub fn reset(&mut self) {
        self.states.reset();
        self.device.iter_mut().for_each(DeviceRun::reset);
    }
    /// Runs the program once. An error while running also forgets all state.
    ///
    /// Errors  inputs that do not fit their types or each other, listed all; the first op that fails.
    pub fn run(&mut self, inputs: &[(String, Tensor)]) -> Result<Outputs, Report> {
        self.run_with(inputs, None, None)
    }
    /// As [`Session::run`], also giving when every node ran.
    ///
    /// Errors  as [`Session::run`].
    pub fn run_profiled(&mut self, inputs: &[(String, Tensor)]) -> Result<(Outputs, Vec<Event>), Report> {
        let mut recorder = Recorder::new();
        let outputs = self.run_with(inputs, None, Some(&mut recorder))?;
        Ok((outputs, recorder.events))
    }
    /// As [`Session::run`]; `observe` sees the outputs of every node as soon as it ran, nodes of called functions included.
    pub fn run_observed(
        &mut self,
        inputs: &[(String, Tensor)],
        observe: &mut dyn FnMut(FuncId, NodeId, &[Tensor]),
    ) -> Result<Outputs, Report> {
        // The observer stays on this thread; the run is on the session's.
        std::thread::scope(|scope| {
            let (sender, receiver) = sync_channel::<(FuncId, NodeId, Vec<Tensor>)>(1);
            let run = scope.spawn(move || {
                let mut send = |function: FuncId, node: NodeId, outputs: &[Tensor]| drop(sender.send((function, node, outputs.to_vec())));
                self.run_with(inputs, Some(&mut send), None)
            });
            receiver.iter().for_each(|(function, node, outputs)| observe(function, node, &outputs));
            run.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    fn run_with<'o>(
        &mut self,
        inputs: &[(String, Tensor)],
        observe: Option<&'o mut Observer<'o>>,
        profile: Option<&'o mut Recorder>,
    ) -> Result<Outputs, Report> {
        let given = self.given(inputs)?;
        let signature = signature(&given);
        let mut scope = Scope::default();
        let constraints = self.constraints(&given);
        solve(&mut scope, &constraints)?;
        if let Some(device) = &mut self.device {
            let results = device.run(given, scope, Watch { observe, profile })?;
            return Ok(self.outputs.iter().map(|output| output.name.clone()).zip(results).collect());
        }
        let arguments = self.states.arguments(given, &self.declared, &scope)?;
        let mut memory = self.planner.begin(&signature);
        let results = self.execute(arguments, scope, &mut memory, observe, profile);
        self.planner.end(&signature, memory);
        let results = results.inspect_err(|_| self.states.reset())?;
        let results = self.states.keep(results);
        Ok(self.outputs.iter().map(|output| output.name.clone()).zip(results).collect())
    }

    fn execute<'o>(
        &self,
        arguments: Vec<Tensor>,
        scope: Scope<'_>,
        memory: &mut Memory,
        observe: Option<&'o mut Observer<'o>>,
        profile: Option<&'o mut Recorder>,
    ) -> Result<Vec<Tensor>, Diagnostic> {
        let (program, max_trips) = (&self.program, self.options.max_trips);
        crew::install(&self.pool, move || {
            let alloc = |dims: &[usize], elem| memory.alloc(dims, elem);
            let mut run = Run { program, alloc: &alloc, observe, profile, max_trips, depth: 0 };
            let outputs = run.function(program.module.entry, arguments, scope)?;
            Ok(outputs.into_iter().map(Tensor::on_heap).collect())
        })
    }
    fn given(&self, inputs: &[(String, Tensor)]) -> Result<Vec<Tensor>, Report> {
        let hidden = self.declared.iter().enumerate().filter(|(i, _)| self.states.is_input(*i));
        let hidden: Vec<&str> = hidden.map(|(_, input)| input.name.as_str()).collect();
        arrange(&self.inputs, &hidden, inputs)
    }
    fn constraints<'a>(&'a self, given: &[Tensor]) -> Vec<Constraint<'a>> {
        let mut all: Vec<_> = self.inputs.iter().zip(given).flat_map(|(input, tensor)| constraints(input, tensor)).collect();
        all.extend(match &self.device {
            Some(device) => device.constraints(&self.declared),
            None => self.states.constraints(&self.declared),
        });
        all
    }
}
