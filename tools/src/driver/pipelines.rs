//! Runs pipelines on modules with the runtime as executor: dumps, calibration data, crash reports.

use crate::driver::calibration::Calibration;
use crate::driver::checkpoint::Folder;
use crate::driver::executor::RuntimeExecutor;
use crate::driver::source;
use mokume_ir::diag::{Diagnostic, Report};
use mokume_ir::graph::Module;
use mokume_ir::text;
use mokume_passes::checkpoint::Checkpoint;
use mokume_passes::layer::LayerReport;
use mokume_passes::manager::{Crash, PipelineError, PipelineReport, run_pipeline};
use mokume_passes::pass::{Observer, PassContext};
use mokume_passes::pipeline::Pipeline;
use mokume_runtime::file;
use std::path::{Path, PathBuf};

/// How to run a pipeline.
#[derive(Debug, Clone, Default)]
pub struct PipelineOptions {
    /// Inputs that stand for the use of the model.
    pub calibration: Calibration,
    /// Where to dump the graph after every pass.
    pub dump: Option<PathBuf>,
    /// Verify after every pass.
    pub verify_each: bool,
    /// Stop after this many edits.
    pub edit_limit: Option<usize>,
    /// A folder in which long passes keep what they finished, to go on from there when they are run again.
    pub checkpoint: Option<PathBuf>,
}

/// Who is told how far long passes have come.
pub trait Progress {
    /// Step `done` of `total` of a pass is over.
    fn step(&mut self, pass: &str, done: usize, total: usize);
    /// The user should know this of a pass.
    fn note(&mut self, pass: &str, text: &str);
    /// A layer is rounded.
    fn layer(&mut self, layer: &LayerReport);
    /// The module before the first pass that rounds to few bits: it still computes what the model does.
    fn exact(&mut self, module: &Module);
}

/// Tells a closure of (pass, done, total) the steps.
struct Steps<'a>(&'a mut dyn FnMut(&str, usize, usize));

impl Progress for Steps<'_> {
    fn step(&mut self, pass: &str, done: usize, total: usize) {
        self.0(pass, done, total);
    }
    fn note(&mut self, _pass: &str, _text: &str) {}
    fn layer(&mut self, _layer: &LayerReport) {}
    fn exact(&mut self, _module: &Module) {}
}

/// Runs `pipeline` on `module`. `progress` is told (pass, done, total) during long passes.
///
/// Errors  when a pass fails, calibration data is broken, or a dump cannot be written; a pass that panics leaves a file from
///         which the panic can be seen again.
pub fn apply(
    module: &mut Module,
    pipeline: &Pipeline,
    options: &PipelineOptions,
    progress: &mut dyn FnMut(&str, usize, usize),
) -> Result<PipelineReport, Report> {
    apply_watched(module, pipeline, options, &mut Steps(progress))
}

/// As [`apply`], telling all that can be told.
///
/// Errors  as [`apply`].
pub fn apply_watched(
    module: &mut Module,
    pipeline: &Pipeline,
    options: &PipelineOptions,
    progress: &mut dyn Progress,
) -> Result<PipelineReport, Report> {
    let calibration = options.calibration.sets(module)?;
    let checkpoint = options.checkpoint.clone().map(Folder::open).transpose()?;
    let executor = RuntimeExecutor::default();
    let exact = pipeline.exact_steps();
    if exact == 0 {
        progress.exact(module);
    }
    let mut watch = Watch { dump: options.dump.as_deref(), exact, last: String::new(), failure: None, progress };
    let mut cx = PassContext::new(&executor, &mut watch);
    cx.calibration = calibration;
    cx.verify_each = options.verify_each;
    cx.edit_limit = options.edit_limit;
    cx.checkpoint = checkpoint.as_ref().map(|folder| folder as &dyn Checkpoint);
    let outcome = run_pipeline(module, pipeline, &mut cx);
    drop(cx);
    match (outcome, watch.failure) {
        (Ok(report), None) => Ok(report),
        (Err(PipelineError::Failed(report)), _) | (_, Some(report)) => Err(report),
        (Err(PipelineError::Crashed(crash)), None) => Err(write_reproducer(&crash)),
    }
}

/// Dumps the graph after every pass that changed it, numbered, and tells of what passes do.
struct Watch<'a> {
    dump: Option<&'a Path>,
    /// Passes before the first that rounds.
    exact: usize,
    last: String,
    failure: Option<Report>,
    progress: &'a mut dyn Progress,
}

impl Observer for Watch<'_> {
    fn progress(&mut self, pass: &str, done: usize, total: usize) {
        self.progress.step(pass, done, total);
    }
    fn note(&mut self, pass: &str, text: &str) {
        self.progress.note(pass, text);
    }
    fn layer(&mut self, _pass: &str, layer: &LayerReport) {
        self.progress.layer(layer);
    }
    fn after_pass(&mut self, index: usize, pass: &str, module: &Module) {
        if index + 1 == self.exact {
            self.progress.exact(module);
        }
        let Some(folder) = self.dump else { return };
        let printed = text::print(module);
        if printed == self.last {
            return;
        }
        let path = folder.join(format!("{:02}-{pass}.gir", index + 1));
        let written = file::make_folder(folder).and_then(|()| file::write(&path, |out| out.write_all(printed.as_bytes())));
        if let Err(report) = written {
            self.failure.get_or_insert(report);
        }
        self.last = printed;
    }
}

/// Writes what is needed to see a panic again; the error says how.
fn write_reproducer(crash: &Crash) -> Report {
    let hash = text::print(&crash.before).bytes().fold(0xCBF2_9CE4_8422_2325u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01B3));
    let path = PathBuf::from(format!("mokume-crash-{hash:016x}.gir"));
    let bug = Diagnostic::input("mokume::bug", format!("pass `{}` panicked: {}", crash.pass, crash.message));
    match source::write_text(&crash.before, &path) {
        Ok(()) => {
            bug.help(format!("please report it with {0}; replay: mokume opt {0} -p '{1}' -o -", path.display(), crash.pipeline)).into()
        }
        Err(report) => bug.help(format!("no reproducer was written: {report}")).into(),
    }
}
