//! Quantization and fusion, seen from outside.

use crate::executor::{Executor, Named, NoExecutor};
use crate::pipeline::Pipeline;
use crate::testing::{module, nodes, run};
use mokume_ir::constant::Constant;
use mokume_ir::graph::Module;
use mokume_ir::ids::{FuncId, NodeId};
use mokume_ir::op::Op;

const LINEAR: &str = r#"module "m"
const @0 : tensor<2 x 8 x f32> = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 127.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -127.0]
const @1 : tensor<2 x f32> = [0.5, -0.5]
graph @f0 "main"(%0 "x": tensor<n x 8 x f32>, %1 "r": tensor<n x 2 x f32>) -> ("y") {
  %2 = matmul %0, @0 {transpose_a = false, transpose_b = true} : tensor<n x 2 x f32> loc("/layers.0/fc/MatMul")
  %3 = add %2, @1 : tensor<n x 2 x f32> loc("/layers.0/fc/Add")
  %4 = relu %3 : tensor<n x 2 x f32> loc("/layers.0/Relu")
  %5 = add %1, %4 : tensor<n x 2 x f32> loc("/layers.0/Add")
  return %5
}"#;

const CONV: &str = r#"module "m"
const @0 : tensor<1 x 8 x 1 x 2 x f32> = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -127.0]
const @1 : tensor<1 x f32> = [0.5]
graph @f0 "main"(%0 "x": tensor<1 x 8 x h x w x f32>) -> ("y") {
  %1 = conv %0, @0, @1 {strides = [1, 1], dilations = [1, 1], pads = [0, 0, 0, 1], auto_pad = explicit, groups = 1} : tensor<1 x 1 x h x w x f32> loc("conv")
  return %1
}"#;

/// Computes nothing, but says that every node ran: calibration data of graph inputs needs no more.
struct Empty;

impl Executor for Empty {
    fn eval(&self, op: &Op, _: &[&Constant]) -> Result<Vec<Constant>, String> {
        Err(op.name().into())
    }
    fn run(
        &self,
        module: &Module,
        _: &[(String, Constant)],
        observe: &mut dyn FnMut(FuncId, NodeId, &[Constant]),
    ) -> Result<Named, String> {
        module.main().node_ids().for_each(|node| observe(module.entry, node, &[]));
        Ok(vec![])
    }
}

#[test]
fn a_linear_layer_becomes_one_integer_product() {
    assert_eq!(
        nodes(LINEAR, "quantize{search=false},fuse,dce"),
        "%2 = bit_matmul %0, @0, @1, %1 {a_bits = 8, a_levels = unsigned, a_scale = row, static_scale = 0.0, static_zero = 0, \
         epilogue = [bias, relu, add]}\nreturn %2"
    );
    let (text, _) = run(&mut module(LINEAR), "quantize{search=false},fuse,dce", &NoExecutor, vec![]);
    assert!(text.contains("!quant<8, signed, axis(0)>"), "{text}");
    assert!(text.contains("loc(\"/layers.0/Add\", \"/layers.0/Relu\", \"/layers.0/fc/Add\", \"/layers.0/fc/MatMul\")"), "{text}");
}

#[test]
fn groups_of_activations_become_part_of_the_product() {
    let text = nodes(LINEAR, "quantize{w=4,a=4,a_group=4},fuse,dce");
    assert!(text.contains("a_bits = 4, a_levels = unsigned, a_scale = row, a_group = 4,"), "{text}");
    let whole = nodes(LINEAR, "quantize{w=4,a=4,a_group=8},fuse,dce");
    assert_eq!(whole, nodes(LINEAR, "quantize{w=4,a=4},fuse,dce"));
    let conv = nodes(CONV, "quantize{a_group=4},fuse,dce");
    assert!(conv.contains("a_scale = tensor"), "{conv}");
}

