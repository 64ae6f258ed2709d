//! The canonical order of nodes: depth-first from the outputs, operands left to right, operands before their users.
//!
//! It depends on the graph only, not on ids, so text, artifacts and memory plans do not change when nodes are renumbered.
//! Nodes that no output needs come last, by id.

use crate::graph::{Def, Graph};
use crate::ids::{Id, NodeId, ValueId};

/// All live nodes in canonical order. On a cyclic graph (the verifier refuses it) the nodes of a cycle come in some order.
pub fn order(graph: &Graph) -> Vec<NodeId> {
    let mut walk = Walk::from_outputs(graph);
    for id in graph.node_ids() {
        walk.visit(id);
    }
    walk.order
}

/// The nodes that outputs need, in canonical order.
pub fn needed(graph: &Graph) -> Vec<NodeId> {
    Walk::from_outputs(graph).order
}

struct Walk<'g> {
    graph: &'g Graph,
    seen: Vec<bool>,
    order: Vec<NodeId>,
}

impl<'g> Walk<'g> {
    fn from_outputs(graph: &'g Graph) -> Self {
        let mut walk = Walk { graph, seen: vec![false; graph.node_bound()], order: Vec::with_capacity(graph.node_bound()) };
        for port in graph.outputs() {
            walk.visit_value(port.value);
        }
        walk
    }
    fn visit_value(&mut self, value: ValueId) {
        if let Def::Node(id, _) = self.graph[value].def {
            self.visit(id);
        }
    }
    /// Depth first with an explicit stack of (node, next operand).
    fn visit(&mut self, root: NodeId) {
        let mut stack = Vec::new();
        self.enter(root, &mut stack);
        while let Some((id, next)) = stack.last_mut() {
            let id = *id;
            match self.graph[id].inputs.get(*next) {
                Some(&operand) => {
                    *next += 1;
                    if let Def::Node(producer, _) = self.graph[operand].def {
                        self.enter(producer, &mut stack);
                    }
                }
                None => {
                    self.order.push(id);
                    stack.pop();
                }
            }
        }
    }
    fn enter(&mut self, id: NodeId, stack: &mut Vec<(NodeId, usize)>) {
        if self.graph.node(id).is_some() && !std::mem::replace(&mut self.seen[id.index()], true) {
            stack.push((id, 0));
        }
    }
}
