//! Matrix products and determinants.

use super::cx::{Cx, Result};
use crate::dim::Dim;
use crate::op::Matmul;
use crate::types::{Elem, Shape, Type};

pub(super) fn matmul(cx: &Cx<'_>, op: &Matmul) -> Result<Type> {
    cx.count(2..=2)?;
    cx.tensor_of(0, "a number", |elem| elem.is_float() || elem.is_int())?;
    let elem = match cx.same_elem(0, 1)? {
        Elem::I8 | Elem::U8 => Elem::I32,
        elem => elem,
    };
    let (Some(a), Some(b)) = (cx.rank_in(0, 2..=usize::MAX)?, cx.rank_in(1, 2..=usize::MAX)?) else {
        return Ok(Type::tensor(Shape::Unranked, elem));
    };
    let (a_batch, m, a_k) = split(a, op.transpose_a);
    let (b_batch, n, b_k) = split(b, !op.transpose_b);
    cx.equal(a_k, b_k, "the contracted sizes")
        .map_err(|error| cx.error(format!("{} ({} by {})", error.message, cx.types[0], cx.types[1])))?;
    let Shape::Ranked(mut dims) = cx.broadcast([&a_batch, &b_batch])? else { return Ok(Type::tensor(Shape::Unranked, elem)) };
    dims.extend([m.clone(), n.clone()]);
    Ok(Type::tensor(Shape::Ranked(dims), elem))
}

/// Batch axes, kept axis and contracted axis of an operand; `flip` exchanges the last two axes.
fn split(dims: &[Dim], flip: bool) -> (Shape, &Dim, &Dim) {
    let (batch, last) = dims.split_at(dims.len() - 2);
    let (kept, contracted) = if flip { (&last[1], &last[0]) } else { (&last[0], &last[1]) };
    (batch.iter().cloned().collect(), kept, contracted)
}

pub(super) fn det(cx: &Cx<'_>) -> Result<Type> {
    cx.count(1..=1)?;
    let x = cx.float(0)?;
    let Some(dims) = cx.rank_in(0, 2..=usize::MAX)? else { return Ok(x.clone().into()) };
    let (batch, square) = dims.split_at(dims.len() - 2);
    cx.equal(&square[0], &square[1], "the last two sizes")?;
    Ok(Type::tensor(batch.iter().cloned().collect(), x.elem))
}
