//! Running graphs from inside a pass: the trait that the driver implements with a runtime.

use mokume_ir::constant::Constant;
use mokume_ir::graph::Module;
use mokume_ir::ids::{FuncId, NodeId};
use mokume_ir::op::Op;

/// Named tensors: the inputs or outputs of a module.
pub type Named = Vec<(String, Constant)>;

/// From inputs of a module to its outputs.
pub type Prepared<'e> = Box<dyn FnMut(&[(String, Constant)]) -> Result<Named, String> + 'e>;

/// Evaluates ops and modules.
pub trait Executor: Sync {
    /// The outputs of one op other than control flow.
    ///
    /// Errors  when the operands do not fit or the op is not supported.
    fn eval(&self, op: &Op, inputs: &[&Constant]) -> Result<Vec<Constant>, String>;
    /// The outputs of a module. `observe` sees the outputs of every node as it runs.
    ///
    /// Errors  when the inputs do not fit or an op is not supported.
    fn run(
        &self,
        module: &Module,
        inputs: &[(String, Constant)],
        observe: &mut dyn FnMut(FuncId, NodeId, &[Constant]),
    ) -> Result<Named, String>;
    /// The outputs of a module.
    ///
    /// Errors  as [`Executor::run`].
    fn outputs(&self, module: &Module, inputs: &[(String, Constant)]) -> Result<Named, String> {
        self.run(module, inputs, &mut |_, _, _| {})
    }
    /// What gives the outputs of a module again and again, in memory that it keeps.
    ///
    /// Errors  as [`Executor::run`], some of them only for inputs.
    fn prepare<'e>(&'e self, module: &'e Module) -> Result<Prepared<'e>, String> {
        Ok(Box::new(move |inputs| self.outputs(module, inputs)))
    }
    /// The outputs of a module for each of many sets of inputs.
    ///
    /// Errors  as [`Executor::run`].
    fn outputs_of_each(&self, module: &Module, samples: &[Named]) -> Result<Vec<Named>, String> {
        let mut outputs = self.prepare(module)?;
        samples.iter().map(|inputs| outputs(inputs)).collect()
    }
}

/// Runs nothing: for pipelines whose passes only look at the graph.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoExecutor;

impl Executor for NoExecutor {
    fn eval(&self, op: &Op, _inputs: &[&Constant]) -> Result<Vec<Constant>, String> {
        Err(format!("nothing can evaluate `{}` here: this pipeline was given no executor", op.name()))
    }
    fn run(
        &self,
        module: &Module,
        _inputs: &[(String, Constant)],
        _observe: &mut dyn FnMut(FuncId, NodeId, &[Constant]),
    ) -> Result<Named, String> {
        Err(format!("nothing can run \"{}\" here: this pipeline was given no executor", module.name))
    }
}
