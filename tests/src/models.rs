//! Real models and what onnxruntime computes on them, as `tests/models/reference.py` left them.

use mokume::driver::archive;
use mokume::driver::compare::{Difference, difference};
use mokume::driver::compile;
use mokume::driver::pipelines::{self, PipelineOptions};
use mokume::driver::source;
use mokume_ir::diag::Report;
use mokume_passes::manager::PipelineReport;
use mokume_passes::pipeline::Pipeline;
use mokume_runtime::artifact;
use mokume_runtime::file;
use mokume_runtime::session::{Session, SessionOptions};
use mokume_runtime::tensor::Tensor;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

/// Named tensors.
pub type Named = Vec<(String, Tensor)>;

/// A model with at least one reference run.
pub struct Model {
    /// Its name.
    pub name: String,
    /// The file.
    pub path: PathBuf,
    references: Vec<PathBuf>,
}

/// Inputs, and what onnxruntime made of them.
pub struct Reference {
    /// Inputs of the run before, for programs that keep state; empty if this is the first run.
    pub before: Named,
    /// Inputs.
    pub inputs: Named,
    /// Outputs.
    pub outputs: Named,
}

/// A model compiled at one precision and judged on its references.
pub struct Judged {
    /// Bytes of the artifact.
    pub bytes: u64,
    /// Seconds to compile.
    pub compile_seconds: f64,
    /// What every pass did.
    pub passes: PipelineReport,
    /// Per reference: how far its outputs are.
    pub worst: Vec<Worst>,
    /// Per reference: median milliseconds of a run.
    pub milliseconds: Vec<f64>,
}

/// How far the outputs of a run are from their references.
pub struct Worst {
    /// The output with the lowest cosine.
    pub output: Difference,
    /// The largest error of any output.
    pub max_error: f64,
}

/// The folder that holds `models` and `reference`: `MOKUME_HOME`, or `.mokume` in the repository.
pub fn home() -> PathBuf {
    std::env::var_os("MOKUME_HOME").map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../.mokume"), PathBuf::from)
}

/// Every model that is there and has references, by name.
pub fn models() -> Vec<Model> {
    let mut found: Vec<Model> = Vec::new();
    let entries = std::fs::read_dir(home().join("reference")).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    let mut references: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|e| e == "npz")).collect();
    references.sort();
    for reference in references {
        let stem = reference.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let name = stem.rsplit_once('.').map_or(stem.as_str(), |parts| parts.0).to_string();
        match found.iter_mut().find(|model| model.name == name) {
            Some(model) => model.references.push(reference),
            None => found.extend(model_file(&name).map(|path| Model { name, path, references: vec![reference] })),
        }
    }
    found
}

/// Every model file that is there, with references or without, in order of the paths.
pub fn model_files() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(home().join("models")).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    let file = |path: PathBuf| if path.is_dir() { path.join("model.onnx") } else { path };
    let mut files: Vec<PathBuf> = entries.map(file).filter(|path| path.extension().is_some_and(|e| e == "onnx") && path.exists()).collect();
    files.sort();
    files
}

fn model_file(name: &str) -> Option<PathBuf> {
    let models = home().join("models");
    [models.join(format!("{name}.onnx")), models.join(name).join("model.onnx")].into_iter().find(|path| path.exists())
}

