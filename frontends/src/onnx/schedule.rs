//! The order in which nodes are imported, and which names a subgraph captures.
//!
//! ONNX demands that nodes come after what they read; a list in another order is sorted (lowest position first), and
//! only a real cycle is refused.

use super::proto::{GraphProto, NodeProto};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};

/// Positions of nodes in an order of evaluation; or those on a cycle.
pub fn schedule(nodes: &[NodeProto]) -> Result<Vec<usize>, Vec<usize>> {
    let producer: HashMap<&str, usize> =
        nodes.iter().enumerate().flat_map(|(i, node)| node.output.iter().map(move |name| (name.as_str(), i))).collect();
    let mut readers = vec![Vec::new(); nodes.len()];
    let mut waiting = vec![0usize; nodes.len()];
    for (i, node) in nodes.iter().enumerate() {
        for name in reads(node) {
            if let Some(&from) = producer.get(name) {
                readers[from].push(i);
                waiting[i] += 1;
            }
        }
    }
    kahn(&readers, waiting)
}

fn kahn(readers: &[Vec<usize>], mut waiting: Vec<usize>) -> Result<Vec<usize>, Vec<usize>> {
    let mut ready: BinaryHeap<Reverse<usize>> = (0..waiting.len()).filter(|&i| waiting[i] == 0).map(Reverse).collect();
    let mut order = Vec::with_capacity(waiting.len());
    while let Some(Reverse(i)) = ready.pop() {
        order.push(i);
        for &reader in &readers[i] {
            waiting[reader] -= 1;
            if waiting[reader] == 0 {
                ready.push(Reverse(reader));
            }
        }
    }
    match order.len() == readers.len() {
        true => Ok(order),
        false => Err((0..readers.len()).filter(|&i| waiting[i] > 0).collect()),
    }
}

/// The names a node reads: its operands, and what its subgraphs capture.
pub fn reads(node: &NodeProto) -> Vec<&str> {
    let mut names: Vec<&str> = node.input.iter().map(String::as_str).filter(|name| !name.is_empty()).collect();
    for graph in subgraphs(node) {
        names.extend(captures(graph));
    }
    names
}

/// The graphs among a node's attributes.
pub fn subgraphs(node: &NodeProto) -> impl Iterator<Item = &GraphProto> {
    node.attribute.iter().flat_map(|attr| attr.g.as_deref().into_iter().chain(&attr.graphs))
}

/// The names a graph reads without defining them, in the order of first use.
pub fn captures(graph: &GraphProto) -> Vec<&str> {
    let mut seen: HashSet<&str> = defined(graph);
    let mut names = Vec::new();
    let results = graph.output.iter().map(|output| output.name.as_str());
    for name in graph.node.iter().flat_map(reads).chain(results) {
        if seen.insert(name) {
            names.push(name);
        }
    }
    names
}

fn defined(graph: &GraphProto) -> HashSet<&str> {
    let inputs = graph.input.iter().map(|input| input.name.as_str());
    let initializers = graph.initializer.iter().map(|tensor| tensor.name.as_str());
    let sparse = graph.sparse_initializer.iter().flat_map(|tensor| &tensor.values).map(|values| values.name.as_str());
    let results = graph.node.iter().flat_map(|node| &node.output).map(String::as_str);
    inputs.chain(initializers).chain(sparse).chain(results).collect()
}
