//! Finds rotary position embedding.
//!
//! Before  %1 = slice %x [d/2..d] ; %2 = neg %1 ; %3 = slice %x [0..d/2] ; %4 = concat %2, %3 ; %5 = mul %x, %cos ;
//!         %6 = mul %4, %sin ; %7 = add %5, %6
//! After   %7 = rotary %x, %cos, %sin
//!
//! Legal when  the halves are those of the last axis of a rank-4 tensor, and angles have an entry for each of its elements.
//! Exactness   exact: the same products and sums.
//! Cost        O(nodes).
//! Source      Su et al., "RoFormer: Enhanced Transformer with Rotary Position Embedding", 2021, eq. 34 (half rotation form).

use crate::canonicalize::movement::reshape_to;
use crate::pass::{Pass, PassContext, PassError};
use crate::query::{output, unary};
use crate::rewrite::pattern::{both_orders, slice_of, sweep};
use crate::term::{Rule, Term, apply};
use mokume_ir::dim::Dim;
use mokume_ir::edit::Editor;
use mokume_ir::graph::Graph;
use mokume_ir::ids::{NodeId, ValueId};
use mokume_ir::op::{BinaryKind, Op, Rotary, UnaryKind};
use std::iter;

options! {
    /// Rotary position embedding.
    RecognizeRotary {}
}

const RULES: &[Rule] = &[Rule { name: "rotary", find: rotary }];

impl Pass for RecognizeRotary {
    fn run(&self, editor: &mut Editor<'_>, cx: &mut PassContext<'_>) -> Result<(), PassError> {
        sweep(editor, cx, RULES)
    }
}

/// `x cos + rotate_half(x) sin`
fn rotary(editor: &Editor<'_>, id: NodeId) -> Option<Term> {
    let value = output(&editor[id])?;
    both_orders(editor, value, BinaryKind::Add).find_map(|(straight, turned)| {
        both_orders(editor, turned, BinaryKind::Mul).find_map(|(half, sin)| {
            let x = rotated_half(editor, half)?;
            let cos = both_orders(editor, straight, BinaryKind::Mul).find(|(operand, _)| *operand == x)?.1;
            let angles = [angles(editor, x, cos)?, angles(editor, x, sin)?];
            Some(apply(Rotary { interleaved: false, dims: 0 }, iter::once(x.into()).chain(angles)))
        })
    })
}

/// One of the angles' functions in four axes, if `x` has as many, and there is one for every element of the last.
fn angles(graph: &Graph, x: ValueId, value: ValueId) -> Option<Term> {
    let [.., size] = graph.ty(x).dims().filter(|dims| dims.len() == 4)? else { return None };
    let dims = graph.ty(value).dims().filter(|dims| dims.last() == Some(size))?;
    match dims.len() {
        4 => Some(value.into()),
        rank @ ..4 => Some(reshape_to(value, &[&vec![Dim::from(1i64); 4 - rank], dims].concat())),
        _ => None,
    }
}

/// `x` of `concat(-x[h..2h], x[0..h])` on the last axis.
fn rotated_half(editor: &Editor<'_>, value: ValueId) -> Option<ValueId> {
    let (_, node) = editor.producer(value)?;
    let (Op::Concat(concat), [upper, lower]) = (&node.op, &node.inputs[..]) else { return None };
    let (_, upper) = unary(editor, *upper, UnaryKind::Neg)?;
    let (x, axis, start, end) = slice_of(editor, upper)?;
    let (same, lower_axis, zero, middle) = slice_of(editor, *lower)?;
    let dims = editor.ty(x).dims()?;
    let last = dims.len() - 1;
    let size = dims[last].known()?;
    let axes = axis == last && lower_axis == last && (concat.axis == last as i64 || concat.axis == -1);
    (axes && x == same && zero == 0 && middle == start && end == size && 2 * start == size).then_some(x)
}
