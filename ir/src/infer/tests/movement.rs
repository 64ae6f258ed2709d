//! Ops that move elements.

use super::check;

const RESHAPE: &str = "reshape {shape = operand(1), allow_zero = false}";

#[test]
fn reshape() {
    check(RESHAPE, &["b x s x 576 x f32", "=[0, 0, -1, 64]"], "b x s x 9 x 64 x f32");
    check(RESHAPE, &["b x s x 9 x 64 x f32", "=[b, s, 576]"], "b x s x 576 x f32");
    check(RESHAPE, &["past + s x 8 x f32", "=[-1]"], "8*past + 8*s x f32");
    check(RESHAPE, &["b x past + s x 8 x f32", "=[b, past + s, -1]"], "b x past + s x 8 x f32");
    check(RESHAPE, &["b x 3 x f32", "3 x i64"], "?0 x ?1 x ?2 x f32");
    check(RESHAPE, &["b x 3 x f32", "n x i64"], "* x f32");
    check(RESHAPE, &["b x 3 x f32", "999999999999 x i64"], "* x f32");
    check(RESHAPE, &["* x f32", "=[0, 4]"], "?0 x 4 x f32");
    check("reshape {shape = operand(1), allow_zero = true}", &["0 x 3 x f32", "=[0, 5]"], "0 x 5 x f32");
    check("reshape {shape = [b, 3], allow_zero = false}", &["3*b x f32"], "b x 3 x f32");
    check(
        "reshape {shape = [4, 3], allow_zero = false}",
        &["13 x f32"],
        "reshape: tensor<13 x f32> has 13 elements, the shape [4, 3] has 12",
    );
    check(RESHAPE, &["13 x f32", "=[-1, 2]"], "reshape: 13 elements cannot be divided into [-1, 2]");
    check(RESHAPE, &["12 x f32", "=[-1, -1]"], "reshape: more than one size is -1: [-1, -1]");
    check(RESHAPE, &["12 x f32", "=[12, 0]"], "reshape: size 0 at axis 1 copies an axis that tensor<12 x f32> does not have");
    check(RESHAPE, &["12 x f32", "=[-2]"], "reshape: size -2 is negative");
    check(RESHAPE, &["12 x f32", "1 x f32"], "reshape: operand 1 must be integers, not tensor<1 x f32>");
}

#[test]
fn axes_of_size_one() {
    check("squeeze {axes = [0, 2], all = false}", &["1 x b x 1 x f32"], "b x f32");
    check("squeeze {axes = [], all = true}", &["1 x 4 x 1 x f32"], "4 x f32");
    check("squeeze {axes = [], all = true}", &["1 x b x f32"], "* x f32");
    check("squeeze {axes = operand(1), all = false}", &["1 x b x f32", "=[0]"], "b x f32");
    check("squeeze {axes = operand(1), all = false}", &["1 x b x f32", "1 x i64"], "?0 x f32");
    check("squeeze {axes = [0], all = false}", &["2 x b x f32"], "squeeze: axis 0 of tensor<2 x b x f32> does not have size 1");
    check("unsqueeze {axes = [0, 2]}", &["b x 3 x f32"], "1 x b x 1 x 3 x f32");
    check("unsqueeze {axes = operand(1)}", &["b x 3 x f32", "=[1]"], "b x 1 x 3 x f32");
    check("unsqueeze {axes = [3]}", &["b x 3 x f32"], "unsqueeze: axis 3 is out of range for rank 3");
}

#[test]
fn transpose_and_broadcast() {
    check("transpose {perm = [0, 2, 1]}", &["b x 2 x 3 x f32"], "b x 3 x 2 x f32");
    check("transpose {perm = [0, 2, 1]}", &["* x f32"], "?0 x ?1 x ?2 x f32");
    check("transpose {perm = [0, 0]}", &["2 x 3 x f32"], "transpose: axis 0 is given twice");
    check("transpose {perm = [0]}", &["2 x 3 x f32"], "transpose: permutation [0] does not fit tensor<2 x 3 x f32>");
    check("broadcast {shape = [b, 4]}", &["1 x f32"], "b x 4 x f32");
    check("broadcast {shape = operand(1)}", &["3 x 1 x f32", "=[1, 4]"], "3 x 4 x f32");
    check("broadcast {shape = operand(1)}", &["3 x 1 x f32", "3 x i64"], "?0 x ?1 x ?2 x f32");
    check("broadcast {shape = [4]}", &["3 x f32"], "broadcast: sizes 3 and 4 do not broadcast");
}

fn slice(start: &str, end: &str, step: i64) -> String {
    format!("slice {{starts = [{start}], ends = [{end}], axes = [0], steps = [{step}]}}")
}

