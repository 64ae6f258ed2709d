//! Convolutions.
//!
//! Specs <https://onnx.ai/onnx/operators/onnx__Conv.html>, ConvTranspose, CausalConvWithState.
//! Opsets  unchanged in meaning since 1; CausalConvWithState-27.

use super::Row;
use crate::onnx::cx::{Cx, Fault, Outcome, many, one};
use mokume_ir::dim::Dim;
use mokume_ir::ids::ValueId;
use mokume_ir::op::{self, Activation, ActivationKind, AutoPad};

/// The family's table.
pub const ROWS: &[Row] = &[("Conv", conv), ("ConvTranspose", conv_transpose), ("CausalConvWithState", causal_conv)];

/// The window attributes that convolutions and pools share.
pub struct Window {
    /// One per spatial axis.
    pub strides: Vec<i64>,
    /// One per spatial axis.
    pub dilations: Vec<i64>,
    /// Begins, then ends.
    pub pads: Vec<i64>,
    /// Derived padding.
    pub auto_pad: AutoPad,
}

/// The window attributes for `spatial` axes.
pub fn window(cx: &Cx<'_, '_, '_>, spatial: usize) -> Result<Window, Fault> {
    let auto_pad = match cx.attrs.string_or("auto_pad", "NOTSET")?.as_str() {
        "NOTSET" | "" => AutoPad::Explicit,
        "SAME_UPPER" => AutoPad::SameUpper,
        "SAME_LOWER" => AutoPad::SameLower,
        "VALID" => AutoPad::Valid,
        other => return Err(Fault::input(format!("auto_pad \"{other}\" is not known"))),
    };
    Ok(Window {
        strides: list(cx, "strides", spatial, 1)?,
        dilations: list(cx, "dilations", spatial, 1)?,
        pads: list(cx, "pads", 2 * spatial, 0)?,
        auto_pad,
    })
}

/// An attribute of exactly `count` integers.
pub fn list(cx: &Cx<'_, '_, '_>, name: &str, count: usize, default: i64) -> Result<Vec<i64>, Fault> {
    let list = cx.attrs.ints(name)?.unwrap_or_else(|| vec![default; count]);
    match list.len() == count {
        true => Ok(list),
        false => Err(Fault::input(format!("attribute \"{name}\" has {} entries, not {count}", list.len()))),
    }
}

/// Operands of a convolution: data, weights, bias; and how many spatial axes there are.
fn operands(cx: &mut Cx<'_, '_, '_>) -> Result<(Vec<ValueId>, usize), Fault> {
    let (x, w, bias) = (cx.input(0)?, cx.input(1)?, cx.optional(2)?);
    let rank = cx.rank(w).or(cx.rank(x)).ok_or_else(|| Fault::unsupported("the rank of the weights is not known"))?;
    let spatial = rank.checked_sub(2).ok_or_else(|| Fault::input("the weights have fewer than two axes"))?;
    check_kernel(cx, w)?;
    Ok(([x, w].into_iter().chain(bias).collect(), spatial))
}

/// `kernel_shape` repeats the shape of the weights.
fn check_kernel(cx: &Cx<'_, '_, '_>, w: ValueId) -> Result<(), Fault> {
    let (Some(kernel), Some(dims)) = (cx.attrs.ints("kernel_shape")?, cx.dims(w)) else { return Ok(()) };
    let fits = kernel.len() + 2 == dims.len() && kernel.iter().zip(&dims[2..]).all(|(&k, d)| d.known().is_none_or(|d| d == k));
    if fits { Ok(()) } else { Err(Fault::input(format!("kernel_shape {kernel:?} is not that of the weights"))) }
}

fn conv(cx: &mut Cx<'_, '_, '_>) -> Outcome {
    let (operands, spatial) = operands(cx)?;
    let Window { strides, dilations, pads, auto_pad } = window(cx, spatial)?;
    let groups = cx.attrs.int_or("group", 1)?;
    one(cx.apply(op::Conv { strides, dilations, pads, auto_pad, groups }, &operands)?)
}

fn conv_transpose(cx: &mut Cx<'_, '_, '_>) -> Outcome {
    let (operands, spatial) = operands(cx)?;
    let Window { strides, dilations, pads, auto_pad } = window(cx, spatial)?;
    let groups = cx.attrs.int_or("group", 1)?;
    let output_padding = list(cx, "output_padding", spatial, 0)?;
    let output_shape = output_shape(cx, spatial)?;
    let op = op::ConvTranspose { strides, dilations, pads, auto_pad, output_padding, output_shape, groups };
    one(cx.apply(op, &operands)?)
}

/// Spatial sizes; some exporters write batch and channels before them.
fn output_shape(cx: &Cx<'_, '_, '_>, spatial: usize) -> Result<Vec<i64>, Fault> {
    let shape = cx.attrs.ints("output_shape")?.unwrap_or_default();
    match shape.len() {
        0 => Ok(shape),
        n if n == spatial => Ok(shape),
        n if n == spatial + 2 => Ok(shape[2..].to_vec()),
        n => Err(Fault::input(format!("output_shape has {n} entries for {spatial} spatial axes"))),
    }
}

/// A depthwise convolution over the state, then the data; the last `k - 1` positions are the next state.
fn causal_conv(cx: &mut Cx<'_, '_, '_>) -> Outcome {
    let (x, w, bias, past) = (cx.input(0)?, cx.input(1)?, cx.optional(2)?, cx.optional(3)?);
    let activation = cx.attrs.string_or("activation", "none")?;
    let (groups, kernel) = (cx.need_size(w, 0)?, cx.need_size(w, 2)?);
    let state = Dim::from(kernel - 1);
    let past = match past {
        Some(past) => past,
        None => {
            let (zero, batch) = (cx.number_like(x, 0.0)?, cx.need_dims(x)?[0].clone());
            cx.broadcast(zero, vec![batch, Dim::from(groups), state.clone()])?
        }
    };
    let whole = cx.concat(&[past, x], 2)?;
    let operands: Vec<ValueId> = [whole, w].into_iter().chain(bias).collect();
    let op = op::Conv { strides: vec![1], dilations: vec![1], pads: vec![0, 0], auto_pad: AutoPad::Explicit, groups };
    let y = cx.apply(op, &operands)?;
    let y = match activation.as_str() {
        "none" | "" => y,
        "silu" | "swish" => cx.apply(Activation { kind: ActivationKind::Silu, alpha: 1.0, beta: 0.0 }, &[y])?,
        other => return Err(Fault::input(format!("activation \"{other}\" is not known"))),
    };
    let length = cx.need_dims(whole)?[2].clone();
    let next = cx.slice(whole, 2, length.minus(&state), length)?;
    many([y, next])
}
