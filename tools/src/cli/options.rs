//! Arguments that several verbs share: the pipeline, calibration data, inputs.

use crate::driver::inputs::{self, InputSpec};
use clap::Args;
use mokume_ir::diag::Report;
use mokume_runtime::file;
use std::path::{Path, PathBuf};

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
    /// Keep finished layers in this folder, and go on from there when the same command runs again
    #[arg(long, value_name = "DIR")]
    pub checkpoint: Option<PathBuf>,
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

/// A file argument that must exist; `-` is stdin.
///
/// Errors  `file::missing` with the nearest name beside it, `file::unreadable`.
pub fn existing(path: &Path) -> Result<(), Report> {
    if path == Path::new("-") { Ok(()) } else { file::check_readable(path) }
}
