//! The same model and pipeline give the same bytes, whatever the number of threads.

use crate::desk::{Desk, conv_model, deep_model};
use mokume::driver::archive::write_npz;
use mokume_runtime::tensor::Tensor;
use std::fs;

/// Compiles with each number of threads, set in either way, and compares.
fn check(desk: &Desk, arguments: &str) {
    let compile = |threads: usize, option: bool| {
        let option = if option { format!("--threads {threads}") } else { String::new() };
        let mut command = desk.command(&format!("-q compile {arguments} -o m.mok --target x86-64 {option}"));
        let output = command.env("RAYON_NUM_THREADS", threads.to_string()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let bytes = fs::read(desk.path("m.mok")).unwrap();
        fs::remove_file(desk.path("m.mok")).unwrap();
        bytes
    };
    let first = compile(1, true);
    assert!(first.len() > 1000);
    for (threads, option) in [(1, true), (2, true), (5, true), (2, false)] {
        assert!(compile(threads, option) == first, "{arguments} with {threads} threads");
    }
}

#[test]
fn quantized_products() {
    let desk = Desk::new();
    desk.put("m.onnx", deep_model(3, 96));
    check(&desk, "m.onnx --preset w4a8");
}

#[test]
fn calibrated_convolutions() {
    let desk = Desk::new();
    desk.put("m.onnx", conv_model());
    let values: Vec<f32> = (0..16 * 12 * 12).map(|i| (i as f32 * 0.37).sin()).collect();
    write_npz(&desk.path("calib.npz"), &[("x".into(), Tensor::f32s(&[1, 16, 12, 12], &values))]).unwrap();
    check(&desk, "m.onnx --preset w8a8 --calib calib.npz");
}
