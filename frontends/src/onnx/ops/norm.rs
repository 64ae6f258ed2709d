//! Normalization.
//!
//! Specs <https://onnx.ai/onnx/operators/onnx__BatchNormalization.html> and its neighbors of the same names.
//! Opsets  BatchNormalization chooses inference by `is_test` up to 6, by its outputs up to 13, by `training_mode` from 14;
//!         `spatial` exists up to 8. GroupNormalization's scale is per group in 18 and per channel from 21.
//!         LayerNormalization-17, RMSNormalization-23, MeanVarianceNormalization-9.

use super::Row;
use crate::onnx::cx::{Cx, Fault, Outcome, many, one};
use mokume_ir::dim::Dim;
use mokume_ir::ids::ValueId;
use mokume_ir::op::{self, BinaryKind as B, ReduceKind as R, UnaryKind as U};
use mokume_ir::types::Elem;

/// The family's table.
pub const ROWS: &[Row] = &[
    ("BatchNormalization", batch_norm),
    ("InstanceNormalization", instance_norm),
    ("GroupNormalization", group_norm),
    ("LayerNormalization", layer_norm),
    ("RMSNormalization", rms_norm),
    ("LRN", local_response_norm),
    ("LpNormalization", lp_norm),
    ("MeanVarianceNormalization", mean_variance_norm),
];

/// A rank-1 tensor over channels, to broadcast against `[n, c, spatial...]`.
pub fn per_channel(cx: &mut Cx<'_, '_, '_>, x: ValueId, rank: usize) -> Result<ValueId, Fault> {
    let trailing: Vec<i64> = (1..rank.saturating_sub(1) as i64).collect();
    cx.unsqueeze(x, &trailing)
}

fn batch_norm(cx: &mut Cx<'_, '_, '_>) -> Outcome {
    let epsilon = cx.attrs.float_or("epsilon", 1e-5)?;
    let momentum = cx.attrs.float_or("momentum", 0.9)?;
    cx.attrs.ignore(&["consumed_inputs", "is_test"]);
    if cx.attrs.int_or("spatial", 1)? == 0 {
        return Err(Fault::unsupported("statistics per position (spatial = 0) are not supported"));
    }
    let x = cx.input(0)?;
    let rank = cx.need_rank(x)?;
    let training = cx.attrs.flag("training_mode")?;
    if training {
        return batch_norm_training(cx, x, rank, epsilon, momentum);
    }
    let (mean, variance) = (cx.input(3)?, cx.input(4)?);
    one(normalized_by(cx, x, rank, mean, variance, epsilon)?)
}

/// `(x - mean) * scale / sqrt(variance + epsilon) + bias` per channel, as `x * a + b` with `a` and `b` from constants.
fn normalized_by(
    cx: &mut Cx<'_, '_, '_>,
    x: ValueId,
    rank: usize,
    mean: ValueId,
    variance: ValueId,
    epsilon: f32,
) -> Result<ValueId, Fault> {
    let (scale, bias) = (cx.input(1)?, cx.input(2)?);
    let elem = cx.elem(x)?;
    let stable = cx.with_number(B::Add, variance, epsilon.into())?;
    let deviation = cx.unary(U::Sqrt, stable)?;
    let wide = cx.cast(scale, cx.elem(deviation)?)?;
    let factor = cx.binary(B::Div, wide, deviation)?;
    let shifted = cx.binary(B::Mul, mean, factor)?;
    let bias = cx.cast(bias, cx.elem(factor)?)?;
    let offset = cx.binary(B::Sub, bias, shifted)?;
    let (factor, offset) = (per_channel(cx, factor, rank)?, per_channel(cx, offset, rank)?);
    let wide = cx.cast(x, cx.elem(factor)?)?;
    let scaled = cx.binary(B::Mul, wide, factor)?;
    let y = cx.binary(B::Add, scaled, offset)?;
    cx.cast(y, elem)
}

