//! Shapes: queries, and the same elements under other shapes.
//!
//! Specs <https://onnx.ai/onnx/operators/onnx__Reshape.html> and its neighbors of the same names.
//! Opsets  Reshape takes its shape as an attribute up to 4, `allowzero` from 14. Squeeze and Unsqueeze take axes as an
//!         attribute up to 12. Shape has `start` and `end` from 15. Tile takes one axis up to 5. DepthToSpace has `mode`
//!         from 11, SpaceToDepth from 28. Dropout gives its mask as bool from 10, its ratio as operand from 12.

use super::Row;
use super::reduce::front_axes;
use crate::onnx::cx::{Bound, Cx, Fault, Outcome, one};
use mokume_ir::attr::Ints;
use mokume_ir::dim::Dim;
use mokume_ir::ids::ValueId;
use mokume_ir::op;
use mokume_ir::types::Elem;

/// The family's table.
pub const ROWS: &[Row] = &[
    ("Reshape", reshape),
    ("Flatten", flatten),
    ("Squeeze", squeeze),
    ("Unsqueeze", unsqueeze),
    ("Expand", expand),
    ("Transpose", transpose),
    ("Shape", shape),
    ("Size", size),
    ("Tile", tile),
    ("Identity", identity),
    ("Dropout", dropout),
    ("DepthToSpace", depth_to_space),
    ("SpaceToDepth", space_to_depth),
];

fn reshape(cx: &mut Cx<'_, '_, '_>) -> Outcome {
    cx.attrs.ignore(&["consumed_inputs"]);
    let x = cx.input(0)?;
    let allow_zero = cx.attrs.flag("allowzero")?;
    let shape = match cx.opset < 5 {
        true => {
            let shape = cx.attrs.need_ints("shape")?;
            cx.i64s(&shape)
        }
        false => cx.input(1)?,
    };
    let known = cx.contents(shape).and_then(|spec| resolve(&spec, cx.dims(x).as_deref(), allow_zero));
    match known {
        Some(dims) => one(cx.reshape(x, dims)?),
        None => one(cx.apply(op::Reshape { shape: Ints::Operand(1), allow_zero }, &[x, shape])?),
    }
}

/// The sizes that an ONNX shape with -1 and 0 asks for; none when they depend on a shape that is not known.
pub fn resolve(spec: &[Dim], from: Option<&[Dim]>, allow_zero: bool) -> Option<Vec<Dim>> {
    let copied = |(axis, dim): (usize, &Dim)| match dim.known() {
        Some(0) if !allow_zero => from?.get(axis).cloned(),
        _ => Some(dim.clone()),
    };
    let mut dims: Vec<Dim> = spec.iter().enumerate().map(copied).collect::<Option<_>>()?;
    if let Some(open) = dims.iter().position(|dim| dim.known() == Some(-1)) {
        dims.remove(open);
        let rest = quotient(from?, &dims)?;
        dims.insert(open, rest);
    }
    dims.iter().all(|dim| dim.known().is_none_or(|size| size >= 0)).then_some(dims)
}

/// The product of `from` over the product of `by`, common factors canceled first.
fn quotient(from: &[Dim], by: &[Dim]) -> Option<Dim> {
    let (mut from, mut left) = (from.to_vec(), Vec::new());
    for dim in by {
        match from.iter().position(|other| other == dim) {
            Some(at) if dim.known() != Some(0) => drop(from.remove(at)),
            _ => left.push(dim.clone()),
        }
    }
    let (numerator, divisor) = (product(&from), product(&left));
    match divisor.known() {
        Some(0) => None,
        _ => Some(numerator.exact_div(&divisor).unwrap_or_else(|| numerator.floor_div(&divisor))),
    }
}

/// The number of elements of a shape.
pub fn product(dims: &[Dim]) -> Dim {
    dims.iter().fold(Dim::from(1i64), |product, dim| product.times(dim))
}

fn flatten(cx: &mut Cx<'_, '_, '_>) -> Outcome {
    let x = cx.input(0)?;
    let (axis, dims) = (cx.attrs.int_or("axis", 1)?, cx.need_dims(x)?);
    let rank = dims.len() as i64;
    let at = if axis < 0 { axis + rank } else { axis };
    if !(0..=rank).contains(&at) {
        return Err(Fault::input(format!("axis {axis} is not one of {rank} axes")));
    }
    let (before, after) = dims.split_at(at as usize);
    one(cx.reshape(x, vec![product(before), product(after)])?)
}

fn squeeze(cx: &mut Cx<'_, '_, '_>) -> Outcome {
    let x = cx.input(0)?;
    let mut operands = vec![x];
    match axes(cx, &mut operands)? {
        Some(axes) => {
            let axes = front_axes(cx, x, axes)?;
            one(cx.apply(op::Squeeze { axes, all: false }, &operands)?)
        }
        None => one(cx.apply(op::Squeeze { axes: Ints::of([]), all: true }, &operands)?),
    }
}

fn axes(cx: &mut Cx<'_, '_, '_>, operands: &mut Vec<ValueId>) -> Result<Option<Ints>, Fault> {
    if cx.opset < 13 {
        return Ok(cx.attrs.ints("axes")?.map(Ints::of));
    }
    Ok(cx.optional(1)?.map(|axes| cx.ints(axes, operands)))
}

fn unsqueeze(cx: &mut Cx<'_, '_, '_>) -> Outcome {
    let x = cx.input(0)?;
    let mut operands = vec![x];
    let axes = axes(cx, &mut operands)?.ok_or_else(|| Fault::input("the axes are missing"))?;
    let axes = match (axes.numbers(), cx.rank(x)) {
        (Some(axes), Some(rank)) => {
            let total = (rank + axes.len()) as i64;
            Ints::of(axes.into_iter().map(|axis| if axis < 0 { axis + total } else { axis }))
        }
        _ => axes,
    };
    one(cx.apply(op::Unsqueeze { axes }, &operands)?)
}

