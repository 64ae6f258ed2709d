//! Quantized types: making them, leaving them, and products of them.

use super::cx::{Cx, Result, product};
use super::window::Slide;
use crate::dim::Dim;
use crate::op::{ActScale, BitConv, BitMatmul, Epilogue, Quantize};
use crate::quant::{Granularity, Levels, QuantType, common_block};
use crate::types::{Elem, Shape, TensorType, Type};

pub(super) fn quantize(cx: &Cx<'_>, op: &Quantize) -> Result<Type> {
    cx.count(1..=3)?;
    let x = cx.float(0)?;
    valid(cx, &op.to, &x.shape)?;
    if cx.types.len() == 3 && !op.to.zero_point {
        return cx.fail(format!("a zero point is given for {}", op.to));
    }
    check_clip(cx, op.clip, cx.types.len() == 1)?;
    Ok(Type::tensor(x.shape.clone(), Elem::Quant(op.to)))
}

fn valid(cx: &Cx<'_>, quant: &QuantType, shape: &Shape) -> Result<()> {
    if !quant.is_valid() {
        return cx.fail(format!("{quant} is not a quantized type"));
    }
    let Some(rank) = shape.rank() else { return Ok(()) };
    let fits = match quant.granularity {
        Granularity::Tensor => true,
        Granularity::Axis(axis) => (axis as usize) < rank,
        Granularity::Block { axis, along, size } => (axis as usize) < rank && (along as usize) < rank && axis != along && size > 0,
        Granularity::Row => rank > 0,
        Granularity::RowBlock(size) => rank > 0 && size > 0,
    };
    if fits { Ok(()) } else { cx.fail(format!("{quant} does not fit {}", cx.types[0])) }
}

pub(super) fn dequantize(cx: &Cx<'_>) -> Result<Type> {
    cx.count(1..=1)?;
    let x = quantized(cx, 0)?;
    Ok(Type::tensor(x.shape.clone(), Elem::F32))
}

fn quantized<'a>(cx: &Cx<'a>, index: usize) -> Result<&'a TensorType> {
    cx.tensor_of(index, "quantized", |elem| elem.quant().is_some())
}

pub(super) fn bit_gather(cx: &Cx<'_>) -> Result<Type> {
    cx.count(2..=2)?;
    quantized(cx, 0)?;
    let (w, indices) = (cx.rank_is(0, 2)?, cx.indices(1)?);
    let shape = match (w, indices.shape.dims()) {
        (Some(w), Some(at)) => at.iter().chain([&w[1]]).cloned().collect(),
        _ => Shape::Unranked,
    };
    Ok(Type::tensor(shape, Elem::F32))
}

/// What the quantized products have in common.
fn check_product(cx: &Cx<'_>, bits: u8, levels: Levels, epilogue: &[Epilogue]) -> Result<()> {
    let operands = 2 + epilogue.iter().filter(|step| step.takes_operand()).count();
    cx.count(operands..=operands)?;
    cx.tensor_of(0, "f32", |elem| elem == Elem::F32)?;
    quantized(cx, 1)?;
    let code = QuantType { bits, levels, granularity: Granularity::Tensor, zero_point: levels == Levels::Unsigned };
    if code.is_valid() { Ok(()) } else { cx.fail(format!("activation codes of {bits} bits with {} levels", levels.name())) }
}

/// Checks the operands of the epilogue against the result of the product.
fn check_epilogue(cx: &Cx<'_>, epilogue: &[Epilogue], out: &Shape, channels: Option<&Dim>) -> Result<()> {
    for (i, step) in epilogue.iter().filter(|step| step.takes_operand()).enumerate() {
        let index = 2 + i;
        let operand = cx.tensor_of(index, "f32", |elem| elem == Elem::F32)?;
        match (step, channels) {
            (Epilogue::Bias, Some(channels)) => {
                cx.rank_is(index, 1)?;
                cx.size_is(index, 0, channels)?;
            }
            (Epilogue::Bias, None) => {}
            _ => same_shape(cx, out, operand)?,
        }
    }
    Ok(())
}