#[test]
fn slice_sizes() {
    check(&slice("2", "5", 1), &["8 x f32"], "3 x f32");
    check(&slice("-3", "9223372036854775807", 1), &["8 x 2 x f32"], "3 x 2 x f32");
    check(&slice("7", "-9223372036854775808", -2), &["8 x f32"], "4 x f32");
    check(&slice("-1", "-9223372036854775808", -1), &["h x f32"], "h x f32");
    check(&slice("0", "9223372036854775807", 2), &["h x f32"], "floordiv(h + 1, 2) x f32");
    check(&slice("0", "h", 1), &["h x f32"], "h x f32");
    check(&slice("0", "seq", 1), &["past + seq x f32"], "seq x f32");
    check(&slice("past", "past + seq", 1), &["past + seq x f32"], "seq x f32");
    check(&slice("past", "2147483647", 1), &["past + seq x f32"], "seq x f32");
    check(&slice("0", "seq", 1), &["2048 x f32"], "min(2048, seq) x f32");
    check(&slice("0", "-1", 1), &["h + 1 x f32"], "h x f32");
    check(&slice("0", "-1", 1), &["h x f32"], "max(0, h - 1) x f32");
    check(&slice("1", "2147483647", 1), &["h x f32"], "max(0, h - 1) x f32");
    check(&slice("-1", "2147483647", 1), &["h x f32"], "min(1, h) x f32");
    check(&slice("-1", "2147483647", 1), &["h + 2 x f32"], "1 x f32");
    check(&slice("s - 1", "s", 1), &["s x f32"], "min(1, s) x f32");
    check(&slice("a - b", "2147483647", 1), &["s x f32"], "?0 x f32");
    check(&slice("5", "2", 1), &["8 x f32"], "0 x f32");
}

#[test]
fn slice_operands() {
    let op = "slice {starts = operand(1), ends = operand(2), axes = operand(3), steps = operand(4)}";
    check(op, &["b x s x f32", "=[0]", "=[4]", "=[1]", "=[1]"], "b x min(4, s) x f32");
    check(op, &["b x s x f32", "1 x i64", "=[4]", "=[1]", "=[1]"], "b x ?0 x f32");
    check(op, &["b x s x f32", "=[0]", "=[4]", "1 x i64", "=[1]"], "?0 x ?1 x f32");
    check(op, &["b x s x f32", "=[0]", "=[4]", "=[5]", "=[1]"], "slice: axis 5 is out of range for rank 2");
    check(op, &["b x s x f32", "=[0, 1]", "=[4]", "=[1]", "=[1]"], "slice: 1 axes, but [Some(2), Some(1), Some(1)] starts, ends and steps");
    check(&slice("0", "1", 0), &["8 x f32"], "slice: a step is 0");
}

#[test]
fn split_and_concat() {
    check("split {axis = 1, sizes = [2, 3]}", &["b x 5 x f32"], "b x 2 x f32, b x 3 x f32");
    check("split {axis = 0, sizes = [h, h]}", &["2*h x f32"], "h x f32, h x f32");
    check("split {axis = 0, sizes = operand(1)}", &["h x f32", "2 x i64"], "?0 x f32, ?1 x f32");
    check(
        "split {axis = 1, sizes = [2, 4]}",
        &["b x 5 x f32"],
        "split: the sum of the parts and the size of the axis must be equal, not 6 and 5",
    );
    check("split {axis = 0, sizes = operand(1)}", &["h x f32", "n x i64"], "split: the number of parts is not known");
    check("concat {axis = 1}", &["b x past x f32", "b x seq x f32"], "b x past + seq x f32");
    check("concat {axis = 1}", &["?4 x 2 x f32", "b x 3 x f32"], "b x 5 x f32");
    check("concat {axis = 1}", &["* x f32", "b x 3 x f32"], "b x ?1 + 3 x f32");
    check("concat {axis = 0}", &["b x 2 x f32", "b x 3 x f32"], "concat: sizes at axis 1 of operands 0 and 1 must be equal, not 2 and 3");
    check("concat {axis = 0}", &["b x f32", "b x i64"], "concat: operands 0 and 1 have element types f32 and i64");
    check("concat {axis = 2}", &["b x f32", "b x f32"], "concat: axis 2 is out of range for rank 1");
    check("concat {axis = 0}", &["b x f32", "b x 1 x f32"], "concat: operand 1 is tensor<b x 1 x f32>, operand 0 is tensor<b x f32>");
    let row = "b x s x 4 x !quant<4, signed, row>";
    check("concat {axis = 1}", &[row, row], "b x 2*s x 4 x !quant<4, signed, row");
    check("concat {axis = 2}", &[row, row], "concat: parts of rows of !quant<4, signed, row> have scales of their own");
    check("concat {axis = 0}", &[], "concat: takes 1 or more operands, not 0");
}

#[test]
fn pad_tile_trilu() {
    check("pad {mode = constant, pads = [1, 2], axes = [1], value = false}", &["b x 5 x f32"], "b x 8 x f32");
    check("pad {mode = constant, pads = [0, -1], axes = [0], value = true}", &["h x f32", "f32"], "h - 1 x f32");
    check("pad {mode = reflect, pads = operand(1), axes = [0], value = false}", &["h x 2 x f32", "2 x i64"], "?0 x 2 x f32");
    check("pad {mode = reflect, pads = operand(1), axes = operand(2), value = false}", &["h x f32", "2 x i64", "1 x i64"], "?0 x f32");
    check("pad {mode = constant, pads = [1], axes = [1], value = false}", &["b x 5 x f32"], "pad: 1 axes, but pads Some([1])");
    check("pad {mode = constant, pads = [-3, -3], axes = [1], value = false}", &["b x 5 x f32"], "pad: pads -3 and -3 remove more than 5");
    check("tile {repeats = [2, n]}", &["b x 5 x f32"], "2*b x 5*n x f32");
    check("tile {repeats = [2]}", &["b x 5 x f32"], "tile: repeats [2] do not fit tensor<b x 5 x f32>");
    check("trilu {upper = true}", &["b x 5 x f32"], "b x 5 x f32");
    check("trilu {upper = true}", &["5 x f32", "i64"], "trilu: operand 0 must have rank 2 or more, not tensor<5 x f32>");
}
