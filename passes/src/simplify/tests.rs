//! What saturation finds, and what it leaves alone.

use crate::testing::nodes;

#[track_caller]
fn check(text: &str, expected: &str) {
    let text = format!("module \"m\"\n{text}");
    assert_eq!(nodes(&text, "simplify,dce"), expected);
}

#[test]
fn transposes_cancel_across_arithmetic() {
    check(
        r#"
const @0 : tensor<f32> = 2.0
const @1 : tensor<f32> = 3.0
graph @f0 "main"(%0 "x": tensor<1 x 3 x h x w x f32>) -> ("y") {
  %1 = transpose %0 {perm = [0, 2, 3, 1]} : tensor<1 x h x w x 3 x f32>
  %2 = mul %1, @0 : tensor<1 x h x w x 3 x f32>
  %3 = exp %2 : tensor<1 x h x w x 3 x f32>
  %4 = transpose %3 {perm = [0, 3, 1, 2]} : tensor<1 x 3 x h x w x f32>
  return %4
}"#,
        "%1 = mul %0, @0\n%2 = exp %1\nreturn %2",
    );
}

#[test]
fn numbers_meet() {
    check(
        r#"
const @0 : tensor<f32> = 2.0
const @1 : tensor<f32> = 3.0
graph @f0 "main"(%0 "x": tensor<n x f32>, %1 "z": tensor<n x f32>) -> ("y") {
  %2 = add %0, @0 : tensor<n x f32>
  %3 = add %2, %1 : tensor<n x f32>
  %4 = add %3, @1 : tensor<n x f32>
  return %4
}"#,
        "%2 = add %0, %1\n%3 = add %2, @0\nreturn %3",
    );
}

#[test]
fn common_factors_are_taken_out() {
    check(
        r#"
graph @f0 "main"(%0 "x": tensor<n x f32>, %1 "z": tensor<n x f32>, %2 "c": tensor<n x f32>) -> ("y") {
  %3 = mul %0, %2 : tensor<n x f32>
  %4 = mul %2, %1 : tensor<n x f32>
  %5 = sub %3, %4 : tensor<n x f32>
  return %5
}"#,
        "%3 = sub %0, %1\n%4 = mul %3, %2\nreturn %4",
    );
}

#[test]
fn what_is_not_cheaper_stays() {
    let text = r#"
graph @f0 "main"(%0 "x": tensor<n x f32>, %1 "z": tensor<n x f32>) -> ("y", "e") {
  %2 = exp %0 : tensor<n x f32>
  %3 = mul %2, %1 : tensor<n x f32>
  %4 = neg %3 : tensor<n x f32>
  return %4, %2
}"#;
    check(text, "%2 = exp %0\n%3 = mul %2, %1\n%4 = neg %3\nreturn %4, %2");
}
