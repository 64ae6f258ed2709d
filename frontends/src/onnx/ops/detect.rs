//! Boxes: selection and pooling.
//!
//! Specs <https://onnx.ai/onnx/operators/onnx__NonMaxSuppression.html>, RoiAlign.
//! Opsets  RoiAlign shifts by half a pixel by default from 16.

use super::Row;
use crate::onnx::cx::{Cx, Fault, Outcome, one};
use mokume_ir::ids::ValueId;
use mokume_ir::op;
use mokume_ir::types::Elem;

/// The family's table.
pub const ROWS: &[Row] = &[("NonMaxSuppression", non_max_suppression), ("RoiAlign", roi_align)];

fn non_max_suppression(cx: &mut Cx<'_, '_, '_>) -> Outcome {
    let (boxes, scores) = (cx.input(0)?, cx.input(1)?);
    let most = scalar_or(cx, 2, Elem::I64, 0.0)?;
    let overlap = scalar_or(cx, 3, Elem::F32, 0.0)?;
    let least = scalar_or(cx, 4, Elem::F32, f64::NEG_INFINITY)?;
    let center = match cx.attrs.int_or("center_point_box", 0)? {
        0 => false,
        1 => true,
        other => return Err(Fault::input(format!("center_point_box is 0 or 1, not {other}"))),
    };
    one(cx.apply(op::NonMaxSuppression { center }, &[boxes, scores, most, overlap, least])?)
}

/// Operand `index` as a scalar, or the default.
fn scalar_or(cx: &mut Cx<'_, '_, '_>, index: usize, elem: Elem, default: f64) -> Result<ValueId, Fault> {
    match cx.optional(index)? {
        Some(value) => cx.reshape(value, vec![]),
        None => cx.number(elem, default),
    }
}

fn roi_align(cx: &mut Cx<'_, '_, '_>) -> Outcome {
    let (x, rois, batch) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    let default = if cx.opset < 16 { "output_half_pixel" } else { "half_pixel" };
    let half_pixel = match cx.attrs.string_or("coordinate_transformation_mode", default)?.as_str() {
        "half_pixel" => true,
        "output_half_pixel" => false,
        other => return Err(Fault::input(format!("coordinate_transformation_mode \"{other}\" is not known"))),
    };
    let max = match cx.attrs.string_or("mode", "avg")?.as_str() {
        "avg" => false,
        "max" => true,
        other => return Err(Fault::input(format!("mode \"{other}\" is neither avg nor max"))),
    };
    let op = op::RoiAlign {
        max,
        half_pixel,
        height: cx.attrs.int_or("output_height", 1)?,
        width: cx.attrs.int_or("output_width", 1)?,
        sampling_ratio: cx.attrs.int_or("sampling_ratio", 0)?,
        spatial_scale: cx.attrs.float_or("spatial_scale", 1.0)?,
    };
    one(cx.apply(op, &[x, rois, batch])?)
}
