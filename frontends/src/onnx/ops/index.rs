//! Choosing and placing elements: slices, gathers, scatters, pads.
//!
//! Specs <https://onnx.ai/onnx/operators/onnx__Slice.html> and its neighbors of the same names.
//! Opsets  Slice takes attributes up to 9, operands and steps from 10. Split takes its sizes as an attribute up to 12, as an
//!         operand from 13, `num_outputs` from 18. Pad takes attributes up to 10, operands from 11, axes from 18. Concat's
//!         axis defaults to 1 up to 3. ScatterElements and ScatterND have `reduction` from 16 (min, max from 18).

use super::Row;
use super::constant::iota;
use super::reduce::front_axes;
use crate::onnx::cx::{Cx, Fault, Outcome, many, one};
use mokume_ir::attr::Ints;
use mokume_ir::dim::{Dim, DimFn};
use mokume_ir::ids::ValueId;
use mokume_ir::op::{self, BinaryKind, PadMode, ScatterKind};
use mokume_ir::types::Elem;

/// The family's table.
pub const ROWS: &[Row] = &[
    ("Slice", slice),
    ("Split", split),
    ("Concat", concat),
    ("Pad", pad),
    ("Gather", gather),
    ("GatherElements", gather_elements),
    ("GatherND", gather_nd),
    ("Scatter", scatter_elements),
    ("ScatterElements", scatter_elements),
    ("ScatterND", scatter_nd),
    ("TensorScatter", tensor_scatter),
    ("Compress", compress),
    ("OneHot", one_hot),
    ("Trilu", trilu),
    ("NonZero", non_zero),
    ("Unique", unique),
    ("ReverseSequence", reverse_sequence),
    ("CenterCropPad", center_crop_pad),
];

fn slice(cx: &mut Cx<'_, '_, '_>) -> Outcome {
    let x = cx.input(0)?;
    if cx.opset < 10 {
        let (starts, ends) = (cx.attrs.need_ints("starts")?, cx.attrs.need_ints("ends")?);
        let axes = cx.attrs.ints("axes")?.unwrap_or_else(|| (0..starts.len() as i64).collect());
        let steps = Ints::of(vec![1; starts.len()]);
        let axes = front_axes(cx, x, Ints::of(axes))?;
        return one(cx.apply(op::Slice { starts: Ints::of(starts), ends: Ints::of(ends), axes, steps }, &[x])?);
    }
    let (starts, ends) = (cx.input(1)?, cx.input(2)?);
    let (axes, steps) = (cx.optional(3)?, cx.optional(4)?);
    let mut operands = vec![x];
    let count = cx.dims(starts).and_then(|dims| dims.first()?.known());
    let starts = cx.ints(starts, &mut operands);
    let ends = cx.ints(ends, &mut operands);
    let count = count.or(starts.known().map(|known| known.len() as i64));
    let uncounted = || Fault::unsupported("how many axes are sliced is not known while importing");
    let axes = match axes {
        Some(axes) => cx.ints(axes, &mut operands),
        None => Ints::of(0..count.ok_or_else(uncounted)?),
    };
    let steps = match steps {
        Some(steps) => cx.ints(steps, &mut operands),
        None => Ints::of(vec![1; count.ok_or_else(uncounted)? as usize]),
    };
    let axes = front_axes(cx, x, axes)?;
    one(cx.apply(op::Slice { starts, ends, axes, steps }, &operands)?)
}

fn split(cx: &mut Cx<'_, '_, '_>) -> Outcome {
    let x = cx.input(0)?;
    let axis = cx.attrs.int_or("axis", 0)?;
    let axis = cx.axis(x, axis)?;
    let attribute = cx.attrs.ints("split")?;
    let count = cx.attrs.int("num_outputs")?.map_or(cx.output_count(), |count| count.max(0) as usize);
    let mut operands = vec![x];
    let sizes = match (attribute, cx.optional(1)?) {
        (Some(sizes), _) => Ints::of(sizes),
        (None, Some(sizes)) => cx.ints(sizes, &mut operands),
        (None, None) => Ints::Known(parts(cx, x, axis, count)?),
    };
    many(cx.insert(op::Split { axis, sizes }, &operands)?)
}

