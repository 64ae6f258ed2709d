//! The canonical form, seen from outside: what becomes what, and what must stay.

use crate::testing::nodes;

#[track_caller]
fn check(text: &str, expected: &str) {
    let text = format!("module \"m\"\n{text}");
    assert_eq!(nodes(&text, "canonicalize,dce"), expected.trim());
}

#[test]
fn shape_arithmetic_becomes_attributes() {
    check(
        r#"
const @0 : tensor<1 x i64> = [-1]
const @1 : tensor<i64> = 0
graph @f0 "main"(%0 "x": tensor<batch x seq x 8 x f32>) -> ("y") {
  %1 = shape_of %0 {start = 0} : tensor<3 x i64>
  %2 = gather %1, @1 {axis = 0} : tensor<i64>
  %3 = unsqueeze %2 {axes = [0]} : tensor<1 x i64>
  %4 = concat %3, @0 {axis = 0} : tensor<2 x i64>
  %5 = reshape %0, %4 {shape = operand(1), allow_zero = false} : tensor<batch x 8*seq x f32>
  return %5
}"#,
        "
%1 = reshape %0 {shape = [batch, 8*seq], allow_zero = false}
return %1",
    );
}

#[test]
fn positions_become_a_count() {
    check(
        r#"
const @0 : tensor<i64> = 0
const @1 : tensor<i64> = 1
graph @f0 "main"(%0 "x": tensor<past x seq x f32>) -> ("y") {
  %1 = shape_of %0 {start = 0, end = 1} : tensor<1 x i64>
  %2 = squeeze %1 {axes = [0], all = false} : tensor<i64>
  %3 = range @0, %2, @1 : tensor<max(0, past) x i64>
  return %3
}"#,
        "
%1 = iota {len = past, elem = i64}
return %1",
    );
}

#[test]
fn moves_of_moves_are_one_move() {
    check(
        r#"
graph @f0 "main"(%0 "x": tensor<2 x 3 x 4 x f32>) -> ("y") {
  %1 = transpose %0 {perm = [1, 2, 0]} : tensor<3 x 4 x 2 x f32>
  %2 = transpose %1 {perm = [1, 2, 0]} : tensor<4 x 2 x 3 x f32>
  %3 = unsqueeze %2 {axes = [0]} : tensor<1 x 4 x 2 x 3 x f32>
  %4 = reshape %3 {shape = [24], allow_zero = true} : tensor<24 x f32>
  return %4
}"#,
        "
%1 = transpose %0 {perm = [2, 0, 1]}
%2 = reshape %1 {shape = [24], allow_zero = false}
return %2",
    );
}

#[test]
fn moves_that_move_nothing_go() {
    check(
        r#"
const @0 : tensor<f32> = 0.0
graph @f0 "main"(%0 "x": tensor<n x 3 x f32>) -> ("y") {
  %1 = reshape %0 {shape = [n, 3], allow_zero = false} : tensor<n x 3 x f32>
  %2 = slice %1 {starts = [0], ends = [9223372036854775807], axes = [1], steps = [1]} : tensor<n x 3 x f32>
  %3 = broadcast %2 {shape = [n, 3]} : tensor<n x 3 x f32>
  %4 = concat %3 {axis = 0} : tensor<n x 3 x f32>
  %5 = pad %4, @0 {mode = constant, pads = [0, 0], axes = [0], value = true} : tensor<n x 3 x f32>
  %6 = transpose %5 {perm = [0, 1]} : tensor<n x 3 x f32>
  %7 = cast %6 {to = f32, saturate = true} : tensor<n x 3 x f32>
  return %7
}"#,
        "
return %0",
    );
}

#[test]
fn a_reversal_stays() {
    check(
        r#"
graph @f0 "main"(%0 "x": tensor<4 x f32>) -> ("y") {
  %1 = slice %0 {starts = [-1], ends = [-9223372036854775808], axes = [0], steps = [-1]} : tensor<4 x f32>
  return %1
}"#,
        "
%1 = slice %0 {starts = [-1], ends = [-9223372036854775808], axes = [0], steps = [-1]}
return %1",
    );
}

#[test]
fn transposes_of_matmul_operands_become_flags() {
    check(
        r#"
const @0 : tensor<2 x 3 x f32> = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
graph @f0 "main"(%0 "x": tensor<5 x 3 x f32>) -> ("y") {
  %1 = transpose @0 {perm = [1, 0]} : tensor<3 x 2 x f32>
  %2 = matmul %0, %1 {transpose_a = false, transpose_b = false} : tensor<5 x 2 x f32>
  return %2
}"#,
        "
%1 = matmul %0, @0 {transpose_a = false, transpose_b = true}
return %1",
    );
}

#[test]
fn arithmetic_has_one_form() {
    check(
        r#"
const @0 : tensor<f32> = 1.0
const @1 : tensor<f32> = 4.0
const @2 : tensor<f32> = 2.0
const @3 : tensor<f32> = 0.0
graph @f0 "main"(%0 "x": tensor<n x f32>) -> ("y") {
  %1 = add @3, %0 : tensor<n x f32>
  %2 = pow %1, @2 : tensor<n x f32>
  %3 = div %2, @1 : tensor<n x f32>
  %4 = sqrt %3 : tensor<n x f32>
  %5 = div @0, %4 : tensor<n x f32>
  %6 = sub %5, @2 : tensor<n x f32>
  %7 = max @3, %6 : tensor<n x f32>
  return %7
}"#,
        "
%1 = mul %0, %0
%2 = mul %1, @0
%3 = rsqrt %2
%4 = add %3, @1
%5 = relu %4
return %5",
    );
}

#[test]
fn a_zero_that_broadcasts_stays() {
    check(
        r#"
const @0 : tensor<2 x 1 x f32> = [0.0, 0.0]
graph @f0 "main"(%0 "x": tensor<n x f32>) -> ("y") {
  %1 = add %0, @0 : tensor<2 x n x f32>
  return %1
}"#,
        "
%1 = add %0, @0
return %1",
    );
}

#[test]
fn casts_merge_where_no_value_is_lost() {
    check(
        r#"
graph @f0 "main"(%0 "x": tensor<n x i32>, %1 "z": tensor<n x f32>) -> ("y") {
  %2 = cast %0 {to = i64, saturate = true} : tensor<n x i64>
  %3 = cast %2 {to = f32, saturate = true} : tensor<n x f32>
  %4 = cast %1 {to = i64, saturate = true} : tensor<n x i64>
  %5 = cast %4 {to = f32, saturate = true} : tensor<n x f32>
  %6 = add %3, %5 : tensor<n x f32>
  return %6
}"#,
        "
%2 = cast %0 {to = f32, saturate = true}
%3 = cast %1 {to = i64, saturate = true}
%4 = cast %3 {to = f32, saturate = true}
%5 = add %2, %4
return %5",
    );
}

#[test]
fn elementwise_ops_broadcast_by_themselves() {
    check(
        r#"
graph @f0 "main"(%0 "x": tensor<n x 3 x f32>, %1 "z": tensor<3 x f32>) -> ("y") {
  %2 = broadcast %1 {shape = [n, 3]} : tensor<n x 3 x f32>
  %3 = mul %0, %2 : tensor<n x 3 x f32>
  return %3
}"#,
        "
%2 = mul %0, %1
return %2",
    );
}
