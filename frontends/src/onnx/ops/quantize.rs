//! Quantization as ONNX writes it: plain integer tensors, scales and zero points beside them.
//!
//! Specs <https://onnx.ai/onnx/operators/onnx__QuantizeLinear.html>, DequantizeLinear, DynamicQuantizeLinear, QLinearMatMul,
//! QLinearConv, MatMulInteger, ConvInteger.
//! Opsets  Scales per axis from 13, 8-bit floats and `saturate` from 19, blocks, 4-bit types and `output_dtype` from 21,
//!         `precision` from 23. Integer sums are exact in i32; float arithmetic is in f32 where scales are narrower.

use super::Row;
use super::contraction::product_of;
use super::conv::{Window, window};
use crate::onnx::cx::{Cx, Fault, Outcome, front, many, one};
use crate::onnx::tensor;
use mokume_ir::dim::Dim;
use mokume_ir::ids::ValueId;
use mokume_ir::op::{self, BinaryKind as B, ReduceKind, UnaryKind as U};
use mokume_ir::types::Elem;

/// The family's table.
pub const ROWS: &[Row] = &[
    ("QuantizeLinear", quantize),
    ("DequantizeLinear", dequantize),
    ("DynamicQuantizeLinear", dynamic_quantize),
    ("QLinearMatMul", linear_matmul),
    ("QLinearConv", linear_conv),
    ("MatMulInteger", matmul_integer),
    ("ConvInteger", conv_integer),
];

fn quantize(cx: &mut Cx<'_, '_, '_>) -> Outcome {
    let (x, scale, zero) = (cx.input(0)?, cx.input(1)?, cx.optional(2)?);
    let to = code_type(cx, zero)?;
    let saturate = cx.attrs.int_or("saturate", 1)? != 0;
    let precision = match cx.attrs.int_or("precision", 0)? {
        0 => cx.elem(scale)?,
        number => tensor::elem(i32::try_from(number).unwrap_or(-1))?,
    };
    let precision = if precision.is_float() && precision.bits() >= 16 { precision } else { Elem::F32 };
    let scale = spread(cx, x, scale)?;
    let zero = zero.map(|zero| spread(cx, x, zero)).transpose()?;
    let (wide, scale) = (cx.cast(x, precision)?, cx.cast(scale, precision)?);
    let ratio = cx.binary(B::Div, wide, scale)?;
    if to.is_float() {
        return one(cx.apply(op::Cast { to, saturate }, &[ratio])?);
    }
    one(codes(cx, ratio, zero, to)?)
}

/// The element type of the codes: that of the zero point, as the attribute says, or u8.
fn code_type(cx: &Cx<'_, '_, '_>, zero: Option<ValueId>) -> Result<Elem, Fault> {
    let declared = match cx.attrs.int_or("output_dtype", 0)? {
        0 => None,
        number => Some(tensor::elem(i32::try_from(number).unwrap_or(-1))?),
    };
    match (zero, declared) {
        (Some(zero), declared) => {
            let elem = cx.elem(zero)?;
            let fits = declared.is_none_or(|declared| declared == elem);
            if fits { Ok(elem) } else { Err(Fault::input(format!("output_dtype is not {elem}, the zero point's type"))) }
        }
        (None, declared) => Ok(declared.unwrap_or(Elem::U8)),
    }
}

/// `saturate(round(ratio) + zero)`
fn codes(cx: &mut Cx<'_, '_, '_>, ratio: ValueId, zero: Option<ValueId>, to: Elem) -> Result<ValueId, Fault> {
    let (low, high) = range(to).ok_or_else(|| Fault::unsupported(format!("quantization to {to} is not supported")))?;
    let rounded = cx.unary(U::Round, ratio)?;
    let elem = if cx.elem(rounded)? == Elem::F64 { Elem::F64 } else { Elem::F32 };
    let mut level = cx.cast(rounded, elem)?;
    if let Some(zero) = zero {
        let zero = cx.cast(zero, elem)?;
        level = cx.binary(B::Add, level, zero)?;
    }
    let above = cx.with_number(B::Max, level, low)?;
    let inside = cx.with_number(B::Min, above, high)?;
    cx.cast(inside, to)
}

fn range(elem: Elem) -> Option<(f64, f64)> {
    let bits = elem.bits() as i32;
    match elem {
        Elem::I2 | Elem::I4 | Elem::I8 | Elem::I16 => Some((-(2f64.powi(bits - 1)), 2f64.powi(bits - 1) - 1.0)),
        Elem::U2 | Elem::U4 | Elem::U8 | Elem::U16 => Some((0.0, 2f64.powi(bits) - 1.0)),
        _ => None,
    }
}

