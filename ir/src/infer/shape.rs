//! Ops that make sizes and counting tensors.

use super::cx::{Cx, Result, ceil_div};
use crate::dim::{Dim, DimFn};
use crate::op::{DimsOf, Iota, ShapeOf};
use crate::types::{Elem, Shape, Type};

pub(super) fn range(cx: &Cx<'_>) -> Result<Type> {
    cx.count(3..=3)?;
    let start = cx.tensor_of(0, "a number", |elem| elem.is_int() || elem.is_float())?;
    for operand in 1..3 {
        cx.same_elem(0, operand)?;
        cx.rank_in(operand, 0..=1)?;
    }
    let scalar = |index: usize| (cx.contents)(index).and_then(|contents| contents.dims.into_iter().next());
    let len = match (scalar(0), scalar(1), scalar(2).and_then(|delta| delta.known())) {
        (_, _, Some(0)) => return cx.fail("delta is 0"),
        (Some(start), Some(limit), Some(delta)) => steps(&start, &limit, delta),
        _ => None,
    };
    Ok(Type::tensor([len.unwrap_or_else(|| cx.fresh())].into_iter().collect(), start.elem))
}

/// `max(0, ceil((limit - start) / delta))`
pub(super) fn steps(start: &Dim, limit: &Dim, delta: i64) -> Option<Dim> {
    let gap = if delta > 0 { limit.minus(start) } else { start.minus(limit) };
    Some(ceil_div(&gap, delta.checked_abs()?).call(DimFn::Max, &Dim::from(0i64)))
}

pub(super) fn iota(cx: &Cx<'_>, op: &Iota) -> Result<Type> {
    cx.count(0..=0)?;
    if !op.elem.is_int() && !op.elem.is_float() {
        return cx.fail(format!("does not count in {}", op.elem));
    }
    sizes_are_not_negative(cx, std::slice::from_ref(&op.len))?;
    Ok(Type::tensor([op.len.clone()].into_iter().collect(), op.elem))
}

fn sizes_are_not_negative(cx: &Cx<'_>, sizes: &[Dim]) -> Result<()> {
    match sizes.iter().find(|size| size.known().is_some_and(|n| n < 0)) {
        Some(size) => cx.fail(format!("size {size} is negative")),
        None => Ok(()),
    }
}

pub(super) fn shape_of(cx: &Cx<'_>, op: &ShapeOf) -> Result<Type> {
    cx.count(1..=1)?;
    let len = match cx.tensor(0)?.shape.rank() {
        Some(rank) => Dim::from(bounds(op, rank).len()),
        None => match op.end {
            Some(end) if op.start == end => Dim::from(0i64),
            _ => cx.fresh(),
        },
    };
    Ok(Type::tensor([len].into_iter().collect(), Elem::I64))
}

/// The axes that `shape_of` gives, clamped to the rank.
pub(super) fn bounds(op: &ShapeOf, rank: usize) -> std::ops::Range<usize> {
    let clamp = |axis: i64| if axis < 0 { axis.saturating_add(rank as i64) } else { axis }.clamp(0, rank as i64) as usize;
    let start = clamp(op.start);
    start..op.end.map_or(rank, clamp).max(start)
}

pub(super) fn size_of(cx: &Cx<'_>) -> Result<Type> {
    cx.count(1..=1)?;
    cx.tensor(0)?;
    Ok(Type::tensor(Shape::scalar(), Elem::I64))
}

pub(super) fn dims_of(cx: &Cx<'_>, op: &DimsOf) -> Result<Type> {
    cx.count(0..=0)?;
    match (op.scalar, op.dims.len()) {
        (true, 1) => Ok(Type::tensor(Shape::scalar(), Elem::I64)),
        (true, n) => cx.fail(format!("a scalar of {n} values")),
        (false, n) => Ok(Type::tensor(Shape::known(&[n]), Elem::I64)),
    }
}
