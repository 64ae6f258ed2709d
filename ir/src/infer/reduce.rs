//! Reductions over axes, and running reductions along one.

use super::cx::{Cx, Result};
use crate::dim::Dim;
use crate::op::{ArgReduce, Cumulative, Reduce, ReduceKind};
use crate::types::{Elem, Shape, Type};

pub(super) fn reduce(cx: &Cx<'_>, op: &Reduce) -> Result<Type> {
    cx.count(1..=1 + cx.named(&[&op.axes]))?;
    let logical = matches!(op.kind, ReduceKind::Max | ReduceKind::Min);
    let x = cx.tensor_of(0, "a number", |elem| elem.is_float() || elem.is_int() || (logical && elem == Elem::Bool))?;
    Ok(Type::tensor(reduced(cx, op, &x.shape)?, x.elem))
}

fn reduced(cx: &Cx<'_>, op: &Reduce, shape: &Shape) -> Result<Shape> {
    let Some(dims) = shape.dims() else {
        return Ok(if op.all && !op.keep_dims { Shape::scalar() } else { Shape::Unranked });
    };
    let axes = match op.all {
        true => Some((0..dims.len() as i64).collect()),
        false => cx.numbers(&op.axes)?,
    };
    match axes {
        Some(axes) => Ok(without(dims, &cx.axes(&axes, dims.len())?, op.keep_dims)),
        None if op.keep_dims => Ok(cx.fresh_shape(dims.len())),
        None => match cx.ints_len(&op.axes)? {
            Some(count) if count <= dims.len() => Ok(cx.fresh_shape(dims.len() - count)),
            Some(count) => cx.fail(format!("{count} axes are given for rank {}", dims.len())),
            None => Ok(Shape::Unranked),
        },
    }
}

fn without(dims: &[Dim], axes: &[usize], keep: bool) -> Shape {
    let kept = dims.iter().enumerate().filter_map(|(axis, dim)| match axes.contains(&axis) {
        false => Some(dim.clone()),
        true => keep.then(|| Dim::from(1i64)),
    });
    kept.collect()
}

pub(super) fn arg_reduce(cx: &Cx<'_>, op: &ArgReduce) -> Result<Type> {
    cx.count(1..=1)?;
    let x = cx.tensor_of(0, "a number", |elem| elem.is_float() || elem.is_int())?;
    let Some(dims) = x.shape.dims() else { return Ok(Type::tensor(Shape::Unranked, Elem::I64)) };
    let axis = cx.axis(op.axis, dims.len())?;
    Ok(Type::tensor(without(dims, &[axis], op.keep_dims), Elem::I64))
}

pub(super) fn cumulative(cx: &Cx<'_>, op: &Cumulative) -> Result<Type> {
    cx.count(1..=1 + cx.named(&[&op.axis]))?;
    let x = cx.tensor_of(0, "a number", |elem| elem.is_float() || elem.is_int())?;
    if let (Some(axes), Some(rank)) = (cx.numbers(&op.axis)?, x.shape.rank()) {
        let [axis] = axes[..] else { return cx.fail(format!("takes one axis, not {}", axes.len())) };
        cx.axis(axis, rank)?;
    }
    Ok(x.clone().into())
}