/// Scales or zero points so that they broadcast against `x`: per tensor, per axis, or per block.
fn spread(cx: &mut Cx<'_, '_, '_>, x: ValueId, scale: ValueId) -> Result<ValueId, Fault> {
    let axis = cx.attrs.int_or("axis", 1)?;
    let block = cx.attrs.int_or("block_size", 0)?;
    let dims = cx.need_dims(scale)?;
    match &dims[..] {
        [] => Ok(scale),
        [one] if one.known() == Some(1) && block == 0 => cx.reshape(scale, vec![]),
        [_] if block == 0 => {
            let rank = cx.need_rank(x)?;
            let axis = front(axis, rank)?;
            let others: Vec<i64> = (1..(rank - axis) as i64).collect();
            cx.unsqueeze(scale, &others)
        }
        _ if block > 0 => blocks(cx, x, scale, front(axis, dims.len())?, block),
        _ => Err(Fault::input(format!("scales of {} axes need a block size", dims.len()))),
    }
}

/// Every scale repeated `block` times along `axis`, then cut to the size of `x`.
fn blocks(cx: &mut Cx<'_, '_, '_>, x: ValueId, scale: ValueId, axis: usize, block: i64) -> Result<ValueId, Fault> {
    let (mut dims, sizes) = (cx.need_dims(scale)?, cx.need_dims(x)?);
    let size = sizes.get(axis).cloned().ok_or_else(|| Fault::input("scales have more axes than the operand"))?;
    let apart = cx.unsqueeze(scale, &[axis as i64 + 1])?;
    let mut wide = dims.clone();
    wide.insert(axis + 1, Dim::from(block));
    let wide = cx.broadcast(apart, wide)?;
    dims[axis] = dims[axis].times(&Dim::from(block));
    let repeated = cx.reshape(wide, dims.clone())?;
    if dims[axis] == size { Ok(repeated) } else { cx.slice(repeated, axis, Dim::from(0i64), size) }
}

fn dequantize(cx: &mut Cx<'_, '_, '_>) -> Outcome {
    let (x, scale, zero) = (cx.input(0)?, cx.input(1)?, cx.optional(2)?);
    let to = match cx.attrs.int_or("output_dtype", 0)? {
        0 => cx.elem(scale)?,
        number => tensor::elem(i32::try_from(number).unwrap_or(-1))?,
    };
    let wide = if to == Elem::F64 { Elem::F64 } else { Elem::F32 };
    let scale = spread(cx, x, scale)?;
    let zero = zero.map(|zero| spread(cx, x, zero)).transpose()?;
    let level = difference(cx, x, zero, wide)?;
    let scale = cx.cast(scale, wide)?;
    let y = cx.binary(B::Mul, level, scale)?;
    one(cx.cast(y, to)?)
}

/// `x - zero` as `wide` floats; integers are subtracted as i32.
fn difference(cx: &mut Cx<'_, '_, '_>, x: ValueId, zero: Option<ValueId>, wide: Elem) -> Result<ValueId, Fault> {
    let middle = if cx.elem(x)?.is_float() { wide } else { Elem::I32 };
    let level = centered(cx, x, zero, middle)?;
    cx.cast(level, wide)
}

fn centered(cx: &mut Cx<'_, '_, '_>, x: ValueId, zero: Option<ValueId>, elem: Elem) -> Result<ValueId, Fault> {
    let level = cx.cast(x, elem)?;
    let Some(zero) = zero else { return Ok(level) };
    let zero = cx.cast(zero, elem)?;
    cx.binary(B::Sub, level, zero)
}

/// To u8, over the range of `x` and 0. A range of nothing but 0 gets scale 1.
fn dynamic_quantize(cx: &mut Cx<'_, '_, '_>) -> Outcome {
    let x = cx.input(0)?;
    let (low, high) = (extreme(cx, x, ReduceKind::Min, B::Min)?, extreme(cx, x, ReduceKind::Max, B::Max)?);
    let span = cx.binary(B::Sub, high, low)?;
    let step = cx.with_number(B::Div, span, 255.0)?;
    let (none, unit) = (cx.with_number(B::Eq, step, 0.0)?, cx.number_like(x, 1.0)?);
    let scale = cx.select(none, unit, step)?;
    let ratio = cx.binary(B::Div, low, scale)?;
    let shift = cx.unary(U::Neg, ratio)?;
    let zero = codes(cx, shift, None, Elem::U8)?;
    let ratio = cx.binary(B::Div, x, scale)?;
    let y = codes(cx, ratio, Some(zero), Elem::U8)?;
    many([y, scale, zero])
}

fn extreme(cx: &mut Cx<'_, '_, '_>, x: ValueId, kind: ReduceKind, with_zero: B) -> Result<ValueId, Fault> {
    let all = op::Reduce { kind, axes: mokume_ir::attr::Ints::of([]), all: true, keep_dims: false };
    let extreme = cx.apply(all, &[x])?;
    cx.with_number(with_zero, extreme, 0.0)
}

/// A zero point or scale per row of the left matrix: a rank-1 tensor becomes a column.
fn per_row(cx: &mut Cx<'_, '_, '_>, value: ValueId) -> Result<ValueId, Fault> {
    match &cx.need_dims(value)?[..] {
        [one] if one.known() == Some(1) => cx.reshape(value, vec![]),
        [_] => cx.unsqueeze(value, &[1]),
        _ => Ok(value),
    }
}

