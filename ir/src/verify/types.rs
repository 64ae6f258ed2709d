//! Declared types agree with inferred ones.

use super::at_node;
use crate::diag::Diagnostic;
use crate::dim::Dim;
use crate::graph::{Graph, Module, Node};
use crate::ids::NodeId;
use crate::infer::Inference;
use crate::types::Type;

/// Infers every node again.
pub fn check(module: &Module, findings: &mut Vec<Diagnostic>) {
    for (_, graph) in module.functions.iter() {
        let inference = Inference::new(module, graph);
        for id in graph.node_ids() {
            check_node(&inference, graph, (id, &graph[id]), findings);
        }
    }
}

fn check_node(inference: &Inference<'_>, graph: &Graph, (id, node): (NodeId, &Node), findings: &mut Vec<Diagnostic>) {
    let mut error = |code, message: String| findings.push(at_node(graph, (id, node), code, message));
    let inferred = match inference.types(&node.op, &node.inputs) {
        Ok(inferred) => inferred,
        Err(problem) => return error("ir::op::operands", problem.message),
    };
    if inferred.len() != node.outputs.len() {
        return error("ir::op::results", format!("{} results are declared, the op has {}", node.outputs.len(), inferred.len()));
    }
    for (i, (&output, inferred)) in node.outputs.iter().zip(&inferred).enumerate() {
        let declared = graph.ty(output);
        if !agree(declared, inferred) {
            error("ir::op::type", format!("result {i} is declared {declared}, inferred {inferred}"));
        }
    }
}

/// Whether a value can have both types, as far as normal forms tell.
pub fn agree(a: &Type, b: &Type) -> bool {
    match (a, b) {
        (Type::Tensor(a), Type::Tensor(b)) => {
            let shapes = match (a.shape.dims(), b.shape.dims()) {
                (Some(a), Some(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| can_equal(a, b)),
                _ => true,
            };
            a.elem == b.elem && shapes
        }
        (Type::Seq(a), Type::Seq(b)) | (Type::Opt(a), Type::Opt(b)) => agree(a, b),
        _ => false,
    }
}

fn can_equal(a: &Dim, b: &Dim) -> bool {
    a.minus(b).known().is_none_or(|difference| difference == 0)
}
