//! Ops that move elements without looking at them.

use super::cx::{Cx, Result, ceil_div, product};
use crate::attr::Ints;
use crate::dim::{Dim, DimFn};
use crate::op::{Broadcast, Concat, Pad, Reshape, Slice, Split, Squeeze, Tile, Transpose, Unsqueeze};
use crate::quant::{Granularity, QuantType};
use crate::types::{Elem, Shape, Type};

fn zero() -> Dim {
    Dim::from(0i64)
}

fn one() -> Dim {
    Dim::from(1i64)
}

pub(super) fn reshape(cx: &Cx<'_>, op: &Reshape) -> Result<Type> {
    cx.count(1..=1 + cx.named(&[&op.shape]))?;
    let x = cx.tensor(0)?;
    let shape = match (&op.shape, cx.ints(&op.shape)?) {
        (Ints::Known(_), Some(sizes)) => explicit(cx, x.shape.dims(), sizes)?,
        (Ints::Operand(_), Some(sizes)) => resolved(cx, x.shape.dims(), sizes, op.allow_zero)?,
        (_, None) => cx.ints_len(&op.shape)?.map_or(Shape::Unranked, |rank| cx.fresh_shape(rank)),
    };
    Ok(Type::tensor(shape, x.elem))
}

fn explicit(cx: &Cx<'_>, dims: Option<&[Dim]>, sizes: Vec<Dim>) -> Result<Shape> {
    if let Some(size) = sizes.iter().find(|size| size.known().is_some_and(|n| n < 0)) {
        return cx.fail(format!("size {size} is negative"));
    }
    if let Some(from) = dims.and_then(product)
        && let Some(to) = product(&sizes)
        && from.minus(&to).known().is_some_and(|difference| difference != 0)
    {
        return cx.fail(format!("{} has {from} elements, the shape {sizes:?} has {to}", cx.types[0]));
    }
    Ok(Shape::Ranked(sizes))
}

/// ONNX Reshape: 0 copies a size of the input, -1 is what remains.
fn resolved(cx: &Cx<'_>, dims: Option<&[Dim]>, mut sizes: Vec<Dim>, allow_zero: bool) -> Result<Shape> {
    for (axis, size) in sizes.iter_mut().enumerate() {
        if size.known() == Some(0) && !allow_zero {
            *size = match dims {
                Some(dims) => match dims.get(axis) {
                    Some(dim) => dim.clone(),
                    None => return cx.fail(format!("size 0 at axis {axis} copies an axis that {} does not have", cx.types[0])),
                },
                None => cx.fresh(),
            };
        }
    }
    let rest: Vec<usize> = (0..sizes.len()).filter(|&axis| sizes[axis].known() == Some(-1)).collect();
    match rest[..] {
        [] => {}
        [axis] => sizes[axis] = remaining(cx, dims, &sizes, axis)?,
        _ => return cx.fail(format!("more than one size is -1: {sizes:?}")),
    }
    explicit(cx, dims, sizes)
}

fn remaining(cx: &Cx<'_>, dims: Option<&[Dim]>, sizes: &[Dim], axis: usize) -> Result<Dim> {
    let others = product(sizes.iter().enumerate().filter(|(other, _)| *other != axis).map(|(_, size)| size));
    let (Some(total), Some(others)) = (dims.and_then(product), others) else { return Ok(cx.fresh()) };
    match (total.known(), others.known()) {
        (Some(0), Some(0)) => Ok(zero()),
        (Some(total), Some(others)) if others == 0 || total % others != 0 => {
            cx.fail(format!("{total} elements cannot be divided into {sizes:?}"))
        }
        _ => Ok(total.floor_div(&others)),
    }
}

pub(super) fn squeeze(cx: &Cx<'_>, op: &Squeeze) -> Result<Type> {
    cx.count(1..=1 + cx.named(&[&op.axes]))?;
    let x = cx.tensor(0)?;
    let Some(dims) = x.shape.dims() else { return Ok(x.clone().into()) };
    let axes = if op.all { size_one_axes(dims) } else { cx.numbers(&op.axes)? };
    let shape = match axes {
        Some(axes) => squeezed(cx, dims, &axes)?,
        None if op.all => Shape::Unranked,
        None => match cx.ints_len(&op.axes)? {
            Some(count) if count <= dims.len() => cx.fresh_shape(dims.len() - count),
            Some(count) => return cx.fail(format!("{count} axes are given for {x}")),
            None => Shape::Unranked,
        },
    };
    Ok(Type::tensor(shape, x.elem))
}