/// Sizes of `count` parts: equal, or the last one smaller.
fn parts(cx: &Cx<'_, '_, '_>, x: ValueId, axis: i64, count: usize) -> Result<Vec<Dim>, Fault> {
    let dims = cx.need_dims(x)?;
    let total = dims.get(axis as usize).filter(|_| count > 0 && count < 1 << 16);
    let total = total.ok_or_else(|| Fault::input(format!("cannot split axis {axis} in {count} parts")))?;
    let n = Dim::from(count);
    let part = total.exact_div(&n).unwrap_or_else(|| total.plus(&n).minus(&Dim::from(1i64)).floor_div(&n));
    let last = total.minus(&part.times(&Dim::from(count - 1)));
    let mut sizes = vec![part; count - 1];
    sizes.push(last);
    Ok(sizes)
}

fn concat(cx: &mut Cx<'_, '_, '_>) -> Outcome {
    let axis = match cx.opset < 4 {
        true => cx.attrs.int_or("axis", 1)?,
        false => cx.attrs.need_int("axis")?,
    };
    let parts = cx.all_inputs()?;
    let ranked = parts.iter().copied().find(|&part| cx.rank(part).is_some());
    let axis = ranked.map_or(Ok(axis), |part| cx.axis(part, axis))?;
    one(cx.apply(op::Concat { axis }, &parts)?)
}

fn pad(cx: &mut Cx<'_, '_, '_>) -> Outcome {
    let x = cx.input(0)?;
    let mode = match cx.attrs.string_or("mode", "constant")?.as_str() {
        "constant" => PadMode::Constant,
        "edge" => PadMode::Edge,
        "reflect" => PadMode::Reflect,
        "wrap" => PadMode::Wrap,
        other => return Err(Fault::input(format!("mode \"{other}\" is not known"))),
    };
    let mut operands = vec![x];
    let (pads, value) = match cx.opset < 11 {
        true => {
            let name = if cx.opset < 2 { "paddings" } else { "pads" };
            let (pads, value) = (cx.attrs.need_ints(name)?, cx.attrs.float_or("value", 0.0)?);
            (cx.i64s(&pads), Some(cx.number_like(x, value.into())?))
        }
        false => (cx.input(1)?, cx.optional(2)?),
    };
    if let Some(value) = value.filter(|_| mode == PadMode::Constant) {
        operands.push(cx.reshape(value, vec![])?);
    }
    let value = operands.len() == 2;
    let pads = cx.ints(pads, &mut operands);
    let axes = match cx.optional(3)? {
        Some(axes) => cx.ints(axes, &mut operands),
        None => Ints::of(0..cx.need_rank(x)? as i64),
    };
    let axes = front_axes(cx, x, axes)?;
    one(cx.apply(op::Pad { mode, pads, axes, value }, &operands)?)
}

fn gather(cx: &mut Cx<'_, '_, '_>) -> Outcome {
    let (x, indices) = (cx.input(0)?, cx.input(1)?);
    let axis = cx.attrs.int_or("axis", 0)?;
    let axis = cx.axis(x, axis)?;
    one(cx.apply(op::Gather { axis }, &[x, indices])?)
}

fn gather_elements(cx: &mut Cx<'_, '_, '_>) -> Outcome {
    let (x, indices) = (cx.input(0)?, cx.input(1)?);
    let axis = cx.attrs.int_or("axis", 0)?;
    let axis = cx.axis(x, axis)?;
    one(cx.apply(op::GatherElements { axis }, &[x, indices])?)
}

fn gather_nd(cx: &mut Cx<'_, '_, '_>) -> Outcome {
    let (x, indices) = (cx.input(0)?, cx.input(1)?);
    let batch_dims = cx.attrs.int_or("batch_dims", 0)?;
    one(cx.apply(op::GatherNd { batch_dims }, &[x, indices])?)
}

fn reduction(cx: &mut Cx<'_, '_, '_>) -> Result<ScatterKind, Fault> {
    let word = cx.attrs.string_or("reduction", "none")?;
    ScatterKind::from_name(&word).ok_or_else(|| Fault::input(format!("reduction \"{word}\" is not known")))
}

fn scatter_elements(cx: &mut Cx<'_, '_, '_>) -> Outcome {
    let (x, indices, updates) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    let axis = cx.attrs.int_or("axis", 0)?;
    let (axis, kind) = (cx.axis(x, axis)?, reduction(cx)?);
    one(cx.apply(op::ScatterElements { axis, kind }, &[x, indices, updates])?)
}

