//! Elementwise arithmetic, comparison, logic.
//!
//! Specs <https://onnx.ai/onnx/operators/onnx__Add.html> and its neighbors of the same names.
//! Opsets  Up to 6, `broadcast` and `axis` aligned the second operand; from 7 on numpy broadcasting. Max, Min, Mean and Sum
//!         broadcast from 8. Clip takes its bounds as attributes up to 10, as operands from 11. Mod-10, BitShift-11,
//!         Bitwise*-18, IsInf-10, PRelu's slope is per channel up to 6. Up to 5, `consumed_inputs` is an old hint.

use super::Row;
use crate::onnx::cx::{Cx, Fault, Outcome, one};
use mokume_ir::dim::Dim;
use mokume_ir::ids::ValueId;
use mokume_ir::op::{BinaryKind as B, UnaryKind as U};

/// The family's table.
pub const ROWS: &[Row] = &[
    ("Abs", |cx| unary(cx, U::Abs)),
    ("Neg", |cx| unary(cx, U::Neg)),
    ("Exp", |cx| unary(cx, U::Exp)),
    ("Log", |cx| unary(cx, U::Log)),
    ("Sqrt", |cx| unary(cx, U::Sqrt)),
    ("Reciprocal", |cx| unary(cx, U::Reciprocal)),
    ("Floor", |cx| unary(cx, U::Floor)),
    ("Ceil", |cx| unary(cx, U::Ceil)),
    ("Round", |cx| unary(cx, U::Round)),
    ("Sign", |cx| unary(cx, U::Sign)),
    ("Sin", |cx| unary(cx, U::Sin)),
    ("Cos", |cx| unary(cx, U::Cos)),
    ("Tan", |cx| unary(cx, U::Tan)),
    ("Asin", |cx| unary(cx, U::Asin)),
    ("Acos", |cx| unary(cx, U::Acos)),
    ("Atan", |cx| unary(cx, U::Atan)),
    ("Sinh", |cx| unary(cx, U::Sinh)),
    ("Cosh", |cx| unary(cx, U::Cosh)),
    ("Asinh", |cx| unary(cx, U::Asinh)),
    ("Acosh", |cx| unary(cx, U::Acosh)),
    ("Atanh", |cx| unary(cx, U::Atanh)),
    ("Tanh", |cx| unary(cx, U::Tanh)),
    ("Erf", |cx| unary(cx, U::Erf)),
    ("Sigmoid", |cx| unary(cx, U::Sigmoid)),
    ("Relu", |cx| unary(cx, U::Relu)),
    ("Softplus", |cx| unary(cx, U::Softplus)),
    ("Softsign", |cx| unary(cx, U::Softsign)),
    ("Not", |cx| unary(cx, U::Not)),
    ("BitwiseNot", |cx| unary(cx, U::BitNot)),
    ("IsNaN", |cx| unary(cx, U::IsNan)),
    ("IsInf", is_inf),
    ("Add", |cx| binary(cx, B::Add)),
    ("Sub", |cx| binary(cx, B::Sub)),
    ("Mul", |cx| binary(cx, B::Mul)),
    ("Div", |cx| binary(cx, B::Div)),
    ("Pow", |cx| binary(cx, B::Pow)),
    ("And", |cx| binary(cx, B::And)),
    ("Or", |cx| binary(cx, B::Or)),
    ("Xor", |cx| binary(cx, B::Xor)),
    ("BitwiseAnd", |cx| binary(cx, B::BitAnd)),
    ("BitwiseOr", |cx| binary(cx, B::BitOr)),
    ("BitwiseXor", |cx| binary(cx, B::BitXor)),
    ("Equal", |cx| binary(cx, B::Eq)),
    ("Less", |cx| binary(cx, B::Lt)),
    ("LessOrEqual", |cx| binary(cx, B::Le)),
    ("Greater", |cx| binary(cx, B::Gt)),
    ("GreaterOrEqual", |cx| binary(cx, B::Ge)),
    ("Mod", modulo),
    ("BitShift", bit_shift),
    ("Max", |cx| variadic(cx, B::Max)),
    ("Min", |cx| variadic(cx, B::Min)),
    ("Sum", |cx| variadic(cx, B::Add)),
    ("Mean", mean),
    ("Clip", clip),
    ("Where", select),
];

fn unary(cx: &mut Cx<'_, '_, '_>, kind: U) -> Outcome {
    cx.attrs.ignore(&["consumed_inputs"]);
    let x = cx.input(0)?;
    one(cx.unary(kind, x)?)
}

