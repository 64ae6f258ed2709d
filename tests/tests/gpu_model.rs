//! A whole language model in the emulator of GPU kernels, against the CPU backend: float and quantized.
//!
//! The model lies where `tests/models/fetch.py` leaves it; without it the test is skipped aloud.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use mokume::driver::compile;
use mokume::driver::pipelines::{self, PipelineOptions};
use mokume::driver::source;
use mokume_codegen::gpu::program;
use mokume_ir::graph::Module;
use mokume_runtime::cpu::kernels::Kernels;
use mokume_runtime::gpu::arch::Arch;
use mokume_runtime::gpu::code::DeviceCode;
use mokume_runtime::program::Program;
use mokume_runtime::session::{Session, SessionOptions};
use mokume_runtime::tensor::Tensor;
use mokume_tests::models::home;
use std::io::Write;
use std::sync::Arc;

const ARCH: Arch = Arch::Sm90a;

/// The model after a pipeline; none, said aloud, when it is not there.
fn model(preset: &str) -> Option<Module> {
    let path = home().join("models/llama_stories260k.onnx");
    if !path.exists() {
        let _ = writeln!(std::io::stderr(), "skipped: {} is not there", path.display());
        return None;
    }
    let mut module = source::open_graph(&path).unwrap_or_else(|report| panic!("{report}"));
    let pipeline = compile::pipeline(None, Some(preset)).unwrap();
    pipelines::apply(&mut module, &pipeline, &PipelineOptions::default(), &mut |_, _, _| {}).unwrap_or_else(|report| panic!("{report}"));
    Some(module)
}

/// Runs prompts of several lengths on both and compares the logits.
fn check(preset: &str, bound: f32) {
    let Some(module) = model(preset) else { return };
    let emulator = program::emulator(&module, ARCH).unwrap_or_else(|report| panic!("{report}"));
    let code = DeviceCode { ptx: vec![], weights: program::weights(&module).unwrap_or_else(|report| panic!("{report}")) };
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
