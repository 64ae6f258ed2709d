//! Runs pipelines and does what is common to all passes: dumps, verification, timing, remarks, edit limits, crash reports.

use crate::layer::LayerReport;
use crate::pass::{Pass, PassContext, PassError, Remark};
use crate::pipeline::{Pipeline, Step};
use mokume_ir::diag::{Diagnostic, Report};
use mokume_ir::graph::Module;
use mokume_ir::verify::verify;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

/// What a pipeline did.
#[derive(Debug, Clone, Default)]
pub struct PipelineReport {
    /// One row per pass, in order.
    pub passes: Vec<PassReport>,
}

/// What a pass did.
#[derive(Debug, Clone)]
pub struct PassReport {
    /// The pass with its options.
    pub pass: String,
    /// Edits it made.
    pub edits: usize,
    /// Nodes of all functions before it.
    pub nodes_before: usize,
    /// Nodes of all functions after it.
    pub nodes_after: usize,
    /// Time it took.
    pub wall: Duration,
    /// What it could have done but did not, and why.
    pub remarks: Vec<Remark>,
    /// What the user should know of it.
    pub notes: Vec<String>,
    /// What it measured of layers.
    pub layers: Vec<LayerReport>,
}

impl PipelineReport {
    /// Edits of all passes.
    pub fn edits(&self) -> usize {
        self.passes.iter().map(|pass| pass.edits).sum()
    }
    /// Remarks of all passes.
    pub fn remarks(&self) -> impl Iterator<Item = &Remark> {
        self.passes.iter().flat_map(|pass| &pass.remarks)
    }
}

/// Why a pipeline stopped.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PipelineError {
    /// The user's model, pipeline or data is the reason.
    #[error("{0}")]
    Failed(Report),
    /// A pass panicked, or left a module that is not valid: a bug of mokume.
    #[error("pass `{}` {}", .0.pass, .0.message)]
    Crashed(Box<Crash>),
}

/// All that is needed to see a bug again: run `pipeline` on `before`.
#[derive(Debug, Clone)]
pub struct Crash {
    /// The pass, with its options.
    pub pass: String,
    /// What it did: how it panicked, or which invariants the module breaks after it.
    pub message: String,
    /// The module as the pass found it.
    pub before: Module,
    /// The rest of the pipeline, from that pass on.
    pub pipeline: String,
}

/// Runs `pipeline` on `module`.
///
/// Errors  when a pass fails, panics or (asked by `verify_each`) leaves an invalid module. The module is then as far as the
///         pipeline came.
pub fn run_pipeline(module: &mut Module, pipeline: &Pipeline, cx: &mut PassContext<'_>) -> Result<PipelineReport, PipelineError> {
    let passes = pipeline.steps().iter().map(|step| Ok((step, step.instantiate()?)));
    let passes = passes.collect::<Result<Vec<_>, Report>>().map_err(PipelineError::Failed)?;
    let mut report = PipelineReport::default();
    for (index, (step, pass)) in passes.iter().enumerate() {
        report.passes.push(run_step(module, step, &**pass, cx, &|| pipeline.from_step(index).to_string())?);
        cx.observer.after_pass(index, &step.name, module);
    }
    Ok(report)
}

fn run_step(
    module: &mut Module,
    step: &Step,
    pass: &dyn Pass,
    cx: &mut PassContext<'_>,
    rest: &dyn Fn() -> String,
) -> Result<PassReport, PipelineError> {
    let before = module.clone();
    let (edits, start) = (cx.edits(), Instant::now());
    cx.enter(&step.name);
    let outcome = catch_unwind(AssertUnwindSafe(|| pass.run_module(module, cx)));
    let bug = match outcome {
        Ok(Err(error)) => return Err(PipelineError::Failed(explain(error, step))),
        Err(panic) => Some(format!("panicked: {}", panic_message(&*panic))),
        Ok(Ok(())) if cx.verify_each => verify(module).err().map(|report| format!("left an invalid module:\n{report}")),
        Ok(Ok(())) => None,
    };
    if let Some(message) = bug {
        return Err(PipelineError::Crashed(Box::new(Crash { pass: step.to_string(), message, before, pipeline: rest() })));
    }
    Ok(PassReport {
        pass: step.to_string(),
        edits: cx.edits() - edits,
        nodes_before: node_count(&before),
        nodes_after: node_count(module),
        wall: start.elapsed(),
        remarks: cx.drain_remarks(),
        notes: cx.drain_notes(),
        layers: cx.drain_layers(),
    })
}

fn node_count(module: &Module) -> usize {
    module.functions.iter().map(|(_, graph)| graph.node_count()).sum()
}

fn explain(error: PassError, step: &Step) -> Report {
    match error {
        PassError::Report(report) => report,
        PassError::Infer(error) => Diagnostic::input("pass::infer", format!("pass `{}` cannot type a node: {error}", step.name)).into(),
    }
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| text.to_string());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_string())
}