fn is_inf(cx: &mut Cx<'_, '_, '_>) -> Outcome {
    let x = cx.input(0)?;
    let (positive, negative) = (cx.attrs.int_or("detect_positive", 1)? != 0, cx.attrs.int_or("detect_negative", 1)? != 0);
    let is_positive = cx.unary(U::IsPosInf, x)?;
    let is_negative = cx.unary(U::IsNegInf, x)?;
    one(match (positive, negative) {
        (true, true) => cx.binary(B::Or, is_positive, is_negative)?,
        (true, false) => is_positive,
        (false, true) => is_negative,
        (false, false) => cx.binary(B::And, is_positive, is_negative)?,
    })
}

fn binary(cx: &mut Cx<'_, '_, '_>, kind: B) -> Outcome {
    let (a, b) = (cx.input(0)?, cx.input(1)?);
    let b = aligned(cx, a, b)?;
    one(cx.binary(kind, a, b)?)
}

/// `b` with the axes that opsets up to 6 let `axis` imply.
fn aligned(cx: &mut Cx<'_, '_, '_>, a: ValueId, b: ValueId) -> Result<ValueId, Fault> {
    if cx.opset >= 7 {
        return Ok(b);
    }
    cx.attrs.ignore(&["consumed_inputs"]);
    let (broadcast, axis) = (cx.attrs.flag("broadcast")?, cx.attrs.int("axis")?);
    let Some(axis) = axis.filter(|_| broadcast) else { return Ok(b) };
    let (axis, rank) = (cx.front_axis(a, axis)?, cx.need_rank(a)?);
    let mut dims = cx.need_dims(b)?;
    if axis + dims.len() > rank {
        return Err(Fault::input(format!("axis {axis} leaves no room for the {} axes of the second operand", dims.len())));
    }
    dims.resize(rank - axis, Dim::from(1i64));
    cx.reshape(b, dims)
}

fn modulo(cx: &mut Cx<'_, '_, '_>) -> Outcome {
    let kind = if cx.attrs.flag("fmod")? { B::Fmod } else { B::Mod };
    binary(cx, kind)
}

fn bit_shift(cx: &mut Cx<'_, '_, '_>) -> Outcome {
    let kind = match cx.attrs.string_or("direction", "")?.as_str() {
        "LEFT" => B::Shl,
        "RIGHT" => B::Shr,
        other => return Err(Fault::input(format!("direction \"{other}\" is neither LEFT nor RIGHT"))),
    };
    binary(cx, kind)
}

fn variadic(cx: &mut Cx<'_, '_, '_>, kind: B) -> Outcome {
    one(folded(cx, kind)?.0)
}

fn mean(cx: &mut Cx<'_, '_, '_>) -> Outcome {
    let (sum, count) = folded(cx, B::Add)?;
    one(if count == 1 { sum } else { cx.with_number(B::Div, sum, count as f64)? })
}

/// All operands combined from left to right, and how many there are.
fn folded(cx: &mut Cx<'_, '_, '_>, kind: B) -> Result<(ValueId, usize), Fault> {
    cx.attrs.ignore(&["consumed_inputs"]);
    let inputs = cx.all_inputs()?;
    let (&first, rest) = inputs.split_first().ok_or_else(|| Fault::input("no operands"))?;
    let value = rest.iter().try_fold(first, |sum, &next| cx.binary(kind, sum, next))?;
    Ok((value, inputs.len()))
}

fn clip(cx: &mut Cx<'_, '_, '_>) -> Outcome {
    let x = cx.input(0)?;
    let (low, high) = match cx.opset {
        ..11 => {
            cx.attrs.ignore(&["consumed_inputs"]);
            let (low, high) = (cx.attrs.float("min")?, cx.attrs.float("max")?);
            (clip_bound(cx, x, low)?, clip_bound(cx, x, high)?)
        }
        _ => (cx.optional(1)?, cx.optional(2)?),
    };
    let above = low.map_or(Ok(x), |low| cx.binary(B::Max, x, low))?;
    one(high.map_or(Ok(above), |high| cx.binary(B::Min, above, high))?)
}

fn clip_bound(cx: &mut Cx<'_, '_, '_>, x: ValueId, bound: Option<f32>) -> Result<Option<ValueId>, Fault> {
    bound.map(|bound| cx.number_like(x, bound.into())).transpose()
}

fn select(cx: &mut Cx<'_, '_, '_>) -> Outcome {
    let (condition, a, b) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    one(cx.select(condition, a, b)?)
}
