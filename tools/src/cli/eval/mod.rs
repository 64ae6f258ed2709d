//! `mokume eval`: how good a model is on data. One file per measure.

pub mod ppl;
pub mod psnr;
pub mod tasks;

use crate::cli::options;
use crate::cli::talk::Talk;
use crate::driver::device::{self, Place};
use crate::driver::eval::Evaluator;
use mokume_ir::diag::Report;
use mokume_runtime::program::Program;
use mokume_runtime::session::SessionOptions;
use std::path::Path;

/// Measure the quality of a model on data
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    measure: Measure,
}

#[derive(Debug, Clone, clap::Subcommand)]
enum Measure {
    Ppl(ppl::Args),
    Tasks(tasks::Args),
    Psnr(psnr::Args),
}

/// Runs the verb.
///
/// Errors  when the model or the data is missing or wrong, or they do not fit.
pub fn run(args: &Args, talk: &Talk) -> Result<(), Report> {
    crate::cli::compile::use_threads(talk);
    match &args.measure {
        Measure::Ppl(args) => ppl::run(args, talk),
        Measure::Tasks(args) => tasks::run(args, talk),
        Measure::Psnr(args) => psnr::run(args, talk),
    }
}

/// Opens a model with `open` and evaluates it, with progress on stderr.
fn evaluate<E: Evaluator>(
    what: &str,
    evaluator: &E,
    model: &Path,
    open: fn(&Path) -> Result<Program, Report>,
    place: Place,
    talk: &Talk,
) -> Result<E::Score, Report> {
    options::existing(model)?;
    let options = SessionOptions { threads: talk.thread_count(), ..Default::default() };
    let session = device::session(open(model)?, place, options)?;
    let progress = talk.progress(what, evaluator.runs() as u64);
    evaluator.evaluate(session, &mut || progress.advance(1))
}
