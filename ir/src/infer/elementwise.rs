//! Elementwise ops: shapes broadcast, element types agree.

use super::cx::{Cx, Result};
use crate::op::{BinaryKind, Bitcast, Cast, UnaryKind};
use crate::types::{Elem, Type};

fn numeric(elem: Elem) -> bool {
    elem.is_float() || elem.is_int()
}

fn integer_or_bool(elem: Elem) -> bool {
    elem.is_int() || elem == Elem::Bool
}

pub(super) fn unary(cx: &Cx<'_>, kind: UnaryKind) -> Result<Type> {
    use UnaryKind::*;
    cx.count(1..=1)?;
    let x = match kind {
        Not => cx.tensor_of(0, "bool", |elem| elem == Elem::Bool),
        BitNot => cx.tensor_of(0, "integer", integer_or_bool),
        Abs | Neg | Sign | Relu => cx.tensor_of(0, "a number", numeric),
        _ => cx.float(0),
    }?;
    let predicate = matches!(kind, IsNan | IsPosInf | IsNegInf);
    Ok(Type::tensor(x.shape.clone(), if predicate { Elem::Bool } else { x.elem }))
}

pub(super) fn binary(cx: &Cx<'_>, kind: BinaryKind) -> Result<Type> {
    use BinaryKind::*;
    cx.count(2..=2)?;
    let (what, allowed): (_, fn(Elem) -> bool) = match kind {
        And | Or | Xor => ("bool", |elem| elem == Elem::Bool),
        BitAnd | BitOr | BitXor => ("integer", integer_or_bool),
        Shl | Shr => ("integer", Elem::is_int),
        Eq => ("comparable", |elem| elem.quant().is_none()),
        _ => ("a number", numeric),
    };
    let (a, b) = (cx.tensor_of(0, what, allowed)?, cx.tensor_of(1, what, allowed)?);
    if kind != Pow {
        cx.same_elem(0, 1)?;
    }
    let elem = if kind.is_comparison() { Elem::Bool } else { a.elem };
    Ok(Type::tensor(cx.broadcast([&a.shape, &b.shape])?, elem))
}

pub(super) fn activation(cx: &Cx<'_>) -> Result<Type> {
    cx.count(1..=1)?;
    Ok(cx.tensor_of(0, "a number", numeric)?.clone().into())
}

pub(super) fn select(cx: &Cx<'_>) -> Result<Type> {
    cx.count(3..=3)?;
    let condition = cx.tensor_of(0, "bool", |elem| elem == Elem::Bool)?;
    let elem = cx.same_elem(1, 2)?;
    let shape = cx.broadcast([&condition.shape, &cx.tensor(1)?.shape, &cx.tensor(2)?.shape])?;
    Ok(Type::tensor(shape, elem))
}

pub(super) fn cast(cx: &Cx<'_>, op: &Cast) -> Result<Type> {
    cx.count(1..=1)?;
    let x = cx.tensor_of(0, "a plain type", |elem| elem.quant().is_none())?;
    if op.to.quant().is_some() {
        return cx.fail("does not make quantized types; quantize does");
    }
    Ok(Type::tensor(x.shape.clone(), op.to))
}

pub(super) fn bitcast(cx: &Cx<'_>, op: &Bitcast) -> Result<Type> {
    cx.count(1..=1)?;
    let x = cx.tensor_of(0, "a plain type", |elem| elem.quant().is_none() && elem != Elem::String)?;
    if x.elem.bits() != op.to.bits() || op.to.quant().is_some() {
        return cx.fail(format!("{} and {} do not have the same width", x.elem, op.to));
    }
    Ok(Type::tensor(x.shape.clone(), op.to))
}

pub(super) fn swiglu(cx: &Cx<'_>) -> Result<Type> {
    cx.count(2..=2)?;
    let (gate, up) = (cx.float(0)?, cx.float(1)?);
    let elem = cx.same_elem(0, 1)?;
    Ok(Type::tensor(cx.broadcast([&gate.shape, &up.shape])?, elem))
}
