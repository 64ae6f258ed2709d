//! Convolution and pooling.

use super::check;

fn conv(stride: i64, pads: &str, auto: &str, groups: i64) -> String {
    format!("conv {{strides = [{stride}, {stride}], dilations = [1, 1], pads = {pads}, auto_pad = {auto}, groups = {groups}}}")
}

#[test]
fn conv_sizes() {
    let same = conv(1, "[1, 1, 1, 1]", "explicit", 1);
    check(&same, &["n x 3 x h x w x f32", "16 x 3 x 3 x 3 x f32", "16 x f32"], "n x 16 x h x w x f32");
    let halved = conv(2, "[1, 1, 1, 1]", "explicit", 1);
    check(&halved, &["n x 3 x h x 224 x f32", "16 x 3 x 3 x 3 x f32"], "n x 16 x floordiv(h + 1, 2) x 112 x f32");
    check(&halved, &["n x 3 x 4*h x w x f32", "16 x 3 x 3 x 3 x f32"], "n x 16 x 2*h x floordiv(w + 1, 2) x f32");
    check(&halved, &["n x 3 x floordiv(h + 1, 2) x 7 x f32", "16 x 3 x 3 x 3 x f32"], "n x 16 x floordiv(h + 3, 4) x 4 x f32");
    check(&conv(2, "[]", "same_upper", 1), &["n x 3 x h x 7 x f32", "4 x 3 x 2 x 2 x f32"], "n x 4 x floordiv(h + 1, 2) x 4 x f32");
    check(&conv(1, "[]", "valid", 3), &["n x 6 x 8 x 7 x f32", "3 x 2 x 2 x 3 x f32"], "n x 3 x 7 x 5 x f32");
    check(&same, &["* x f32", "16 x 3 x 3 x 3 x f32"], "* x f32");
}

#[test]
fn conv_errors() {
    let same = conv(1, "[0, 0, 0, 0]", "explicit", 1);
    let channels = "conv: input channels and those of the weights times groups must be equal, not 4 and 3";
    check(&same, &["n x 4 x h x w x f32", "16 x 3 x 3 x 3 x f32"], channels);
    check(&same, &["n x 3 x 2 x 2 x f32", "16 x 3 x 3 x 3 x f32"], "conv: a window of 3 (dilation 1) does not fit 2 padded by 0 and 0");
    check(&same, &["n x 3 x w x f32", "16 x 3 x 3 x f32"], "conv: 1 spatial axes, but [2, 2, 4] strides, dilations and pads");
    check(&same, &["n x 3 x h x w x f32", "16 x 3 x 3 x f32"], "conv: a window of 1 axes on 2 spatial axes");
    check(
        &conv(0, "[0, 0, 0, 0]", "explicit", 1),
        &["n x 3 x h x w x f32", "16 x 3 x 3 x 3 x f32"],
        "conv: strides and dilations must be positive, not 0",
    );
    let grouped = conv(1, "[0, 0, 0, 0]", "explicit", 2);
    check(&grouped, &["n x 6 x h x w x f32", "3 x 3 x 1 x 1 x f32"], "conv: 3 output channels in 2 groups");
    check(&conv(1, "[0, 0, 0, 0]", "explicit", 0), &["n x 6 x h x w x f32", "3 x 3 x 1 x 1 x f32"], "conv: groups must be positive, not 0");
    let bias = "conv: axis 0 of operand 2 and the size it belongs to must be equal, not 15 and 16";
    check(&same, &["n x 3 x h x w x f32", "16 x 3 x 3 x 3 x f32", "15 x f32"], bias);
}

#[test]
fn conv_transpose() {
    let op = |extra: &str| format!("conv_transpose {{strides = [2], dilations = [1], {extra}, groups = 1}}");
    let explicit = op("pads = [1, 1], auto_pad = explicit, output_padding = [1], output_shape = []");
    check(&explicit, &["n x 4 x w x f32", "4 x 8 x 3 x f32", "8 x f32"], "n x 8 x 2*w x f32");
    let shaped = op("pads = [0, 0], auto_pad = explicit, output_padding = [0], output_shape = [9]");
    check(&shaped, &["n x 4 x 4 x f32", "4 x 8 x 3 x f32"], "n x 8 x 9 x f32");
    let same = op("pads = [], auto_pad = same_lower, output_padding = [0], output_shape = []");
    check(&same, &["n x 4 x 5 x f32", "4 x 8 x 3 x f32"], "n x 8 x 10 x f32");
    let channels = "conv_transpose: input channels and those of the weights times groups must be equal, not 5 and 4";
    check(&explicit, &["n x 5 x w x f32", "4 x 8 x 3 x f32"], channels);
}

#[test]
fn pool() {
    let op = |extra: &str| {
        format!(
            "pool {{kind = max, kernel = [3], strides = [2], dilations = [1], auto_pad = explicit, count_include_pad = false, p = 0, column_major = false, {extra}}}"
        )
    };
    check(&op("pads = [0, 0], ceil = false, indices = false"), &["n x 4 x w x f32"], "n x 4 x floordiv(w + 1, 2) - 1 x f32");
    check(&op("pads = [0, 0], ceil = true, indices = false"), &["n x 4 x 6 x f32"], "n x 4 x 3 x f32");
    check(
        &op("pads = [0, 0], ceil = true, indices = true"),
        &["n x 4 x w x f32"],
        "n x 4 x floordiv(w, 2) x f32, n x 4 x floordiv(w, 2) x i64",
    );
    check(&op("pads = [0, 2], ceil = true, indices = false"), &["n x 4 x 5 x f32"], "n x 4 x 3 x f32");
    check(
        &op("pads = [0, 0], ceil = false, indices = false"),
        &["n x w x f32"],
        "pool: operand 0 must have rank 3 or more, not tensor<n x w x f32>",
    );
}
