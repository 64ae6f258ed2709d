//! Sizes and counting tensors.

use super::check;

#[test]
fn range() {
    check("range", &["=0", "=past + seq", "=1"], "past + seq x i64");
    check("range", &["=past", "=past + seq", "=1"], "seq x i64");
    check("range", &["=0", "=10", "=3"], "4 x i64");
    check("range", &["=10", "=0", "=-1"], "10 x i64");
    check("range", &["f32", "f32", "f32"], "?0 x f32");
    check("range", &["=0", "=10", "=0"], "range: delta is 0");
    check("range", &["=0", "f32", "=1"], "range: operands 0 and 1 have element types i64 and f32");
}

#[test]
fn sizes() {
    check("iota {len = past + seq, elem = i64}", &[], "past + seq x i64");
    check("iota {len = -1, elem = i64}", &[], "iota: size -1 is negative");
    check("shape_of {start = 0}", &["b x 3 x f32"], "2 x i64");
    check("shape_of {start = 1, end = 2}", &["b x 3 x f32"], "1 x i64");
    check("shape_of {start = 0}", &["* x f32"], "?0 x i64");
    check("size_of", &["* x f32"], "i64");
    check("dims_of {dims = [a, 2], scalar = false}", &[], "2 x i64");
    check("dims_of {dims = [a], scalar = true}", &[], "i64");
    check("dims_of {dims = [a, b], scalar = true}", &[], "dims_of: a scalar of 2 values");
}
