//! `mokume compile`: a model in, one file that runs out.

use crate::cli::compile_report::ReportArgs;
use crate::cli::options::{self, PipelineArgs};
use crate::cli::talk::Talk;
use crate::driver::compile::Written;
use crate::driver::pipelines::{self, PipelineOptions};
use crate::driver::{compile, source};
use crate::report::device::DeviceKernels;
use crate::report::table::{Table, bytes, milliseconds};
use mokume_ir::diag::Report;
use mokume_ir::graph::Module;
use mokume_passes::layer::LayerReport;
use mokume_passes::manager::PipelineReport;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Compile a model (.onnx or .gir) to an artifact (.mok)
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The model
    pub model: PathBuf,
    /// The artifact
    #[arg(short, long, value_name = "FILE.mok")]
    pub output: PathBuf,
    #[allow(missing_docs, reason = "a comment here would become a help heading")]
    #[command(flatten)]
    pub pipeline: PipelineArgs,
    /// Native code levels: native, all, or a list of x86-64, avx2, avx512; GPUs: sm_80, sm_86, sm_89, sm_90a, sm_100, sm_120
    #[arg(long, default_value = "all", value_name = "TARGETS")]
    pub target: String,
    /// Choose kernels as this file of measurements says, where it does; tools/gpu/bench and bench --kernels --tune write some
    #[arg(long, value_name = "FILE")]
    pub tuning: Option<PathBuf>,
    #[allow(missing_docs, reason = "a comment here would become a help heading")]
    #[command(flatten)]
    pub report: ReportArgs,
}

/// What is said about a compilation.
#[derive(Serialize)]
pub(super) struct Compiled {
    pub(super) pipeline: String,
    nodes_before: usize,
    nodes_after: usize,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    pub(super) seconds: f64,
    pub(super) kernels: Vec<String>,
    notes: Vec<String>,
    pub(super) layers: Vec<LayerReport>,
    device: Vec<DeviceKernels>,
}

/// Runs the verb.
///
/// Errors  when the model, the pipeline or the output is wrong; then no output file is left.
pub fn run(args: &Args, talk: &Talk) -> Result<(), Report> {
    use_threads(talk);
    options::existing(&args.model)?;
    let pipeline = compile::pipeline(args.pipeline.pipeline.as_deref(), args.pipeline.preset.as_deref())?;
    let mut target = compile::target(&args.target)?;
    if let Some(path) = &args.tuning {
        target.tuning = compile::tuning(path)?;
    }
    source::check_output(&args.output, "compile", "mok")?;
    let judge = args.report.prepare(args)?;
    let start = Instant::now();
    let mut module = source::open_graph(&args.model)?;
    let nodes_before = module.main().node_count();
    let mut exact = None;
    let mut keep = |module: &Module| exact = judge.as_ref().map(|_| module.clone());
    let report = rewrite(&mut module, &pipeline, &args.pipeline, talk, &mut keep)?;
    talk.say(format!("lowering {} nodes", module.main().node_count()));
    let nodes_after = module.main().node_count();
    let Written { bytes: bytes_out, choices, device } = compile::write_artifact(module, &target, &args.output)?;
    choices.interpreted.iter().for_each(|(node, why)| talk.say(format!("no kernel for {node}: {why}")));
    let compiled = Compiled {
        pipeline: pipeline.to_string(),
        nodes_before,
        nodes_after,
        bytes_in: model_bytes(&args.model),
        bytes_out,
        seconds: start.elapsed().as_secs_f64(),
        kernels: choices.kernels.iter().map(|((kernel, why), count)| format!("{count} x {kernel} ({why})")).collect(),
        notes: report.passes.iter().flat_map(|pass| pass.notes.clone()).collect(),
        layers: report.passes.iter().flat_map(|pass| pass.layers.clone()).collect(),
        device,
    };
    explain(&report, &args.pipeline, talk);
    if let Some((judge, exact)) = judge.zip(exact) {
        judge.write(args, exact, &compiled, report, talk)?;
    }
    talk.result(&compiled, summary(&compiled, &args.output));
    Ok(())
}

