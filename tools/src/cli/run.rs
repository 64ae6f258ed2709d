//! `mokume run`: runs a model on inputs from files or on random ones.

use crate::cli::options::{self, InputArgs};
use crate::cli::talk::Talk;
use crate::driver::device::{self, Place};
use crate::driver::{archive, compile, inputs};
use crate::report::table::{Table, milliseconds};
use mokume_ir::diag::Report;
use mokume_runtime::profile::{by_op, chrome_trace};
use mokume_runtime::session::{Session, SessionOptions};
use mokume_runtime::tensor::Tensor;
use mokume_runtime::{file, npy};
use serde::Serialize;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Run a model (.onnx, .gir or .mok)
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The model
    pub model: PathBuf,
    #[allow(missing_docs, reason = "a comment here would become a help heading")]
    #[command(flatten)]
    pub inputs: InputArgs,
    /// Write every output to this folder as NAME.npy
    #[arg(short, long, value_name = "DIR")]
    pub output: Option<PathBuf>,
    /// Write all outputs to one archive
    #[arg(long, value_name = "FILE.npz")]
    pub outputs: Option<PathBuf>,
    /// Where to run: the processor, or a GPU for which the artifact has code
    #[arg(long, value_enum, default_value_t, value_name = "DEVICE")]
    pub device: Place,
    /// Run this many more times and print the median time
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub repeat: usize,
    /// Run once more and print what every op took
    #[arg(long)]
    pub profile: bool,
    /// Run once more and write when every node ran, for chrome://tracing or Perfetto
    #[arg(long, value_name = "FILE.json")]
    pub trace: Option<PathBuf>,
}

#[derive(Serialize)]
struct Output {
    name: String,
    elem: String,
    shape: Vec<usize>,
    mean: Option<f64>,
    min: Option<f64>,
    max: Option<f64>,
}

#[derive(Serialize)]
struct Ran {
    assumed: Vec<String>,
    outputs: Vec<Output>,
    first_ms: f64,
    median_ms: Option<f64>,
    ops: Vec<OpRow>,
}

/// What all nodes of an op took, without the nodes inside calls and loops.
#[derive(Serialize)]
struct OpRow {
    op: &'static str,
    count: usize,
    ms: f64,
}

/// Runs the verb.
///
/// Errors  when the model or an input is missing or wrong.
pub fn run(args: &Args, talk: &Talk) -> Result<(), Report> {
    options::existing(&args.model)?;
    let program = compile::runnable(&args.model)?;
    let options = SessionOptions { threads: talk.thread_count(), ..Default::default() };
    let mut session = device::session(program, args.device, options)?;
    let given = inputs::gather(&args.inputs.spec()?, &session)?;
    for assumed in &given.assumed {
        talk.say(format!("assuming {assumed}"));
    }
    check_outputs(args)?;
    let start = Instant::now();
    let outputs = session.run(&given.tensors)?;
    let first = start.elapsed();
    let median = repeat(&mut session, &given.tensors, args.repeat)?;
    write_outputs(args, &outputs)?;
    let ops = profile(args, &mut session, &given.tensors)?;
    print(&outputs, given.assumed, first, median, ops, talk);
    Ok(())
}

/// One more run without state when a profile or a trace is asked for.
fn profile(args: &Args, session: &mut Session, inputs: &[(String, Tensor)]) -> Result<Vec<OpRow>, Report> {
    if !args.profile && args.trace.is_none() {
        return Ok(Vec::new());
    }
    session.reset();
    let (_, events) = session.run_profiled(inputs)?;
    if let Some(path) = &args.trace {
        let trace = chrome_trace(session.program(), &events);
        file::write(path, |out| out.write_all(trace.as_bytes()))?;
    }
    let times = if args.profile { by_op(session.program(), &events) } else { Vec::new() };
    Ok(times.into_iter().map(|time| OpRow { op: time.op, count: time.count, ms: time.self_ns as f64 / 1e6 }).collect())
}

fn repeat(session: &mut Session, inputs: &[(String, Tensor)], times: usize) -> Result<Option<Duration>, Report> {
    let mut durations = Vec::with_capacity(times);
    for _ in 0..times {
        session.reset();
        let start = Instant::now();
        session.run(inputs)?;
        durations.push(start.elapsed());
    }
    durations.sort();
    Ok(durations.get(times / 2).copied())
}

/// Before the run, which may be long.
fn check_outputs(args: &Args) -> Result<(), Report> {
    args.output.as_deref().map_or(Ok(()), file::make_folder)?;
    [&args.outputs, &args.trace].into_iter().flatten().try_for_each(|path| file::check_writable(path))
}

fn write_outputs(args: &Args, outputs: &[(String, Tensor)]) -> Result<(), Report> {
    if let Some(path) = &args.outputs {
        archive::write_npz(path, outputs)?;
    }
    args.output.as_deref().map_or(Ok(()), |folder| npy::write_folder(folder, outputs))
}

fn print(outputs: &[(String, Tensor)], assumed: Vec<String>, first: Duration, median: Option<Duration>, ops: Vec<OpRow>, talk: &Talk) {
    let rows: Vec<Output> = outputs.iter().map(|(name, tensor)| summary(name, tensor)).collect();
    let mut table = Table::new(["output", "type", "shape", "mean", "min", "max"]);
    let number = |v: Option<f64>| v.map_or("-".into(), |v| format!("{v:.5}"));
    for row in &rows {
        table.row([row.name.clone(), row.elem.clone(), format!("{:?}", row.shape), number(row.mean), number(row.min), number(row.max)]);
    }
    let time = match median {
        Some(median) => format!("first run {}, median {}\n", milliseconds(first), milliseconds(median)),
        None => format!("first run {}\n", milliseconds(first)),
    };
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    let profile = if ops.is_empty() { String::new() } else { profile_table(&ops) };
    let json = Ran { assumed, outputs: rows, first_ms: ms(first), median_ms: median.map(ms), ops };
    talk.result(&json, format!("{table}{time}{profile}"));
}

fn profile_table(ops: &[OpRow]) -> String {
    let total: f64 = ops.iter().map(|row| row.ms).sum();
    let mut table = Table::new(["op", "count", "ms", "share"]);
    for row in ops {
        let share = if total > 0.0 { 100.0 * row.ms / total } else { 0.0 };
        table.row([row.op.to_string(), row.count.to_string(), format!("{:.3}", row.ms), format!("{share:.1}%")]);
    }
    table.to_string()
}

fn summary(name: &str, tensor: &Tensor) -> Output {
    let values = crate::driver::compare::numbers(tensor).filter(|values| !values.is_empty());
    let fold = |f: fn(f64, f64) -> f64| values.as_ref().and_then(|values| values.iter().copied().reduce(f));
    Output {
        name: name.into(),
        elem: tensor.elem().to_string(),
        shape: tensor.dims().to_vec(),
        mean: values.as_ref().map(|values| values.iter().sum::<f64>() / values.len() as f64),
        min: fold(f64::min),
        max: fold(f64::max),
    }
}
