//! Rules of shape arithmetic: sizes, axes and indices that follow from input sizes become attributes.

use crate::query::output;
use crate::term::{Rule, Term, apply};
use mokume_ir::attr::Ints;
use mokume_ir::constant::Constant;
use mokume_ir::dim::Dim;
use mokume_ir::edit::Editor;
use mokume_ir::ids::{NodeId, ValueId};
use mokume_ir::op::{BinaryKind, Cast, DimsOf, Iota, Op};
use mokume_ir::types::Elem;

/// The rules, tried in this order.
pub const RULES: &[Rule] = &[
    Rule { name: "known-contents", find: known_contents },
    Rule { name: "known-operand", find: known_operand },
    Rule { name: "range-as-iota", find: range_as_iota },
];

/// An integer tensor computed from sizes is a constant, or the one op that materializes sizes.
fn known_contents(editor: &Editor<'_>, id: NodeId) -> Option<Term> {
    let value = output(&editor[id])?;
    let elem = editor.ty(value).elem().filter(|elem| matches!(elem, Elem::I64 | Elem::I32))?;
    if is_materialized(editor, id) {
        return None;
    }
    let contents = editor.contents(value)?;
    let numbers: Option<Vec<i64>> = contents.dims.iter().map(Dim::known).collect();
    let dims_of = |dims: Vec<Dim>| apply(DimsOf { dims, scalar: contents.scalar }, Vec::<Term>::new());
    match (numbers, elem) {
        (Some(numbers), Elem::I64) => Some(Constant::i64s(&rank_dims(&numbers, contents.scalar), &numbers).into()),
        (Some(numbers), _) => Some(i32s(&rank_dims(&numbers, contents.scalar), &numbers).into()),
        (None, _) if contents.dims.iter().any(Dim::is_unknown) => None,
        (None, Elem::I64) => Some(dims_of(contents.dims.clone())),
        (None, elem) => Some(apply(Cast { to: elem, saturate: false }, [dims_of(contents.dims.clone())])),
    }
}

fn is_materialized(editor: &Editor<'_>, id: NodeId) -> bool {
    let node = &editor[id];
    match node.op {
        Op::DimsOf(ref op) => op.dims.iter().any(|dim| dim.known().is_none()),
        Op::Cast(_) => editor.producer(node.inputs[0]).is_some_and(|(_, node)| matches!(node.op, Op::DimsOf(_))),
        _ => false,
    }
}

fn rank_dims(numbers: &[i64], scalar: bool) -> Vec<usize> {
    if scalar { vec![] } else { vec![numbers.len()] }
}

fn i32s(dims: &[usize], numbers: &[i64]) -> Constant {
    let data: Vec<u8> = numbers.iter().flat_map(|&number| (number as i32).to_le_bytes()).collect();
    Constant::new(dims, Elem::I32, data.into())
}

/// The last integer operand whose contents are known moves into the op.
fn known_operand(editor: &Editor<'_>, id: NodeId) -> Option<Term> {
    let node = &editor[id];
    let mut op = node.op.clone();
    let operands: Vec<u32> = ints(&mut op).iter().filter_map(|ints| operand_of(ints)).collect();
    let known = |&index: &u32| Some((index, known_ints(editor, id, node.inputs[index as usize])?));
    let (index, dims) = operands.iter().rev().find_map(known)?;
    for ints in ints(&mut op) {
        absorb(ints, index, &dims);
    }
    if let Op::Resize(resize) = &mut op
        && let Some(scales) = &mut resize.scales_operand
    {
        *scales -= u32::from(*scales > index);
    }
    let mut inputs = node.inputs.to_vec();
    inputs.remove(index as usize);
    Some(apply(op, inputs))
}

fn operand_of(ints: &Ints) -> Option<u32> {
    match ints {
        Ints::Operand(index) => Some(*index),
        Ints::Known(_) => None,
    }
}

fn absorb(ints: &mut Ints, index: u32, dims: &[Dim]) {
    match ints {
        Ints::Operand(at) if *at == index => *ints = Ints::Known(dims.to_vec()),
        Ints::Operand(at) if *at > index => *at -= 1,
        _ => {}
    }
}

/// The contents of an operand in the sense of a known attribute: the shape operand of a reshape counts as the result's shape.
fn known_ints(editor: &Editor<'_>, id: NodeId, operand: ValueId) -> Option<Vec<Dim>> {
    let node = &editor[id];
    let dims = match node.op {
        Op::Reshape(_) => editor.ty(output(node)?).dims()?.to_vec(),
        _ => editor.contents(operand)?.dims.clone(),
    };
    (!dims.iter().any(Dim::is_unknown)).then_some(dims)
}

/// The integer attributes of an op that may be operands, in the order of the operands.
pub fn ints(op: &mut Op) -> Vec<&mut Ints> {
    match op {
        Op::Reduce(op) => vec![&mut op.axes],
        Op::Cumulative(op) => vec![&mut op.axis],
        Op::Reshape(op) => vec![&mut op.shape],
        Op::Squeeze(op) => vec![&mut op.axes],
        Op::Unsqueeze(op) => vec![&mut op.axes],
        Op::Broadcast(op) => vec![&mut op.shape],
        Op::Slice(op) => vec![&mut op.starts, &mut op.ends, &mut op.axes, &mut op.steps],
        Op::Split(op) => vec![&mut op.sizes],
        Op::Pad(op) => vec![&mut op.pads, &mut op.axes],
        Op::Tile(op) => vec![&mut op.repeats],
        Op::TopK(op) => vec![&mut op.k],
        Op::Resize(op) => op.sizes.iter_mut().collect(),
        Op::Dft(op) => op.length.iter_mut().collect(),
        _ => vec![],
    }
}

/// `range(a, b, 1)` is `iota(b - a) + a`.
fn range_as_iota(editor: &Editor<'_>, id: NodeId) -> Option<Term> {
    let node = &editor[id];
    let Op::Range(_) = node.op else { return None };
    let number = |index: usize| editor.contents(node.inputs[index])?.dims.first().cloned();
    let (start, limit, delta) = (number(0)?, number(1)?, number(2)?);
    let elem = editor.ty(node.inputs[0]).elem()?;
    let len = limit.minus(&start);
    if delta.known() != Some(1) || len.is_unknown() || !len.is_non_negative() {
        return None;
    }
    let iota = apply(Iota { len, elem }, Vec::<Term>::new());
    match start.known() {
        Some(0) => Some(iota),
        _ => Some(apply(Op::Binary(BinaryKind::Add), [iota, node.inputs[0].into()])),
    }
}
