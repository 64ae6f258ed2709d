//! Arguments that several verbs share: the pipeline, calibration data, inputs.

use crate::driver::calibration::images::Range;
use crate::driver::calibration::{Calibration, TokenWidth};
use crate::driver::inputs::{self, InputSpec};
use crate::driver::tokens::Part;
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
    #[allow(missing_docs, reason = "a comment here would become a help heading")]
    #[command(flatten)]
    pub calibration: CalibrationArgs,
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

/// Over the options of calibration in `--help`.
const CALIBRATION: &str = "Calibration data";

/// What stands for the use of a model.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = CALIBRATION)]
pub struct CalibrationArgs {
    /// A text, tokens (.npy, .bin, .jsonl), a .npz with one array per input of the model, a .png or a folder of them; repeatable
    #[arg(long, value_name = "FILE")]
    pub calib: Vec<PathBuf>,
    /// The tokenizer of texts (tokenizer.json); without --calib a language model is then calibrated with a built-in text
    #[arg(long, value_name = "FILE.json")]
    pub tokenizer: Option<PathBuf>,
    /// The part of every text to use, as fractions of its tokens
    #[arg(long, default_value = "0:1", value_name = "FROM:TO")]
    pub calib_part: Part,
    /// Tokens of a window
    #[arg(long, default_value_t = 512, value_name = "N")]
    pub calib_window: usize,
    /// Windows and images to use [default: all, at most 32]
    #[arg(long, value_name = "N")]
    pub calib_samples: Option<usize>,
    /// Which windows and images are used
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub calib_seed: u64,
    /// Width of the tokens in .bin files
    #[arg(long, value_enum, default_value_t, value_name = "TYPE")]
    pub calib_tokens: TokenWidth,
    /// What black and white are in images
    #[arg(long, value_enum, default_value_t, value_name = "RANGE")]
    pub calib_range: Range,
}

impl CalibrationArgs {
    /// The data.
    pub fn spec(&self) -> Calibration {
        Calibration {
            files: self.calib.clone(),
            tokenizer: self.tokenizer.clone(),
            part: self.calib_part,
            window: self.calib_window,
            samples: self.calib_samples,
            seed: self.calib_seed,
            width: self.calib_tokens,
            range: self.calib_range,
        }
    }
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
