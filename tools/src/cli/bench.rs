//! `mokume bench`: how fast a model runs, or the kernels alone, against what the memory of this machine allows.

use crate::cli::options::{self, InputArgs};
use crate::cli::talk::Talk;
use crate::driver::bench::bandwidth::Reader;
use crate::driver::bench::kernels::{self, Case, How, Measured};
use crate::driver::bench::language::{self, Phase, Plan};
use crate::driver::bench::model::{self, OpRow};
use crate::driver::bench::samples::Spread;
use crate::driver::bench::tuning;
use crate::driver::device::{self, Place};
use crate::driver::generate::{Generator, Sampling};
use crate::driver::{compile, inputs};
use crate::report::table::{Table, bytes};
use mokume_ir::diag::{Diagnostic, Report};
use mokume_runtime::cpu::isa::IsaLevel;
use mokume_runtime::cpu::spec::Strategy;
use mokume_runtime::session::{Session, SessionOptions};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Measure speed: of a model, of a language model token by token, or of the kernels
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The model (.mok, or .onnx and .gir by the reference ops)
    #[arg(required_unless_present = "kernels", conflicts_with = "kernels")]
    pub model: Option<PathBuf>,
    #[allow(missing_docs, reason = "a comment here would become a help heading")]
    #[command(flatten)]
    pub inputs: InputArgs,
    /// Where to run: the processor, or a GPU for which the artifact has code
    #[arg(long, value_enum, default_value_t, value_name = "DEVICE", conflicts_with = "kernels")]
    pub device: Place,
    /// Print what every op took
    #[arg(long)]
    pub profile: bool,
    /// Language models: lengths of prompts; 0 for none
    #[arg(long, value_delimiter = ',', default_values_t = [128, 512], value_name = "N,…")]
    pub prompts: Vec<usize>,
    /// Language models: tokens to decode one by one; 0 for none
    #[arg(long, default_value_t = 64, value_name = "N")]
    pub tokens: usize,
    /// Language models: tokens in the state before decoding begins
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub context: usize,
    /// Language models: how often everything is measured
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub rounds: u16,
    /// Seconds per case; for at least five samples
    #[arg(long, default_value_t = 1.0, value_name = "S", value_parser = seconds)]
    pub time: f64,
    /// Measure bit_matmul kernels instead of a model
    #[arg(long)]
    pub kernels: bool,
    /// Kernels: shapes of weight matrices
    #[arg(long, value_delimiter = ',', default_value = "4096x4096,4096x11008", value_name = "NxK,…", value_parser = shape)]
    pub shapes: Vec<(usize, usize)>,
    /// Kernels: widths of weights and activations, or all
    #[arg(long, value_delimiter = ',', default_value = "w8a8,w7a8,w6a8,w5a8,w4a8,w3a8,w2a8,w1a8", value_name = "wWaA,…", value_parser = pairs)]
    pub pairs: Vec<Pairs>,
    /// Kernels: rows of activations
    #[arg(long, value_delimiter = ',', default_values_t = [1], value_name = "M,…")]
    pub rows: Vec<usize>,
    /// Kernels: weights per scale; 0 for one scale per column
    #[arg(long, default_value_t = 64, value_name = "N")]
    pub group: u32,
    /// Kernels: activations of a row per scale, a multiple or a part of --group; 0 for one scale per row
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub a_group: u32,
    /// Kernels: form products in this way rather than as the cost model says
    #[arg(long, value_name = "NAME", value_parser = strategy)]
    pub strategy: Option<Strategy>,
    /// Kernels: code for this level of instruction sets rather than the newest that the machine runs
    #[arg(long, value_name = "LEVEL", value_parser = level)]
    pub isa: Option<IsaLevel>,
    /// Kernels: so many copies of the weights take turns; 1 leaves small ones in the caches [default: more than the caches hold]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=512))]
    pub copies: Option<u16>,
    /// Kernels: measure every strategy, and add the fastest of every product to this table, which compile --tuning reads
    #[arg(long, value_name = "FILE", requires = "kernels", conflicts_with = "strategy")]
    pub tune: Option<PathBuf>,
}

