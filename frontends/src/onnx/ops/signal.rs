//! Signals: Fourier transforms and windows; determinants.
//!
//! Specs <https://onnx.ai/onnx/operators/onnx__DFT.html>, STFT, HannWindow, HammingWindow, BlackmanWindow, Det.
//! Opsets  DFT takes its axis as an attribute (default 1) up to 19, as an operand (default -2) from 20.

use super::Row;
use crate::onnx::cx::{Cx, Fault, Outcome, one};
use crate::onnx::tensor;
use mokume_ir::ids::ValueId;
use mokume_ir::op::{self, BinaryKind as B, UnaryKind as U};
use mokume_ir::types::Elem;
use std::f64::consts::PI;

/// The family's table.
pub const ROWS: &[Row] = &[
    ("DFT", dft),
    ("STFT", stft),
    ("HannWindow", |cx| window(cx, &[0.5, 0.5])),
    ("HammingWindow", |cx| window(cx, &[25.0 / 46.0, 21.0 / 46.0])),
    ("BlackmanWindow", |cx| window(cx, &[0.42, 0.5, 0.08])),
    ("Det", det),
];

fn dft(cx: &mut Cx<'_, '_, '_>) -> Outcome {
    let (x, length) = (cx.input(0)?, cx.optional(1)?);
    let axis = match cx.opset < 20 {
        true => cx.attrs.int_or("axis", 1)?,
        false if cx.optional(2)?.is_some() => cx.need_number(2)?,
        false => -2,
    };
    let axis = cx.axis(x, axis)?;
    let (inverse, onesided) = (cx.attrs.flag("inverse")?, cx.attrs.flag("onesided")?);
    let mut operands = vec![x];
    let length = length.map(|length| cx.ints(length, &mut operands));
    one(cx.apply(op::Dft { axis, length, inverse, onesided }, &operands)?)
}

fn stft(cx: &mut Cx<'_, '_, '_>) -> Outcome {
    let (mut x, step, window) = (cx.input(0)?, cx.input(1)?, cx.optional(2)?);
    let length = cx.optional(3)?;
    let onesided = cx.attrs.int_or("onesided", 1)? != 0;
    if cx.need_rank(x)? == 2 {
        x = cx.unsqueeze(x, &[2])?;
    }
    let (window, length) = match (window, length) {
        (Some(window), Some(length)) => (window, length),
        (Some(window), None) => {
            let size = cx.need_dims(window)?.first().cloned().ok_or_else(|| Fault::input("the window is a scalar"))?;
            (window, cx.dim_scalar(size)?)
        }
        (None, Some(length)) => (ones(cx, x, length)?, length),
        (None, None) => return Err(Fault::input("neither a window nor a frame length is given")),
    };
    let (step, length) = (scalar_i64(cx, step)?, scalar_i64(cx, length)?);
    one(cx.apply(op::Stft { onesided }, &[x, step, window, length])?)
}

fn scalar_i64(cx: &mut Cx<'_, '_, '_>, x: ValueId) -> Result<ValueId, Fault> {
    let x = cx.reshape(x, vec![])?;
    cx.cast(x, Elem::I64)
}

/// A window of ones of a length that arrives at run time.
fn ones(cx: &mut Cx<'_, '_, '_>, x: ValueId, length: ValueId) -> Result<ValueId, Fault> {
    let unit = cx.number_like(x, 1.0)?;
    let length = cx.reshape(length, vec![1i64.into()])?;
    let mut operands = vec![unit];
    let shape = cx.ints(length, &mut operands);
    cx.apply(op::Broadcast { shape }, &operands)
}

/// `c0 - c1 cos(2πn/N) + c2 cos(4πn/N)`, N the size, or one less when symmetric.
fn window(cx: &mut Cx<'_, '_, '_>, coefficients: &[f64]) -> Outcome {
    let size = cx.input(0)?;
    let to = tensor::elem(i32::try_from(cx.attrs.int_or("output_datatype", 1)?).unwrap_or(-1))?;
    let periodic = cx.attrs.int_or("periodic", 1)? != 0;
    let size = scalar_i64(cx, size)?;
    let (zero, unit) = (cx.number(Elem::I64, 0.0)?, cx.number(Elem::I64, 1.0)?);
    let places = cx.apply(op::Range {}, &[zero, size, unit])?;
    let period = if periodic { size } else { cx.binary(B::Sub, size, unit)? };
    let wide = if to == Elem::F64 { Elem::F64 } else { Elem::F32 };
    let (places, period) = (cx.cast(places, wide)?, cx.cast(period, wide)?);
    let mut sum = cx.number(wide, coefficients[0])?;
    for (order, &coefficient) in coefficients.iter().enumerate().skip(1) {
        let angle = cx.with_number(B::Mul, places, 2.0 * PI * order as f64)?;
        let angle = cx.binary(B::Div, angle, period)?;
        let wave = cx.unary(U::Cos, angle)?;
        let wave = cx.with_number(B::Mul, wave, coefficient)?;
        sum = cx.binary(if order % 2 == 1 { B::Sub } else { B::Add }, sum, wave)?;
    }
    one(cx.cast(sum, to)?)
}

fn det(cx: &mut Cx<'_, '_, '_>) -> Outcome {
    let x = cx.input(0)?;
    one(cx.apply(op::Det {}, &[x])?)
}
