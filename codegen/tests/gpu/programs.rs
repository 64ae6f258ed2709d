//! Programs of several ops: clusters, views, state, wrong indices.

use super::bench::{assert_same, floats, sessions};
use mokume_ir::text::{no_data, parse};
use mokume_runtime::tensor::Tensor;
use std::time::Instant;

fn module(text: &str) -> mokume_ir::graph::Module {
    parse(text, &no_data).unwrap_or_else(|report| panic!("{report}"))
}

const DECODER: &str = r#"module "decoder"

graph @f0 "main"(
  %0 "x": tensor<1 x s x 6 x f32>,
  %1 "past": tensor<1 x 1 x past x 6 x f32>
) -> ("y", "present") state("past" <- "present" axis 2) {
  %2 = reshape %0 {shape = [1, 1, s, 6], allow_zero = false} : tensor<1 x 1 x s x 6 x f32>
  %3 = concat %1, %2 {axis = 2} : tensor<1 x 1 x past + s x 6 x f32>
  %4 = attention %2, %3, %3 {causal = true, softcap = 0.0, mask = false, join_heads = true} : tensor<1 x s x 6 x f32>
  %5 = exp %4 : tensor<1 x s x 6 x f32>
  %6 = mul %5, %0 : tensor<1 x s x 6 x f32>
  %7 = tanh %6 : tensor<1 x s x 6 x f32>
  return %7, %3
}
"#;

#[test]
fn state_grows_on_the_device() {
    let (mut cpu, mut device) = sessions(module(DECODER));
    for round in 0..2 {
        for (i, s) in [3, 1, 1, 70, 2].into_iter().enumerate() {
            let x = vec![("x".to_string(), floats(&[1, s, 6], round * 10 + i as u64))];
            let (want, got) = (cpu.run(&x).unwrap(), device.run(&x).unwrap());
            assert_same("y", &got[0].1, &want[0].1, 2e-6);
        }
        cpu.reset();
        device.reset();
    }
}

/// A profile has every step, one after the other, within the time of the run.
#[test]
fn profiles_have_the_times_of_the_device() {
    let (_, mut device) = sessions(module(DECODER));
    for _ in 0..2 {
        let began = Instant::now();
        let (_, events) = device.run_profiled(&[("x".into(), floats(&[1, 3, 6], 1))]).unwrap();
        let whole = began.elapsed().as_nanos() as u64;
        assert!(events.len() >= 3 && events.iter().any(|event| event.duration_ns > 0));
        assert!(events.windows(2).all(|two| two[0].start_ns + two[0].duration_ns <= two[1].start_ns), "{events:?}");
        assert!(events.iter().all(|event| event.start_ns + event.duration_ns <= whole), "{events:?} in {whole}");
    }
}

/// A decoder whose keys and values are codes of these types.
fn coded_decoder(width: usize, keys: &str, values: &str) -> String {
    format!(
        r#"module "decoder"

graph @f0 "main"(
  %0 "q": tensor<2 x 4 x s x {width} x f32>,
  %1 "x": tensor<2 x 2 x s x {width} x f32>,
  %2 "past.k": tensor<2 x 2 x past x {width} x {keys}>,
  %3 "past.v": tensor<2 x 2 x past x {width} x {values}>
) -> ("y", "k", "v") state("past.k" <- "k" axis 2, "past.v" <- "v" axis 2) {{
  %4 = quantize %1 {{to = {keys}}} : tensor<2 x 2 x s x {width} x {keys}>
  %5 = concat %2, %4 {{axis = 2}} : tensor<2 x 2 x past + s x {width} x {keys}>
  %6 = neg %1 : tensor<2 x 2 x s x {width} x f32>
  %7 = quantize %6 {{to = {values}}} : tensor<2 x 2 x s x {width} x {values}>
  %8 = concat %3, %7 {{axis = 2}} : tensor<2 x 2 x past + s x {width} x {values}>
  %9 = attention %0, %5, %8 {{causal = true, softcap = 0.0, mask = false, join_heads = true}} : tensor<2 x s x {} x f32>
  return %9, %5, %8
}}
"#,
        4 * width
    )
}

#[test]
fn state_in_codes_grows_on_the_device() {
    let types = [
        (8, "!quant<8, unsigned, row, zero_point>", "!quant<4, signed, row>"),
        (12, "!quant<4, unsigned, row, zero_point>", "!quant<3, unsigned, row, zero_point>"),
        (7, "!quant<3, odd, row>", "!quant<5, unsigned, row, zero_point>"),
    ];
    for (width, keys, values) in types {
        let (mut cpu, mut device) = sessions(module(&coded_decoder(width, keys, values)));
        for (i, s) in [3, 1, 1, 70, 2].into_iter().enumerate() {
            let inputs = [("q".to_string(), floats(&[2, 4, s, width], i as u64)), ("x".into(), floats(&[2, 2, s, width], 10 + i as u64))];
            let (want, got) = (cpu.run(&inputs).unwrap(), device.run(&inputs).unwrap_or_else(|report| panic!("{report}")));
            assert_same("y", &got[0].1, &want[0].1, 1e-5);
        }
        let rows = 2 * 2 * 77;
        assert!(device.state_bytes() >= cpu.state_bytes() && device.state_bytes() <= cpu.state_bytes() + 2 * rows * 7);
    }
}

const LOOKUP: &str = r#"module "lookup"

graph @f0 "main"(%0 "table": tensor<5 x 2 x f32>, %1 "at": tensor<n x i64>) -> ("y") {
  %2 = gather %0, %1 {axis = 0} : tensor<n x 2 x f32> loc("Lookup_7")
  return %2
}
"#;

#[test]
fn indices_out_of_range_name_the_node() {
    let (_, mut device) = sessions(module(LOOKUP));
    let mut run = |at: i64| device.run(&[("table".into(), floats(&[5, 2], 1)), ("at".into(), Tensor::i64s(&[2], &[0, at]))]);
    assert!(run(-5).is_ok());
    for at in [5, -6, i64::MAX, i64::MIN] {
        let report = run(at).unwrap_err().to_string();
        assert!(report.contains("Lookup_7") && report.contains("out of range"), "{report}");
    }
    assert!(run(4).is_ok());
}
