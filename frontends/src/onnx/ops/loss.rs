//! Losses.
//!
//! Specs <https://onnx.ai/onnx/operators/onnx__NegativeLogLikelihoodLoss.html>, SoftmaxCrossEntropyLoss.
//! Opsets  12, 13, 22: more types only.

use super::Row;
use crate::onnx::cx::{Cx, Fault, Outcome, many, one};
use mokume_ir::ids::ValueId;
use mokume_ir::op::{self, BinaryKind as B, ReduceKind, UnaryKind};
use mokume_ir::types::Elem;

/// The family's table.
pub const ROWS: &[Row] = &[("NegativeLogLikelihoodLoss", nll), ("SoftmaxCrossEntropyLoss", cross_entropy)];

fn nll(cx: &mut Cx<'_, '_, '_>) -> Outcome {
    let x = cx.input(0)?;
    one(loss(cx, x)?)
}

fn cross_entropy(cx: &mut Cx<'_, '_, '_>) -> Outcome {
    let x = cx.input(0)?;
    let log = cx.apply(op::LogSoftmax { axis: 1 }, &[x])?;
    let loss = loss(cx, log)?;
    many([loss, log])
}

/// `-weight[target] * x[target]` over axis 1, then reduced; weights of ignored targets are 0.
fn loss(cx: &mut Cx<'_, '_, '_>, x: ValueId) -> Result<ValueId, Fault> {
    let (target, weight) = (cx.input(1)?, cx.optional(2)?);
    let ignored = cx.attrs.int("ignore_index")?;
    let reduction = cx.attrs.string_or("reduction", "mean")?;
    let target = cx.cast(target, Elem::I64)?;
    let (target, kept) = kept(cx, target, ignored)?;
    let weights = weights(cx, x, target, weight, kept)?;
    let column = cx.unsqueeze(target, &[1])?;
    let chosen = cx.apply(op::GatherElements { axis: 1 }, &[x, column])?;
    let chosen = cx.squeeze(chosen, &[1])?;
    let negative = cx.unary(UnaryKind::Neg, chosen)?;
    let losses = match weights {
        Some(weights) => cx.binary(B::Mul, negative, weights)?,
        None => negative,
    };
    match (reduction.as_str(), weights) {
        ("none", _) => Ok(losses),
        ("sum", _) => total(cx, losses, ReduceKind::Sum),
        ("mean", None) => total(cx, losses, ReduceKind::Mean),
        ("mean", Some(weights)) => {
            let (sum, weight) = (total(cx, losses, ReduceKind::Sum)?, total(cx, weights, ReduceKind::Sum)?);
            cx.binary(B::Div, sum, weight)
        }
        (other, _) => Err(Fault::input(format!("reduction \"{other}\" is not known"))),
    }
}

fn total(cx: &mut Cx<'_, '_, '_>, x: ValueId, kind: ReduceKind) -> Result<ValueId, Fault> {
    cx.apply(op::Reduce { kind, axes: mokume_ir::attr::Ints::of([]), all: true, keep_dims: false }, &[x])
}

/// Targets with ignored ones replaced by 0, and which are kept, if any may be ignored.
fn kept(cx: &mut Cx<'_, '_, '_>, target: ValueId, ignored: Option<i64>) -> Result<(ValueId, Option<ValueId>), Fault> {
    let Some(ignored) = ignored else { return Ok((target, None)) };
    let drop = cx.with_number(B::Eq, target, ignored as f64)?;
    let zero = cx.number(Elem::I64, 0.0)?;
    let safe = cx.select(drop, zero, target)?;
    Ok((safe, Some(cx.unary(UnaryKind::Not, drop)?)))
}

/// The weight of every target; none when all are 1.
fn weights(
    cx: &mut Cx<'_, '_, '_>,
    x: ValueId,
    target: ValueId,
    weight: Option<ValueId>,
    kept: Option<ValueId>,
) -> Result<Option<ValueId>, Fault> {
    let chosen = weight.map(|weight| cx.gather(weight, target, 0)).transpose()?;
    let Some(kept) = kept else { return Ok(chosen) };
    match chosen {
        Some(chosen) => {
            let zero = cx.number_like(chosen, 0.0)?;
            Ok(Some(cx.select(kept, chosen, zero)?))
        }
        None => Ok(Some(cx.cast(kept, cx.elem(x)?)?)),
    }
}
