//! Names of ports and declared state.

use super::in_graph;
use super::types::agree;
use crate::diag::Diagnostic;
use crate::graph::{Graph, Module, Port, State};
use crate::types::{Shape, TensorType, Type};
use std::collections::HashSet;

/// Checks the ports of the entry, and that only it has state.
pub fn check(module: &Module, findings: &mut Vec<Diagnostic>) {
    let main = module.main();
    unique(main, "input", main.inputs(), findings);
    unique(main, "output", main.outputs(), findings);
    for (i, state) in main.states.iter().enumerate() {
        let earlier = &main.states[..i];
        if let Some(problem) = state_problem(main, state, earlier) {
            findings.push(in_graph(main, "ir::state::ports", problem));
        }
    }
    for (id, graph) in module.functions.iter() {
        if id != module.entry && !graph.states.is_empty() {
            findings.push(in_graph(graph, "ir::state::function", "only the entry function has state"));
        }
    }
}

fn unique(graph: &Graph, what: &str, ports: &[Port], findings: &mut Vec<Diagnostic>) {
    let mut seen = HashSet::new();
    for port in ports.iter().filter(|port| !seen.insert(&port.name)) {
        findings.push(in_graph(graph, "ir::port::name", format!("two {what}s are called \"{}\"", port.name)));
    }
}

fn state_problem(graph: &Graph, state: &State, earlier: &[State]) -> Option<String> {
    let Some(input) = graph.inputs().get(state.input as usize) else { return Some(format!("input {} does not exist", state.input)) };
    let Some(output) = graph.outputs().get(state.output as usize) else { return Some(format!("output {} does not exist", state.output)) };
    if earlier.iter().any(|other| other.input == state.input || other.output == state.output) {
        return Some(format!("\"{}\" or \"{}\" belongs to two states", input.name, output.name));
    }
    let (before, after) = (graph.ty(input.value), graph.ty(output.value));
    let (Some(kept), Some(given)) = (before.as_tensor(), after.as_tensor()) else {
        return Some(format!("\"{}\" and \"{}\" must be tensors", input.name, output.name));
    };
    if let Some(axis) = state.axis
        && kept.shape.rank().is_some_and(|rank| axis as usize >= rank)
    {
        return Some(format!("\"{}\" has the type {kept}, without an axis {axis}", input.name));
    }
    let differ = !agree(&fixed(kept, given, state.axis), after);
    differ.then(|| format!("\"{}\" has the type {kept}, \"{}\" the type {given}", input.name, output.name))
}

/// The type `kept` with the size of `given` along the growing axis.
fn fixed(kept: &TensorType, given: &TensorType, axis: Option<u32>) -> Type {
    let (Some(dims), Some(grown), Some(axis)) = (kept.shape.dims(), given.shape.dims(), axis) else {
        return Type::Tensor(kept.clone());
    };
    let pick = |(i, dim)| if i == axis as usize { grown.get(i).unwrap_or(dim) } else { dim };
    let shape = Shape::Ranked(dims.iter().enumerate().map(|item| pick(item).clone()).collect());
    Type::Tensor(TensorType { shape, elem: kept.elem })
}
