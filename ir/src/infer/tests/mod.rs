//! Types of outputs, family by family, written as in the text form.

mod contents;
mod contraction;
mod control;
mod elementwise;
mod index;
mod movement;
mod neural;
mod quant;
mod reduce;
mod resample;
mod shape;
mod window;

use crate::graph::Module;
use crate::infer::{Inference, infer_types};
use crate::order::order;
use crate::text::{no_data, parse};

/// Infers `op`, such as `reduce {kind = sum, …}`, and compares the types of the outputs, or the error, as text.
///
/// An operand is a type without `tensor<>`, or after `=` the elements of an i64 vector (`=[past + seq, -1]`) or scalar.
fn check(op: &str, operands: &[&str], expected: &str) {
    assert_eq!(inferred(&one_node(op, operands)), expected, "{op} on {operands:?}");
}

/// As [`check`], for an op that takes no operand of known contents: every type is written in full.
fn check_module(text: &str, expected: &str) {
    assert_eq!(inferred(&parse(text, &no_data).unwrap()), expected, "{text}");
}

/// Compares the contents of the output of the last node of a graph with these statements; `%0` is an input of type `input`.
fn check_contents(input: &str, statements: &str, expected: &str) {
    let text = format!("module \"m\"\ngraph @f0 \"main\"(%0 \"x\": tensor<{input}>) -> () {{\n{statements}\nreturn }}");
    let module = parse(&text, &no_data).unwrap();
    let graph = module.main();
    let last = graph.node_ids().next_back().unwrap();
    let contents = Inference::new(&module, graph).contents(graph[last].outputs[0]);
    let found =
        contents.map_or("none".into(), |found| if found.scalar { format!("{:?}", found.dims[0]) } else { format!("{:?}", found.dims) });
    assert_eq!(found, expected, "{statements}");
}

fn one_node(op: &str, operands: &[&str]) -> Module {
    let (word, attrs) = op.split_once(' ').unwrap_or((op, ""));
    let (mut inputs, mut statements) = (vec![], vec![]);
    for (i, operand) in operands.iter().enumerate() {
        match operand.strip_prefix('=') {
            Some(elements) => statements.push(dims_of(i, elements)),
            None => inputs.push(format!("%{i} \"x{i}\": tensor<{operand}>")),
        }
    }
    let names = (0..operands.len()).map(|i| format!("%{i}")).collect::<Vec<_>>().join(", ");
    let (inputs, statements) = (inputs.join(", "), statements.join("\n"));
    let text =
        format!("module \"m\"\ngraph @f0 \"main\"({inputs}) -> () {{\n{statements}\n%99 = {word} {names} {attrs} : tensor<f32>\nreturn }}");
    parse(&text, &no_data).unwrap_or_else(|report| panic!("{report}\n{text}"))
}

fn dims_of(value: usize, elements: &str) -> String {
    match elements.starts_with('[') {
        true => format!("%{value} = dims_of {{dims = {elements}, scalar = false}} : tensor<{} x i64>", elements.split(',').count()),
        false => format!("%{value} = dims_of {{dims = [{elements}], scalar = true}} : tensor<i64>"),
    }
}

/// The inferred types of the last node.
fn inferred(module: &Module) -> String {
    let graph = module.main();
    let last = order(graph).into_iter().max().unwrap();
    match infer_types(module, graph, &graph[last].op, &graph[last].inputs) {
        Ok(types) => types.iter().map(|ty| ty.to_string().replace("tensor<", "").replace('>', "")).collect::<Vec<_>>().join(", "),
        Err(error) => error.to_string(),
    }
}