/// Statistics of this batch, and running statistics as outputs 1 and 2.
fn batch_norm_training(cx: &mut Cx<'_, '_, '_>, x: ValueId, rank: usize, epsilon: f32, momentum: f32) -> Outcome {
    let axes: Vec<i64> = (0..rank as i64).filter(|&axis| axis != 1).collect();
    let mean = cx.reduce(R::Mean, x, &axes, true)?;
    let centered = cx.binary(B::Sub, x, mean)?;
    let square = cx.binary(B::Mul, centered, centered)?;
    let variance = cx.reduce(R::Mean, square, &axes, false)?;
    let mean = cx.squeeze(mean, &axes)?;
    let y = normalized_by(cx, x, rank, mean, variance, epsilon)?;
    let (old_mean, old_variance) = (cx.input(3)?, cx.input(4)?);
    let running_mean = running(cx, old_mean, mean, momentum)?;
    let running_variance = running(cx, old_variance, variance, momentum)?;
    many([y, running_mean, running_variance])
}

/// `old * momentum + new * (1 - momentum)`
fn running(cx: &mut Cx<'_, '_, '_>, old: ValueId, new: ValueId, momentum: f32) -> Result<ValueId, Fault> {
    let kept = cx.with_number(B::Mul, old, momentum.into())?;
    let new = cx.cast(new, cx.elem(old)?)?;
    let added = cx.with_number(B::Mul, new, f64::from(1.0 - momentum))?;
    cx.binary(B::Add, kept, added)
}

fn instance_norm(cx: &mut Cx<'_, '_, '_>) -> Outcome {
    cx.attrs.ignore(&["consumed_inputs"]);
    let (x, scale, bias) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    let epsilon = cx.attrs.float_or("epsilon", 1e-5)?;
    let groups = match cx.need_size(scale, 0) {
        Ok(channels) => channels,
        Err(_) => cx.need_size(x, 1)?,
    };
    one(cx.apply(op::GroupNorm { groups, epsilon }, &[x, scale, bias])?)
}

fn group_norm(cx: &mut Cx<'_, '_, '_>) -> Outcome {
    let (x, mut scale, mut bias) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    let epsilon = cx.attrs.float_or("epsilon", 1e-5)?;
    let groups = cx.attrs.need_int("num_groups")?;
    cx.attrs.ignore(&["stash_type"]);
    if cx.opset < 21 {
        let channels = cx.need_size(x, 1)?;
        scale = repeated(cx, scale, groups, channels)?;
        bias = repeated(cx, bias, groups, channels)?;
    }
    one(cx.apply(op::GroupNorm { groups, epsilon }, &[x, scale, bias])?)
}

/// One number per group as one per channel.
fn repeated(cx: &mut Cx<'_, '_, '_>, x: ValueId, groups: i64, channels: i64) -> Result<ValueId, Fault> {
    let size = channels.checked_div(groups).filter(|size| size * groups == channels);
    let size = size.ok_or_else(|| Fault::input(format!("{channels} channels in {groups} groups")))?;
    let column = cx.unsqueeze(x, &[1])?;
    let wide = cx.broadcast(column, vec![Dim::from(groups), Dim::from(size)])?;
    cx.reshape(wide, vec![Dim::from(channels)])
}

/// Computation in f32 or wider, as `stash_type` 1 says.
fn stashed(cx: &mut Cx<'_, '_, '_>, x: ValueId) -> Result<ValueId, Fault> {
    match cx.elem(x)? {
        Elem::F16 | Elem::BF16 => cx.cast(x, Elem::F32),
        _ => Ok(x),
    }
}

