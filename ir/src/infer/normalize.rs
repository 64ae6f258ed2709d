//! Softmax, normalizations and rotations: the type stays.

use super::cx::{Cx, Result};
use crate::hadamard;
use crate::op::{GroupNorm, Hadamard, LocalResponseNorm};
use crate::types::Type;
use std::ops::RangeInclusive;

/// Ops along one axis of one float operand.
pub(super) fn along_axis(cx: &Cx<'_>, axis: i64) -> Result<Type> {
    cx.count(1..=1)?;
    let x = cx.float(0)?;
    if let Some(rank) = x.shape.rank() {
        cx.axis(axis, rank)?;
    }
    Ok(x.clone().into())
}

/// Normalization over axes `axis..` with parameters that broadcast to them.
pub(super) fn trailing(cx: &Cx<'_>, axis: i64, operands: RangeInclusive<usize>) -> Result<Type> {
    cx.count(operands)?;
    let x = cx.float(0)?;
    if let Some(rank) = x.shape.rank() {
        cx.axis(axis, rank)?;
    }
    for parameter in 1..cx.types.len() {
        let parameter = cx.float(parameter)?;
        let shape = cx.broadcast([&x.shape, &parameter.shape])?;
        if shape.rank().zip(x.shape.rank()).is_some_and(|(all, own)| all > own) {
            return cx.fail(format!("the parameter {parameter} does not broadcast to {x}"));
        }
    }
    Ok(x.clone().into())
}

pub(super) fn group_norm(cx: &Cx<'_>, op: &GroupNorm) -> Result<Type> {
    cx.count(3..=3)?;
    let x = cx.float(0)?;
    let dims = cx.rank_in(0, 2..=usize::MAX)?;
    for parameter in 1..3 {
        cx.float(parameter)?;
        cx.rank_is(parameter, 1)?;
    }
    let Some(dims) = dims else { return Ok(x.clone().into()) };
    cx.size_is(1, 0, &dims[1])?;
    cx.size_is(2, 0, &dims[1])?;
    let divides = |channels: i64| op.groups >= 1 && channels % op.groups == 0;
    if op.groups < 1 || dims[1].known().is_some_and(|channels| !divides(channels)) {
        return cx.fail(format!("{} channels in {} groups", dims[1], op.groups));
    }
    Ok(x.clone().into())
}

/// Blocks of the last axis, of an order that has a Hadamard matrix.
pub(super) fn hadamard(cx: &Cx<'_>, op: &Hadamard) -> Result<Type> {
    cx.count(1..=1)?;
    let x = cx.float(0)?;
    let dims = cx.rank_in(0, 1..=usize::MAX)?;
    if usize::try_from(op.block).ok().and_then(hadamard::Hadamard::new).is_none() {
        return cx.fail(format!("no Hadamard matrix of order {} is known", op.block));
    }
    match dims.and_then(|dims| dims.last()?.known()) {
        Some(size) if size % op.block != 0 => cx.fail(format!("a last axis of {size} in blocks of {}", op.block)),
        _ => Ok(x.clone().into()),
    }
}

pub(super) fn local_response_norm(cx: &Cx<'_>, op: &LocalResponseNorm) -> Result<Type> {
    cx.count(1..=1)?;
    cx.rank_in(0, 2..=usize::MAX)?;
    if op.size < 1 {
        return cx.fail(format!("a window of {}", op.size));
    }
    Ok(cx.float(0)?.clone().into())
}