/// Widths on the command line: weights and activations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pairs {
    /// `all`
    All,
    /// `w4a8`
    One(u8, u8),
}

/// Runs the verb.
///
/// Errors  when the model or an input is missing or wrong.
pub fn run(args: &Args, talk: &Talk) -> Result<(), Report> {
    match &args.model {
        Some(model) => run_model(model, args, talk),
        None => run_kernels(args, talk),
    }
}

#[derive(Serialize)]
struct ModelBench {
    threads: usize,
    assumed: Vec<String>,
    /// Read bandwidth of this machine with these threads, when its processor runs the model.
    read_gbps: Option<f64>,
    /// Bytes of weights that a run reads.
    weight_bytes: usize,
    /// Bytes that a token adds to the state of a language model.
    state_bytes_per_token: Option<f64>,
    /// Of a model that is no language model.
    run_ms: Option<Spread>,
    phases: Vec<Phase>,
    ops: Vec<OpRow>,
}

fn run_model(path: &Path, args: &Args, talk: &Talk) -> Result<(), Report> {
    options::existing(path)?;
    let threads = talk.thread_count();
    let mut session = device::session(compile::runnable(path)?, args.device, SessionOptions { threads, ..Default::default() })?;
    let reader = (args.device == Place::Cpu).then(|| Reader::new(threads)).transpose()?;
    let mut bench = ModelBench {
        threads,
        assumed: Vec::new(),
        read_gbps: read_gbps(&reader),
        weight_bytes: model::weight_bytes(session.program()),
        state_bytes_per_token: None,
        run_ms: None,
        phases: Vec::new(),
        ops: Vec::new(),
    };
    if Generator::check(&session).is_ok() {
        let mut generator = Generator::new(session, Sampling::GREEDY)?;
        bench.phases = language::measure(&mut generator, &plan(args), args.profile)?;
        bench.state_bytes_per_token = generator.state_bytes_per_token();
    } else {
        measure_runs(&mut session, args, &mut bench)?;
    }
    // Before and after: what slows the machine for a while is not taken for its bandwidth.
    bench.read_gbps = read_gbps(&reader).into_iter().chain(bench.read_gbps).reduce(f64::max);
    bench.assumed.iter().for_each(|assumed| talk.say(format!("assuming {assumed}")));
    talk.result(&bench, model_text(&bench));
    Ok(())
}

fn read_gbps(reader: &Option<Reader>) -> Option<f64> {
    reader.as_ref().map(|reader| reader.bytes_per_second() / 1e9)
}

fn plan(args: &Args) -> Plan {
    let prompts = args.prompts.iter().copied().filter(|&length| length > 0).collect();
    Plan { prompts, tokens: args.tokens, context: args.context, rounds: args.rounds.into() }
}

/// Given inputs, and random values for the others.
fn measure_runs(session: &mut Session, args: &Args, bench: &mut ModelBench) -> Result<(), Report> {
    let given = inputs::gather(&inputs::InputSpec { random: true, ..args.inputs.spec()? }, session)?;
    let seconds = model::runs(session, &given.tensors, Duration::from_secs_f64(args.time))?;
    bench.run_ms = Some(seconds.times(1e3));
    bench.assumed = given.assumed;
    if args.profile {
        session.reset();
        let events = session.run_profiled(&given.tensors)?.1;
        bench.ops = model::profile(session.program(), &[events]);
    }
    Ok(())
}

