//! Norms whose rows only quantized products read: these normalize rows themselves, while they quantize them, on CPUs and devices.

use mokume_ir::graph::{Graph, Use};
use mokume_ir::ids::{NodeId, ValueId};
use mokume_ir::op::{ActScale, Op};
use mokume_ir::types::Elem;

/// Whether a node is a norm of whole f32 rows, all of whose readers are products that quantize their activations per row.
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
    let floats = node.inputs.iter().all(|&value| ty(value).elem() == Some(Elem::F32));
    let by_rows = |read: &Use| match *read {
        Use::Operand(reader, 0) => matches!(&graph[reader].op, Op::BitMatmul(op) if op.a_scale == ActScale::Row),
        _ => false,
    };
    last && whole && floats && graph[node.outputs[0]].uses.iter().all(by_rows)
}
