//! Ops that choose elements.

use super::check;

#[test]
fn gathers() {
    check("gather {axis = 0}", &["49152 x 576 x f32", "b x s x i64"], "b x s x 576 x f32");
    check("gather {axis = 1}", &["b x 4 x f32", "i64"], "b x f32");
    check("gather {axis = 2}", &["b x 4 x f32", "i64"], "gather: axis 2 is out of range for rank 2");
    check("gather {axis = 0}", &["b x 4 x f32", "f32"], "gather: operand 1 must be i32 or i64, not tensor<f32>");
    check("gather_elements {axis = 0}", &["b x 4 x f32", "2 x 4 x i64"], "2 x 4 x f32");
    check(
        "gather_elements {axis = 0}",
        &["4 x f32", "2 x 4 x i64"],
        "gather_elements: tensor<4 x f32> and indices tensor<2 x 4 x i64> differ in rank",
    );
    check("gather_nd {batch_dims = 0}", &["a x b x c x f32", "n x 2 x i64"], "n x c x f32");
    check("gather_nd {batch_dims = 1}", &["a x b x c x f32", "a x n x 1 x i64"], "a x n x c x f32");
    check("gather_nd {batch_dims = 0}", &["a x f32", "n x k x i64"], "* x f32");
    check(
        "gather_nd {batch_dims = 0}",
        &["a x f32", "n x 2 x i64"],
        "gather_nd: indices tensor<n x 2 x i64> with 0 batch axes do not fit tensor<a x f32>",
    );
}

#[test]
fn scatters() {
    check("scatter_elements {axis = 0, kind = add}", &["b x 4 x f32", "2 x 4 x i64", "2 x 4 x f32"], "b x 4 x f32");
    check(
        "scatter_elements {axis = 0, kind = add}",
        &["b x f32", "2 x i64", "3 x f32"],
        "scatter_elements: sizes of operands 1 and 2 must be equal, not 2 and 3",
    );
    check("scatter_nd {kind = none}", &["b x 4 x f32", "n x 1 x i64", "n x 4 x f32"], "b x 4 x f32");
    check(
        "scatter_nd {kind = none}",
        &["4 x f32", "n x 2 x i64", "n x f32"],
        "scatter_nd: index tuples of tensor<n x 2 x i64> are longer than the rank of tensor<4 x f32>",
    );
}

#[test]
fn data_dependent_sizes() {
    check("compress {}", &["b x 4 x f32", "n x bool"], "?0 x f32");
    check("compress {axis = 1}", &["b x 4 x f32", "n x bool"], "b x ?0 x f32");
    check("non_zero", &["b x 4 x f32"], "2 x ?0 x i64");
    check("non_zero", &["?7 x f32"], "1 x ?8 x i64");
    check("unique {sorted = true}", &["b x 4 x f32"], "?0 x f32, ?0 x i64, 4*b x i64, ?0 x i64");
    check("unique {axis = 1, sorted = true}", &["b x 4 x f32"], "b x ?0 x f32, ?0 x i64, 4 x i64, ?0 x i64");
}

#[test]
fn one_hot_and_top_k() {
    check("one_hot {axis = 1}", &["b x i64", "=10", "2 x f32"], "b x 10 x f32");
    check("one_hot {axis = 0}", &["b x i64", "i64", "2 x f32"], "?0 x b x f32");
    check("one_hot {axis = 2}", &["b x i64", "i64", "2 x f32"], "one_hot: axis 2 is out of range for rank 2");
    check("top_k {k = [5], axis = 1, largest = true, sorted = true}", &["b x 9 x f32"], "b x 5 x f32, b x 5 x i64");
    check("top_k {k = operand(1), axis = 0, largest = true, sorted = true}", &["b x 9 x f32", "1 x i64"], "?0 x 9 x f32, ?0 x 9 x i64");
    check("top_k {k = [10], axis = 1, largest = true, sorted = true}", &["b x 9 x f32"], "top_k: the best 10 of 9 elements");
    check("top_k {k = [1, 2], axis = 1, largest = true, sorted = true}", &["b x 9 x f32"], "top_k: takes one k, not 2");
}
