//! Compilation: a graph through a pipeline and code generation to an artifact or a runnable program.

use crate::driver::pipelines::{self, PipelineOptions};
use crate::driver::source::{self, Source};
use crate::report::device::{self, DeviceKernels};
use mokume_codegen::tuning::Tuning;
use mokume_codegen::{Choices, Target};
use mokume_ir::diag::{Diagnostic, Report, nearest};
use mokume_ir::graph::Module;
use mokume_ir::verify::verify;
use mokume_passes::pipeline::Pipeline;
use mokume_passes::presets;
use mokume_runtime::artifact;
use mokume_runtime::cpu::isa::IsaLevel;
use mokume_runtime::file;
use mokume_runtime::gpu::arch::Arch;
use mokume_runtime::program::Program;
use std::path::Path;

/// The pipeline that models run through when the user names none: exact, canonical form.
pub const DEFAULT_PRESET: &str = "float";

/// The same for models that are known to be language models.
const LANGUAGE_PRESET: &str = "llm-float";

/// The pipeline given as text or by name.
///
/// Errors  when the text is wrong or no preset has the name; the nearest one is offered.
pub fn pipeline(text: Option<&str>, preset: Option<&str>) -> Result<Pipeline, Report> {
    if let Some(text) = text {
        return Pipeline::parse(text);
    }
    let name = preset.unwrap_or(DEFAULT_PRESET);
    match presets::find(name) {
        Some(preset) => Pipeline::parse(preset.pipeline),
        None => Err(unknown_preset(name)),
    }
}

fn unknown_preset(name: &str) -> Report {
    let names = || presets::PRESETS.iter().map(|preset| preset.name);
    let diagnostic = Diagnostic::input("args::preset", format!("there is no preset `{name}`"));
    match nearest(name, names()) {
        Some(near) => diagnostic.help(format!("did you mean --preset {near}? `mokume passes` describes all")).into(),
        None => diagnostic.help(format!("presets are {}", names().collect::<Vec<_>>().join(", "))).into(),
    }
}

/// A program ready to run from any model file. Graphs get the default pipeline and run by the reference ops.
///
/// Errors  when the model is missing, broken or not supported.
pub fn runnable(path: &Path) -> Result<Program, Report> {
    runnable_after(path, DEFAULT_PRESET)
}

/// As [`runnable`]; the runtime keeps past keys and values that an ONNX model takes and gives.
///
/// Errors  as [`runnable`].
pub fn language_model(path: &Path) -> Result<Program, Report> {
    runnable_after(path, LANGUAGE_PRESET)
}

fn runnable_after(path: &Path, preset: &str) -> Result<Program, Report> {
    match source::open(path, &artifact::ReadOptions::default())? {
        Source::Compiled(program) => Ok(*program),
        Source::Graph(mut module) => {
            if source::Format::of(path)? == source::Format::Onnx {
                let default = pipeline(None, Some(preset))?;
                pipelines::apply(&mut module, &default, &PipelineOptions::default(), &mut |_, _, _| {})?;
            }
            verify(&module)?;
            Ok(Program::interpret(module))
        }
    }
}

/// Targets by name, separated by commas: levels of native code (`native` for this machine, `all`, or names such as `x86-64,avx2`) and
/// GPU architectures such as `sm_90a`.
///
/// Errors  `args::target` when a name is unknown.
pub fn target(text: &str) -> Result<Target, Report> {
    let (mut levels, mut archs) = (Vec::new(), Vec::new());
    for name in text.split(',').map(str::trim) {
        match Arch::from_name(name) {
            Some(arch) => archs.push(arch),
            None => levels.extend(named_levels(name)?),
        }
    }
    levels.sort();
    levels.dedup();
    archs.sort();
    archs.dedup();
    Ok(Target { levels, archs, ..Target::default() })
}

fn named_levels(name: &str) -> Result<Vec<IsaLevel>, Report> {
    match name {
        "all" => Ok(IsaLevel::ALL.to_vec()),
        "native" => Ok(IsaLevel::detect().into_iter().collect()),
        _ => IsaLevel::from_name(name).map(|level| vec![level]).ok_or_else(|| {
            let names: Vec<_> = IsaLevel::ALL.iter().map(|level| level.name()).collect();
            let archs = Arch::ALL.map(Arch::name).join(", ");
            let help = format!("targets are native, all, {}; GPUs are {archs}", names.join(", "));
            Diagnostic::input("args::target", format!("there is no target `{name}`")).help(help).into()
        }),
    }
}

/// Measurements by which kernels are chosen.
///
/// Errors  when the file cannot be read, and naming every line that is wrong.
pub fn tuning(path: &Path) -> Result<Tuning, Report> {
    let text = std::fs::read_to_string(path).map_err(|error| file::unreadable(path, &error))?;
    Tuning::parse(&text).map_err(|report| report.within(&path.display().to_string()))
}

/// An artifact that was written.
#[derive(Debug)]
pub struct Written {
    /// Its size.
    pub bytes: u64,
    /// Which kernels its products have on CPUs.
    pub choices: Choices,
    /// And on GPUs.
    pub device: Vec<DeviceKernels>,
}

/// Lowers a module and writes the artifact.
///
/// Errors  when the module is not valid, an op cannot be lowered, or the file cannot be written. Nothing is left behind then.
pub fn write_artifact(module: Module, target: &Target, path: &Path) -> Result<Written, Report> {
    let (program, choices) = mokume_codegen::compile(module, target)?;
    let device = device::kernels(&program)?;
    artifact::write(&program, path)?;
    let bytes = std::fs::metadata(path).map(|m| m.len()).map_err(|e| file::unreadable(path, &e))?;
    Ok(Written { bytes, choices, device })
}
