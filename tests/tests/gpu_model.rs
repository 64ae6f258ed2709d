//! A whole language model in the emulator of GPU kernels, against the CPU backend: float and quantized.
//!
//! The model is stories260k if `models/llama_stories260k.onnx` is in the home of the tests, and one of its sizes with random weights
//! always.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use mokume::driver::compile;
use mokume::driver::pipelines::{self, PipelineOptions};
use mokume::driver::source;
use mokume_codegen::gpu::program;
use mokume_frontends::onnx;
use mokume_ir::graph::Module;
use mokume_ir::order::order;
use mokume_runtime::cpu::kernels::Kernels;
use mokume_runtime::gpu::arch::Arch;
use mokume_runtime::gpu::code::DeviceCode;
use mokume_runtime::gpu::tuning::Tuning;
use mokume_runtime::program::Program;
use mokume_runtime::session::{Session, SessionOptions};
use mokume_runtime::tensor::Tensor;
use mokume_tests::llama::STORIES;
use mokume_tests::models::home;
use prost::Message;
use std::io::Write;
use std::sync::Arc;

const ARCH: Arch = Arch::Sm90a;

/// The models after a pipeline.
fn models(preset: &str) -> Vec<Module> {
    let path = home().join("models/llama_stories260k.onnx");
    let mut models = vec![onnx::import_bytes(STORIES.model().encode_to_vec().into(), None).unwrap_or_else(|report| panic!("{report}"))];
    match path.exists() {
        true => models.push(source::open_graph(&path).unwrap_or_else(|report| panic!("{report}"))),
        false => _ = writeln!(std::io::stderr(), "skipped: {} is not there", path.display()),
    }
    let pipeline = compile::pipeline(None, Some(preset)).unwrap();
    for model in &mut models {
        pipelines::apply(model, &pipeline, &PipelineOptions::default(), &mut |_, _, _| {}).unwrap_or_else(|report| panic!("{report}"));
    }
    models
}

/// Runs prompts of several lengths on both and compares the logits.
fn check(preset: &str, bound: f32) {
    models(preset).into_iter().for_each(|module| check_model(module, preset, bound));
}

fn check_model(module: Module, preset: &str, bound: f32) {
    let emulator = program::emulator(&module, ARCH, &Tuning::default()).unwrap_or_else(|report| panic!("{report}"));
    let code = DeviceCode { weights: program::weights(&module).unwrap_or_else(|report| panic!("{report}")), ..DeviceCode::default() };
    let program = Arc::new(Program::unloaded(module, Kernels { device: code, ..Kernels::default() }));
    let mut cpu = Session::new(program.clone(), SessionOptions { threads: 1, ..Default::default() }).unwrap();
    let mut device = Session::on_device(program, Box::new(emulator), ARCH).unwrap_or_else(|report| panic!("{report}"));
    for tokens in [&[1i64, 403, 407][..], &[1], &[1, 403, 407, 261, 378, 500, 31, 9, 12, 77]] {
        let inputs = [("input_ids".to_string(), Tensor::i64s(&[1, tokens.len()], tokens))];
        let (want, got) = (cpu.run(&inputs).unwrap(), device.run(&inputs).unwrap_or_else(|report| panic!("{report}")));
        let (want, got) = (&want[0].1, &got[0].1);
        assert_eq!(got.dims(), want.dims());
        let largest = want.slice::<f32>().iter().fold(0f32, |most, x| most.max(x.abs()));
        let error = got.slice::<f32>().iter().zip(want.slice::<f32>()).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
        assert!(error <= bound * largest, "{preset}, {} tokens: off by {error} of {largest}", tokens.len());
    }
}

#[test]
fn composites_are_found_in_the_model_of_its_sizes() {
    let module = models("float").swap_remove(0);
    let count = |name: &str| order(module.main()).into_iter().filter(|&id| module.main()[id].op.name() == name).count();
    assert_eq!(["attention", "rotary", "rms_norm", "swiglu"].map(count), [5, 10, 11, 5]);
}

#[test]
fn floats_equal_those_of_the_cpu() {
    check("float", 1e-5);
}

#[test]
fn eight_bits_equal_those_of_the_cpu() {
    check("w8a8", 1e-3);
}

#[test]
fn four_bits_equal_those_of_the_cpu() {
    check("w4a8", 1e-3);
}
