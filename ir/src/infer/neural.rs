//! Attention, rotary embedding, recurrent layers.

use super::cx::{Cx, Result};
use crate::dim::Dim;
use crate::op::{Attention, Recurrent, RnnDirection, RnnKind, Rotary};
use crate::quant::Granularity;
use crate::types::{Elem, Shape, Type};

pub(super) fn attention(cx: &Cx<'_>, op: &Attention) -> Result<Type> {
    let operands = 3 + usize::from(op.mask);
    cx.count(operands..=operands)?;
    let q = cx.float(0)?;
    keys_or_values(cx, 1)?;
    keys_or_values(cx, 2)?;
    let (q_dims, k_dims, v_dims) = (cx.rank_is(0, 4)?, cx.rank_is(1, 4)?, cx.rank_is(2, 4)?);
    let or_fresh = |dims: Option<&[Dim]>, axis: usize| dims.map_or_else(|| cx.fresh(), |dims| dims[axis].clone());
    if let (Some(q), Some(k)) = (q_dims, k_dims) {
        cx.equal(&q[3], &k[3], "head sizes of q and k")?;
        groups(cx, &q[1], &k[1])?;
    }
    if let (Some(k), Some(v)) = (k_dims, v_dims) {
        cx.equal(&k[2], &v[2], "lengths of k and v")?;
        cx.equal(&k[1], &v[1], "heads of k and v")?;
    }
    let dims = [or_fresh(q_dims, 0), or_fresh(q_dims, 1), or_fresh(q_dims, 2), or_fresh(v_dims, 3)];
    if op.mask {
        mask(cx, &dims, k_dims)?;
    }
    let [b, h, s, e] = dims;
    let dims = if op.join_heads { vec![b, s, h.times(&e)] } else { vec![b, h, s, e] };
    Ok(Type::tensor(Shape::Ranked(dims), q.elem))
}

/// Of the element type of the queries, or codes with a scale per row beside f32 queries.
fn keys_or_values(cx: &Cx<'_>, index: usize) -> Result<()> {
    let per_row = cx.tensor(index)?.elem.quant().is_some_and(|quant| quant.granularity == Granularity::Row);
    if per_row && cx.tensor(0)?.elem == Elem::F32 { Ok(()) } else { cx.same_elem(0, index).map(drop) }
}

fn groups(cx: &Cx<'_>, query: &Dim, key: &Dim) -> Result<()> {
    match (query.known(), key.known()) {
        (Some(q), Some(k)) if k < 1 || q % k != 0 => cx.fail(format!("{q} query heads on {k} key heads")),
        _ => Ok(()),
    }
}

fn mask(cx: &Cx<'_>, out: &[Dim; 4], k: Option<&[Dim]>) -> Result<()> {
    let mask = cx.tensor_of(3, "bool or float", |elem| elem == Elem::Bool || elem.is_float())?;
    cx.rank_in(3, 0..=4)?;
    let keys = k.map_or_else(|| cx.fresh(), |k| k[2].clone());
    let scores = [out[0].clone(), out[1].clone(), out[2].clone(), keys].into_iter().collect();
    cx.broadcast([&scores, &mask.shape]).map(|_| ())
}

pub(super) fn rotary(cx: &Cx<'_>, op: &Rotary) -> Result<Type> {
    cx.count(3..=3)?;
    let x = cx.float(0)?;
    cx.float(1)?;
    cx.float(2)?;
    let dims = cx.rank_is(0, 4)?;
    let size = dims.and_then(|dims| dims[3].known());
    if op.dims < 0 || op.dims % 2 != 0 || size.is_some_and(|size| op.dims > size) {
        return cx.fail(format!("rotates {} elements of {x}", op.dims));
    }
    Ok(x.clone().into())
}

pub(super) fn recurrent(cx: &Cx<'_>, op: &Recurrent) -> Result<Vec<Type>> {
    let optional = [op.bias, op.lengths, op.initial_h, op.initial_c, op.peephole];
    let operands = 3 + optional.iter().filter(|&&present| present).count();
    cx.count(operands..=operands)?;
    let x = cx.float(0)?;
    let directions = Dim::from(if op.direction == RnnDirection::Bidirectional { 2i64 } else { 1 });
    check_weights(cx, op, &directions)?;
    let (seq, batch) = match cx.rank_is(0, 3)? {
        Some(dims) => (dims[0].clone(), dims[1].clone()),
        None => (cx.fresh(), cx.fresh()),
    };
    let hidden = Dim::from(op.hidden);
    let all = [seq, directions.clone(), batch.clone(), hidden.clone()].into_iter().collect();
    let last = Type::tensor([directions, batch, hidden].into_iter().collect::<Shape>(), x.elem);
    let cell = (op.kind == RnnKind::Lstm).then(|| last.clone());
    Ok([Type::tensor(all, x.elem), last].into_iter().chain(cell).collect())
}

fn check_weights(cx: &Cx<'_>, op: &Recurrent, directions: &Dim) -> Result<()> {
    let gates = match op.kind {
        RnnKind::Lstm => 4,
        RnnKind::Gru => 3,
        RnnKind::Rnn => 1,
    };
    if op.hidden < 1 {
        return cx.fail(format!("hidden size {}", op.hidden));
    }
    let rows = Dim::from(op.hidden.saturating_mul(gates));
    for operand in 1..3 {
        cx.same_elem(0, operand)?;
        cx.rank_is(operand, 3)?;
        cx.size_is(operand, 0, directions)?;
        cx.size_is(operand, 1, &rows)?;
    }
    cx.size_is(2, 2, &Dim::from(op.hidden))?;
    match cx.rank_is(0, 3)? {
        Some(x) => cx.size_is(1, 2, &x[2]),
        None => Ok(()),
    }
}
