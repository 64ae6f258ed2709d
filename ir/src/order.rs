//! The canonical order of nodes: depth-first from the outputs, operands left to right, operands before their users.
//!
//! It depends on the graph only, not on ids, so text, artifacts and memory plans do not change when nodes are renumbered.
//! Nodes that no output needs come last, by id. A node whose attributes name a data dependent size comes after the node
//! that brings it about, as if that were an operand.

use crate::attr::Attr;
use crate::dim::Symbol;
use crate::graph::{Def, Graph, Node};
use crate::ids::{Id, NodeId, ValueId};
use std::collections::HashMap;

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
    /// The nodes that bring about the sizes that a node's attributes name.
    sources: HashMap<NodeId, Vec<NodeId>>,
}

impl<'g> Walk<'g> {
    fn from_outputs(graph: &'g Graph) -> Self {
        let order = Vec::with_capacity(graph.node_bound());
        let mut walk = Walk { graph, seen: vec![false; graph.node_bound()], order, sources: sources(graph) };
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
            let (id, at) = (*id, *next);
            *next += 1;
            match self.before(id, at) {
                Some(Some(earlier)) => self.enter(earlier, &mut stack),
                Some(None) => {}
                None => {
                    self.order.push(id);
                    stack.pop();
                }
            }
        }
    }
    /// What must come before a node, by number: the producers of its operands, if any, then the sources of its sizes.
    fn before(&self, id: NodeId, at: usize) -> Option<Option<NodeId>> {
        let inputs = &self.graph[id].inputs;
        match inputs.get(at) {
            Some(&operand) => match self.graph[operand].def {
                Def::Node(producer, _) => Some(Some(producer)),
                _ => Some(None),
            },
            None => self.sources.get(&id)?.get(at - inputs.len()).copied().map(Some),
        }
    }
    fn enter(&mut self, id: NodeId, stack: &mut Vec<(NodeId, usize)>) {
        if self.graph.node(id).is_some() && !std::mem::replace(&mut self.seen[id.index()], true) {
            stack.push((id, 0));
        }
    }
}

fn sources(graph: &Graph) -> HashMap<NodeId, Vec<NodeId>> {
    if graph.unknowns == 0 {
        return HashMap::new();
    }
    let named: Vec<(NodeId, Vec<Symbol>)> = graph.node_ids().map(|id| (id, named(&graph[id]))).collect();
    let mut makers: HashMap<&Symbol, Vec<NodeId>> = named.iter().flat_map(|(_, symbols)| symbols).map(|s| (s, Vec::new())).collect();
    for (id, named) in &named {
        for symbol in made(graph, &graph[*id]).into_iter().filter(|symbol| !named.contains(symbol)) {
            if let Some(makers) = makers.get_mut(&symbol) {
                makers.push(*id);
            }
        }
    }
    let of = |symbols: &[Symbol]| symbols.iter().flat_map(|symbol| makers[symbol].clone()).collect();
    named.iter().filter(|(_, symbols)| !symbols.is_empty()).map(|(id, symbols)| (*id, of(symbols))).collect()
}

/// The data dependent sizes that attributes of a node name.
fn named(node: &Node) -> Vec<Symbol> {
    let mut symbols = Vec::new();
    node.op.attrs().iter().for_each(|(_, attr)| add_unknowns(attr, &mut symbols));
    symbols
}

fn add_unknowns(attr: &Attr, symbols: &mut Vec<Symbol>) {
    match attr {
        Attr::List(items) => items.iter().for_each(|item| add_unknowns(item, symbols)),
        Attr::Dim(dim) => dim.symbols(&mut |symbol| {
            if symbol.is_unknown() && !symbols.contains(symbol) {
                symbols.push(symbol.clone());
            }
        }),
        _ => {}
    }
}

/// The data dependent sizes that outputs of a node have and operands do not.
fn made(graph: &Graph, node: &Node) -> Vec<Symbol> {
    let dims =
        |values: &[ValueId]| values.iter().flat_map(|&value| graph.ty(value).dims().unwrap_or_default()).cloned().collect::<Vec<_>>();
    let mut read = Vec::new();
    dims(&node.inputs).iter().for_each(|dim| dim.symbols(&mut |symbol| read.push(symbol.clone())));
    let made = dims(&node.outputs).into_iter().filter_map(|dim| dim.as_symbol().cloned());
    made.filter(|symbol| symbol.is_unknown() && !read.contains(symbol)).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::text::{no_data, parse};

    #[test]
    fn attributes_wait_for_the_sizes_they_name() {
        let text = r#"module "m" graph @f0 "main"(%0 "x": tensor<4 x bool>) -> ("y", "i") {
            %1 = iota {len = ?0, elem = i64} : tensor<?0 x i64>
            %2 = non_zero %0 : tensor<1 x ?0 x i64>
            %3 = neg %1 : tensor<?0 x i64>
            return %3, %2
        }"#;
        let module = parse(text, &no_data).unwrap();
        let names: Vec<&str> = order(module.main()).iter().map(|&id| module.main()[id].op.name()).collect();
        assert_eq!(names, ["non_zero", "iota", "neg"]);
        assert_eq!(needed(module.main()).len(), 3);
    }
}
