//! The runtime as the executor of passes: single ops for folding, whole modules for calibration.

use mokume_ir::constant::Constant;
use mokume_ir::dim::Symbol;
use mokume_ir::graph::Module;
use mokume_ir::ids::{FuncId, NodeId};
use mokume_ir::op::Op;
use mokume_passes::executor::{Executor, Named};
use mokume_runtime::convert;
use mokume_runtime::ops::{self, OpContext};
use mokume_runtime::program::Program;
use mokume_runtime::session::{Session, SessionOptions};
use mokume_runtime::tensor::Tensor;
use std::sync::Arc;

/// Runs ops and modules with the reference op library.
#[derive(Debug, Clone, Copy, Default)]
pub struct RuntimeExecutor {
    /// Threads; 0 for one per core.
    pub threads: usize,
}

impl Executor for RuntimeExecutor {
    fn eval(&self, op: &Op, inputs: &[&Constant]) -> Result<Vec<Constant>, String> {
        let tensors = inputs.iter().map(|c| convert::to_tensor(c).map_err(|e| e.to_string())).collect::<Result<Vec<_>, _>>()?;
        let alloc = |dims: &[usize], elem| Tensor::zeros(dims, elem);
        let unbound = |_: &Symbol| None;
        let cx = OpContext { alloc: &alloc, size_of: &unbound };
        let outputs = ops::run(op, &tensors.iter().collect::<Vec<_>>(), &cx).map_err(|e| e.to_string())?;
        Ok(outputs.iter().map(convert::to_constant).collect())
    }
    fn run(
        &self,
        module: &Module,
        inputs: &[(String, Constant)],
        observe: &mut dyn FnMut(FuncId, NodeId, &[Constant]),
    ) -> Result<Named, String> {
        let text = |report: mokume_ir::diag::Report| report.to_string();
        let mut session =
            Session::new(Arc::new(Program::interpret(module.clone())), SessionOptions { threads: self.threads, ..Default::default() })
                .map_err(text)?;
        let tensors = inputs
            .iter()
            .map(|(name, constant)| Ok((name.clone(), convert::to_tensor(constant).map_err(|e| e.to_string())?)))
            .collect::<Result<Vec<_>, String>>()?;
        let outputs = session
            .run_observed(&tensors, &mut |function, node, outputs| {
                observe(function, node, &outputs.iter().map(convert::to_constant).collect::<Vec<_>>());
            })
            .map_err(text)?;
        Ok(outputs.iter().map(|(name, tensor)| (name.clone(), convert::to_constant(tensor))).collect())
    }
}
