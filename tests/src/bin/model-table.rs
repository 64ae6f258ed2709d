//! Compiles every real model at a precision and prints how far its outputs are from onnxruntime's.
//!
//! `model-table [PRESET] [NAME…]`: PRESET is `float` (default), `w8a8`, `w4a8` or any other. Exit status 1 when a float model is
//! further than 1e-4 from its reference or a model does not run. `cosine` is the lowest of any output, named in the last column;
//! `max error` is the largest of any output. With an `llm-` preset, keys and values are state, so only the logits are judged.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program")]

use mokume::report::table::{Table, bytes};
use mokume_tests::models::{Judged, Model, models};

const FLOAT_BOUND: f64 = 1e-4;

fn main() -> std::process::ExitCode {
    let mut arguments = std::env::args().skip(1);
    let preset = arguments.next().unwrap_or_else(|| "float".into());
    let names: Vec<String> = arguments.collect();
    let mut table = Table::new(["model", "inputs", "bytes", "compile s", "run ms", "cosine", "max error", "worst output"]);
    let mut failed = false;
    for model in models().iter().filter(|model| names.is_empty() || names.contains(&model.name)) {
        eprintln!("{} at {preset}", model.name);
        match model.judge(&preset, 3, 0) {
            Ok(judged) => {
                add(&mut table, model, &judged);
                failed |= preset == "float" && judged.worst.iter().any(|worst| worst.max_error > FLOAT_BOUND);
            }
            Err(report) => {
                let first = report.to_string().lines().next().unwrap_or_default().to_string();
                table.row([model.name.clone(), "failed".into(), first]);
                failed = true;
            }
        }
    }
    println!("{table}");
    std::process::ExitCode::from(u8::from(failed))
}

fn add(table: &mut Table, model: &Model, judged: &Judged) {
    for (index, (worst, ms)) in judged.worst.iter().zip(&judged.milliseconds).enumerate() {
        table.row([
            model.name.clone(),
            index.to_string(),
            bytes(judged.bytes as usize),
            format!("{:.2}", judged.compile_seconds),
            format!("{ms:.2}"),
            format!("{:.6}", worst.output.cosine),
            format!("{:.1e}", worst.max_error),
            worst.output.name.clone(),
        ]);
    }
}
