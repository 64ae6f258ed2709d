//! Elementwise ops.

use super::check;

#[test]
fn unary() {
    check("exp", &["batch x 3 x f32"], "batch x 3 x f32");
    check("is_nan", &["* x f16"], "* x bool");
    check("not", &["2 x bool"], "2 x bool");
    check("exp", &["2 x i32"], "exp: operand 0 must be float, not tensor<2 x i32>");
    check("not", &["2 x i64"], "not: operand 0 must be bool, not tensor<2 x i64>");
    check("exp", &["2 x f32", "2 x f32"], "exp: takes 1 operands, not 2");
}

#[test]
fn binary_broadcasts() {
    check("add", &["batch x 1 x f32", "3 x f32"], "batch x 3 x f32");
    check("add", &["a x f32", "b x f32"], "broadcast(a, b) x f32");
    check("add", &["broadcast(a, b) x f32", "b x f32"], "broadcast(a, b) x f32");
    check("add", &["1 x 1 x f32", "f32"], "1 x 1 x f32");
    check("add", &["* x f32", "3 x f32"], "* x f32");
    check("lt", &["h x i64", "i64"], "h x bool");
    check("eq", &["2 x string", "2 x string"], "2 x bool");
    check("pow", &["2 x f32", "i64"], "2 x f32");
    check("add", &["2 x f32", "3 x f32"], "add: sizes 2 and 3 do not broadcast");
    check("add", &["2 x f32", "2 x f16"], "add: operands 0 and 1 have element types f32 and f16");
    check("add", &["2 x bool", "2 x bool"], "add: operand 0 must be a number, not tensor<2 x bool>");
    check("and", &["2 x i64", "2 x i64"], "and: operand 0 must be bool, not tensor<2 x i64>");
    check("add", &[], "add: takes 2 operands, not 0");
}

#[test]
fn conversions() {
    check("cast {to = i64, saturate = true}", &["h x f32"], "h x i64");
    check("bitcast {to = i32}", &["h x f32"], "h x i32");
    check("bitcast {to = i64}", &["h x f32"], "bitcast: f32 and i64 do not have the same width");
    check("cast {to = !quant<8, signed, tensor>, saturate = true}", &["f32"], "cast: does not make quantized types; quantize does");
}

#[test]
fn select_and_swiglu() {
    check("select", &["h x 1 x bool", "4 x f32", "f32"], "h x 4 x f32");
    check("select", &["h x bool", "4 x f32", "i64"], "select: operands 1 and 2 have element types f32 and i64");
    check("select", &["h x f32", "f32", "f32"], "select: operand 0 must be bool, not tensor<h x f32>");
    check("swiglu", &["b x 8 x f32", "b x 8 x f32"], "b x 8 x f32");
    check("activation {kind = gelu, alpha = 0.0, beta = 0.0}", &["b x f32"], "b x f32");
}
