//! `mokume eval psnr`: how near a model that enlarges pictures comes to the large ones.

use super::evaluate;
use crate::cli::talk::Talk;
use crate::driver::calibration::images::Range;
use crate::driver::compile;
use crate::driver::device::Place;
use crate::driver::eval::psnr::{self, Psnr, PsnrOf};
use crate::report::table::Table;
use mokume_ir::diag::Report;
use std::path::PathBuf;

/// Peak signal to noise ratio of pictures that a model enlarges
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The model (.mok, or .onnx and .gir by the reference ops)
    pub model: PathBuf,
    /// A folder with pairs NAME_LR.png, NAME_HR.png
    #[arg(long, value_name = "FOLDER")]
    pub pairs: PathBuf,
    /// What black and white are for the model
    #[arg(long, value_enum, default_value_t, value_name = "RANGE")]
    pub range: Range,
    /// Where to run: the processor, or a GPU for which the artifact has code
    #[arg(long, value_enum, default_value_t, value_name = "DEVICE")]
    pub device: Place,
}

/// Runs the verb.
///
/// Errors  when the model or a picture is missing or wrong, or they do not fit.
pub fn run(args: &Args, talk: &Talk) -> Result<(), Report> {
    let evaluator = PsnrOf { pairs: psnr::pairs(&args.pairs)?, range: args.range };
    let score = evaluate("pictures", &evaluator, &args.model, compile::runnable, args.device, talk)?;
    talk.result(&score, table(&score));
    Ok(())
}

fn table(score: &Psnr) -> Table {
    let mut table = Table::new(["picture", "scale", "PSNR-Y dB", "bicubic dB"]);
    let decibel = |value: f64| format!("{value:.2}");
    for picture in &score.pictures {
        table.row([picture.name.clone(), picture.scale.to_string(), decibel(picture.psnr_y), decibel(picture.bicubic)]);
    }
    table.row(["mean".into(), String::new(), decibel(score.psnr_y), decibel(score.bicubic)]);
    table
}
