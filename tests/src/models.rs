//! Real models and what onnxruntime computes on them, as `tests/models/reference.py` left them.

use mokume::driver::archive;
use mokume::driver::compare::{Difference, difference};
use mokume::driver::compile;
use mokume::driver::pipelines::{self, PipelineOptions};
use mokume::driver::source;
use mokume_ir::diag::Report;
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
    /// Per reference: the worst output.
    pub worst: Vec<Difference>,
    /// Per reference: median milliseconds of a run.
    pub milliseconds: Vec<f64>,
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
    /// Compiles through `pipeline` for this machine and judges every reference run. The first reference calibrates.
    ///
    /// Errors  when the model does not compile or run.
    pub fn judge(&self, preset: &str, repeat: usize, threads: usize) -> Result<Judged, Report> {
        let references = self.references()?;
        let scratch = tempfile::tempdir().map_err(|e| file::unwritable(Path::new("a temporary folder"), &e))?;
        let artifact_path = scratch.path().join("model.mok");
        let start = Instant::now();
        let bytes = self.compile(preset, &references, scratch.path(), &artifact_path)?;
        let compile_seconds = start.elapsed().as_secs_f64();
        let program = Arc::new(artifact::read(&artifact_path, &artifact::ReadOptions::default())?);
        let mut judged = Judged { bytes, compile_seconds, worst: Vec::new(), milliseconds: Vec::new() };
        for reference in &references {
            let mut session = Session::new(program.clone(), SessionOptions { threads, ..Default::default() })?;
            judged.worst.push(worst(&reference.outputs, &session.run(&reference.inputs)?));
            judged.milliseconds.push(median_run(&mut session, &reference.inputs, repeat)?);
        }
        Ok(judged)
    }
    fn compile(&self, preset: &str, references: &[Reference], scratch: &Path, artifact: &Path) -> Result<u64, Report> {
        let mut options = PipelineOptions::default();
        if let Some(first) = references.first() {
            let calibration = scratch.join("calibration.npz");
            archive::write_npz(&calibration, &first.inputs)?;
            options.calibration.push(calibration);
        }
        let mut module = source::open_graph(&self.path)?;
        pipelines::apply(&mut module, &compile::pipeline(None, Some(preset))?, &options, &mut |_, _, _| {})?;
        Ok(compile::write_artifact(module, &compile::target("native")?, artifact)?.0)
    }
}

fn read_reference(path: &Path) -> Result<Reference, Report> {
    let (mut inputs, mut outputs) = (Vec::new(), Vec::new());
    for (name, tensor) in archive::read_npz(path)? {
        match name.split_once(' ') {
            Some(("in", name)) => inputs.push((name.to_string(), tensor)),
            Some(("out", name)) => outputs.push((name.to_string(), tensor)),
            _ => {}
        }
    }
    Ok(Reference { inputs, outputs })
}

/// The output furthest from its reference; a missing or misshapen output is infinitely far.
fn worst(expected: &[(String, Tensor)], got: &[(String, Tensor)]) -> Difference {
    let missing = |name: &str| Difference { name: name.into(), cosine: f64::NEG_INFINITY, sqnr_db: None, max_error: f64::INFINITY };
    let judge = |(name, expected): &(String, Tensor)| {
        let got = got.iter().find(|output| output.0 == *name);
        got.and_then(|(_, got)| difference(name, expected, got)).unwrap_or_else(|| missing(name))
    };
    expected.iter().map(judge).max_by(|a, b| a.max_error.total_cmp(&b.max_error)).unwrap_or_else(|| missing("no outputs"))
}

fn median_run(session: &mut Session, inputs: &[(String, Tensor)], repeat: usize) -> Result<f64, Report> {
    let mut times = Vec::with_capacity(repeat);
    for _ in 0..repeat {
        session.reset();
        let start = Instant::now();
        session.run(inputs)?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    Ok(times.get(repeat / 2).copied().unwrap_or(0.0))
}
