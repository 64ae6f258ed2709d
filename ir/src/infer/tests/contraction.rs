//! Matrix products and determinants.

use super::check;

const PLAIN: &str = "matmul {transpose_a = false, transpose_b = false}";

#[test]
fn matmul() {
    check(PLAIN, &["b x s x 8 x f32", "8 x 4 x f32"], "b x s x 4 x f32");
    check(PLAIN, &["b x 1 x s x 8 x f32", "h x 8 x t x f32"], "b x h x s x t x f32");
    check("matmul {transpose_a = false, transpose_b = true}", &["s x 8 x f32", "4 x 8 x f32"], "s x 4 x f32");
    check("matmul {transpose_a = true, transpose_b = false}", &["8 x s x i8", "8 x 4 x i8"], "s x 4 x i32");
    check(PLAIN, &["* x f32", "8 x 4 x f32"], "* x f32");
    check(
        PLAIN,
        &["s x 8 x f32", "9 x 4 x f32"],
        "matmul: the contracted sizes must be equal, not 8 and 9 (tensor<s x 8 x f32> by tensor<9 x 4 x f32>)",
    );
    check(PLAIN, &["8 x f32", "8 x 4 x f32"], "matmul: operand 0 must have rank 2 or more, not tensor<8 x f32>");
    check(PLAIN, &["2 x s x 8 x f32", "3 x 8 x 4 x f32"], "matmul: sizes 2 and 3 do not broadcast");
    check(PLAIN, &["8 x 8 x f32", "8 x 8 x f16"], "matmul: operands 0 and 1 have element types f32 and f16");
}

#[test]
fn det() {
    check("det", &["b x 3 x 3 x f32"], "b x f32");
    check("det", &["3 x 4 x f32"], "det: the last two sizes must be equal, not 3 and 4");
}
