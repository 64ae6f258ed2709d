//! Where the heads of attention come from: the product that gives queries, keys or values, and what lies between.

use super::region::Slot;
use crate::query;
use mokume_ir::dim::Dim;
use mokume_ir::edit::Editor;
use mokume_ir::graph::{Def, Graph, Node, Use};
use mokume_ir::ids::{NodeId, ValueId};
use mokume_ir::op::{BinaryKind, Op, Rotary};

/// A projection whose result is cut into heads.
#[derive(Debug, Clone, PartialEq)]
pub struct Projection {
    /// The weight and the biases, along the axis of channels: heads, then channels of a head.
    pub slots: Vec<Slot>,
    /// The value whose last axis has the channels of a head, without what was kept from earlier runs.
    pub heads: ValueId,
    /// The rotation of positions in between, if there is one.
    pub rotary: Option<Rotary>,
}

/// The projection that gives `value`, `[b, heads, s, channels]`, to `reader` alone.
///
/// Errors  with what stands in between.
pub fn projection(editor: &Editor<'_>, value: ValueId, reader: NodeId) -> Result<Projection, String> {
    let mut found = Projection { slots: vec![], heads: value, rotary: None };
    let (mut value, mut reader) = (value, reader);
    loop {
        let Some((id, node)) = editor.producer(value) else { return Err("no product gives it".into()) };
        is_read_by(editor, value, reader)?;
        let next = match &node.op {
            Op::Concat(_) => {
                let new = kept(editor, id)?;
                found.heads = new;
                new
            }
            Op::Rotary(op) => {
                found.rotary = Some(op.clone());
                node.inputs[0]
            }
            Op::Transpose(op) if op.perm == [0, 2, 1, 3] => node.inputs[0],
            Op::Reshape(_) if splits_heads(editor, node) => node.inputs[0],
            Op::Binary(BinaryKind::Add) => {
                let bias = bias(editor, id)?;
                found.slots.push(bias);
                node.inputs[1 - bias.operand]
            }
            Op::Matmul(op) if is_weight(editor, node.inputs[1]) => {
                found.slots.push(Slot { node: id, operand: 1, axis: usize::from(!op.transpose_b), reads: false });
                return Ok(found);
            }
            Op::RmsNorm(_) | Op::LayerNorm(_) => return Err(format!("its heads are normalized, at {node}")),
            _ => return Err(format!("`{}` gives it, at {node}", node.op.name())),
        };
        (value, reader) = (next, id);
    }
}

fn is_read_by(editor: &Editor<'_>, value: ValueId, reader: NodeId) -> Result<(), String> {
    let other = editor[value].uses.iter().find(|usage| match **usage {
        Use::Operand(id, _) => id != reader,
        Use::Output(output) => !editor.states.iter().any(|state| state.output == output),
    });
    match other {
        None => Ok(()),
        Some(Use::Operand(id, _)) => Err(format!("something else reads it, at {}", editor[*id])),
        Some(Use::Output(output)) => Err(format!("it leaves the model as \"{}\"", editor.outputs()[*output as usize].name)),
    }
}

/// What is appended to heads that are kept as state.
fn kept(editor: &Editor<'_>, id: NodeId) -> Result<ValueId, String> {
    let node = &editor[id];
    let (&[past, new], Op::Concat(op)) = (&node.inputs[..], &node.op) else { return Err(format!("it is joined, at {node}")) };
    let Def::Input(input) = editor[past].def else { return Err(format!("it is joined, at {node}")) };
    let state = editor.states.iter().find(|state| state.input == input);
    let gives = state.is_some_and(|state| editor.outputs()[state.output as usize].value == node.outputs[0]);
    match gives && op.axis == 2 && editor[past].uses.len() == 1 {
        true => Ok(new),
        false => Err(format!("what is kept of it is not state alone, at {node}")),
    }
}

/// `[b, s, heads * channels]` to `[b, s, heads, channels]`.
fn splits_heads(graph: &Graph, node: &Node) -> bool {
    let (Some(from), Some(to)) = (graph.ty(node.inputs[0]).dims(), graph.ty(node.outputs[0]).dims()) else { return false };
    let known = |dim: &Dim| dim.known();
    match (from, to) {
        ([b, s, all], [b2, s2, heads, channels]) => {
            let product = known(heads).zip(known(channels)).map(|(heads, channels)| heads * channels);
            b == b2 && s == s2 && known(all).is_some() && known(all) == product
        }
        _ => false,
    }
}

/// The constant vector that a sum adds.
fn bias(editor: &Editor<'_>, id: NodeId) -> Result<Slot, String> {
    let node = &editor[id];
    let width = editor.ty(node.outputs[0]).dims().and_then(|dims| dims.last()?.known());
    let is_vector = |&operand: &usize| {
        let constant = query::constant(editor, node.inputs[operand]);
        constant.is_some_and(|constant| constant.dims().len() == 1 && Some(constant.len() as i64) == width && constant.to_f32s().is_some())
    };
    let operand = (0..2).find(is_vector).ok_or_else(|| format!("a sum gives it, at {node}"))?;
    Ok(Slot { node: id, operand, axis: 0, reads: false })
}

fn is_weight(editor: &Editor<'_>, value: ValueId) -> bool {
    query::constant(editor, value).is_some_and(|constant| constant.dims().len() == 2 && constant.to_f32s().is_some())
}