fn model_text(bench: &ModelBench) -> String {
    let mut table = Table::new(["", "tokens/s", "ms", "GB/s", "of read"]);
    let traffic = |ms: f64| {
        let gbps = bench.weight_bytes as f64 / ms / 1e6;
        [format!("{gbps:.1}"), bench.read_gbps.map_or("-".into(), |read| format!("{:.0} %", 100.0 * gbps / read))]
    };
    if let Some(ms) = &bench.run_ms {
        table.row([&["run".into(), "-".into(), format!("{ms:.3}")][..], &traffic(ms.median)].concat());
    }
    for phase in &bench.phases {
        let cells = [phase.name.clone(), format!("{:.1}", phase.tokens_per_second), format!("{:.3}", phase.step_ms)];
        table.row([&cells[..], &traffic(phase.step_ms.median)].concat());
    }
    let ops = bench.phases.iter().map(|phase| (phase.name.as_str(), &phase.ops)).chain([("run", &bench.ops)]);
    let ops: String = ops.filter(|(_, ops)| !ops.is_empty()).map(|(name, ops)| ops_text(name, ops)).collect();
    let place = bench.read_gbps.map_or("on a device".into(), |read| format!("{} threads; memory is read at {read:.1} GB/s", bench.threads));
    let state = bench.state_bytes_per_token.map_or(String::new(), |state| format!(", a token adds {} of state", bytes(state as usize)));
    format!("{place}; a run reads {} of weights{state}\n{table}{ops}", bytes(bench.weight_bytes))
}

fn ops_text(phase: &str, ops: &[OpRow]) -> String {
    let mut table = Table::new([phase, "count", "ms"]);
    ops.iter().for_each(|row| table.row([row.op.to_string(), row.count.to_string(), format!("{:.3}", row.ms)]));
    format!("\n{table}")
}

#[derive(Serialize)]
struct KernelBench {
    threads: usize,
    group: u32,
    a_group: u32,
    kernels: Vec<KernelRow>,
}

#[derive(Serialize)]
struct KernelRow {
    #[serde(flatten)]
    measured: Measured,
    gbps: f64,
    /// Read bandwidth while this was measured: the mean of right before and right after.
    read_gbps: f64,
    /// Of that.
    fraction: f64,
    /// Time to that of the next wider weights with the same activations.
    to_wider: Option<f64>,
}

fn run_kernels(args: &Args, talk: &Talk) -> Result<(), Report> {
    let threads = talk.thread_count();
    let how = how(args, threads)?;
    let kernels = measure_kernels(args, &how, talk)?;
    if let Some(table) = &args.tune {
        let measured: Vec<Measured> = kernels.iter().map(|row| row.measured.clone()).collect();
        tuning::add(table, &how, &measured)?;
    }
    let bench = KernelBench { threads, group: args.group, a_group: args.a_group, kernels };
    talk.result(&bench, kernel_text(&bench));
    Ok(())
}

fn measure_kernels(args: &Args, how: &How, talk: &Talk) -> Result<Vec<KernelRow>, Report> {
    let strategies = if args.tune.is_some() { Strategy::ALL.map(Some).to_vec() } else { vec![how.strategy] };
    let reader = Reader::new(how.threads)?;
    let cases = cases(args);
    let progress = talk.progress("products", (cases.len() * strategies.len()) as u64);
    let mut kernels = Vec::<KernelRow>::new();
    let mut before = reader.bytes_per_second();
    for (i, case) in cases.iter().flat_map(|case| [case].repeat(strategies.len())).enumerate() {
        let measured = kernels::measure(*case, &How { strategy: strategies[i % strategies.len()], ..*how })?;
        let after = reader.bytes_per_second();
        let (rate, read) = (measured.bytes_per_second(), (before + after) / 2.0);
        let to_wider = wider(&kernels, case).map(|row| measured.us.median / row.measured.us.median);
        kernels.push(KernelRow { gbps: rate / 1e9, read_gbps: read / 1e9, measured, fraction: rate / read, to_wider });
        before = after;
        progress.advance(1);
    }
    Ok(kernels)
}

/// The fastest with weights one bit wider.
fn wider<'k>(kernels: &'k [KernelRow], case: &Case) -> Option<&'k KernelRow> {
    let wider = kernels.iter().filter(|row| row.measured.case == Case { w: case.w + 1, ..*case });
    wider.min_by(|a, b| a.measured.us.median.total_cmp(&b.measured.us.median))
}

