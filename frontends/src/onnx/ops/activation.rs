//! Activation functions, and the softmax family.
//!
//! Specs <https://onnx.ai/onnx/operators/onnx__LeakyRelu.html> and its neighbors of the same names.
//! Opsets  Softmax, LogSoftmax and Hardmax flatten to two axes at `axis` (default 1) up to 12; from 13 on they work along
//!         `axis` (default -1). PRelu's slope is per channel up to 6, broadcast from 7. Gelu-20, Mish-18, HardSwish-14,
//!         Swish-24, SwiGLU-28.

use super::Row;
use crate::onnx::cx::{Cx, Fault, Outcome, front, one};
use mokume_ir::dim::Dim;
use mokume_ir::ids::ValueId;
use mokume_ir::op::{self, Activation, ActivationKind as A, BinaryKind as B, Op};

/// The family's table.
pub const ROWS: &[Row] = &[
    ("LeakyRelu", |cx| with_params(cx, A::LeakyRelu, ("alpha", 0.01), None)),
    ("Elu", |cx| with_params(cx, A::Elu, ("alpha", 1.0), None)),
    ("Celu", |cx| with_params(cx, A::Celu, ("alpha", 1.0), None)),
    ("Selu", |cx| with_params(cx, A::Selu, ("alpha", 1.673_263_2), Some(("gamma", 1.050_701)))),
    ("HardSigmoid", |cx| with_params(cx, A::HardSigmoid, ("alpha", 0.2), Some(("beta", 0.5)))),
    ("ThresholdedRelu", |cx| with_params(cx, A::ThresholdedRelu, ("alpha", 1.0), None)),
    ("Shrink", |cx| with_params(cx, A::Shrink, ("lambd", 0.5), Some(("bias", 0.0)))),
    ("Swish", |cx| with_params(cx, A::Silu, ("alpha", 1.0), None)),
    ("HardSwish", |cx| plain(cx, A::HardSwish)),
    ("Mish", |cx| plain(cx, A::Mish)),
    ("Gelu", gelu),
    ("SwiGLU", swiglu),
    ("PRelu", prelu),
    ("Softmax", |cx| softmax(cx, |axis| op::Softmax { axis }.into())),
    ("LogSoftmax", |cx| softmax(cx, |axis| op::LogSoftmax { axis }.into())),
    ("Hardmax", |cx| softmax(cx, |axis| op::Hardmax { axis }.into())),
];

fn with_params(cx: &mut Cx<'_, '_, '_>, kind: A, alpha: (&str, f32), beta: Option<(&str, f32)>) -> Outcome {
    cx.attrs.ignore(&["consumed_inputs"]);
    let alpha = cx.attrs.float_or(alpha.0, alpha.1)?;
    let beta = beta.map_or(Ok(0.0), |(name, default)| cx.attrs.float_or(name, default))?;
    let x = cx.input(0)?;
    one(cx.apply(Activation { kind, alpha, beta }, &[x])?)
}

fn plain(cx: &mut Cx<'_, '_, '_>, kind: A) -> Outcome {
    let x = cx.input(0)?;
    one(cx.apply(Activation { kind, alpha: 0.0, beta: 0.0 }, &[x])?)
}

fn gelu(cx: &mut Cx<'_, '_, '_>) -> Outcome {
    match cx.attrs.string_or("approximate", "none")?.as_str() {
        "none" => plain(cx, A::Gelu),
        "tanh" => plain(cx, A::GeluTanh),
        other => Err(Fault::unsupported(format!("approximate \"{other}\" is not supported"))),
    }
}

/// `a sigmoid(alpha a) b`
fn swiglu(cx: &mut Cx<'_, '_, '_>) -> Outcome {
    let (gate, up) = (cx.input(0)?, cx.input(1)?);
    let alpha = cx.attrs.float_or("alpha", 1.0)?;
    let gate = cx.apply(Activation { kind: A::Silu, alpha, beta: 0.0 }, &[gate])?;
    one(cx.binary(B::Mul, gate, up)?)
}

fn prelu(cx: &mut Cx<'_, '_, '_>) -> Outcome {
    cx.attrs.ignore(&["consumed_inputs"]);
    let (x, mut slope) = (cx.input(0)?, cx.input(1)?);
    if cx.opset < 7 {
        slope = per_channel(cx, x, slope)?;
    }
    let scaled = cx.binary(B::Mul, x, slope)?;
    let negative = cx.with_number(B::Lt, x, 0.0)?;
    one(cx.select(negative, scaled, x)?)
}

/// A rank-1 tensor over axis 1 of `x`.
fn per_channel(cx: &mut Cx<'_, '_, '_>, x: ValueId, slope: ValueId) -> Result<ValueId, Fault> {
    let (rank, dims) = (cx.need_rank(x)?, cx.need_dims(slope)?);
    match &dims[..] {
        [size] if size.known() != Some(1) && rank > 2 => {
            let mut shape = vec![Dim::from(1i64); rank - 1];
            shape[0] = size.clone();
            cx.reshape(slope, shape)
        }
        _ => Ok(slope),
    }
}

fn softmax(cx: &mut Cx<'_, '_, '_>, op: fn(i64) -> Op) -> Outcome {
    let x = cx.input(0)?;
    if cx.opset >= 13 {
        let axis = cx.attrs.int_or("axis", -1)?;
        let axis = cx.axis(x, axis)?;
        return one(cx.apply(op(axis), &[x])?);
    }
    let (axis, dims) = (cx.attrs.int_or("axis", 1)?, cx.need_dims(x)?);
    // Axis = rank is allowed by the flattening: every row then has one element.
    let axis = if axis == dims.len() as i64 { dims.len() } else { front(axis, dims.len())? };
    if axis + 1 == dims.len() {
        return one(cx.apply(op(axis as i64), &[x])?);
    }
    let product = |dims: &[Dim]| dims.iter().fold(Dim::from(1i64), |product, dim| product.times(dim));
    let flat = cx.reshape(x, vec![product(&dims[..axis]), product(&dims[axis..])])?;
    let y = cx.apply(op(1), &[flat])?;
    one(cx.reshape(y, dims)?)
}
