//! The runtime as the executor of passes: single ops for folding, whole modules for calibration.

use mokume_ir::constant::Constant;
use mokume_ir::dim::Symbol;
use mokume_ir::graph::Module;
use mokume_ir::ids::{FuncId, NodeId};
use mokume_ir::op::Op;
use mokume_passes::executor::{Executor, Named, Prepared};
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
        let (mut session, tensors) = (self.session(module)?, tensors(module, inputs)?);
        let mut observe = |function: FuncId, node: NodeId, outputs: &[Tensor]| {
            observe(function, node, &outputs.iter().map(convert::to_constant).collect::<Vec<_>>());
        };
        session.run_observed(&tensors, &mut observe).map(constants).map_err(|report| report.to_string())
    }
    fn outputs(&self, module: &Module, inputs: &[(String, Constant)]) -> Result<Named, String> {
        let (mut session, tensors) = (self.session(module)?, tensors(module, inputs)?);
        session.run(&tensors).map(constants).map_err(|report| report.to_string())
    }
    fn prepare<'e>(&'e self, module: &'e Module) -> Result<Prepared<'e>, String> {
        let mut session = self.session(module)?;
        Ok(Box::new(move |inputs| {
            session.reset();
            session.run(&tensors(module, inputs)?).map(constants).map_err(|report| report.to_string())
        }))
    }
}

impl RuntimeExecutor {
    fn session(&self, module: &Module) -> Result<Session, String> {
        let options = SessionOptions { threads: self.threads, ..Default::default() };
        Session::new(Arc::new(Program::interpret(module.clone())), options).map_err(|report| report.to_string())
    }
}

fn tensors(module: &Module, inputs: &[(String, Constant)]) -> Result<Vec<(String, Tensor)>, String> {
    let given = inputs.iter().filter(|(name, constant)| !is_empty_state(module, name, constant));
    let tensor = |(name, constant): &(String, Constant)| Ok((name.clone(), convert::to_tensor(constant).map_err(|e| e.to_string())?));
    given.map(tensor).collect()
}

/// Data that was gathered before a pass declared state may have it, empty: so does every session begin.
fn is_empty_state(module: &Module, name: &str, constant: &Constant) -> bool {
    let main = module.main();
    let is_state = || main.states.iter().any(|state| main.inputs()[state.input as usize].name == name);
    constant.byte_len() == 0 && is_state()
}

fn constants(outputs: Vec<(String, Tensor)>) -> Named {
    outputs.iter().map(|(name, tensor)| (name.clone(), convert::to_constant(tensor))).collect()
}
