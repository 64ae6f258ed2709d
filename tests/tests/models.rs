//! Real models: their outputs against onnxruntime's, and their text, which reads back equal.
//!
//! The models lie where `tests/models/fetch.py` and `reference.py` leave them; what is not there is skipped aloud. The large
//! language models are left to `model-table`.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use mokume::driver::executor::RuntimeExecutor;
use mokume::driver::source;
use mokume_ir::constant::{Constant, Hash};
use mokume_ir::graph::Module;
use mokume_ir::random::shuffled;
use mokume_ir::text::{Blob, parse, print};
use mokume_passes::presets;
use mokume_tests::golden::run;
use mokume_tests::models::{Model, home, model_files, models};
use std::collections::HashMap;
use std::io::Write;

const SMALL: [&str; 19] = [
    "audio_crepe_tiny",
    "basic_pitch",
    "ddddocr",
    "diff_sddpm_unet28",
    "llama_stories260k",
    "magika",
    "minilm",
    "ncnn_animevideov3_x2",
    "ncnn_waifu2x_upconv7_photo",
    "nudenet",
    "opennsfw",
    "ppocr_cls",
    "ppocr_det",
    "ppocr_rec",
    "silero_vad",
    "sr_bsrn_x4",
    "sr_imdn_x4",
    "sr_mobilesr_x4",
    "sr_rlfn_x4_r255",
];

/// Largest error over the largest reference value.
const BOUND: f64 = 1e-4;

/// To the terminal, past the capture of test output.
fn skipped(what: &str) {
    let _ = writeln!(std::io::stderr(), "skipped: {what} is not in {}", home().display());
}

#[test]
fn outputs_are_those_of_onnxruntime() {
    let found = models();
    let mut problems = Vec::new();
    for name in SMALL {
        match found.iter().find(|model| model.name == name) {
            Some(model) => problems.extend(problem(model)),
            None => skipped(&format!("{name} with its reference")),
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

fn problem(model: &Model) -> Option<String> {
    match model.judge("float", 0, 0) {
        Ok(judged) => {
            let worst = judged.worst.iter().max_by(|a, b| a.max_error.total_cmp(&b.max_error))?;
            (worst.max_error > BOUND).then(|| format!("{}: an output is off by {:e}", model.name, worst.max_error))
        }
        Err(report) => Some(format!("{}: {report}", model.name)),
    }
}

#[test]
fn texts_read_back_equal() {
    let files = model_files();
    if files.is_empty() {
        skipped("any model");
    }
    let pipeline = presets::find("float").unwrap().pipeline;
    for file in files {
        let mut module = source::open_graph(&file).unwrap_or_else(|report| panic!("{}: {report}", file.display()));
        check_text(&module).unwrap_or_else(|problem| panic!("{} as imported: {problem}", file.display()));
        run(&mut module, pipeline, &RuntimeExecutor { threads: 1 }, vec![])
            .unwrap_or_else(|problem| panic!("{}: {problem}", file.display()));
        check_text(&module).unwrap_or_else(|problem| panic!("{} as canonical: {problem}", file.display()));
    }
}

/// The text reads back equal, and does not change with the ids.
fn check_text(module: &Module) -> Result<(), String> {
    let text = print(module);
    let blobs = blobs(module);
    let back = parse(&text, &|hash| blobs.get(hash).cloned()).map_err(|report| report.to_string())?;
    if let Some(difference) = module.difference(&back) {
        return Err(format!("the text does not read back equal: {difference}"));
    }
    match print(&shuffled(module, 1)) == text {
        true => Ok(()),
        false => Err("the text changes with the ids".into()),
    }
}

/// The data of every constant, as a sidecar would give it.
fn blobs(module: &Module) -> HashMap<Hash, Blob> {
    let blob = |constant: &Constant| Blob { data: constant.data.clone(), quant: constant.quant.clone() };
    module.constants.iter().map(|(_, constant)| (constant.hash, blob(constant))).collect()
}
