//! Norms and rotations whose rows only quantized products read: these compute rows themselves, while they quantize them, on CPUs;
//! on devices norms alone.

use mokume_ir::graph::{Graph, Node, Use};
use mokume_ir::ids::{NodeId, ValueId};
use mokume_ir::op::{ActScale, Op};
use mokume_ir::types::Elem;

/// Whether a node computes f32 rows one by one, all of whose readers are products that quantize their activations per row.
pub(crate) fn is_row_op(graph: &Graph, id: NodeId) -> bool {
    is_row_norm(graph, id) || is_row_rotation(graph, id)
}

/// Whether such a node is a norm.
pub(crate) fn is_row_norm(graph: &Graph, id: NodeId) -> bool {
    let (node, ty) = (&graph[id], |value: ValueId| graph.ty(value));
    let (axis, operands) = match &node.op {
        Op::RmsNorm(op) => (op.axis, 2),
        Op::LayerNorm(op) => (op.axis, 3),
        _ => return false,
    };
    let Some([.., row]) = ty(node.outputs[0]).dims() else { return false };
    let last = axis == -1 || ty(node.outputs[0]).dims().is_some_and(|dims| axis == dims.len() as i64 - 1);
    let whole = node.inputs.len() == operands && node.inputs[1..].iter().all(|&value| ty(value).dims() == Some(std::slice::from_ref(row)));
    last && whole && is_float(graph, node) && is_read_by_rows(graph, node)
}

/// Whether such a node is a rotation.
fn is_row_rotation(graph: &Graph, id: NodeId) -> bool {
    let node = &graph[id];
    matches!(node.op, Op::Hadamard(_)) && is_float(graph, node) && is_read_by_rows(graph, node)
}

fn is_float(graph: &Graph, node: &Node) -> bool {
    node.inputs.iter().all(|&value| graph.ty(value).elem() == Some(Elem::F32))
}

fn is_read_by_rows(graph: &Graph, node: &Node) -> bool {
    graph[node.outputs[0]].uses.iter().all(|read| match *read {
        Use::Operand(reader, 0) => matches!(&graph[reader].op, Op::BitMatmul(op) if op.a_scale == ActScale::Row),
        _ => false,
    })
}
