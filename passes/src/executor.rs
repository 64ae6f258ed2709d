//! Running graphs from inside a pass: the trait that the driver implements with a runtime.

use mokume_ir::constant::Constant;
use mokume_ir::graph::Module;
use mokume_ir::ids::{FuncId, NodeId};
use mokume_ir::op::Op;

/// Named tensors: the inputs or outputs of a module.
pub type Named = Vec<(String, Constant)>;

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
    /// The outputs of a module for each of many sets of inputs.
    ///
    /// Errors  as [`Executor::run`].
    fn outputs_of_each(&self, module: &Module, samples: &[Named]) -> Result<Vec<Named>, String> {
        samples.iter().map(|inputs| self.outputs(module, inputs)).collect()
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