fn layer_norm(cx: &mut Cx<'_, '_, '_>) -> Outcome {
    let (x, scale, bias) = (cx.input(0)?, cx.input(1)?, cx.optional(2)?);
    let (axis, epsilon) = (cx.attrs.int_or("axis", -1)?, cx.attrs.float_or("epsilon", 1e-5)?);
    cx.attrs.ignore(&["stash_type"]);
    let axis = cx.axis(x, axis)?;
    let operands: Vec<ValueId> = [x, scale].into_iter().chain(bias).collect();
    let y = cx.apply(op::LayerNorm { axis, epsilon }, &operands)?;
    if !cx.wants(1) && !cx.wants(2) {
        return one(y);
    }
    let axes: Vec<i64> = (axis..cx.need_rank(x)? as i64).collect();
    let x = stashed(cx, x)?;
    let mean = cx.reduce(R::Mean, x, &axes, true)?;
    let centered = cx.binary(B::Sub, x, mean)?;
    let square = cx.binary(B::Mul, centered, centered)?;
    let variance = cx.reduce(R::Mean, square, &axes, true)?;
    let stable = cx.with_number(B::Add, variance, epsilon.into())?;
    let inverse = cx.unary(U::Rsqrt, stable)?;
    many([y, mean, inverse])
}

fn rms_norm(cx: &mut Cx<'_, '_, '_>) -> Outcome {
    let (x, scale) = (cx.input(0)?, cx.input(1)?);
    let (axis, epsilon) = (cx.attrs.int_or("axis", -1)?, cx.attrs.float_or("epsilon", 1e-5)?);
    cx.attrs.ignore(&["stash_type"]);
    let axis = cx.axis(x, axis)?;
    one(cx.apply(op::RmsNorm { axis, epsilon }, &[x, scale])?)
}

fn local_response_norm(cx: &mut Cx<'_, '_, '_>) -> Outcome {
    let x = cx.input(0)?;
    let op = op::LocalResponseNorm {
        size: cx.attrs.need_int("size")?,
        alpha: cx.attrs.float_or("alpha", 0.0001)?,
        beta: cx.attrs.float_or("beta", 0.75)?,
        bias: cx.attrs.float_or("bias", 1.0)?,
    };
    one(cx.apply(op, &[x])?)
}

/// `x / norm`, and 0 where the norm is 0.
fn lp_norm(cx: &mut Cx<'_, '_, '_>) -> Outcome {
    let x = cx.input(0)?;
    let axis = cx.attrs.int_or("axis", -1)?;
    let axis = cx.axis(x, axis)?;
    let kind = match cx.attrs.int_or("p", 2)? {
        1 => R::L1,
        2 => R::L2,
        p => return Err(Fault::input(format!("p is 1 or 2, not {p}"))),
    };
    let norm = cx.reduce(kind, x, &[axis], true)?;
    let (zero, ratio) = (cx.number_like(x, 0.0)?, cx.binary(B::Div, x, norm)?);
    let none = cx.binary(B::Eq, norm, zero)?;
    one(cx.select(none, zero, ratio)?)
}

/// `(x - mean) / (sqrt(mean square deviation) + 1e-9)`
fn mean_variance_norm(cx: &mut Cx<'_, '_, '_>) -> Outcome {
    let x = cx.input(0)?;
    let axes = cx.attrs.ints("axes")?.unwrap_or_else(|| vec![0, 2, 3]);
    let axes = axes.into_iter().map(|axis| cx.axis(x, axis)).collect::<Result<Vec<_>, _>>()?;
    let mean = cx.reduce(R::Mean, x, &axes, true)?;
    let square = cx.binary(B::Mul, x, x)?;
    let mean_square = cx.reduce(R::Mean, square, &axes, true)?;
    let squared_mean = cx.binary(B::Mul, mean, mean)?;
    let variance = cx.binary(B::Sub, mean_square, squared_mean)?;
    let deviation = cx.unary(U::Sqrt, variance)?;
    let divisor = cx.with_number(B::Add, deviation, 1e-9)?;
    let centered = cx.binary(B::Sub, x, mean)?;
    one(cx.binary(B::Div, centered, divisor)?)
}
