//! The learned correction on a small Llama: scales that cancel out, descent, and codes that are what was trained.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use mokume::driver::executor::RuntimeExecutor;
use mokume::driver::inputs::SplitMix;
use mokume_frontends::onnx;
use mokume_ir::constant::Constant;
use mokume_ir::graph::Module;
use mokume_ir::text;
use mokume_passes::executor::{Executor, Named};
use mokume_passes::manager::run_pipeline;
use mokume_passes::pass::{PassContext, Quiet};
use mokume_passes::pipeline::Pipeline;
use mokume_passes::presets;
use mokume_tests::llama::Llama;
use prost::Message;

const LLAMA: Llama = Llama { blocks: 2, width: 32, heads: 4, kv_heads: 2, inner: 48, vocabulary: 64, double: false };

/// The model in canonical form.
fn model() -> Module {
    let module = onnx::import_bytes(LLAMA.model().encode_to_vec().into(), None).unwrap();
    with(module, presets::find("float").unwrap().pipeline, &[], 1)
}

fn with(mut module: Module, pipeline: &str, samples: &[Named], threads: usize) -> Module {
    let (executor, mut quiet) = (RuntimeExecutor { threads }, Quiet);
    let mut cx = PassContext::new(&executor, &mut quiet);
    (cx.verify_each, cx.calibration) = (true, samples.to_vec());
    run_pipeline(&mut module, &Pipeline::parse(pipeline).unwrap(), &mut cx).unwrap_or_else(|error| panic!("{error}"));
    module
}

fn samples(count: u64, seed: u64) -> Vec<Named> {
    let tokens = |sample| (0..24u64).map(|i| (SplitMix(seed + 100 * sample + i).bits() % 64) as i64).collect::<Vec<_>>();
    (0..count).map(|sample| vec![("input_ids".to_string(), Constant::i64s(&[1, 24], &tokens(sample)))]).collect()
}

/// Squared distance of logits from those of the float model, over their squares.
fn error(exact: &Module, other: &Module, samples: &[Named]) -> f64 {
    let executor = RuntimeExecutor { threads: 1 };
    let logits = |module: &Module, sample: &Named| executor.outputs(module, sample).unwrap()[0].1.to_f32s().unwrap();
    let (mut distance, mut square) = (0.0, 0.0);
    for sample in samples {
        for (a, b) in logits(exact, sample).iter().zip(logits(other, sample)) {
            distance += f64::from(a - b).powi(2);
            square += f64::from(*a).powi(2);
        }
    }
    distance / square
}

#[test]
fn scales_of_channels_cancel_out() {
    let (exact, samples) = (model(), samples(2, 1));
    let untrained = with(exact.clone(), "abq{w=8,a=16,group=16,epochs=0}", &samples, 1);
    assert!(error(&exact, &untrained, &samples) < 1e-3, "{}", error(&exact, &untrained, &samples));
}

#[test]
fn training_brings_outputs_nearer_also_on_other_samples() {
    let (exact, seen, other) = (model(), samples(6, 1), samples(6, 999));
    let after =
        |epochs: usize| with(exact.clone(), &format!("abq{{w=2,a=8,group=16,scale_rate=0.02,clip_rate=0.05,epochs={epochs}}}"), &seen, 2);
    let (untrained, trained) = (after(0), after(60));
    for samples in [&seen, &other] {
        let (before, after) = (error(&exact, &untrained, samples), error(&exact, &trained, samples));
        assert!(after < 0.9 * before, "{before} became {after}");
    }
}

#[test]
fn five_levels_lose_less_than_four() {
    let (exact, samples) = (model(), samples(3, 1));
    let lost = |balance: bool| {
        let pipeline = format!("abq{{w=2,a=8,group=16,epochs=4,balance={balance}}}");
        error(&exact, &with(exact.clone(), &pipeline, &samples, 2), &samples)
    };
    assert!(lost(true) < lost(false));
}

#[test]
fn threads_do_not_change_what_is_learned() {
    let samples = samples(2, 1);
    let learned = |threads| text::print(&with(model(), "abq{w=3,a=8,epochs=2}", &samples, threads));
    assert_eq!(learned(1), learned(3));
}

#[test]
fn refusals_say_why() {
    let (executor, mut quiet) = (RuntimeExecutor { threads: 1 }, Quiet);
    let mut refused = |pipeline: &str, samples: Vec<Named>| {
        let mut cx = PassContext::new(&executor, &mut quiet);
        cx.calibration = samples;
        run_pipeline(&mut model(), &Pipeline::parse(pipeline).unwrap(), &mut cx).err().unwrap().to_string()
    };
    assert!(refused("abq", vec![]).contains("needs calibration data"));
    assert!(refused("abq{w=9}", samples(1, 1)).contains("w=9"));
    assert!(refused("abq{group=20}", samples(1, 1)).contains("no whole groups of 20"));
}
