//! Functions that are referred to exist, and none reaches itself.

use super::{at_node, in_graph};
use crate::diag::Diagnostic;
use crate::graph::Module;
use crate::ids::{FuncId, Id};
use crate::text::number::functions_of;
use petgraph::algo::kosaraju_scc;
use petgraph::graph::{DiGraph, NodeIndex};

/// Checks calls, branches and loops of the module.
pub fn check(module: &Module, findings: &mut Vec<Diagnostic>) {
    let mut calls = DiGraph::<FuncId, ()>::new();
    module.functions.ids().for_each(|id| {
        calls.add_node(id);
    });
    for (caller, graph) in module.functions.iter() {
        for id in graph.node_ids() {
            for callee in functions_of(&graph[id].op) {
                match module.functions.get(callee) {
                    Some(_) => {
                        calls.add_edge(NodeIndex::new(caller.index()), NodeIndex::new(callee.index()), ());
                    }
                    None => {
                        let message = format!("the function {callee} does not exist");
                        findings.push(at_node(graph, (id, &graph[id]), "ir::function::unknown", message));
                    }
                }
            }
        }
    }
    recursion(module, &calls, findings);
}

fn recursion(module: &Module, calls: &DiGraph<FuncId, ()>, findings: &mut Vec<Diagnostic>) {
    for component in kosaraju_scc(calls) {
        if component.len() > 1 || component.iter().any(|&at| calls.contains_edge(at, at)) {
            let mut functions: Vec<FuncId> = component.into_iter().map(|at| calls[at]).collect();
            functions.sort();
            let names: Vec<String> = functions.iter().map(|&id| format!("\"{}\"", module[id].name)).collect();
            let message = format!("functions reach themselves: {}", names.join(", "));
            findings.push(in_graph(&module[functions[0]], "ir::function::recursion", message));
        }
    }
}