#[test]
fn groups_that_do_not_go_with_blocks_stay_as_they_are() {
    let text = r#"module "m"
        const @0 : tensor<1 x 8 x !quant<4, signed, block(0, 1, 4)>> = [1, 2, 3, 4, 5, 6, 7, 8] scales [1.0, 2.0]
        graph @f0 "main"(%0 "x": tensor<n x 8 x f32>) -> ("y") {
          %1 = quantize %0 {to = !quant<4, signed, row(3)>} : tensor<n x 8 x !quant<4, signed, row(3)>>
          %2 = dequantize %1 : tensor<n x 8 x f32>
          %3 = dequantize @0 : tensor<1 x 8 x f32>
          %4 = matmul %2, %3 {transpose_a = false, transpose_b = true} : tensor<n x 1 x f32> loc("fc")
          return %4
        }"#;
    let (after, remarks) = run(&mut module(text), "fuse", &NoExecutor, vec![]);
    assert!(after.contains("= matmul"), "{after}");
    let why = "activations have a scale per 3 elements and weights per 4: one must be a multiple of the other";
    assert_eq!(remarks[0].to_string(), format!("fuse: \"fc\" (matmul): {why}"));
}

#[test]
fn weights_without_activations_are_dequantized() {
    let quantized = nodes(LINEAR, "quantize{w=4,a=16,group=4}");
    assert!(quantized.starts_with("%2 = dequantize @0\n%3 = matmul %0, %2"), "{quantized}");
    let (_, remarks) = run(&mut module(LINEAR), "quantize{w=4,a=16},fuse", &NoExecutor, vec![]);
    assert_eq!(remarks.len(), 1);
}

#[test]
fn what_is_skipped_is_remarked() {
    for (options, why) in [("skip=[\"fc\"]", "skipped by name: fc"), ("min_k=9", "sums of 8 terms are too short")] {
        let (text, remarks) = run(&mut module(LINEAR), &format!("quantize{{{options}}}"), &NoExecutor, vec![]);
        assert!(text.contains("matmul %0, @0"), "{text}");
        assert_eq!(remarks[0].to_string(), format!("quantize: \"/layers.0/fc/MatMul\" (matmul): {why}"));
    }
}

#[test]
fn convolutions_find_their_scale_at_run_time_or_in_the_calibration_data() {
    let dynamic = nodes(CONV, "quantize,fuse,dce");
    assert!(dynamic.contains("a_scale = tensor"), "{dynamic}");
    assert!(dynamic.contains("kernel = [1, 2]") && dynamic.contains("epilogue = [bias]"), "{dynamic}");
    let sample = vec![("x".to_string(), Constant::f32s(&[1, 8, 1, 1], &[-1.0, 2.0, 4.1, 0.0, 0.0, 0.0, 0.0, 0.0]))];
    let (text, _) = run(&mut module(CONV), "quantize,fuse,dce", &Empty, vec![sample]);
    assert!(text.contains("a_scale = static, static_scale = 0.02, static_zero = 50"), "{text}");
}

#[test]
fn impossible_options_are_errors() {
    let error = |text: &str| {
        let pipeline = Pipeline::parse(text).expect("it parses");
        let mut quiet = crate::pass::Quiet;
        let mut cx = crate::pass::PassContext::new(&NoExecutor, &mut quiet);
        crate::manager::run_pipeline(&mut module(LINEAR), &pipeline, &mut cx).expect_err("it fails").to_string()
    };
    assert_eq!(error("quantize{w=9}"), "error[quantize::bits]: pass `quantize` cannot take w=9: signed levels need 1 to 8 bits");
    assert_eq!(error("quantize{levels=five}"), "error[quantize::bits]: pass `quantize` cannot take w=8: five levels need 3 bits");
    assert_eq!(
        error("quantize{group=48,a_group=64}"),
        "error[quantize::groups]: pass `quantize`: activations have a scale per 64 elements and weights per 48: one must be a multiple of the \
         other"
    );
    assert!(error("quantize{levels=old}").contains("levels are signed, unsigned, odd, five, ternary"));
    let parse = Pipeline::parse("quantize{w=4,gruop=32,a=-1}").expect_err("it is wrong").to_string();
    assert!(parse.contains("pass `quantize` has no option `gruop`") && parse.contains("did you mean `group`?"), "{parse}");
    assert!(parse.contains("pass `quantize` does not take a=-1"), "{parse}");
}
