//! Rules of ops that only move elements.

use crate::query::{self, output, same_type};
use crate::term::{Rule, Term, apply};
use mokume_ir::attr::Ints;
use mokume_ir::constant::Constant;
use mokume_ir::dim::Dim;
use mokume_ir::edit::Editor;
use mokume_ir::ids::{NodeId, ValueId};
use mokume_ir::infer::infer_types;
use mokume_ir::op::{Concat, Op, Reshape, Transpose};

/// The rules, tried in this order.
pub const RULES: &[Rule] = &[
    Rule { name: "squeeze-as-reshape", find: squeeze_as_reshape },
    Rule { name: "no-move", find: no_move },
    Rule { name: "reshape-reshape", find: reshape_reshape },
    Rule { name: "flat-swap", find: flat_swap },
    Rule { name: "reshape-constant", find: reshape_constant },
    Rule { name: "transpose-transpose", find: transpose_transpose },
    Rule { name: "transpose-ones", find: transpose_ones },
    Rule { name: "concat-part", find: concat_part },
    Rule { name: "implicit-broadcast", find: implicit_broadcast },
];

/// A reshape to known sizes.
pub fn reshape_to(x: impl Into<Term>, dims: &[Dim]) -> Term {
    apply(Reshape { shape: Ints::Known(dims.to_vec()), allow_zero: false }, [x.into()])
}

/// Sizes of a value when every one follows from the sizes of the inputs.
pub fn static_dims<'e>(editor: &'e Editor<'_>, value: ValueId) -> Option<&'e [Dim]> {
    editor.ty(value).dims().filter(|dims| !dims.iter().any(Dim::is_unknown))
}

fn squeeze_as_reshape(editor: &Editor<'_>, id: NodeId) -> Option<Term> {
    let node = &editor[id];
    let moves = match &node.op {
        Op::Squeeze(_) | Op::Unsqueeze(_) => true,
        Op::Reshape(op) => op.shape.known().is_none() || op.allow_zero,
        _ => false,
    };
    let dims = static_dims(editor, output(node)?).filter(|_| moves)?;
    Some(reshape_to(node.inputs[0], dims))
}

/// Moves that leave every element where it is.
fn no_move(editor: &Editor<'_>, id: NodeId) -> Option<Term> {
    let node = &editor[id];
    let stays = match &node.op {
        Op::Reshape(_) | Op::Broadcast(_) => true,
        Op::Squeeze(_) => true,
        Op::Slice(op) => is_all(&op.steps, 1),
        Op::Pad(op) => is_all(&op.pads, 0),
        Op::Tile(op) => is_all(&op.repeats, 1),
        Op::Split(_) => node.outputs.len() == 1,
        Op::Concat(_) => node.inputs.len() == 1,
        Op::Transpose(op) => op.perm.iter().enumerate().all(|(i, &axis)| axis == i as i64),
        _ => false,
    };
    (stays && same_type(editor, output(node)?, node.inputs[0])).then(|| node.inputs[0].into())
}

fn is_all(ints: &Ints, number: i64) -> bool {
    ints.known().is_some_and(|dims| dims.iter().all(|dim| dim.known() == Some(number)))
}

fn reshape_reshape(editor: &Editor<'_>, id: NodeId) -> Option<Term> {
    let Op::Reshape(Reshape { shape: Ints::Known(dims), .. }) = &editor[id].op else { return None };
    let (_, inner) = editor.producer(editor[id].inputs[0])?;
    matches!(inner.op, Op::Reshape(_) | Op::Squeeze(_) | Op::Unsqueeze(_)).then(|| reshape_to(inner.inputs[0], dims))
}

/// The same bytes under another shape.
fn reshape_constant(editor: &Editor<'_>, id: NodeId) -> Option<Term> {
    let Op::Reshape(_) = editor[id].op else { return None };
    let constant = query::constant(editor, editor[id].inputs[0]).filter(|constant| constant.quant.is_none())?;
    let dims = editor.ty(output(&editor[id])?).as_tensor()?.shape.as_known()?;
    (dims.iter().product::<usize>() == constant.len()).then(|| Constant::new(&dims, constant.ty.elem, constant.data.clone()).into())
}

