//! Questions that many passes ask about a graph.

use mokume_ir::constant::Constant;
use mokume_ir::edit::Editor;
use mokume_ir::graph::{Graph, Module, Node};
use mokume_ir::ids::{FuncId, NodeId, ValueId};
use mokume_ir::op::{BinaryKind, Op, UnaryKind};
use mokume_ir::types::Elem;

/// The functions an op refers to.
pub fn callees(op: &Op) -> Vec<FuncId> {
    match op {
        Op::Call(call) => vec![call.function],
        Op::If(op) => vec![op.then_branch, op.else_branch],
        Op::Loop(op) => vec![op.body],
        _ => vec![],
    }
}

/// Every function, each after all functions it refers to.
pub fn callees_first(module: &Module) -> Vec<FuncId> {
    let mut order = Vec::new();
    module.functions.ids().for_each(|id| visit(module, id, &mut order));
    order
}

fn visit(module: &Module, id: FuncId, order: &mut Vec<FuncId>) {
    if order.contains(&id) {
        return;
    }
    let graph = &module[id];
    graph.node_ids().flat_map(|node| callees(&graph[node].op)).for_each(|callee| visit(module, callee, order));
    order.push(id);
}

/// The constant behind a value.
pub fn constant<'e>(editor: &'e Editor<'_>, value: ValueId) -> Option<&'e Constant> {
    let constant = &editor.module().constants[editor.constant(value)?];
    (constant.data.len() == constant_bytes(constant)).then_some(constant)
}

fn constant_bytes(constant: &Constant) -> usize {
    match constant.ty.elem {
        Elem::String => constant.data.len(),
        elem => mokume_ir::constant::packed_bytes(&constant.dims(), elem).unwrap_or(usize::MAX),
    }
}

/// The number that every element of a constant is, in f64; none for quantized types, strings and complex numbers.
pub fn splat(editor: &Editor<'_>, value: ValueId) -> Option<f64> {
    let constant = constant(editor, value)?;
    let width = (constant.ty.elem.bits() / 8) as usize;
    let first = constant.data.get(..width).filter(|first| !first.is_empty())?;
    constant.data.chunks(width).all(|chunk| chunk == first).then(|| number(constant.ty.elem, first)).flatten()
}

/// The single number of a constant with one element.
pub fn scalar(editor: &Editor<'_>, value: ValueId) -> Option<f64> {
    constant(editor, value).filter(|constant| constant.len() == 1)?;
    splat(editor, value)
}

/// One little-endian element as f64.
pub fn number(elem: Elem, bytes: &[u8]) -> Option<f64> {
    Some(match elem {
        Elem::F64 => f64::from_le_bytes(bytes.try_into().ok()?),
        Elem::F32 => f32::from_le_bytes(bytes.try_into().ok()?).into(),
        Elem::F16 => half::f16::from_le_bytes(bytes.try_into().ok()?).into(),
        Elem::BF16 => half::bf16::from_le_bytes(bytes.try_into().ok()?).into(),
        Elem::I64 => i64::from_le_bytes(bytes.try_into().ok()?) as f64,
        Elem::I32 => i32::from_le_bytes(bytes.try_into().ok()?).into(),
        Elem::I16 => i16::from_le_bytes(bytes.try_into().ok()?).into(),
        Elem::I8 => i8::from_le_bytes(bytes.try_into().ok()?).into(),
        Elem::U64 => u64::from_le_bytes(bytes.try_into().ok()?) as f64,
        Elem::U32 => u32::from_le_bytes(bytes.try_into().ok()?).into(),
        Elem::U16 => u16::from_le_bytes(bytes.try_into().ok()?).into(),
        Elem::U8 | Elem::Bool => (*bytes.first()?).into(),
        _ => return None,
    })
}

/// The operand of the node that makes `value`, if that applies `kind`.
pub fn unary(graph: &Graph, value: ValueId, kind: UnaryKind) -> Option<(NodeId, ValueId)> {
    let (id, node) = graph.producer(value)?;
    (node.op == Op::Unary(kind)).then(|| (id, node.inputs[0]))
}

/// The operands of the node that makes `value`, if that applies `kind`.
pub fn binary(graph: &Graph, value: ValueId, kind: BinaryKind) -> Option<(NodeId, ValueId, ValueId)> {
    let (id, node) = graph.producer(value)?;
    (node.op == Op::Binary(kind)).then(|| (id, node.inputs[0], node.inputs[1]))
}

/// Whether `value` has exactly the type (shape and elements) of `other`. Types without a rank may stand for different shapes.
pub fn same_type(graph: &Graph, value: ValueId, other: ValueId) -> bool {
    graph.ty(value).dims().is_some() && graph.ty(value) == graph.ty(other)
}

/// The only output of a node.
pub fn output(node: &Node) -> Option<ValueId> {
    match node.outputs[..] {
        [output] => Some(output),
        _ => None,
    }
}