fn how(args: &Args, threads: usize) -> Result<How, Report> {
    let level = args.isa.or_else(IsaLevel::detect);
    let level = level.ok_or_else(|| Diagnostic::input("bench::level", "there are no kernels for this machine"))?;
    if !level.is_supported() {
        return Err(Diagnostic::input("bench::level", format!("this machine does not run {level}")).into());
    }
    let copies = args.copies.map(usize::from);
    let time = Duration::from_secs_f64(args.time);
    Ok(How { threads, group: args.group, a_group: args.a_group, strategy: args.strategy, level, copies, time })
}

/// Wider weights first.
fn cases(args: &Args) -> Vec<Case> {
    let mut pairs: Vec<(u8, u8)> = args.pairs.iter().flat_map(|pairs| pairs.list()).collect();
    pairs.sort_by_key(|&(w, a)| std::cmp::Reverse((a, w)));
    pairs.dedup();
    let shapes = args.shapes.iter().flat_map(|&(n, k)| args.rows.iter().map(move |&m| (m, n, k)));
    shapes.flat_map(|(m, n, k)| pairs.iter().map(move |&(w, a)| Case { m, n, k, w, a })).collect()
}

fn kernel_text(bench: &KernelBench) -> String {
    let mut table = Table::new(["m x n x k", "widths", "kernel", "us", "weights", "GB/s", "read GB/s", "of read", "to w+1"]);
    for row in &bench.kernels {
        let Measured { case, strategy, weight_bytes, us, .. } = &row.measured;
        table.row([
            format!("{} x {} x {}", case.m, case.n, case.k),
            format!("w{}a{}", case.w, case.a),
            strategy.to_string(),
            format!("{us:.1}"),
            bytes(*weight_bytes),
            format!("{:.1}", row.gbps),
            format!("{:.1}", row.read_gbps),
            format!("{:.0} %", 100.0 * row.fraction),
            row.to_wider.map_or("-".into(), |ratio| format!("{ratio:.2}")),
        ]);
    }
    let scales = if bench.group == 0 { "a scale per column".into() } else { format!("a scale per {} weights", bench.group) };
    let groups = if bench.a_group == 0 { String::new() } else { format!(" and per {} activations", bench.a_group) };
    format!("{} threads, {scales}{groups}\n{table}", bench.threads)
}

impl Pairs {
    fn list(self) -> Vec<(u8, u8)> {
        match self {
            Pairs::All => (1..=8).flat_map(|w| (1..=8).map(move |a| (w, a))).collect(),
            Pairs::One(w, a) => vec![(w, a)],
        }
    }
}

fn pairs(text: &str) -> Result<Pairs, String> {
    let width = |text: &str| text.parse().ok().filter(|width| (1..=8).contains(width));
    let pair = text.strip_prefix('w').and_then(|text| text.split_once('a')).and_then(|(w, a)| Some(Pairs::One(width(w)?, width(a)?)));
    match text {
        "all" => Ok(Pairs::All),
        _ => pair.ok_or_else(|| "expected widths from 1 to 8 such as w4a8, or all".into()),
    }
}

fn shape(text: &str) -> Result<(usize, usize), String> {
    let size = |text: &str| text.parse().ok().filter(|size| (1..=1 << 20).contains(size));
    text.split_once('x').and_then(|(n, k)| Some((size(n)?, size(k)?))).ok_or_else(|| "expected a shape such as 4096x11008".into())
}

fn seconds(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|seconds| (0.0..=3600.0).contains(seconds)).ok_or_else(|| "expected seconds, up to 3600".into())
}

fn strategy(text: &str) -> Result<Strategy, String> {
    let names = || Strategy::ALL.map(Strategy::name).join(", ");
    Strategy::from_name(text).ok_or_else(|| format!("expected one of {}", names()))
}

fn level(text: &str) -> Result<IsaLevel, String> {
    let names = || IsaLevel::ALL.map(IsaLevel::name).join(", ");
    IsaLevel::from_name(text).ok_or_else(|| format!("expected one of {}", names()))
}