fn matmul_integer(cx: &mut Cx<'_, '_, '_>) -> Outcome {
    let (a, b) = (cx.input(0)?, cx.input(1)?);
    let (a_zero, b_zero) = (cx.optional(2)?, cx.optional(3)?);
    one(integer_product(cx, a, a_zero, b, b_zero)?)
}

fn integer_product(
    cx: &mut Cx<'_, '_, '_>,
    a: ValueId,
    a_zero: Option<ValueId>,
    b: ValueId,
    b_zero: Option<ValueId>,
) -> Result<ValueId, Fault> {
    let a_zero = a_zero.map(|zero| per_row(cx, zero)).transpose()?;
    let (a, b) = (centered(cx, a, a_zero, Elem::I32)?, centered(cx, b, b_zero, Elem::I32)?);
    product_of(cx, a, b)
}

fn linear_matmul(cx: &mut Cx<'_, '_, '_>) -> Outcome {
    let (a, a_scale, a_zero) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    let (b, b_scale, b_zero) = (cx.input(3)?, cx.input(4)?, cx.input(5)?);
    let sum = integer_product(cx, a, Some(a_zero), b, Some(b_zero))?;
    let a_scale = per_row(cx, a_scale)?;
    one(requantized(cx, sum, a_scale, b_scale, 6)?)
}

/// `sum * a_scale * b_scale / y_scale` as codes; operands `next` and `next + 1` are the scale and zero point of y.
fn requantized(cx: &mut Cx<'_, '_, '_>, sum: ValueId, a_scale: ValueId, b_scale: ValueId, next: usize) -> Result<ValueId, Fault> {
    let (y_scale, y_zero) = (cx.input(next)?, cx.input(next + 1)?);
    let scales = [a_scale, b_scale, y_scale].map(|scale| cx.cast(scale, Elem::F32));
    let [a_scale, b_scale, y_scale] = scales;
    let both = cx.binary(B::Mul, a_scale?, b_scale?)?;
    let factor = cx.binary(B::Div, both, y_scale?)?;
    let sum = cx.cast(sum, Elem::F32)?;
    let ratio = cx.binary(B::Mul, sum, factor)?;
    let to = cx.elem(y_zero)?;
    codes(cx, ratio, Some(y_zero), to)
}

fn conv_integer(cx: &mut Cx<'_, '_, '_>) -> Outcome {
    let (x, w) = (cx.input(0)?, cx.input(1)?);
    let (x_zero, w_zero) = (cx.optional(2)?, cx.optional(3)?);
    let sum = integer_conv(cx, x, x_zero, w, w_zero, None)?;
    one(cx.cast(sum, Elem::I32)?)
}

/// The exact sums of a convolution of integers, in f64: every i32 is one.
fn integer_conv(
    cx: &mut Cx<'_, '_, '_>,
    x: ValueId,
    x_zero: Option<ValueId>,
    w: ValueId,
    w_zero: Option<ValueId>,
    bias: Option<ValueId>,
) -> Result<ValueId, Fault> {
    let rank = cx.need_rank(w)?;
    let x_zero = x_zero.map(|zero| cx.reshape(zero, vec![])).transpose()?;
    let w_zero = w_zero.map(|zero| per_output(cx, zero, rank)).transpose()?;
    let x = centered(cx, x, x_zero, Elem::F64)?;
    let w = centered(cx, w, w_zero, Elem::F64)?;
    let bias = bias.map(|bias| cx.cast(bias, Elem::F64)).transpose()?;
    cx.attrs.ignore(&["kernel_shape"]);
    let Window { strides, dilations, pads, auto_pad } = window(cx, rank.saturating_sub(2))?;
    let groups = cx.attrs.int_or("group", 1)?;
    let operands: Vec<ValueId> = [x, w].into_iter().chain(bias).collect();
    cx.apply(op::Conv { strides, dilations, pads, auto_pad, groups }, &operands)
}

/// One number per output channel, to broadcast against `[o, i, kernel...]`.
fn per_output(cx: &mut Cx<'_, '_, '_>, value: ValueId, rank: usize) -> Result<ValueId, Fault> {
    match &cx.need_dims(value)?[..] {
        [one] if one.known() == Some(1) => cx.reshape(value, vec![]),
        [_] => {
            let trailing: Vec<i64> = (1..rank as i64).collect();
            cx.unsqueeze(value, &trailing)
        }
        _ => Ok(value),
    }
}

fn linear_conv(cx: &mut Cx<'_, '_, '_>) -> Outcome {
    let (x, x_scale, x_zero) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    let (w, w_scale, w_zero, bias) = (cx.input(3)?, cx.input(4)?, cx.input(5)?, cx.optional(8)?);
    let sum = integer_conv(cx, x, Some(x_zero), w, Some(w_zero), bias)?;
    let rank = cx.need_rank(w)?;
    let w_scale = per_output(cx, w_scale, rank - 1)?;
    let x_scale = cx.reshape(x_scale, vec![])?;
    one(requantized(cx, sum, x_scale, w_scale, 6)?)
}