fn expand(cx: &mut Cx<'_, '_, '_>) -> Outcome {
    let (x, shape) = (cx.input(0)?, cx.input(1)?);
    let mut operands = vec![x];
    let shape = cx.ints(shape, &mut operands);
    one(cx.apply(op::Broadcast { shape }, &operands)?)
}

fn transpose(cx: &mut Cx<'_, '_, '_>) -> Outcome {
    let x = cx.input(0)?;
    let perm = match cx.attrs.ints("perm")? {
        Some(perm) => perm,
        None => (0..cx.need_rank(x)? as i64).rev().collect(),
    };
    one(cx.apply(op::Transpose { perm }, &[x])?)
}

fn shape(cx: &mut Cx<'_, '_, '_>) -> Outcome {
    let x = cx.input(0)?;
    let (start, end) = (cx.attrs.int_or("start", 0)?, cx.attrs.int("end")?);
    let Some(rank) = cx.rank(x).map(|rank| rank as i64) else {
        return match start >= 0 && end.is_none_or(|end| end >= 0) {
            true => one(cx.apply(op::ShapeOf { start, end }, &[x])?),
            false => Err(Fault::unsupported("axes from the back of a tensor whose rank is not known")),
        };
    };
    let clamp = |at: i64| if at < 0 { at.saturating_add(rank) } else { at }.clamp(0, rank);
    let (start, end) = (clamp(start), end.map(clamp));
    let end = end.map(|end| end.max(start)).filter(|&end| end != rank);
    one(cx.apply(op::ShapeOf { start, end }, &[x])?)
}

fn size(cx: &mut Cx<'_, '_, '_>) -> Outcome {
    let x = cx.input(0)?;
    one(cx.apply(op::SizeOf {}, &[x])?)
}

fn tile(cx: &mut Cx<'_, '_, '_>) -> Outcome {
    if cx.opset < 6 {
        return Err(Fault::unsupported("Tile of an opset below 6 is not supported"));
    }
    let (x, repeats) = (cx.input(0)?, cx.input(1)?);
    let mut operands = vec![x];
    let repeats = cx.ints(repeats, &mut operands);
    one(cx.apply(op::Tile { repeats }, &operands)?)
}

fn identity(cx: &mut Cx<'_, '_, '_>) -> Outcome {
    let bound = cx.bound(0)?.ok_or_else(|| Fault::input("operand 0 is missing"))?;
    Ok(vec![bound])
}

/// Inference: the value itself, and a mask of true.
fn dropout(cx: &mut Cx<'_, '_, '_>) -> Outcome {
    let x = cx.input(0)?;
    cx.attrs.ignore(&["ratio", "seed", "is_test", "consumed_inputs"]);
    cx.ignore_input(1);
    if let Some(training) = cx.optional(2)? {
        let off = cx.constant(training).is_some_and(|flag| flag.data.iter().all(|&byte| byte == 0));
        if !off {
            return Err(Fault::unsupported("training_mode must be the constant false: dropping is random"));
        }
    }
    let mut outputs = vec![Bound::Value(x)];
    if cx.wants(1) {
        let elem = if cx.opset < 10 { cx.elem(x)? } else { Elem::Bool };
        let (kept, dims) = (cx.number(elem, 1.0)?, cx.need_dims(x)?);
        outputs.push(cx.broadcast(kept, dims)?.into());
    }
    Ok(outputs)
}

fn blocks(cx: &mut Cx<'_, '_, '_>) -> Result<(ValueId, [Dim; 4], Dim, bool), Fault> {
    let x = cx.input(0)?;
    let block = cx.attrs.need_int("blocksize")?;
    let depth_first = match cx.attrs.string_or("mode", "DCR")?.as_str() {
        "DCR" => true,
        "CRD" => false,
        other => return Err(Fault::input(format!("mode \"{other}\" is neither DCR nor CRD"))),
    };
    match <[Dim; 4]>::try_from(cx.need_dims(x)?) {
        Ok(dims) if block > 0 => Ok((x, dims, Dim::from(block), depth_first)),
        _ => Err(Fault::input("the operand must have four axes, and the block size be positive")),
    }
}

fn depth_to_space(cx: &mut Cx<'_, '_, '_>) -> Outcome {
    let (x, [n, c, h, w], b, depth_first) = blocks(cx)?;
    let (deep, tall, wide) = (c.floor_div(&b.times(&b)), h.times(&b), w.times(&b));
    let split = match depth_first {
        true => vec![n.clone(), b.clone(), b, deep.clone(), h, w],
        false => vec![n.clone(), deep.clone(), b.clone(), b, h, w],
    };
    let split = cx.reshape(x, split)?;
    let perm = if depth_first { [0, 3, 4, 1, 5, 2] } else { [0, 1, 4, 2, 5, 3] };
    let woven = cx.transpose(split, &perm)?;
    one(cx.reshape(woven, vec![n, deep, tall, wide])?)
}

fn space_to_depth(cx: &mut Cx<'_, '_, '_>) -> Outcome {
    let (x, [n, c, h, w], b, depth_first) = blocks(cx)?;
    let (tall, wide) = (h.floor_div(&b), w.floor_div(&b));
    let split = cx.reshape(x, vec![n.clone(), c.clone(), tall.clone(), b.clone(), wide.clone(), b.clone()])?;
    let perm = if depth_first { [0, 3, 5, 1, 2, 4] } else { [0, 1, 3, 5, 2, 4] };
    let gathered = cx.transpose(split, &perm)?;
    one(cx.reshape(gathered, vec![n, c.times(&b).times(&b), tall, wide])?)
}
