//! What a compiled model weighs, layer by layer.

use mokume_ir::graph::Node;
use mokume_ir::ids::ConstId;
use mokume_runtime::cpu::kernels::PackedWeights;
use mokume_runtime::program::Program;
use serde::Serialize;
use std::collections::BTreeSet;

/// Ops with weights.
const LAYERS: [&str; 7] = ["matmul", "bit_matmul", "conv", "bit_conv", "conv_transpose", "gather", "bit_gather"];

/// A constant of a layer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Weight {
    /// The first of the user's nodes that reads it.
    pub layer: String,
    /// What it is read by.
    pub op: &'static str,
    /// Its sizes.
    pub shape: Vec<usize>,
    /// Its element type, with levels and scales where it is quantized.
    pub elem: String,
    /// Its elements.
    pub elements: usize,
    /// What the artifact holds of it: codes, scales, zero points, sums and padding.
    pub bytes: usize,
}

impl Weight {
    /// All that is held, over the elements.
    pub fn bits_per_element(&self) -> f64 {
        8.0 * self.bytes as f64 / self.elements.max(1) as f64
    }
    /// Whether it is the weight of a product or a table, rather than a bias or a factor.
    pub fn is_layer(&self) -> bool {
        self.shape.len() > 1 && LAYERS.contains(&self.op)
    }
}

/// Every constant of a program once, at the node that reads it first, in the order of nodes.
pub fn weights(program: &Program) -> Vec<Weight> {
    let (mut seen, mut weights) = (BTreeSet::new(), Vec::new());
    for (_, graph) in program.module.functions.iter() {
        for id in graph.node_ids() {
            let node = &graph[id];
            let constants = node.inputs.iter().filter_map(|&value| graph.constant(value));
            let fresh: Vec<ConstId> = constants.filter(|&constant| seen.insert(constant)).collect();
            weights.extend(fresh.into_iter().map(|constant| weight(program, node, constant)));
        }
    }
    weights
}

fn weight(program: &Program, node: &Node, id: ConstId) -> Weight {
    let constant = &program.module.constants[id];
    let shape = constant.dims();
    Weight {
        layer: node.loc.first().unwrap_or("unnamed").to_string(),
        op: node.op.name(),
        elements: shape.iter().product(),
        shape,
        elem: constant.ty.elem.to_string(),
        bytes: program.kernels().weights.get(&id).map_or(constant.byte_len(), PackedWeights::stored_bytes),
    }
}
