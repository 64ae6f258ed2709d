//! Runs ONNX conformance cases for a harness: `conform-driver --batch`.
//!
//! One request per line of stdin: `MODEL \t OUTDIR \t IN0.pb \t IN1.pb …`. One answer per line of stdout, after a byte 0x01:
//! `OK \t load_ms \t run_ms`, or `ERR \t stage \t message`. Outputs go to `OUTDIR/output_K.pb`. Models run through the default
//! pipeline, as `mokume run` would run them.
#![allow(clippy::print_stderr, reason = "a program")]

use mokume::driver::compile;
use mokume::driver::pipelines::{self, PipelineOptions};
use mokume_frontends::onnx;
use mokume_ir::diag::{Report, Severity};
use mokume_ir::verify::verify;
use mokume_runtime::convert;
use mokume_runtime::program::Program;
use mokume_runtime::session::{Session, SessionOptions};
use mokume_runtime::tensor::Tensor;
use std::io::{BufRead, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// Why a case did not run: the stage and the message.
struct Failure(&'static str, String);

fn main() {
    if std::env::args().nth(1).as_deref() != Some("--batch") {
        eprintln!("usage: conform-driver --batch");
        std::process::exit(1);
    }
    let stdout = std::io::stdout();
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        let answer = match std::panic::catch_unwind(|| answer(&line)) {
            Ok(Ok((load, run))) => format!("OK\t{load:.3}\t{run:.3}"),
            Ok(Err(Failure(stage, message))) => format!("ERR\t{stage}\t{}", message.replace(['\t', '\n'], " ")),
            Err(_) => "ERR\trun-panic\tpanicked".into(),
        };
        let mut out = stdout.lock();
        let written = writeln!(out, "\x01{answer}").and_then(|()| out.flush());
        if written.is_err() {
            return;
        }
    }
}

fn answer(line: &str) -> Result<(f64, f64), Failure> {
    let fields: Vec<&str> = line.split('\t').collect();
    let [model, folder, inputs @ ..] = &fields[..] else { return Err(Failure("request", "too few fields".into())) };
    let start = Instant::now();
    let mut session = load(Path::new(model)).map_err(|report| Failure(stage(&report, "load"), report.to_string()))?;
    let loaded = start.elapsed();
    let names: Vec<String> = session.inputs().iter().map(|port| port.name.clone()).collect();
    let tensors = inputs.iter().zip(names).map(|(path, name)| Ok((name, read(path)?))).collect::<Result<Vec<_>, Failure>>()?;
    let start = Instant::now();
    let outputs = session.run(&tensors).map_err(|report| Failure(stage(&report, "run"), report.to_string()))?;
    let ran = start.elapsed();
    for (index, (_, tensor)) in outputs.iter().enumerate() {
        let bytes = onnx::tensor::write_pb(&convert::to_constant(tensor));
        std::fs::write(Path::new(folder).join(format!("output_{index}.pb")), bytes).map_err(|e| Failure("output", e.to_string()))?;
    }
    Ok((loaded.as_secs_f64() * 1e3, ran.as_secs_f64() * 1e3))
}

fn load(model: &Path) -> Result<Session, Report> {
    let mut module = onnx::import_file(model)?;
    pipelines::apply(&mut module, &compile::pipeline(None, None)?, &PipelineOptions::default(), &mut |_, _, _| {})?;
    verify(&module)?;
    Session::new(Arc::new(Program::interpret(module)), SessionOptions { threads: 1, ..Default::default() })
}

fn read(path: &str) -> Result<Tensor, Failure> {
    if path.starts_with("seq:") || path.starts_with("opt:") {
        return Err(Failure("input", "sequences and optionals are not supported as inputs".into()));
    }
    let bytes = std::fs::read(path).map_err(|e| Failure("input", e.to_string()))?;
    let constant = onnx::tensor::read_pb(bytes).map_err(|report| Failure("input", report.to_string()))?;
    convert::to_tensor(&constant).map_err(|e| Failure("input", e.to_string()))
}

/// `load` or `run`, told apart from what is not supported.
fn stage(report: &Report, stage: &'static str) -> &'static str {
    match (report.severity(), stage) {
        (Severity::Unsupported, "load") => "load-unsupported",
        (Severity::Unsupported, _) => "run-unsupported",
        _ => stage,
    }
}
