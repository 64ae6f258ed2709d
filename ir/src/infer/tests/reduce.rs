//! Reductions.

use super::check;

#[test]
fn reduce() {
    check("reduce {kind = mean, axes = [1], all = false, keep_dims = true}", &["b x 4 x f32"], "b x 1 x f32");
    check("reduce {kind = mean, axes = [0, 2], all = false, keep_dims = false}", &["b x 4 x 5 x f32"], "4 x f32");
    check("reduce {kind = sum, axes = [], all = true, keep_dims = false}", &["* x f32"], "f32");
    check("reduce {kind = max, axes = [], all = true, keep_dims = true}", &["b x 2 x bool"], "1 x 1 x bool");
    check("reduce {kind = sum, axes = operand(1), all = false, keep_dims = false}", &["b x 4 x f32", "=[1]"], "b x f32");
    check("reduce {kind = sum, axes = operand(1), all = false, keep_dims = true}", &["b x 4 x f32", "1 x i64"], "?0 x ?1 x f32");
    check("reduce {kind = sum, axes = operand(1), all = false, keep_dims = false}", &["b x 4 x f32", "1 x i64"], "?0 x f32");
    check("reduce {kind = sum, axes = operand(1), all = false, keep_dims = false}", &["b x 4 x f32", "n x i64"], "* x f32");
    let axes = |axes: &str| format!("reduce {{kind = sum, axes = {axes}, all = false, keep_dims = false}}");
    check(&axes("[2]"), &["b x 4 x f32"], "reduce: axis 2 is out of range for rank 2");
    check(&axes("[1, 1]"), &["b x 4 x f32"], "reduce: axis 1 is given twice");
    check(&axes("[0]"), &["b x bool"], "reduce: operand 0 must be a number, not tensor<b x bool>");
}

#[test]
fn arg_reduce_and_cumulative() {
    check("arg_reduce {largest = true, axis = 1, keep_dims = false, last = false}", &["b x 4 x f32"], "b x i64");
    check("arg_reduce {largest = true, axis = 1, keep_dims = true, last = false}", &["b x 4 x f32"], "b x 1 x i64");
    check(
        "arg_reduce {largest = true, axis = 3, keep_dims = true, last = false}",
        &["4 x f32"],
        "arg_reduce: axis 3 is out of range for rank 1",
    );
    check("cumulative {axis = [1], product = false, exclusive = false, reverse = false}", &["b x 4 x i64"], "b x 4 x i64");
    check(
        "cumulative {axis = [0, 1], product = false, exclusive = false, reverse = false}",
        &["b x 4 x i64"],
        "cumulative: takes one axis, not 2",
    );
}
