//! Resampling of images.
//!
//! Specs <https://onnx.ai/onnx/operators/onnx__Resize.html>, Upsample, GridSample.
//! Opsets  Upsample-7 takes scales as an attribute, Upsample-9 and Resize-10 as an operand; they sample at `x/scale` and take the
//!         nearest below. Resize has regions, coordinates and sizes from 11; `antialias`, `axes`, aspect policies from 18;
//!         `half_pixel_symmetric` from 19. GridSample's modes are bilinear and bicubic up to 19, linear and cubic from 20.

use super::Row;
use crate::onnx::cx::{Cx, Fault, Outcome, one};
use mokume_ir::attr::Ints;
use mokume_ir::dim::Dim;
use mokume_ir::ids::ValueId;
use mokume_ir::op::{self, AspectPolicy, CoordinateMode, GridPadding, Interpolation, NearestMode};

/// The family's table.
pub const ROWS: &[Row] = &[("Resize", resize), ("Upsample", upsample), ("GridSample", grid_sample)];

fn interpolation(cx: &Cx<'_, '_, '_>, default: &str) -> Result<Interpolation, Fault> {
    match cx.attrs.string_or("mode", default)?.as_str() {
        "nearest" => Ok(Interpolation::Nearest),
        "linear" | "bilinear" => Ok(Interpolation::Linear),
        "cubic" | "bicubic" => Ok(Interpolation::Cubic),
        other => Err(Fault::input(format!("mode \"{other}\" is not known"))),
    }
}

/// The op of the opsets before Resize-11.
fn simple(mode: Interpolation, axes: Vec<i64>) -> op::Resize {
    op::Resize {
        mode,
        coordinates: CoordinateMode::Asymmetric,
        nearest: NearestMode::Floor,
        cubic_a: -0.75,
        exclude_outside: false,
        extrapolation: 0.0,
        antialias: false,
        aspect: AspectPolicy::Stretch,
        axes,
        scales: vec![],
        scales_operand: None,
        sizes: None,
        roi: false,
    }
}

fn upsample(cx: &mut Cx<'_, '_, '_>) -> Outcome {
    let x = cx.input(0)?;
    let op = simple(interpolation(cx, "nearest")?, all_axes(cx, x)?);
    if cx.opset < 9 {
        let scales = cx.attrs.floats("scales")?.ok_or_else(|| Fault::input("attribute \"scales\" is missing"))?;
        return one(with_scales(cx, op, x, scales)?);
    }
    let scales = cx.input(1)?;
    by_scales(cx, op, vec![x], scales)
}

fn all_axes(cx: &Cx<'_, '_, '_>, x: ValueId) -> Result<Vec<i64>, Fault> {
    Ok((0..cx.need_rank(x)? as i64).collect())
}

fn resize(cx: &mut Cx<'_, '_, '_>) -> Outcome {
    let x = cx.input(0)?;
    if cx.opset < 11 {
        let op = simple(interpolation(cx, "nearest")?, all_axes(cx, x)?);
        let scales = cx.input(1)?;
        return by_scales(cx, op, vec![x], scales);
    }
    let axes = match cx.attrs.ints("axes")? {
        Some(axes) => axes.into_iter().map(|axis| cx.axis(x, axis)).collect::<Result<_, _>>()?,
        None => all_axes(cx, x)?,
    };
    let mut op = attributes(cx, axes)?;
    let mut operands = vec![x];
    let roi = cx.optional(1)?;
    if let Some(roi) = roi.filter(|_| op.coordinates == CoordinateMode::TfCropAndResize) {
        operands.push(roi);
        op.roi = true;
    }
    let scales = filled(cx, 2)?;
    match (scales, filled(cx, 3)?) {
        (Some(scales), None) => by_scales(cx, op, operands, scales),
        (None, Some(sizes)) => by_sizes(cx, op, operands, sizes),
        _ => Err(Fault::input("either scales or sizes must be given")),
    }
}

/// Operand `index`, unless it is absent or has no elements.
fn filled(cx: &mut Cx<'_, '_, '_>, index: usize) -> Result<Option<ValueId>, Fault> {
    let value = cx.optional(index)?;
    Ok(value.filter(|&value| cx.dims(value).is_none_or(|dims| dims.first().and_then(Dim::known) != Some(0))))
}