fn scatter_nd(cx: &mut Cx<'_, '_, '_>) -> Outcome {
    let (x, indices, updates) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    let kind = reduction(cx)?;
    one(cx.apply(op::ScatterNd { kind }, &[x, indices, updates])?)
}

/// Writes `update` into the cache from each sample's write index on.
fn tensor_scatter(cx: &mut Cx<'_, '_, '_>) -> Outcome {
    let (cache, update, starts) = (cx.input(0)?, cx.input(1)?, cx.optional(2)?);
    let axis = cx.attrs.int_or("axis", -2)?;
    let axis = cx.front_axis(cache, axis)?;
    let circular = match cx.attrs.string_or("mode", "linear")?.as_str() {
        "linear" => false,
        "circular" => true,
        other => return Err(Fault::input(format!("mode \"{other}\" is not known"))),
    };
    let (room, dims) = (cx.need_dims(cache)?[axis].clone(), cx.need_dims(update)?);
    let steps = iota(cx, dims[axis].clone())?;
    let mut places = along(cx, steps, axis, dims.len())?;
    if let Some(starts) = starts {
        let starts = cx.cast(starts, Elem::I64)?;
        let starts = along(cx, starts, 0, dims.len())?;
        places = cx.binary(BinaryKind::Add, places, starts)?;
    }
    if circular {
        let room = cx.dim_scalar(room)?;
        places = cx.binary(BinaryKind::Mod, places, room)?;
    }
    let places = cx.broadcast(places, dims)?;
    let op = op::ScatterElements { axis: axis as i64, kind: ScatterKind::None };
    one(cx.apply(op, &[cache, places, update])?)
}

/// A rank-1 tensor as one of `rank` axes, the others of size 1.
fn along(cx: &mut Cx<'_, '_, '_>, x: ValueId, axis: usize, rank: usize) -> Result<ValueId, Fault> {
    let others: Vec<i64> = (0..rank as i64).filter(|&other| other != axis as i64).collect();
    cx.unsqueeze(x, &others)
}

fn compress(cx: &mut Cx<'_, '_, '_>) -> Outcome {
    let (x, condition) = (cx.input(0)?, cx.input(1)?);
    let axis = cx.attrs.int("axis")?.map(|axis| cx.axis(x, axis)).transpose()?;
    one(cx.apply(op::Compress { axis }, &[x, condition])?)
}

fn one_hot(cx: &mut Cx<'_, '_, '_>) -> Outcome {
    let (indices, depth, values) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    let axis = cx.attrs.int_or("axis", -1)?;
    let axis = match cx.rank(indices) {
        Some(rank) => crate::onnx::cx::front(axis, rank + 1)? as i64,
        None => axis,
    };
    let indices = cx.cast(indices, Elem::I64)?;
    let depth = cx.cast(depth, Elem::I64)?;
    let depth = cx.reshape(depth, vec![])?;
    one(cx.apply(op::OneHot { axis }, &[indices, depth, values])?)
}

fn trilu(cx: &mut Cx<'_, '_, '_>) -> Outcome {
    let (x, k) = (cx.input(0)?, cx.optional(1)?);
    let upper = cx.attrs.int_or("upper", 1)? != 0;
    let mut operands = vec![x];
    if let Some(k) = k {
        operands.push(cx.reshape(k, vec![])?);
    }
    one(cx.apply(op::Trilu { upper }, &operands)?)
}

fn non_zero(cx: &mut Cx<'_, '_, '_>) -> Outcome {
    let x = cx.input(0)?;
    one(cx.apply(op::NonZero {}, &[x])?)
}

fn unique(cx: &mut Cx<'_, '_, '_>) -> Outcome {
    let x = cx.input(0)?;
    let axis = cx.attrs.int("axis")?.map(|axis| cx.axis(x, axis)).transpose()?;
    let sorted = cx.attrs.int_or("sorted", 1)? != 0;
    many(cx.insert(op::Unique { axis, sorted }, &[x])?)
}