/// The axes of size 1, unless that cannot be told of one.
fn size_one_axes(dims: &[Dim]) -> Option<Vec<i64>> {
    let mut axes = vec![];
    for (axis, dim) in dims.iter().enumerate() {
        match dim.known() {
            Some(1) => axes.push(axis as i64),
            Some(_) => {}
            None if dim.minus(&one()).is_positive() => {}
            None => return None,
        }
    }
    Some(axes)
}

fn squeezed(cx: &Cx<'_>, dims: &[Dim], axes: &[i64]) -> Result<Shape> {
    let axes = cx.axes(axes, dims.len())?;
    if let Some(&axis) = axes.iter().find(|&&axis| dims[axis].known().is_some_and(|size| size != 1)) {
        return cx.fail(format!("axis {axis} of {} does not have size 1", cx.types[0]));
    }
    Ok(dims.iter().enumerate().filter(|(axis, _)| !axes.contains(axis)).map(|(_, dim)| dim.clone()).collect())
}

pub(super) fn unsqueeze(cx: &Cx<'_>, op: &Unsqueeze) -> Result<Type> {
    cx.count(1..=1 + cx.named(&[&op.axes]))?;
    let x = cx.tensor(0)?;
    let Some(dims) = x.shape.dims() else { return Ok(x.clone().into()) };
    let shape = match (cx.numbers(&op.axes)?, cx.ints_len(&op.axes)?) {
        (Some(axes), _) => unsqueezed(cx, dims, &axes)?,
        (None, Some(count)) => cx.fresh_shape(dims.len() + count),
        (None, None) => Shape::Unranked,
    };
    Ok(Type::tensor(shape, x.elem))
}

fn unsqueezed(cx: &Cx<'_>, dims: &[Dim], axes: &[i64]) -> Result<Shape> {
    let rank = dims.len() + axes.len();
    let axes = cx.axes(axes, rank)?;
    let mut rest = dims.iter();
    Ok((0..rank).filter_map(|axis| if axes.contains(&axis) { Some(one()) } else { rest.next().cloned() }).collect())
}

pub(super) fn transpose(cx: &Cx<'_>, op: &Transpose) -> Result<Type> {
    cx.count(1..=1)?;
    let x = cx.tensor(0)?;
    let axes = cx.axes(&op.perm, op.perm.len())?;
    let shape = match x.shape.dims() {
        Some(dims) if dims.len() != axes.len() => return cx.fail(format!("permutation {:?} does not fit {x}", op.perm)),
        Some(dims) => axes.iter().map(|&axis| dims[axis].clone()).collect(),
        None => cx.fresh_shape(axes.len()),
    };
    Ok(Type::tensor(shape, x.elem))
}

pub(super) fn broadcast(cx: &Cx<'_>, op: &Broadcast) -> Result<Type> {
    cx.count(1..=1 + cx.named(&[&op.shape]))?;
    let x = cx.tensor(0)?;
    let shape = match (cx.ints(&op.shape)?, cx.ints_len(&op.shape)?) {
        (Some(sizes), _) => cx.broadcast([&x.shape, &Shape::Ranked(sizes)])?,
        (None, Some(len)) => x.shape.rank().map_or(Shape::Unranked, |rank| cx.fresh_shape(rank.max(len))),
        (None, None) => Shape::Unranked,
    };
    Ok(Type::tensor(shape, x.elem))
}

pub(super) fn slice(cx: &Cx<'_>, op: &Slice) -> Result<Type> {
    cx.count(1..=1 + cx.named(&[&op.starts, &op.ends, &op.axes, &op.steps]))?;
    let x = cx.tensor(0)?;
    let (starts, ends, steps) = (cx.ints(&op.starts)?, cx.ints(&op.ends)?, cx.numbers(&op.steps)?);
    let axes = cx.numbers(&op.axes)?;
    let Some(dims) = x.shape.dims() else { return Ok(x.clone().into()) };
    let Some(axes) = axes else { return Ok(Type::tensor(cx.fresh_shape(dims.len()), x.elem)) };
    let lens = [starts.as_ref().map(Vec::len), ends.as_ref().map(Vec::len), steps.as_ref().map(Vec::len)];
    if lens.iter().flatten().any(|&len| len != axes.len()) {
        return cx.fail(format!("{} axes, but {lens:?} starts, ends and steps", axes.len()));
    }
    let mut dims = dims.to_vec();
    for (i, axis) in cx.axes(&axes, dims.len())?.into_iter().enumerate() {
        let step = steps.as_ref().map(|steps| steps[i]);
        if step == Some(0) {
            return cx.fail("a step is 0");
        }
        let range = starts.as_ref().zip(ends.as_ref()).zip(step);
        let size = range.and_then(|((starts, ends), step)| sliced(&dims[axis], &starts[i], &ends[i], step));
        dims[axis] = size.unwrap_or_else(|| cx.fresh());
    }
    Ok(Type::tensor(Shape::Ranked(dims), x.elem))
}