impl Model {
    /// The reference runs.
    ///
    /// Errors  when a file is broken.
    pub fn references(&self) -> Result<Vec<Reference>, Report> {
        self.references.iter().map(|path| read_reference(path)).collect()
    }
    /// Compiles as `preset` says for this machine and judges every reference run. The first reference calibrates.
    ///
    /// Errors  when the model does not compile or run.
    pub fn judge(&self, preset: &str, repeat: usize, threads: usize) -> Result<Judged, Report> {
        self.judge_pipeline(&compile::pipeline(None, Some(preset))?, repeat, threads)
    }
    /// As [`Model::judge`], through `pipeline`.
    ///
    /// Errors  as [`Model::judge`].
    pub fn judge_pipeline(&self, pipeline: &Pipeline, repeat: usize, threads: usize) -> Result<Judged, Report> {
        let references = self.references()?;
        let scratch = tempfile::tempdir().map_err(|e| file::unwritable(Path::new("a temporary folder"), &e))?;
        let artifact_path = scratch.path().join("model.mok");
        let start = Instant::now();
        let (bytes, passes) = self.compile(pipeline, &references, scratch.path(), &artifact_path)?;
        let compile_seconds = start.elapsed().as_secs_f64();
        let program = Arc::new(artifact::read(&artifact_path, &artifact::ReadOptions::default())?);
        let mut judged = Judged { bytes, compile_seconds, passes, worst: Vec::new(), milliseconds: Vec::new() };
        for reference in &references {
            let mut session = Session::new(program.clone(), SessionOptions { threads, ..Default::default() })?;
            let mut runs = (0..repeat.max(1)).map(|_| reference.run(&mut session)).collect::<Result<Vec<_>, _>>()?;
            runs.sort_by(|a, b| a.1.total_cmp(&b.1));
            let (outputs, milliseconds) = runs.swap_remove(runs.len() / 2);
            let judged_outputs = reference.outputs.iter().filter(|(name, _)| session.outputs().iter().any(|o| o.name == *name));
            judged.worst.push(worst(judged_outputs, &outputs));
            judged.milliseconds.push(milliseconds);
        }
        Ok(judged)
    }
    fn compile(
        &self,
        pipeline: &Pipeline,
        references: &[Reference],
        scratch: &Path,
        artifact: &Path,
    ) -> Result<(u64, PipelineReport), Report> {
        let mut options = PipelineOptions::default();
        if let Some(first) = references.first() {
            let calibration = scratch.join("calibration.npz");
            archive::write_npz(&calibration, &first.inputs)?;
            options.calibration.files.push(calibration);
        }
        let mut module = source::open_graph(&self.path)?;
        let report = pipelines::apply(&mut module, pipeline, &options, &mut |_, _, _| {})?;
        Ok((compile::write_artifact(module, &compile::target("native")?, artifact)?.bytes, report))
    }
}

impl Reference {
    /// One run from no state, after the run before it where the program keeps state: outputs and milliseconds.
    fn run(&self, session: &mut Session) -> Result<(Named, f64), Report> {
        session.reset();
        if session.inputs().len() < self.inputs.len() && !self.before.is_empty() {
            session.run(&visible(session, &self.before))?;
        }
        let inputs = visible(session, &self.inputs);
        let start = Instant::now();
        let outputs = session.run(&inputs)?;
        Ok((outputs, start.elapsed().as_secs_f64() * 1e3))
    }
}

/// The inputs that the program does not keep as state.
fn visible(session: &Session, inputs: &[(String, Tensor)]) -> Named {
    inputs.iter().filter(|(name, _)| session.inputs().iter().any(|input| input.name == *name)).cloned().collect()
}

fn read_reference(path: &Path) -> Result<Reference, Report> {
    let mut reference = Reference { before: Vec::new(), inputs: Vec::new(), outputs: Vec::new() };
    for (name, tensor) in archive::read_npz(path)? {
        match name.split_once(' ') {
            Some(("before", name)) => reference.before.push((name.to_string(), tensor)),
            Some(("in", name)) => reference.inputs.push((name.to_string(), tensor)),
            Some(("out", name)) => reference.outputs.push((name.to_string(), tensor)),
            _ => {}
        }
    }
    Ok(reference)
}

/// The output furthest from its reference; a missing or misshapen output is infinitely far.
fn worst<'r>(expected: impl Iterator<Item = &'r (String, Tensor)>, got: &[(String, Tensor)]) -> Worst {
    let missing = |name: &str| Difference { name: name.into(), cosine: f64::NEG_INFINITY, sqnr_db: None, max_error: f64::INFINITY };
    let judge = |(name, expected): &(String, Tensor)| {
        let got = got.iter().find(|output| output.0 == *name);
        got.and_then(|(_, got)| difference(name, expected, got)).unwrap_or_else(|| missing(name))
    };
    let differences: Vec<Difference> = expected.map(judge).collect();
    let max_error = differences.iter().map(|d| d.max_error).fold(0.0, f64::max);
    let furthest = differences.into_iter().min_by(|a, b| a.cosine.total_cmp(&b.cosine)).unwrap_or_else(|| missing("no outputs"));
    Worst { max_error: furthest.max_error.max(max_error), output: furthest }
}