/// Time `t` of a sequence of length `n` comes from `n - 1 - t` while `t < n`, else from `t`.
fn reverse_sequence(cx: &mut Cx<'_, '_, '_>) -> Outcome {
    let (x, lengths) = (cx.input(0)?, cx.input(1)?);
    let (batch, time) = (cx.attrs.int_or("batch_axis", 1)?, cx.attrs.int_or("time_axis", 0)?);
    let (batch, time, dims) = (cx.front_axis(x, batch)?, cx.front_axis(x, time)?, cx.need_dims(x)?);
    let lengths = cx.cast(lengths, Elem::I64)?;
    let lengths = along(cx, lengths, batch, dims.len())?;
    let times = iota(cx, dims[time].clone())?;
    let times = along(cx, times, time, dims.len())?;
    let inside = cx.binary(BinaryKind::Lt, times, lengths)?;
    let mirrored = cx.binary(BinaryKind::Sub, lengths, times)?;
    let mirrored = cx.with_number(BinaryKind::Sub, mirrored, 1.0)?;
    let places = cx.select(inside, mirrored, times)?;
    let places = cx.broadcast(places, dims)?;
    one(cx.apply(op::GatherElements { axis: time as i64 }, &[x, places])?)
}

fn center_crop_pad(cx: &mut Cx<'_, '_, '_>) -> Outcome {
    let (x, target) = (cx.input(0)?, cx.input(1)?);
    let dims = cx.need_dims(x)?;
    let axes = cx.attrs.ints("axes")?.unwrap_or_else(|| (0..dims.len() as i64).collect());
    let axes = axes.into_iter().map(|axis| cx.front_axis(x, axis)).collect::<Result<Vec<_>, _>>()?;
    match cx.contents(target) {
        Some(target) => known_crop_pad(cx, x, &dims, &axes, &target),
        None => crop_pad(cx, x, &dims, &axes, target),
    }
}

/// Sizes known: crops to the smaller of both sizes, then pads to the target.
fn known_crop_pad(cx: &mut Cx<'_, '_, '_>, x: ValueId, dims: &[Dim], axes: &[usize], target: &[Dim]) -> Outcome {
    let two = Dim::from(2i64);
    let mut y = x;
    let (mut begins, mut ends) = (Vec::new(), Vec::new());
    for (&axis, target) in axes.iter().zip(target) {
        let kept = dims[axis].call(DimFn::Min, target);
        let start = dims[axis].minus(&kept).floor_div(&two);
        y = cx.slice(y, axis, start.clone(), start.plus(&kept))?;
        let (missing, begin) = (target.minus(&kept), target.minus(&kept).floor_div(&two));
        ends.push(missing.minus(&begin));
        begins.push(begin);
    }
    begins.append(&mut ends);
    let axes = Ints::of(axes.iter().map(|&axis| axis as i64));
    one(cx.apply(op::Pad { mode: PadMode::Constant, pads: Ints::Known(begins), axes, value: false }, &[y])?)
}

/// The same on tensors of sizes.
fn crop_pad(cx: &mut Cx<'_, '_, '_>, x: ValueId, dims: &[Dim], axes: &[usize], target: ValueId) -> Outcome {
    let target = cx.cast(target, Elem::I64)?;
    let sizes = cx.dims_tensor(axes.iter().map(|&axis| dims[axis].clone()).collect())?;
    let kept = cx.binary(BinaryKind::Min, sizes, target)?;
    let cropped = cx.binary(BinaryKind::Sub, sizes, kept)?;
    let start = cx.with_number(BinaryKind::Div, cropped, 2.0)?;
    let end = cx.binary(BinaryKind::Add, start, kept)?;
    let axes = Ints::of(axes.iter().map(|&axis| axis as i64));
    let steps = Ints::of(vec![1; dims.len().min(axes.known().map_or(0, <[Dim]>::len))]);
    let window = op::Slice { starts: Ints::Operand(1), ends: Ints::Operand(2), axes: axes.clone(), steps };
    let y = cx.apply(window, &[x, start, end])?;
    let missing = cx.binary(BinaryKind::Sub, target, kept)?;
    let begin = cx.with_number(BinaryKind::Div, missing, 2.0)?;
    let rest = cx.binary(BinaryKind::Sub, missing, begin)?;
    let pads = cx.concat(&[begin, rest], 0)?;
    let op = op::Pad { mode: PadMode::Constant, pads: Ints::Operand(1), axes, value: false };
    one(cx.apply(op, &[y, pads])?)
}
