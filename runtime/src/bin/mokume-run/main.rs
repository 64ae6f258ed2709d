//! `mokume-run`: runs one artifact. Small, without compiler.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program")]

mod decode;

use mokume_ir::diag::{Diagnostic, Report, Severity, nearest};
use mokume_ir::dim::Symbol;
use mokume_ir::types::Elem;
use mokume_runtime::artifact::{self, ReadOptions, Trust};
use mokume_runtime::gpu::cuda;
use mokume_runtime::profile::{Event, chrome_trace};
use mokume_runtime::session::{Session, SessionOptions};
use mokume_runtime::tensor::Tensor;
use mokume_runtime::{Declared, file, npy};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

const USAGE: &str = "\
mokume-run MODEL.mok [options]
  -i NAME=@FILE.npy   an input; may be repeated
  -o FOLDER           write every output to FOLDER/NAME.npy (default: describe them)
  --random            seeded values for inputs that are not given
  --dim NAME=SIZE     size of a symbol for --random (default 1)
  --trust             run native code whoever owns the file
  --threads N         threads (default: one per core)
  --repeat N          run N more times and print the median time
  --device cuda       run on the first GPU
  --decode N          a language model: feed N tokens one by one, each the likeliest, and print tokens per second
  --trace FILE        run once more and write when every node ran, for chrome://tracing or Perfetto
  -h, --help          this text";

type Inputs = Vec<(String, Tensor)>;

