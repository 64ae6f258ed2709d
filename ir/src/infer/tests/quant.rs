//! Quantized types.

use super::check;

#[test]
fn quantize_and_dequantize() {
    check("quantize {to = !quant<8, signed, row>}", &["b x 64 x f32"], "b x 64 x !quant<8, signed, row");
    check(
        "quantize {to = !quant<4, signed, axis(2)>}",
        &["b x 64 x f32"],
        "quantize: !quant<4, signed, axis(2)> does not fit tensor<b x 64 x f32>",
    );
    check("quantize {to = !quant<4, signed, row(48)>}", &["b x 64 x f32"], "b x 64 x !quant<4, signed, row(48)");
    check("quantize {to = !quant<4, signed, row(0)>}", &["64 x f32"], "quantize: !quant<4, signed, row(0)> does not fit tensor<64 x f32>");
    check("dequantize", &["b x 64 x !quant<8, signed, row>"], "b x 64 x f32");
    check("dequantize", &["b x 64 x i8"], "dequantize: operand 0 must be quantized, not tensor<b x 64 x i8>");
}

const CODES: &str = "a_bits = 8, a_levels = signed, static_scale = 0.0, static_zero = 0";

#[test]
fn bit_matmul() {
    let op = |epilogue: &str| format!("bit_matmul {{{CODES}, a_scale = row, epilogue = {epilogue}}}");
    let weights = "16 x 64 x !quant<4, signed, block(0, 1, 32)>";
    check(&op("[]"), &["b x s x 64 x f32", weights], "b x s x 16 x f32");
    check(&op("[bias, relu, add]"), &["b x 64 x f32", weights, "16 x f32", "b x 16 x f32"], "b x 16 x f32");
    check(&op("[]"), &["b x 65 x f32", weights], "bit_matmul: the contracted sizes must be equal, not 65 and 64");
    check(&op("[bias]"), &["b x 64 x f32", weights], "bit_matmul: takes 3 operands, not 2");
    check(
        &op("[bias]"),
        &["b x 64 x f32", weights, "15 x f32"],
        "bit_matmul: axis 0 of operand 2 and the size it belongs to must be equal, not 15 and 16",
    );
    check(
        &op("[add]"),
        &["b x 64 x f32", weights, "b x 15 x f32"],
        "bit_matmul: sizes of the result and of the epilogue must be equal, not 16 and 15",
    );
    check(&op("[]"), &["b x 64 x f32", "16 x 64 x f32"], "bit_matmul: operand 1 must be quantized, not tensor<16 x 64 x f32>");
}

#[test]
fn bit_matmul_with_groups_of_activations() {
    let op = |scale: &str, group: u32| format!("bit_matmul {{{CODES}, a_scale = {scale}, a_group = {group}, epilogue = []}}");
    let weights = |granularity: &str| format!("16 x 192 x !quant<4, signed, {granularity}>");
    for granularity in ["tensor", "axis(0)", "block(0, 1, 32)", "block(0, 1, 64)", "block(0, 1, 128)"] {
        check(&op("row", 64), &["b x 192 x f32", &weights(granularity)], "b x 16 x f32");
    }
    for (operation, granularity, why) in [
        (op("tensor", 64), "axis(0)", "groups of 64 activations, whose scale is tensor"),
        (op("row", 0), "axis(0)", "a scale per 0 elements"),
        (op("row", 64), "axis(1)", "scales per Axis(1) are none of the rows of a matrix"),
        (
            op("row", 64),
            "block(0, 1, 48)",
            "activations have a scale per 64 elements and weights per 48: one must be a multiple of the other",
        ),
    ] {
        check(&operation, &["b x 192 x f32", &weights(granularity)], &format!("bit_matmul: {why}"));
    }
}

#[test]
fn clips_are_parts_of_ranges_that_are_found() {
    let quantize = |clip: &str| format!("quantize {{to = !quant<4, signed, row>, clip = {clip}}}");
    check(&quantize("0.9"), &["n x 8 x f32"], "n x 8 x !quant<4, signed, row");
    check(&quantize("1.5"), &["n x 8 x f32"], "quantize: 1.5 of the range is spanned, not a part in (0, 1]");
    check(&quantize("0.5"), &["n x 8 x f32", "n x f32"], "quantize: 0.5 of the range is spanned, but no scale is found for it");
    let product = |scale: &str| format!("bit_matmul {{{CODES}, a_scale = {scale}, a_clip = 0.9, epilogue = []}}");
    let operands = ["b x 64 x f32", "16 x 64 x !quant<4, signed, axis(0)>"];
    check(&product("row"), &operands, "b x 16 x f32");
    check(&product("static"), &operands, "bit_matmul: 0.9 of the range is spanned, but no scale is found for it");
}

#[test]
fn bit_conv() {
    let op = |scale: &str| {
        let window = "kernel = [3, 3], strides = [2, 2], dilations = [1, 1], pads = [1, 1, 1, 1], auto_pad = explicit, groups = 1";
        format!("bit_conv {{{window}, {CODES}, a_scale = {scale}, epilogue = [bias, relu]}}")
    };
    let weights = "16 x 27 x !quant<4, signed, axis(0)>";
    check(&op("tensor"), &["n x 3 x h x 224 x f32", weights, "16 x f32"], "n x 16 x floordiv(h + 1, 2) x 112 x f32");
    check(&op("row"), &["n x 3 x h x w x f32", weights, "16 x f32"], "bit_conv: activations of a convolution have no rows");
    check(
        &op("tensor"),
        &["n x 4 x h x w x f32", weights, "16 x f32"],
        "bit_conv: elements of a patch and of the weights times groups must be equal, not 36 and 27",
    );
}

#[test]
fn bit_gather() {
    let weights = "16 x 64 x !quant<4, signed, block(0, 1, 32)>";
    check("bit_gather", &[weights, "b x s x i64"], "b x s x 64 x f32");
    check("bit_gather", &[weights, "i32"], "64 x f32");
    check("bit_gather", &["16 x 64 x f32", "b x i64"], "bit_gather: operand 0 must be quantized, not tensor<16 x 64 x f32>");
    check("bit_gather", &[weights, "b x f32"], "bit_gather: operand 1 must be i32 or i64, not tensor<b x f32>");
}
