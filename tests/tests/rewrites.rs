//! Exact rewrites on real models: after each, alone and together, outputs are those of onnxruntime within 1e-4; where one does
//! not apply it says why.
//!
//! `tools/setup models` gets the small models, `tools/setup llm` the exports of SmolLM2. What is not there is skipped aloud.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use mokume_passes::manager::{PassReport, PipelineReport};
use mokume_passes::pipeline::Pipeline;
use mokume_passes::presets;
use mokume_tests::models::{home, models};
use std::io::Write;

/// Largest error over the largest reference value.
const BOUND: f64 = 1e-4;

/// What a rewrite does in a model.
enum Expect {
    /// It makes at least so many edits, and leaves nothing out.
    All(usize),
    /// It makes exactly so many edits; elsewhere a remark has each of these words.
    Some(usize, &'static [&'static str]),
}
use Expect::{All, Some as Part};

/// The rewrite that is looked at is the last pass of a pipeline, which follows `llm-float`.
const LLAMA: &[(&str, Expect)] = &[
    ("fold-norm", Part(10, &["shares its weight with an embedding"])),
    ("fold-norm{tied=false}", All(11)),
    ("center-norm", All(0)),
    ("rotate", Part(10, &["with a gain per channel: run fold-norm first"])),
    ("rotate{r1=false,r2=false,r4=false,r3=true}", All(5)),
    ("fold-norm,rotate{r2=false,r4=false}", All(1)),
    ("fold-norm{tied=false},rotate{r2=false,r4=false,tied=false}", All(1)),
    ("fold-norm,rotate{r1=false,r4=false}", All(5)),
    ("fold-norm,rotate{r3=true,seed=7}", All(16)),
    ("smooth", All(15)),
    ("smooth{exact=false,search=true,values=true,keys=true}", All(25)),
];

/// A network with norms after its sums and GELU between its products.
const BERT: &[(&str, Expect)] = &[
    ("fold-norm", Part(0, &["a sum reads it", "it leaves the model as \"last_hidden_state\""])),
    ("center-norm", Part(1, &["`layer_norm` writes it"])),
    ("rotate{r2=false,r4=false}", Part(0, &["`layer_norm` reads it, which subtracts a mean"])),
    ("center-norm,rotate{r2=false,r4=false}", Part(0, &["with a gain per channel", "`layer_norm` reads it"])),
    ("rotate{r1=false,r4=false}", All(6)),
    ("rotate{r1=false,r2=false}", All(6)),
    ("smooth{values=true,keys=true}", Part(0, &["a factor does not pass it"])),
];

#[test]
fn small_llama() {
    check("llama_stories260k", LLAMA);
}

#[test]
fn sentence_encoder() {
    check("minilm", BERT);
}

#[test]
fn residual_network() {
    check("opennsfw", &[("equalize", All(30))]);
}

#[test]
fn every_export_of_a_language_model() {
    let written: &[(&str, Expect)] = &[
        ("fold-norm", Part(60, &["shares its weight with an embedding"])),
        ("fold-norm{tied=false}", All(61)),
        ("center-norm", All(0)),
        ("smooth", All(90)),
        ("smooth{exact=false,search=true,values=true,keys=true}", All(150)),
        ("rotate", Part(60, &["with a gain per channel: run fold-norm first"])),
        ("fold-norm,rotate{r3=true}", All(91)),
        ("fold-norm{tied=false},rotate", All(61)),
    ];
    ["smollm2_ts", "smollm2_past", "smollm2_dynamo"].iter().for_each(|name| check(name, written));
    check("smollm2_rot", &[("fold-norm", All(0)), ("smooth", All(90)), ("rotate{r3=true,seed=3}", All(91))]);
}

fn check(name: &str, rewrites: &[(&str, Expect)]) {
    let found = models();
    let Some(model) = found.iter().find(|model| model.name == name) else {
        let _ = writeln!(std::io::stderr(), "skipped: {name} with its reference is not in {}", home().display());
        return;
    };
    let canonical = presets::find("llm-float").unwrap().pipeline;
    let mut problems = Vec::new();
    for (rewrite, expect) in rewrites {
        let pipeline = Pipeline::parse(&format!("{canonical},{rewrite}")).unwrap();
        let judged = model.judge_pipeline(&pipeline, 0, 0).unwrap_or_else(|report| panic!("{name} after {rewrite}: {report}"));
        let error = judged.worst.iter().map(|worst| worst.max_error).fold(0.0, f64::max);
        let _ = writeln!(std::io::stderr(), "{name} after {rewrite}: within {error:.1e} of onnxruntime");
        if error > BOUND {
            problems.push(format!("{name} after {rewrite}: an output is off by {error:e}"));
        }
        problems.extend(last(&judged.passes).and_then(|pass| surprise(pass, expect)).map(|what| format!("{name} after {rewrite}: {what}")));
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

fn last(report: &PipelineReport) -> Option<&PassReport> {
    report.passes.last()
}

/// What a pass did that was not expected.
fn surprise(pass: &PassReport, expect: &Expect) -> Option<String> {
    let remarks: Vec<String> = pass.remarks.iter().map(|remark| remark.to_string()).collect();
    let told = format!("{} edits, {}", pass.edits, if remarks.is_empty() { "no remarks".into() } else { remarks.join("\n") });
    let fits = match expect {
        All(least) => pass.edits >= *least && remarks.is_empty(),
        Part(edits, words) => pass.edits == *edits && words.iter().all(|word| remarks.iter().any(|remark| remark.contains(word))),
    };
    (!fits).then_some(told)
}