#[derive(Default)]
struct Arguments {
    model: Option<PathBuf>,
    inputs: Vec<(String, PathBuf)>,
    output: Option<PathBuf>,
    random: bool,
    trust: bool,
    dims: HashMap<String, i64>,
    threads: usize,
    repeat: usize,
    on_gpu: bool,
    decode: usize,
    trace: Option<PathBuf>,
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.is_empty() || words.iter().any(|word| word == "-h" || word == "--help") {
        println!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    match arguments(&words).and_then(|arguments| run(&arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(report) => {
            eprintln!("{report}");
            ExitCode::from(match report.severity() {
                Severity::Input => 1,
                Severity::Unsupported => 2,
                Severity::Check => 3,
            })
        }
    }
}

fn usage(message: impl Into<String>) -> Report {
    Diagnostic::input("run::usage", message).help("mokume-run --help").into()
}

fn unknown_option(option: &str) -> Report {
    let known = USAGE.split_whitespace().map(|word| word.trim_end_matches(',')).filter(|word| word.starts_with('-'));
    let finding = Diagnostic::input("run::usage", format!("there is no option {option}"));
    match nearest(option, known) {
        Some(near) => finding.help(format!("did you mean {near}?")).into(),
        None => finding.help("mokume-run --help").into(),
    }
}

fn arguments(words: &[String]) -> Result<Arguments, Report> {
    let mut arguments = Arguments::default();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut value = || words.next().cloned().ok_or_else(|| usage(format!("{word} needs a value")));
        match word.as_str() {
            "-i" => arguments.inputs.push(input(&value()?)?),
            "-o" => arguments.output = Some(value()?.into()),
            "--trust" => arguments.trust = true,
            "--random" => arguments.random = true,
            "--dim" => arguments.dims.extend([dimension(&value()?)?]),
            "--threads" => arguments.threads = number(word, &value()?)?,
            "--repeat" => arguments.repeat = number(word, &value()?)?,
            "--decode" => arguments.decode = number(word, &value()?)?,
            "--device" => arguments.on_gpu = is_gpu(&value()?)?,
            "--trace" => arguments.trace = Some(value()?.into()),
            option if option.starts_with('-') => return Err(unknown_option(option)),
            model if arguments.model.is_none() => arguments.model = Some(model.into()),
            extra => return Err(usage(format!("one model at a time: {extra} is too many"))),
        }
    }
    Ok(arguments)
}

fn input(text: &str) -> Result<(String, PathBuf), Report> {
    let parts = text.split_once('=').and_then(|(name, file)| Some((name.to_owned(), file.strip_prefix('@')?.into())));
    parts.ok_or_else(|| usage(format!("-i {text} must be NAME=@FILE.npy")))
}

fn dimension(text: &str) -> Result<(String, i64), Report> {
    let parts = text.split_once('=').and_then(|(name, size)| Some((name.to_owned(), size.parse().ok()?)));
    parts.ok_or_else(|| usage(format!("--dim {text} must be NAME=SIZE")))
}

fn is_gpu(device: &str) -> Result<bool, Report> {
    match device {
        "cuda" => Ok(true),
        "cpu" => Ok(false),
        other => Err(usage(format!("--device {other} must be cpu or cuda"))),
    }
}

fn number(option: &str, text: &str) -> Result<usize, Report> {
    text.parse().map_err(|_| usage(format!("{option} {text} must be a number")))
}

fn run(arguments: &Arguments) -> Result<(), Report> {
    let model = arguments.model.as_deref().ok_or_else(|| usage("which model?"))?;
    let trust = if arguments.trust { Trust::Always } else { Trust::Owner };
    let program = Arc::new(artifact::read(model, &ReadOptions { trust, ..Default::default() })?);
    let options = SessionOptions { threads: arguments.threads, ..Default::default() };
    let mut session = if arguments.on_gpu { cuda::session(program.clone())? } else { Session::new(program.clone(), options)? };
    if arguments.decode > 0 {
        println!("{}", decode::decode(&mut session, arguments.decode)?);
        return Ok(());
    }
    let inputs = inputs(arguments, session.inputs())?;
    let outputs = session.run(&inputs)?;
    match &arguments.output {
        Some(folder) => npy::write_folder(folder, &outputs)?,
        None => outputs.iter().for_each(|(name, tensor)| println!("{name}: {tensor:?}")),
    }
    if arguments.repeat > 0 {
        println!("median of {}: {:.3} ms", arguments.repeat, median_ms(&mut session, &inputs, arguments.repeat)?);
    }
    if let Some(path) = &arguments.trace {
        session.reset();
        let events: Vec<Event> = session.run_profiled(&inputs)?.1;
        file::write(path, |out| out.write_all(chrome_trace(&program, &events).as_bytes()))?;
    }
    Ok(())
}

/// Every run starts without state.
fn median_ms(session: &mut Session, inputs: &Inputs, times: usize) -> Result<f64, Report> {
    let mut wall_ms = Vec::with_capacity(times);
    for _ in 0..times {
        session.reset();
        let start = Instant::now();
        session.run(inputs)?;
        wall_ms.push(start.elapsed().as_secs_f64() * 1e3);
    }
    wall_ms.sort_by(f64::total_cmp);
    Ok(wall_ms[times / 2])
}

fn broken(path: &Path, why: impl std::fmt::Display) -> Report {
    let finding = Diagnostic::input("tensor::broken", format!("{} is not a tensor file: {why}", path.display()));
    finding.help("write it with numpy.save").into()
}

fn inputs(arguments: &Arguments, declared: &[Declared]) -> Result<Inputs, Report> {
    let mut inputs = Inputs::new();
    for (name, path) in &arguments.inputs {
        let tensor = npy::read(&file::read(path)?).map_err(|why| broken(path, why))?;
        inputs.push((name.clone(), tensor));
    }
    if arguments.random {
        for input in declared {
            if !inputs.iter().any(|(name, _)| *name == input.name) {
                let tensor = random(input, &arguments.dims)?;
                eprintln!("random {}: {tensor:?}", input.name);
                inputs.push((input.name.clone(), tensor));
            }
        }
    }
    Ok(inputs)
}

/// Floats in 0..1, integers and bools 0 or 1.
fn random(input: &Declared, sizes: &HashMap<String, i64>) -> Result<Tensor, Report> {
    let no_values =
        || Diagnostic::unsupported("run::random", format!("input \"{}\" of type {} has no random values", input.name, input.ty));
    let size_of = |symbol: &Symbol| Some(sizes.get(symbol.name()).copied().unwrap_or(1));
    let dims = input.ty.dims().ok_or_else(no_values)?.iter().map(|dim| dim.eval(&size_of).and_then(|size| usize::try_from(size).ok()));
    let dims = dims.collect::<Option<Vec<_>>>().ok_or_else(no_values)?;
    let count =
        dims.iter().try_fold(1usize, |count, &dim| count.checked_mul(dim)).filter(|&count| count < 1 << 32).ok_or_else(no_values)?;
    let seed = blake3::hash(input.name.as_bytes());
    let mut state = u64::from_le_bytes(*seed.as_bytes().first_chunk().unwrap_or(&[0; 8]));
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 24) as f32
    };
    let reals: Vec<f32> = (0..count).map(|_| next()).collect();
    let bits = |one: fn(bool) -> i64| reals.iter().map(|&real| one(real >= 0.5)).collect::<Vec<_>>();
    let bit = i64::from as fn(bool) -> i64;
    match input.ty.elem() {
        Some(Elem::F32) => Ok(Tensor::f32s(&dims, &reals)),
        Some(Elem::F64) => Ok(Tensor::of(&dims, Elem::F64, &reals.iter().map(|&real| f64::from(real)).collect::<Vec<_>>())),
        Some(Elem::I64) => Ok(Tensor::i64s(&dims, &bits(bit))),
        Some(Elem::I32) => Ok(Tensor::of(&dims, Elem::I32, &bits(bit).iter().map(|&b| b as i32).collect::<Vec<_>>())),
        Some(elem @ (Elem::U8 | Elem::Bool)) => Ok(Tensor::of(&dims, elem, &bits(bit).iter().map(|&b| b as u8).collect::<Vec<_>>())),
        _ => Err(no_values().into()),
    }
}