fn attributes(cx: &Cx<'_, '_, '_>, axes: Vec<i64>) -> Result<op::Resize, Fault> {
    let coordinates = match cx.attrs.string_or("coordinate_transformation_mode", "half_pixel")?.as_str() {
        "pytorch_half_pixel" => CoordinateMode::PytorchHalfPixel,
        word => CoordinateMode::from_name(word)
            .ok_or_else(|| Fault::unsupported(format!("coordinate_transformation_mode \"{word}\" is not supported")))?,
    };
    let nearest = cx.attrs.string_or("nearest_mode", "round_prefer_floor")?;
    let nearest = NearestMode::from_name(&nearest).ok_or_else(|| Fault::input(format!("nearest_mode \"{nearest}\" is not known")))?;
    let aspect = cx.attrs.string_or("keep_aspect_ratio_policy", "stretch")?;
    let aspect =
        AspectPolicy::from_name(&aspect).ok_or_else(|| Fault::input(format!("keep_aspect_ratio_policy \"{aspect}\" is not known")))?;
    Ok(op::Resize {
        coordinates,
        nearest,
        aspect,
        cubic_a: cx.attrs.float_or("cubic_coeff_a", -0.75)?,
        exclude_outside: cx.attrs.flag("exclude_outside")?,
        extrapolation: cx.attrs.float_or("extrapolation_value", 0.0)?,
        antialias: cx.attrs.flag("antialias")?,
        ..simple(interpolation(cx, "nearest")?, axes)
    })
}

fn by_scales(cx: &mut Cx<'_, '_, '_>, mut op: op::Resize, mut operands: Vec<ValueId>, scales: ValueId) -> Outcome {
    let known = cx.constant(scales).and_then(|constant| constant.to_f32s());
    match known {
        Some(known) if !op.roi => one(with_scales(cx, op, operands[0], known)?),
        Some(known) => {
            op.scales = known;
            one(cx.apply(op, &operands)?)
        }
        None => {
            op.scales_operand = Some(operands.len() as u32);
            operands.push(scales);
            one(cx.apply(op, &operands)?)
        }
    }
}

/// Known scales: axes of scale 1 are left out, they stay as they are.
fn with_scales(cx: &mut Cx<'_, '_, '_>, mut op: op::Resize, x: ValueId, scales: Vec<f32>) -> Result<ValueId, Fault> {
    if scales.len() != op.axes.len() {
        return Err(Fault::input(format!("{} scales for {} axes", scales.len(), op.axes.len())));
    }
    if cx.opset < 11 && op.mode == Interpolation::Nearest && scales.iter().any(|&scale| scale < 1.0) {
        return Err(Fault::unsupported("shrinking to the nearest sample is not defined before opset 11"));
    }
    let (axes, scales) = op.axes.iter().zip(scales).filter(|(_, scale)| *scale != 1.0).unzip();
    op.axes = axes;
    op.scales = scales;
    if op.axes.is_empty() { Ok(x) } else { cx.apply(op, &[x]) }
}

fn by_sizes(cx: &mut Cx<'_, '_, '_>, mut op: op::Resize, mut operands: Vec<ValueId>, sizes: ValueId) -> Outcome {
    let (x, dims) = (operands[0], cx.dims(operands[0]));
    let mut sizes = cx.ints(sizes, &mut operands);
    if let (Ints::Known(known), Some(dims), false, AspectPolicy::Stretch) = (&mut sizes, dims, op.roi, op.aspect)
        && known.len() == op.axes.len()
    {
        let changed = op.axes.iter().zip(known.iter()).filter(|(axis, size)| dims.get(**axis as usize) != Some(*size));
        let (axes, left): (Vec<i64>, Vec<Dim>) = changed.map(|(axis, size)| (*axis, size.clone())).unzip();
        op.axes = axes;
        *known = left;
        if op.axes.is_empty() {
            return one(x);
        }
    }
    op.sizes = Some(sizes);
    one(cx.apply(op, &operands)?)
}

fn grid_sample(cx: &mut Cx<'_, '_, '_>) -> Outcome {
    let (x, grid) = (cx.input(0)?, cx.input(1)?);
    let padding = cx.attrs.string_or("padding_mode", "zeros")?;
    let padding = GridPadding::from_name(&padding).ok_or_else(|| Fault::input(format!("padding_mode \"{padding}\" is not known")))?;
    let (mode, align_corners) = (interpolation(cx, "linear")?, cx.attrs.flag("align_corners")?);
    one(cx.apply(op::GridSample { mode, padding, align_corners }, &[x, grid])?)
}