/// The number of indices of a clamped range; none when a bound may have either sign.
fn sliced(dim: &Dim, start: &Dim, end: &Dim, step: i64) -> Option<Dim> {
    let (start, end) = (from_front(start, dim)?, from_front(end, dim)?);
    let last = dim.minus(&one());
    let gap = match step > 0 {
        true => difference(&clamp(&end, &zero(), dim), &clamp(&start, &zero(), dim)),
        false => difference(&clamp(&start, &zero(), &last), &clamp(&end, &Dim::from(-1i64), &last)),
    };
    Some(ceil_div(&gap, step.checked_abs()?).call(DimFn::Max, &zero()))
}

/// A bound with negative values counted from the end. Beyond i32 it means "to the end".
fn from_front(bound: &Dim, dim: &Dim) -> Option<Dim> {
    const FAR: i64 = i32::MAX as i64;
    match bound.known() {
        Some(n) if n >= FAR => return Some(dim.clone()),
        Some(n) if n <= -FAR => return Some(Dim::from(-1i64)),
        _ => {}
    }
    // An empty axis clamps every bound to 0, so that its size may be taken as 1 or more here.
    let nonempty = match dim.as_symbol() {
        Some(symbol) => bound.substitute(&|s| if s == symbol { dim.plus(&one()) } else { s.clone().into() }),
        None => bound.clone(),
    };
    if nonempty.is_non_negative() { Some(bound.clone()) } else { nonempty.is_negative().then(|| bound.plus(dim)) }
}

fn clamp(value: &Dim, low: &Dim, high: &Dim) -> Dim {
    value.call(DimFn::Max, low).call(DimFn::Min, high)
}

/// `a - b`, taken inside a minimum or maximum.
fn difference(a: &Dim, b: &Dim) -> Dim {
    if let Some((function, x, y)) = b.as_call() {
        match function {
            DimFn::Max => return difference(a, x).call(DimFn::Min, &difference(a, y)),
            DimFn::Min => return difference(a, x).call(DimFn::Max, &difference(a, y)),
            _ => {}
        }
    }
    match a.as_call() {
        Some((function @ (DimFn::Min | DimFn::Max), x, y)) => difference(x, b).call(function, &difference(y, b)),
        _ => a.minus(b),
    }
}

pub(super) fn split(cx: &Cx<'_>, op: &Split) -> Result<Vec<Type>> {
    cx.count(1..=1 + cx.named(&[&op.sizes]))?;
    let x = cx.tensor(0)?;
    let Some(parts) = cx.ints_len(&op.sizes)? else { return cx.fail("the number of parts is not known") };
    let sizes = cx.ints(&op.sizes)?.unwrap_or_else(|| (0..parts).map(|_| cx.fresh()).collect());
    let Some(dims) = x.shape.dims() else { return Ok(vec![x.clone().into(); parts]) };
    let axis = cx.axis(op.axis, dims.len())?;
    let sum = sizes.iter().fold(zero(), |sum, size| sum.plus(size));
    cx.equal(&sum, &dims[axis], "the sum of the parts and the size of the axis")?;
    let part = |size: Dim| {
        let mut dims = dims.to_vec();
        dims[axis] = size;
        Type::tensor(Shape::Ranked(dims), x.elem)
    };
    Ok(sizes.into_iter().map(part).collect())
}

