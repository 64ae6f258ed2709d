//! `mokume compare`: how far one model's outputs are from another's, as a whole and layer by layer.

use crate::cli::options::{self, InputArgs};
use crate::cli::talk::Talk;
use crate::driver::compare::{Difference, difference};
use crate::driver::layers::{self, Run};
use crate::driver::{compile, inputs};
use crate::report::table::Table;
use mokume_ir::diag::{Diagnostic, Report};
use mokume_runtime::session::{Session, SessionOptions};
use mokume_runtime::tensor::Tensor;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Compare the outputs of two models on the same inputs
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The reference (.onnx, .gir or .mok)
    pub reference: PathBuf,
    /// The model to judge
    pub candidate: PathBuf,
    #[allow(missing_docs, reason = "a comment here would become a help heading")]
    #[command(flatten)]
    pub inputs: InputArgs,
    /// Compare every layer, worst first
    #[arg(long)]
    pub per_layer: bool,
    /// Fail (exit 3) when the cosine of an output is below this
    #[arg(long, value_name = "COSINE")]
    pub min_cosine: Option<f64>,
    /// Fail (exit 3) when the maximum error of an output, relative to its largest value, is above this
    #[arg(long, value_name = "ERROR")]
    pub max_error: Option<f64>,
}

#[derive(Serialize)]
struct Comparison {
    outputs: Vec<Difference>,
    layers: Vec<Difference>,
}

/// Runs the verb.
///
/// Errors  when a model or an input is wrong, or a bound does not hold.
pub fn run(args: &Args, talk: &Talk) -> Result<(), Report> {
    let mut reference = open(&args.reference, talk)?;
    let mut candidate = open(&args.candidate, talk)?;
    let given = inputs::gather(&args.inputs.spec()?, &reference)?;
    given.assumed.iter().for_each(|assumed| talk.say(format!("assuming {assumed}")));
    let layers = match args.per_layer {
        true => {
            let run = |session| Run { session, inputs: &given.tensors };
            layers::worst_first(run(&mut reference), run(&mut candidate))?
        }
        false => Vec::new(),
    };
    reference.reset();
    candidate.reset();
    let outputs = compare_outputs(&reference.run(&given.tensors)?, &candidate.run(&given.tensors)?)?;
    let comparison = Comparison { outputs, layers };
    talk.result(&comparison, text(&comparison));
    check(args, &comparison.outputs)
}

fn open(path: &Path, talk: &Talk) -> Result<Session, Report> {
    options::existing(path)?;
    Session::new(Arc::new(compile::runnable(path)?), SessionOptions { threads: talk.thread_count(), ..Default::default() })
}

fn compare_outputs(reference: &[(String, Tensor)], candidate: &[(String, Tensor)]) -> Result<Vec<Difference>, Report> {
    let findings = |name: &str, why: String| Diagnostic::check("compare::output", format!("output \"{name}\" {why}"));
    let compare = |(name, expected): &(String, Tensor)| match candidate.iter().find(|got| got.0 == *name) {
        None => Err(findings(name, "is missing from the candidate".into())),
        Some((_, got)) => difference(name, expected, got).ok_or_else(|| {
            findings(name, format!("is {:?} {} instead of {:?} {}", got.dims(), got.elem(), expected.dims(), expected.elem()))
        }),
    };
    let (good, bad): (Vec<_>, Vec<_>) = reference.iter().map(compare).partition(Result::is_ok);
    match Report::from_findings(bad.into_iter().filter_map(Result::err).collect()) {
        Some(report) => Err(report),
        None => Ok(good.into_iter().filter_map(Result::ok).collect()),
    }
}

fn check(args: &Args, outputs: &[Difference]) -> Result<(), Report> {
    let low = |d: &&Difference| args.min_cosine.is_some_and(|bound| d.cosine.is_nan() || d.cosine < bound);
    let high = |d: &&Difference| args.max_error.is_some_and(|bound| d.max_error.is_nan() || d.max_error > bound);
    let finding = |d: &Difference| {
        let message = format!("output \"{}\" has cosine {:.6} and maximum error {:.3e}", d.name, d.cosine, d.max_error);
        Diagnostic::check("compare::bound", message).help("see which layer loses most with --per-layer")
    };
    match Report::from_findings(outputs.iter().filter(|d| low(d) || high(d)).map(finding).collect()) {
        Some(report) => Err(report),
        None => Ok(()),
    }
}

fn text(comparison: &Comparison) -> String {
    let table = |heading: &str, rows: &[Difference]| {
        let mut table = Table::new([heading, "cosine", "SQNR dB", "max error"]);
        for row in rows {
            let sqnr = row.sqnr_db.map_or("exact".into(), |db| format!("{db:.1}"));
            table.row([row.name.clone(), format!("{:.6}", row.cosine), sqnr, format!("{:.2e}", row.max_error)]);
        }
        table.to_string()
    };
    let layers = if comparison.layers.is_empty() { String::new() } else { table("layer", &comparison.layers) };
    format!("{layers}{}", table("output", &comparison.outputs))
}
