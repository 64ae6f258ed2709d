//! Arguments that several verbs share: the pipeline, calibration data, inputs.

use crate::driver::inputs::{self, InputSpec};
use clap::Args;
use mokume_ir::diag::{Diagnostic, Report};
use std::path::PathBuf;

/// What rewrites the model.
#[derive(Debug, Clone, Args)]
pub struct PipelineArgs {
    /// Passes, e.g. "canonicalize,quantize{w=4,a=8,group=32},fuse"; see `mokume passes`
    #[arg(short, long, value_name = "TEXT", conflicts_with = "preset")]
    pub pipeline: Option<String>,
    /// A named pipeline; see `mokume passes`
    #[arg(long, value_name = "NAME")]
    pub preset: Option<String>,
    /// Calibration data: a .npz with one array per input of the model; repeatable
    #[arg(long, value_name = "FILE")]
    pub calib: Vec<PathBuf>,
    /// Write the graph after every pass that changed it to this folder
    #[arg(long, value_name = "DIR")]
    pub dump: Option<PathBuf>,
    /// Say why passes left nodes alone
    #[arg(long)]
    pub remarks: bool,
    /// Print the time of every pass
    #[arg(long)]
    pub time_passes: bool,
    /// Verify the graph after every pass
    #[arg(long)]
    pub verify_each: bool,
    /// Stop rewriting after this many edits, to bisect a wrong rewrite
    #[arg(long, value_name = "N")]
    pub stop_after_edit: Option<usize>,
}

/// Where the inputs of a run come from.
#[derive(Debug, Clone, Args)]
pub struct InputArgs {
    /// An input from a file: name=@x.npy or name=@x.pb; repeatable
    #[arg(short, long = "input", value_name = "NAME=@FILE")]
    pub input: Vec<String>,
    /// Inputs from an archive of arrays named as the inputs
    #[arg(long, value_name = "FILE.npz")]
    pub inputs: Option<PathBuf>,
    /// Seeded random values for inputs without a file
    #[arg(long)]
    pub random: bool,
    /// Seed of random values
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub seed: u64,
    /// Size of a symbolic dimension for random values; repeatable
    #[arg(long = "dim", value_name = "NAME=SIZE")]
    pub dims: Vec<String>,
}

impl InputArgs {
    /// The specification.
    ///
    /// Errors  when an argument has the wrong form.
    pub fn spec(&self) -> Result<InputSpec, Report> {
        Ok(InputSpec {
            files: self.input.iter().map(|text| inputs::parse_assignment(text)).collect::<Result<_, _>>()?,
            npz: self.inputs.clone(),
            random: self.random,
            seed: self.seed,
            sizes: self.dims.iter().map(|text| inputs::parse_size(text)).collect::<Result<_, _>>()?,
        })
    }
}

/// A file argument that must exist; clearer than the error of opening it.
///
/// Errors  `file::missing`, with the nearest name in the folder.
pub fn existing(path: &std::path::Path) -> Result<(), Report> {
    if path.exists() || path == std::path::Path::new("-") {
        return Ok(());
    }
    let diagnostic = Diagnostic::input("file::missing", format!("there is no file {}", path.display()));
    Err(match nearest_sibling(path) {
        Some(name) => diagnostic.help(format!("did you mean {name}?")),
        None => diagnostic.help("check the path"),
    }
    .into())
}

fn nearest_sibling(path: &std::path::Path) -> Option<String> {
    let wanted = path.file_name()?.to_str()?;
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(std::path::Path::new("."));
    let names = std::fs::read_dir(folder).ok()?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let (score, name) = names.map(|name| (strsim::jaro_winkler(wanted, &name), name)).max_by(|a, b| a.0.total_cmp(&b.0))?;
    (score > 0.85).then(|| path.with_file_name(name).display().to_string())
}