fn transpose_transpose(editor: &Editor<'_>, id: NodeId) -> Option<Term> {
    let Op::Transpose(outer) = &editor[id].op else { return None };
    let (_, inner) = editor.producer(editor[id].inputs[0])?;
    let Op::Transpose(first) = &inner.op else { return None };
    let perm = outer.perm.iter().map(|&axis| first.perm[axis as usize]).collect();
    Some(apply(Transpose { perm }, [inner.inputs[0]]))
}

/// A transpose that moves axes of size 1 only is a reshape.
fn transpose_ones(editor: &Editor<'_>, id: NodeId) -> Option<Term> {
    let Op::Transpose(op) = &editor[id].op else { return None };
    let x = editor[id].inputs[0];
    let dims = static_dims(editor, x)?;
    let moved: Vec<i64> = op.perm.iter().copied().filter(|&axis| dims[axis as usize].known() != Some(1)).collect();
    moved.is_sorted().then(|| apply_reshape(editor, id, x)).flatten()
}

fn apply_reshape(editor: &Editor<'_>, id: NodeId, x: ValueId) -> Option<Term> {
    Some(reshape_to(x, static_dims(editor, output(&editor[id])?)?))
}

/// Operands without elements do not count; a concat inside a concat along the same axis opens up.
fn concat_part(editor: &Editor<'_>, id: NodeId) -> Option<Term> {
    let Op::Concat(concat) = &editor[id].op else { return None };
    let parts: Vec<ValueId> = editor[id].inputs.iter().flat_map(|&part| parts_of(editor, part, concat)).collect();
    let changed = parts[..] != editor[id].inputs[..] && !parts.is_empty();
    changed.then(|| apply(concat.clone(), parts))
}

fn parts_of(editor: &Editor<'_>, part: ValueId, concat: &Concat) -> Vec<ValueId> {
    let size = usize::try_from(concat.axis).ok().and_then(|axis| editor.ty(part).dims()?.get(axis)?.known());
    match editor.producer(part) {
        _ if size == Some(0) => vec![],
        Some((_, inner)) if inner.op == Op::Concat(concat.clone()) && editor[part].uses.len() == 1 => inner.inputs.to_vec(),
        _ => vec![part],
    }
}

/// Elementwise ops broadcast by themselves.
fn implicit_broadcast(editor: &Editor<'_>, id: NodeId) -> Option<Term> {
    let node = &editor[id];
    if !matches!(node.op, Op::Binary(_) | Op::Select(_)) {
        return None;
    }
    let broadcast = |value: ValueId| editor.producer(value).filter(|(_, node)| matches!(node.op, Op::Broadcast(_)));
    let at = node.inputs.iter().position(|&input| broadcast(input).is_some())?;
    let mut inputs = node.inputs.to_vec();
    inputs[at] = broadcast(inputs[at])?.1.inputs[0];
    let ty = Some(editor.ty(output(node)?)).filter(|ty| ty.dims().is_some())?;
    let types = infer_types(editor.module(), editor, &node.op, &inputs).ok()?;
    (types.first() == Some(ty)).then(|| apply(node.op.clone(), inputs))
}

/// A transpose of the last two axes between a reshape that merges the leading axes and one that parts them again is a transpose
/// of the parted tensor: `reshape(transpose(reshape(x, [b*h, t, d]), [0, 2, 1]), [b, h, d, t])`.
fn flat_swap(editor: &Editor<'_>, id: NodeId) -> Option<Term> {
    let Op::Reshape(_) = &editor[id].op else { return None };
    let (_, swap) = editor.producer(editor[id].inputs[0])?;
    let Op::Transpose(op) = &swap.op else { return None };
    let (_, flat) = editor.producer(swap.inputs[0])?;
    let Op::Reshape(_) = &flat.op else { return None };
    let [_, t, d] = editor.ty(swap.inputs[0]).dims()? else { return None };
    let [b, h, last @ ..] = editor.ty(output(&editor[id])?).dims()? else { return None };
    if op.perm != [0, 2, 1] || last != [d.clone(), t.clone()] {
        return None;
    }
    let parted = Reshape { shape: Ints::Known(vec![b.clone(), h.clone(), t.clone(), d.clone()]), allow_zero: true };
    Some(apply(Transpose { perm: vec![0, 1, 3, 2] }, [apply(parted, [flat.inputs[0]])]))
}