pub(super) fn concat(cx: &Cx<'_>, op: &Concat) -> Result<Type> {
    cx.count(1..=usize::MAX)?;
    let first = cx.tensor(0)?;
    let ranked = (0..cx.types.len()).map(|index| {
        cx.same_elem(0, index)?;
        Ok(cx.tensor(index)?.shape.dims())
    });
    let ranked: Vec<Option<&[Dim]>> = ranked.collect::<Result<_>>()?;
    let Some(rank) = ranked.iter().flatten().map(|dims| dims.len()).next() else { return Ok(first.clone().into()) };
    let axis = cx.axis(op.axis, rank)?;
    let by_rows = |quant: QuantType| matches!(quant.granularity, Granularity::Row | Granularity::RowBlock(_));
    if axis + 1 == rank && first.elem.quant().is_some_and(by_rows) {
        return cx.fail(format!("parts of rows of {} have scales of their own", first.elem));
    }
    let mut joined: Option<Vec<Dim>> = None;
    for (index, dims) in ranked.into_iter().enumerate() {
        let unknown = || (0..rank).map(|_| cx.fresh()).collect();
        let dims: Vec<Dim> = dims.map_or_else(unknown, <[Dim]>::to_vec);
        joined = Some(match joined {
            None => dims,
            Some(sofar) => join(cx, sofar, &dims, axis, index)?,
        });
    }
    Ok(Type::tensor(Shape::Ranked(joined.unwrap_or_default()), first.elem))
}

fn join(cx: &Cx<'_>, sofar: Vec<Dim>, dims: &[Dim], axis: usize, index: usize) -> Result<Vec<Dim>> {
    if dims.len() != sofar.len() {
        return cx.fail(format!("operand {index} is {}, operand 0 is {}", cx.types[index], cx.types[0]));
    }
    let sizes = sofar.iter().zip(dims).enumerate();
    sizes
        .map(|(i, (a, b))| if i == axis { Ok(a.plus(b)) } else { cx.equal(a, b, &format!("sizes at axis {i} of operands 0 and {index}")) })
        .collect()
}

pub(super) fn pad(cx: &Cx<'_>, op: &Pad) -> Result<Type> {
    let value = usize::from(op.value);
    cx.count(1 + value..=1 + value + cx.named(&[&op.pads, &op.axes]))?;
    if op.value {
        cx.same_elem(0, 1)?;
    }
    let x = cx.tensor(0)?;
    let (pads, axes) = (cx.ints(&op.pads)?, cx.numbers(&op.axes)?);
    let Some(dims) = x.shape.dims() else { return Ok(x.clone().into()) };
    let Some(axes) = axes else { return Ok(Type::tensor(cx.fresh_shape(dims.len()), x.elem)) };
    if pads.as_ref().is_some_and(|pads| pads.len() != 2 * axes.len()) {
        return cx.fail(format!("{} axes, but pads {pads:?}", axes.len()));
    }
    let mut dims = dims.to_vec();
    for (i, axis) in cx.axes(&axes, dims.len())?.into_iter().enumerate() {
        dims[axis] = match &pads {
            Some(pads) => padded(cx, &dims[axis], &pads[i], &pads[i + axes.len()])?,
            None => cx.fresh(),
        };
    }
    Ok(Type::tensor(Shape::Ranked(dims), x.elem))
}

fn padded(cx: &Cx<'_>, dim: &Dim, begin: &Dim, end: &Dim) -> Result<Dim> {
    let size = dim.plus(begin).plus(end);
    match size.known() {
        Some(n) if n < 0 => cx.fail(format!("pads {begin} and {end} remove more than {dim}")),
        _ => Ok(size),
    }
}

pub(super) fn tile(cx: &Cx<'_>, op: &Tile) -> Result<Type> {
    cx.count(1..=1 + cx.named(&[&op.repeats]))?;
    let x = cx.tensor(0)?;
    let repeats = cx.ints(&op.repeats)?;
    let shape = match (x.shape.dims(), repeats) {
        (Some(dims), Some(repeats)) if dims.len() != repeats.len() => return cx.fail(format!("repeats {repeats:?} do not fit {x}")),
        (Some(dims), Some(repeats)) => dims.iter().zip(&repeats).map(|(dim, times)| dim.times(times)).collect(),
        (Some(dims), None) => cx.fresh_shape(dims.len()),
        (None, Some(repeats)) => cx.fresh_shape(repeats.len()),
        (None, None) => Shape::Unranked,
    };
    Ok(Type::tensor(shape, x.elem))
}

pub(super) fn trilu(cx: &Cx<'_>) -> Result<Type> {
    cx.count(1..=2)?;
    cx.rank_in(0, 2..=usize::MAX)?;
    if cx.types.len() == 2 {
        cx.tensor_of(1, "i64", |elem| elem == Elem::I64)?;
    }
    Ok(cx.tensor(0)?.clone().into())
}
