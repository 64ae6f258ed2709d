//! Rotations at run time: `hadamard` nodes where nothing before them could take the rotation.

use super::region::{self, Norms, Region, Rules};
use super::vectors::{Mapped, map_slot};
use crate::pass::{PassContext, PassError};
use crate::query;
use mokume_ir::edit::Editor;
use mokume_ir::graph::{Def, Graph, Node, Use};
use mokume_ir::hadamard::Hadamard;
use mokume_ir::ids::{NodeId, ValueId};
use mokume_ir::op::{self, BinaryKind, Op, UnaryKind};
use mokume_ir::order::order;

/// Rotates what nonlinear functions give to products with constant weights.
///
/// Errors  when a node does not type-check.
pub fn rotate_products(editor: &mut Editor<'_>, cx: &mut PassContext<'_>) -> Result<(), PassError> {
    for id in order(editor) {
        let Some(x) = query::output(&editor[id]).filter(|_| is_nonlinear(editor, &editor[id])) else { continue };
        if !feeds_product(editor, x) {
            continue;
        }
        let width = width(editor, x);
        let Some(hadamard) = matrix(width) else {
            cx.remark(editor, id, format!("no rotation of its result: there is no Hadamard matrix for any block of {width} channels"));
            continue;
        };
        match region::grow_from(editor, x, Rules { block: width as i64, norms: Norms::Foreign, sums: false, tied: false }) {
            Ok(region) if cx.take() => insert(editor, x, &hadamard, &region)?,
            Ok(_) => return Ok(()),
            Err(obstacle) => cx.remark(editor, id, format!("no rotation of its result: {}", obstacle.describe(editor))),
        }
    }
    Ok(())
}

/// Rotates queries and keys alike, keys before they are kept.
///
/// Errors  when a node does not type-check.
pub fn rotate_keys(editor: &mut Editor<'_>, cx: &mut PassContext<'_>) -> Result<(), PassError> {
    for id in order(editor) {
        if !matches!(editor[id].op, Op::Attention(_)) {
            continue;
        }
        match keys(editor, id) {
            Ok((keys, hadamard)) => {
                if !cx.take() {
                    return Ok(());
                }
                let rotated = rotated(editor, keys.value, &hadamard)?;
                editor.set_operand(keys.reader, keys.operand, rotated);
                let queries = editor[id].inputs[0];
                let rotated = self::rotated(editor, queries, &hadamard)?;
                editor.set_operand(id, 0, rotated);
            }
            Err(why) => cx.remark(editor, id, format!("no rotation of its keys: {why}")),
        }
    }
    Ok(())
}

/// New keys, and who reads them: an attention, or what appends them to those that are kept.
struct Keys {
    value: ValueId,
    reader: NodeId,
    operand: usize,
}

/// The keys of an attention.
///
/// Errors  with why they cannot be rotated.
fn keys(editor: &Editor<'_>, id: NodeId) -> Result<(Keys, Hadamard), String> {
    let value = editor[id].inputs[1];
    let width = width(editor, value);
    let hadamard = matrix(width).ok_or_else(|| format!("there is no Hadamard matrix for any block of {width} channels"))?;
    let Some((concat, node)) = editor.producer(value).filter(|(_, node)| matches!(node.op, Op::Concat(_))) else {
        return match kept_by_input(editor, value) {
            true => Err("they are an input of the model".into()),
            false => Ok((Keys { value, reader: id, operand: 1 }, hadamard)),
        };
    };
    let joined = || Err(format!("they are joined, at {node}"));
    let [past, new] = node.inputs[..] else { return joined() };
    let Def::Input(input) = editor[past].def else { return joined() };
    let given = |output: u32| editor.outputs()[output as usize].value == value;
    let state = editor.states.iter().find(|state| state.input == input).map(|state| state.output).filter(|&output| given(output));
    let fits = |usage: &Use| match *usage {
        Use::Output(output) => state == Some(output),
        Use::Operand(reader, operand) => reader == id && operand == 1,
    };
    if state.is_none() || !editor[value].uses.iter().all(fits) || editor[past].uses.len() != 1 {
        return Err(format!("what is kept of them is not state alone, at {node}"));
    }
    Ok((Keys { value: new, reader: concat, operand: 1 }, hadamard))
}

fn kept_by_input(graph: &Graph, value: ValueId) -> bool {
    matches!(graph[value].def, Def::Input(_))
}

/// Puts a rotation between `x` and all that reads it, which is `region`.
fn insert(editor: &mut Editor<'_>, x: ValueId, hadamard: &Hadamard, region: &Region) -> Result<(), PassError> {
    turn(editor, x, hadamard)?;
    let map = |x: &mut [f64]| x.chunks_exact_mut(hadamard.order()).for_each(|block| hadamard.apply(block));
    let mut mapped = Mapped::new();
    region.slots.iter().for_each(|slot| map_slot(editor, slot, &mut mapped, &map));
    Ok(())
}

/// Rotates operand 0 of a node.
///
/// Errors  when the node does not type-check.
pub fn turn_operand(editor: &mut Editor<'_>, reader: NodeId, hadamard: &Hadamard) -> Result<(), PassError> {
    let rotated = rotated(editor, editor[reader].inputs[0], hadamard)?;
    editor.set_operand(reader, 0, rotated);
    Ok(())
}

/// Rotates `x` for all nodes that read it.
///
/// Errors  when a node does not type-check.
pub fn turn(editor: &mut Editor<'_>, x: ValueId, hadamard: &Hadamard) -> Result<(), PassError> {
    let readers: Vec<Use> = editor[x].uses.to_vec();
    let rotated = rotated(editor, x, hadamard)?;
    for reader in readers {
        if let Use::Operand(node, operand) = reader {
            editor.set_operand(node, operand as usize, rotated);
        }
    }
    Ok(())
}

fn rotated(editor: &mut Editor<'_>, x: ValueId, hadamard: &Hadamard) -> Result<ValueId, PassError> {
    let loc = editor.producer(x).map(|(_, node)| node.loc.clone()).unwrap_or_default();
    Ok(editor.apply(op::Hadamard { block: hadamard.order() as i64 }, &[x], loc)?)
}

/// Whether a node computes element by element what no linear map passes.
fn is_nonlinear(graph: &Graph, node: &Node) -> bool {
    let per_channel = |value: ValueId| graph.constant(value).is_none() && graph.ty(value) == graph.ty(node.outputs[0]);
    match &node.op {
        Op::Swiglu(_) | Op::Activation(_) => true,
        Op::Unary(kind) => *kind != UnaryKind::Neg,
        Op::Binary(BinaryKind::Mul) => node.inputs.iter().all(|&input| per_channel(input)),
        _ => false,
    }
}

/// Whether a product with a constant weight reads the value.
fn feeds_product(graph: &Graph, value: ValueId) -> bool {
    let reads = |usage: &Use| match *usage {
        Use::Operand(id, 0) => matches!(graph[id].op, Op::Matmul(_)) && graph.constant(graph[id].inputs[1]).is_some(),
        _ => false,
    };
    graph[value].uses.iter().any(reads)
}

fn width(graph: &Graph, value: ValueId) -> usize {
    let last = graph.ty(value).dims().and_then(|dims| dims.last()?.known());
    last.and_then(|last| usize::try_from(last).ok()).unwrap_or(0)
}

/// The matrix of the largest block, unless blocks would be single channels.
fn matrix(width: usize) -> Option<Hadamard> {
    Hadamard::new(Hadamard::block_of(width)).filter(|hadamard| hadamard.order() > 1)
}
