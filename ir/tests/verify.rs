//! The verifier: every violation is listed, with its code.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use mokume_ir::text::{no_data, parse};
use mokume_ir::verify::verify;

/// The codes of what is wrong with a module of the given constants and graphs.
fn codes(text: &str) -> Vec<&'static str> {
    let module = parse(&format!("module \"m\"\n{text}"), &no_data).unwrap_or_else(|report| panic!("{report}"));
    match verify(&module) {
        Ok(_) => vec![],
        Err(report) => report.findings().iter().map(|finding| finding.code).collect(),
    }
}

#[test]
fn sound_modules_are_proved() {
    let text = r#"
        const @0 : tensor<2 x 3 x !quant<4, signed, block(0, 1, 2)>> = [1, 2, 3, 4, 5, 6] scales [1.0, 1.0, 1.0, 1.0]
        graph @f0 "main"(%0 "x": tensor<n x past x f32>) -> ("y", "w") state("x" <- "y" axis 1) {
            %1 = concat %0, %0 {axis = 1} : tensor<n x 2*past x f32>
            %2 = call %1 {function = @f1} : tensor<n x 2*past x f32>
            return %2, @0
        }
        graph @f1 "negate"(%0 "a": tensor<a x b x f32>) -> ("b") {
            %1 = neg %0 : tensor<a x b x f32>
            return %1
        }"#;
    assert_eq!(codes(text), Vec::<&str>::new());
}

#[test]
fn recursion_is_found() {
    let text = r#"
        graph @f0 "main"(%0 "x": tensor<f32>) -> ("y") {
            %1 = call %0 {function = @f1} : tensor<f32>
            return %1
        }
        graph @f1 "f"(%0 "x": tensor<f32>) -> ("y") {
            %1 = call %0 {function = @f2} : tensor<f32>
            return %1
        }
        graph @f2 "g"(%0 "x": tensor<f32>) -> ("y") {
            %1 = call %0 {function = @f1} : tensor<f32>
            return %1
        }"#;
    assert_eq!(codes(text), ["ir::function::recursion"]);
}

#[test]
fn quantized_constants_need_the_right_scales() {
    let constant = |ty: &str, scales: &str| {
        codes(&format!(
            "const @0 : tensor<2 x 3 x !quant<{ty}>> = [0, 0, 0, 0, 0, 0] {scales} graph @f0 \"main\"() -> (\"w\") {{ return @0 }}"
        ))
    };
    assert_eq!(constant("4, signed, axis(0)", "scales [1.0]"), ["ir::constant::quant"]);
    assert_eq!(constant("4, signed, axis(2)", "scales [1.0]"), ["ir::constant::quant"]);
    assert_eq!(constant("4, signed, block(0, 1, 0)", "scales [1.0]"), ["ir::constant::quant"]);
    assert_eq!(constant("4, signed, tensor, zero_point", "scales [1.0]"), ["ir::constant::quant"]);
    assert_eq!(constant("4, signed, tensor", "scales [1.0] zero_points [1]"), ["ir::constant::quant"]);
    assert_eq!(constant("4, signed, row(0)", "scales [1.0]"), ["ir::constant::quant"]);
    assert_eq!(constant("4, signed, row(2)", "scales [1.0, 2.0]"), ["ir::constant::quant"]);
    assert_eq!(constant("4, signed, row(2)", "scales [1.0, 2.0, 3.0, 4.0]"), Vec::<&str>::new());
    assert_eq!(constant("4, unsigned, row, zero_point", "scales [1.0, 2.0] zero_points [1, 2]"), Vec::<&str>::new());
}

#[test]
fn all_port_and_state_errors_are_listed() {
    let text = r#"
        graph @f0 "main"(%0 "x": tensor<2 x f32>, %1 "x": tensor<3 x i64>, %2 "z": tensor<4 x f32>) -> ("y", "y")
            state(#0 <- #1, "z" <- #0, "z" <- #9, #1 <- #1 axis 1) {
            return %0, %1
        }"#;
    let mut expected = vec!["ir::port::name"; 2];
    expected.extend(["ir::state::ports"; 4]);
    assert_eq!(codes(text), expected);
}
