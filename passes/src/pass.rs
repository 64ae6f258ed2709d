//! What a pass is, and what it may use beside the graph.

use crate::checkpoint::Checkpoint;
use crate::executor::{Executor, Named};
use crate::layer::LayerReport;
use crate::query::callees_first;
use mokume_ir::diag::{Diagnostic, Report};
use mokume_ir::edit::Editor;
use mokume_ir::graph::{Graph, Module};
use mokume_ir::ids::NodeId;
use mokume_ir::infer::InferError;

/// A rewrite of a module. The struct that implements it holds the options.
///
/// A pass has the shape *find, then edit*: a pure function of the graph that finds a place or says why there is none, then a
/// small edit. It asks [`PassContext::take`] before every edit, so that a wrong one can be found by bisection.
pub trait Pass: Send + Sync {
    /// Rewrites one function.
    fn run(&self, editor: &mut Editor<'_>, cx: &mut PassContext<'_>) -> Result<(), PassError>;
    /// Rewrites the module: every function, callees first. Passes that look across functions override this.
    fn run_module(&self, module: &mut Module, cx: &mut PassContext<'_>) -> Result<(), PassError> {
        callees_first(module).into_iter().try_for_each(|function| self.run(&mut Editor::new(module, function), cx))
    }
}

/// Why a pass stopped.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PassError {
    /// A node the pass wanted to make does not type-check.
    #[error(transparent)]
    Infer(#[from] InferError),
    /// Anything the user can do something about.
    #[error("{0}")]
    Report(Report),
}

impl From<Diagnostic> for PassError {
    fn from(diagnostic: Diagnostic) -> Self {
        PassError::Report(diagnostic.into())
    }
}

impl From<Report> for PassError {
    fn from(report: Report) -> Self {
        PassError::Report(report)
    }
}

/// Why a pass did not do something it could have done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remark {
    /// The pass.
    pub pass: String,
    /// Name of the function.
    pub function: String,
    /// Provenance of the node.
    pub place: String,
    /// The node's op.
    pub op: &'static str,
    /// The reason.
    pub why: String,
}

/// `quantize: "lm_head" (matmul): skipped by name`
impl std::fmt::Display for Remark {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {} ({}): {}", self.pass, self.place, self.op, self.why)
    }
}

/// Who watches a pipeline: progress bars, dumps. Every method does nothing by default.
pub trait Observer {
    /// Step `done` of `total` of a long pass is over.
    fn progress(&mut self, _pass: &str, _done: usize, _total: usize) {}
    /// The user should know, whatever else is asked for.
    fn note(&mut self, _pass: &str, _text: &str) {}
    /// A layer is rounded.
    fn layer(&mut self, _pass: &str, _layer: &LayerReport) {}
    /// Pass number `index` (from 0) named `pass` is over and left `module`.
    fn after_pass(&mut self, _index: usize, _pass: &str, _module: &Module) {}
}

/// Watches nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Quiet;

impl Observer for Quiet {}

/// What a pass may use beside the graph, and how the pipeline runs.
pub struct PassContext<'a> {
    /// Runs ops and modules.
    pub executor: &'a dyn Executor,
    /// Who watches.
    pub observer: &'a mut dyn Observer,
    /// Inputs of the model that stand for its use; empty without calibration data.
    pub calibration: Vec<Named>,
    /// Where long passes keep what they finished.
    pub checkpoint: Option<&'a dyn Checkpoint>,
    /// Verify the module after every pass.
    pub verify_each: bool,
    /// Stop editing after this many edits of the whole pipeline.
    pub edit_limit: Option<usize>,
    pass: String,
    edits: usize,
    remarks: Vec<Remark>,
    notes: Vec<String>,
    layers: Vec<LayerReport>,
}

impl<'a> PassContext<'a> {
    /// A context without calibration data, verification and edit limit.
    pub fn new(executor: &'a dyn Executor, observer: &'a mut dyn Observer) -> Self {
        PassContext {
            executor,
            observer,
            calibration: Vec::new(),
            checkpoint: None,
            verify_each: false,
            edit_limit: None,
            pass: String::new(),
            edits: 0,
            remarks: Vec::new(),
            notes: Vec::new(),
            layers: Vec::new(),
        }
    }
    /// Whether one more edit may be made; counts it.
    #[must_use]
    pub fn take(&mut self) -> bool {
        let allowed = self.edit_limit.is_none_or(|limit| self.edits < limit);
        self.edits += usize::from(allowed);
        allowed
    }
    /// Edits made so far in the whole pipeline.
    pub fn edits(&self) -> usize {
        self.edits
    }
    /// Says why `node` was left as it is.
    pub fn remark(&mut self, graph: &Graph, node: NodeId, why: impl Into<String>) {
        let (place, op) = graph.node(node).map_or_else(Default::default, |n| (n.loc.to_string(), n.op.name()));
        let remark = Remark { pass: self.pass.clone(), function: graph.name.clone(), place, op, why: why.into() };
        if !self.remarks.contains(&remark) {
            self.remarks.push(remark);
        }
    }
    /// Says what the user should know of the whole pass, whatever else is asked for.
    pub fn note(&mut self, text: impl Into<String>) {
        let text = text.into();
        self.observer.note(&self.pass, &text);
        self.notes.push(format!("{}: {text}", self.pass));
    }
    /// Tells the observer how far the pass has come.
    pub fn progress(&mut self, done: usize, total: usize) {
        self.observer.progress(&self.pass, done, total);
    }
    /// Keeps what was measured of a layer, and tells the observer.
    pub fn layer(&mut self, layer: LayerReport) {
        self.observer.layer(&self.pass, &layer);
        self.layers.push(layer);
    }
    /// Names the pass that runs from here on; remarks and progress carry the name.
    pub(crate) fn enter(&mut self, pass: &str) {
        self.pass = pass.to_string();
    }
    /// The remarks since the last call.
    pub(crate) fn drain_remarks(&mut self) -> Vec<Remark> {
        std::mem::take(&mut self.remarks)
    }
    /// The notes since the last call.
    pub(crate) fn drain_notes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notes)
    }
    /// The layers since the last call.
    pub(crate) fn drain_layers(&mut self) -> Vec<LayerReport> {
        std::mem::take(&mut self.layers)
    }
}
