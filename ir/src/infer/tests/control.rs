//! Calls, branches, loops.

use super::check_module;

fn call(signature: &str, body: &str, arguments: &str) -> String {
    format!(
        "module \"m\"\ngraph @f0 \"main\"({arguments}) -> () {{\n%9 = call %0, %1 {{function = @f1}} : tensor<f32>\nreturn }}\ngraph @f1 \"f\"{signature} {{\n{body} }}"
    )
}

#[test]
fn call_binds_symbols() {
    let signature = "(%0 \"x\": tensor<n x f32>, %1 \"y\": tensor<k x n x f32>) -> (\"z\")";
    let body = "%2 = add %0, %1 : tensor<k x 2*n + ?0 x f32>\nreturn %2";
    let arguments = "%0 \"a\": tensor<past + seq x f32>, %1 \"b\": tensor<4 x past + seq x f32>";
    check_module(&call(signature, body, arguments), "4 x ?0 + 2*past + 2*seq x f32");
    let wrong = "%0 \"a\": tensor<past x f32>, %1 \"b\": tensor<4 x i64>";
    check_module(&call(signature, body, wrong), "call: \"y\" of \"f\" is tensor<k x n x f32>, the argument is tensor<4 x i64>");
    let more = "(%0 \"x\": tensor<n x f32>) -> (\"z\")";
    check_module(&call(more, "return %0", arguments), "call: \"f\" takes 1 arguments, not 2");
}

fn branch(then: &str, otherwise: &str) -> String {
    let function = |number: u32, ty: &str| {
        format!("graph @f{number} \"f{number}\"(%0 \"x\": tensor<n x f32>) -> (\"y\") {{\n%1 = exp %0 : tensor<{ty}>\nreturn %1 }}\n")
    };
    let (then, otherwise) = (function(1, then), function(2, otherwise));
    format!(
        "module \"m\"\ngraph @f0 \"main\"(%0 \"c\": tensor<bool>, %1 \"x\": tensor<h x f32>) -> () {{\n%9 = if %0, %1 {{then_branch = @f1, else_branch = @f2}} : tensor<f32>\nreturn }}\n{then}{otherwise}"
    )
}

#[test]
fn branches_merge() {
    check_module(&branch("n x 4 x f32", "n x 4 x f32"), "h x 4 x f32");
    check_module(&branch("n x 4 x f32", "n x 5 x f32"), "h x ?0 x f32");
    check_module(&branch("n x 4 x f32", "n x f32"), "* x f32");
    check_module(&branch("n x f32", "n x i64"), "if: the branches give tensor<h x f32> and tensor<h x i64>");
}

fn repeat(condition: &str, carried: &str, count: &str) -> String {
    format!(
        "module \"m\"\ngraph @f0 \"main\"(%1 \"x\": tensor<h x f32>, %2 \"y\": tensor<4 x f32>) -> () {{\n{count}\n%9 = loop %0, %1, %2 {{body = @f1, carried = 1, trip_count = true, condition = false}} : tensor<f32>\nreturn }}\n\
         graph @f1 \"body\"(%0 \"i\": tensor<i64>, %1 \"c\": tensor<bool>, %2 \"x\": tensor<n x f32>, %3 \"y\": tensor<k x f32>) -> (\"c\", \"x\", \"s\") {{\n\
         %4 = not %1 : tensor<bool>\n%5 = exp %2 : tensor<{carried} x f32>\n%6 = exp %2 : tensor<k x n x f32>\nreturn {condition}, %5, %6 }}"
    )
}

#[test]
fn loops() {
    let count = "%0 = dims_of {dims = [seq], scalar = true} : tensor<i64>";
    check_module(&repeat("%1", "n", count), "h x f32, seq x 4 x h x f32");
    check_module(&repeat("%4", "n", count), "h x f32, ?0 x 4 x h x f32");
    check_module(&repeat("%1", "n + 1", count), "?1 x f32, seq x 4 x ?0 x f32");
}