fn same_shape(cx: &Cx<'_>, out: &Shape, operand: &TensorType) -> Result<()> {
    let (Some(out), Some(dims)) = (out.dims(), operand.shape.dims()) else { return Ok(()) };
    if out.len() != dims.len() {
        return cx.fail(format!("the epilogue's {operand} does not have the shape {out:?}"));
    }
    out.iter().zip(dims).try_for_each(|(a, b)| cx.equal(a, b, "sizes of the result and of the epilogue").map(|_| ()))
}

pub(super) fn bit_matmul(cx: &Cx<'_>, op: &BitMatmul) -> Result<Type> {
    check_product(cx, op.a_bits, op.a_levels, &op.epilogue)?;
    check_groups(cx, op)?;
    check_clip(cx, op.a_clip, op.a_scale == ActScale::Row)?;
    let (x, w) = (cx.rank_in(0, 1..=usize::MAX)?, cx.rank_is(1, 2)?);
    let shape = match (x, w) {
        (Some(x), Some(w)) => {
            let Some((k, rows)) = x.split_last() else { return cx.fail("operand 0 is a scalar") };
            cx.equal(k, &w[1], "the contracted sizes")?;
            rows.iter().chain([&w[0]]).cloned().collect()
        }
        _ => Shape::Unranked,
    };
    check_epilogue(cx, &op.epilogue, &shape, w.map(|w| &w[0]))?;
    Ok(Type::tensor(shape, Elem::F32))
}

/// Only of a range that is found a part is taken.
fn check_clip(cx: &Cx<'_>, clip: Option<f32>, found: bool) -> Result<()> {
    match clip {
        Some(clip) if !(clip > 0.0 && clip <= 1.0) => cx.fail(format!("{clip} of the range is spanned, not a part in (0, 1]")),
        Some(clip) if !found => cx.fail(format!("{clip} of the range is spanned, but no scale is found for it")),
        _ => Ok(()),
    }
}

/// Groups of activations have scales of their rows, and go with the blocks of the weights.
fn check_groups(cx: &Cx<'_>, op: &BitMatmul) -> Result<()> {
    let Some(group) = op.a_group else { return Ok(()) };
    if op.a_scale != ActScale::Row {
        return cx.fail(format!("groups of {group} activations, whose scale is {}", op.a_scale.name()));
    }
    let weights = quantized(cx, 1)?.elem.quant().map_or(Ok(None), |quant| quant.granularity.row_block());
    weights.and_then(|weights| common_block(Some(group), weights)).map(drop).or_else(|why| cx.fail(why))
}

pub(super) fn bit_conv(cx: &Cx<'_>, op: &BitConv) -> Result<Type> {
    check_product(cx, op.a_bits, op.a_levels, &op.epilogue)?;
    if op.a_scale == ActScale::Row {
        return cx.fail("activations of a convolution have no rows");
    }
    let (x, w) = (cx.rank_in(0, 3..=usize::MAX)?, cx.rank_is(1, 2)?);
    let shape = match (x, w) {
        (Some(x), Some(w)) => conv_shape(cx, op, x, w)?,
        _ => Shape::Unranked,
    };
    check_epilogue(cx, &op.epilogue, &shape, w.map(|w| &w[0]))?;
    Ok(Type::tensor(shape, Elem::F32))
}

fn conv_shape(cx: &Cx<'_>, op: &BitConv, x: &[Dim], w: &[Dim]) -> Result<Shape> {
    if op.groups < 1 {
        return cx.fail(format!("groups must be positive, not {}", op.groups));
    }
    let kernel: Vec<Dim> = op.kernel.iter().map(|&size| Dim::from(size)).collect();
    let slide = Slide { strides: &op.strides, dilations: &op.dilations, pads: &op.pads, auto_pad: op.auto_pad, ceil: false };
    let sizes = slide.sizes(cx, &x[2..], &kernel)?;
    if let Some(area) = product(&kernel) {
        let patch = x[1].times(&area);
        cx.equal(&patch, &w[1].times(&Dim::from(op.groups)), "elements of a patch and of the weights times groups")?;
    }
    Ok([x[0].clone(), w[0].clone()].into_iter().chain(sizes).collect())
}