/// Sets the number of threads of the whole process.
pub fn use_threads(talk: &Talk) {
    // A second call (tests run verbs in one process) keeps the first pool.
    let _ = rayon::ThreadPoolBuilder::new().num_threads(talk.thread_count()).build_global();
}

/// Runs the pipeline with progress on stderr. `exact` sees the module before the first pass that rounds.
///
/// Errors  as [`pipelines::apply`].
pub fn rewrite(
    module: &mut Module,
    pipeline: &mokume_passes::pipeline::Pipeline,
    args: &PipelineArgs,
    talk: &Talk,
    exact: &mut dyn FnMut(&Module),
) -> Result<PipelineReport, Report> {
    let options = PipelineOptions {
        calibration: args.calibration.spec(),
        dump: args.dump.clone(),
        verify_each: args.verify_each,
        edit_limit: args.stop_after_edit,
        checkpoint: args.checkpoint.clone(),
    };
    pipelines::apply_watched(module, pipeline, &options, &mut Steps { talk, exact, pass: String::new(), shown: None })
}

/// One progress bar per pass; without a terminal one line per pass.
struct Steps<'a> {
    talk: &'a Talk,
    exact: &'a mut dyn FnMut(&Module),
    pass: String,
    shown: Option<(crate::cli::talk::Progress, usize)>,
}

impl pipelines::Progress for Steps<'_> {
    fn step(&mut self, pass: &str, done: usize, total: usize) {
        if self.pass != pass {
            self.pass = pass.to_string();
            self.shown = Some((self.talk.progress(pass, total as u64), 0));
        }
        if let Some((bar, last)) = &mut self.shown {
            bar.advance(done.saturating_sub(*last) as u64);
            *last = done;
        }
    }
    fn note(&mut self, pass: &str, text: &str) {
        self.talk.say(format!("note: {pass}: {text}"));
    }
    fn exact(&mut self, module: &Module) {
        (self.exact)(module);
    }
    fn layer(&mut self, layer: &LayerReport) {
        match &self.shown {
            Some((bar, _)) => bar.say(self.talk, layer),
            None => self.talk.say(layer),
        }
    }
}

/// Prints times and remarks where asked for.
pub fn explain(report: &PipelineReport, args: &PipelineArgs, talk: &Talk) {
    if args.time_passes {
        let mut table = Table::new(["pass", "edits", "nodes before", "after", "time"]);
        for pass in &report.passes {
            table.row([
                pass.pass.clone(),
                pass.edits.to_string(),
                pass.nodes_before.to_string(),
                pass.nodes_after.to_string(),
                milliseconds(pass.wall),
            ]);
        }
        talk.say(table);
    }
    if args.remarks {
        report.remarks().for_each(|remark| talk.say(format!("remark: {remark}")));
    }
}

/// Bytes of a model with the external data beside it.
fn model_bytes(path: &Path) -> u64 {
    let size = |path: &Path| std::fs::metadata(path).map_or(0, |m| m.len());
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let data = std::fs::read_dir(folder).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    let beside = data.filter(|p| p != path && p.extension().is_some_and(|e| e == "data" || e == "safetensors"));
    let ours = beside.filter(|p| p.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&stem)));
    size(path) + ours.map(|p| size(&p)).sum::<u64>()
}

fn summary(compiled: &Compiled, output: &Path) -> String {
    let device: String = compiled.device.iter().map(|kernels| format!("{}\n", kernels.summary())).collect();
    format!(
        "{}: {} -> {}, {} -> {} nodes, {:.1} s\nkernels: {}\n{device}pipeline: {}\n",
        output.display(),
        bytes(compiled.bytes_in as usize),
        bytes(compiled.bytes_out as usize),
        compiled.nodes_before,
        compiled.nodes_after,
        compiled.seconds,
        if compiled.kernels.is_empty() { "none".into() } else { compiled.kernels.join("; ") },
        compiled.pipeline
    )
}
