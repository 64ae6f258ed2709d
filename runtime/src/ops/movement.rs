//! Ops that give the same elements another shape or place: reshape, transpose, broadcast, slice, split, concat, tile.

use super::lanes::{CHUNK, for_chunks};
use super::layout::{axes, axis, broadcast, broadcast_strides, operands, size, strides, volume};
use super::quantize::scales_of;
use super::strided::gather;
use super::{OpContext, OpError};
use crate::tensor::{Dims, Scalar, Scales, Tensor, elem_bytes};
use mokume_ir::attr::Ints;
use mokume_ir::op::{Broadcast, Concat, Reshape, Slice, Split, Squeeze, Tile, Transpose, Unsqueeze};
use mokume_ir::types::Elem;
use std::sync::Arc;

/// Runs a reshape.
pub fn reshape(op: &Reshape, inputs: &[&Tensor], cx: &OpContext<'_>) -> Result<Vec<Tensor>, OpError> {
    let [x] = operands(inputs)?;
    let asked = cx.ints(&op.shape, inputs)?;
    let dims = match op.shape {
        Ints::Known(_) => asked.iter().map(|&value| size(value)).collect::<Result<Dims, _>>()?,
        Ints::Operand(_) => resolve_shape(&asked, x.dims(), op.allow_zero)?,
    };
    if volume(&dims)? != x.len() {
        return Err(OpError::operands(format!("reshape of {:?} to {dims:?}", x.dims())));
    }
    Ok(vec![x.reshaped(&dims)])
}

/// The shape that ONNX means by -1 (what remains) and 0 (the size of the operand, unless `allow_zero`).
fn resolve_shape(asked: &[i64], dims: &[usize], allow_zero: bool) -> Result<Dims, OpError> {
    let bad = || OpError::operands(format!("reshape of {dims:?} to {asked:?}"));
    let copied = |i: usize, value: i64| match value {
        -1 => Ok(1),
        0 if !allow_zero => dims.get(i).copied().ok_or_else(bad),
        _ => size(value),
    };
    let mut resolved = asked.iter().enumerate().map(|(i, &value)| copied(i, value)).collect::<Result<Dims, _>>()?;
    let mut inferred = (0..asked.len()).filter(|&i| asked[i] == -1);
    if let Some(rest) = inferred.next() {
        let known = volume(&resolved)?;
        let total = volume(dims)?;
        if inferred.next().is_some() || known == 0 || total % known != 0 {
            return Err(bad());
        }
        resolved[rest] = total / known;
    }
    Ok(resolved)
}

/// Runs a squeeze.
pub fn squeeze(op: &Squeeze, inputs: &[&Tensor], cx: &OpContext<'_>) -> Result<Vec<Tensor>, OpError> {
    let [x] = operands(inputs)?;
    let gone =
        if op.all { (0..x.rank()).filter(|&axis| x.dims()[axis] == 1).collect() } else { axes(&cx.ints(&op.axes, inputs)?, x.rank())? };
    if let Some(&axis) = gone.iter().find(|&&axis| x.dims()[axis] != 1) {
        return Err(OpError::operands(format!("squeeze of axis {axis} of {:?}", x.dims())));
    }
    let dims: Dims = (0..x.rank()).filter(|axis| !gone.contains(axis)).map(|axis| x.dims()[axis]).collect();
    Ok(vec![x.reshaped(&dims)])
}

/// Runs an unsqueeze.
pub fn unsqueeze(op: &Unsqueeze, inputs: &[&Tensor], cx: &OpContext<'_>) -> Result<Vec<Tensor>, OpError> {
    let [x] = operands(inputs)?;
    let list = cx.ints(&op.axes, inputs)?;
    let rank = x.rank() + list.len();
    let new = axes(&list, rank)?;
    let mut old = x.dims().iter();
    let dims: Dims = (0..rank).map(|axis| if new.contains(&axis) { 1 } else { old.next().copied().unwrap_or(1) }).collect();
    Ok(vec![x.reshaped(&dims)])
}

/// Runs a transpose.
pub fn transpose(op: &Transpose, inputs: &[&Tensor], cx: &OpContext<'_>) -> Result<Vec<Tensor>, OpError> {
    let [x] = operands(inputs)?;
    let perm = axes(&op.perm, x.rank())?;
    if perm.len() != x.rank() {
        return Err(OpError::operands(format!("permutation {:?} of {:?}", op.perm, x.dims())));
    }
    let dims: Dims = perm.iter().map(|&axis| x.dims()[axis]).collect();
    let moved = perm.iter().filter(|&&axis| x.dims()[axis] != 1);
    if moved.is_sorted() {
        return Ok(vec![x.reshaped(&dims)]);
    }
    let strides = strides(x.dims());
    let order: Vec<_> = perm.iter().map(|&axis| (x.dims()[axis], strides[axis] as isize)).collect();
    Ok(vec![gather(x, &dims, 0, &order, cx)?])
}

/// Runs a broadcast.
pub fn expand(op: &Broadcast, inputs: &[&Tensor], cx: &OpContext<'_>) -> Result<Vec<Tensor>, OpError> {
    let [x] = operands(inputs)?;
    let asked = cx.ints(&op.shape, inputs)?.into_iter().map(size).collect::<Result<Dims, _>>()?;
    let dims = broadcast(&[x.dims(), &asked])?;
    if dims.as_slice() == x.dims() {
        return Ok(vec![x.clone()]);
    }
    let steps = broadcast_strides(x.dims(), &dims);
    let order: Vec<_> = dims.iter().zip(steps).map(|(&size, step)| (size, step as isize)).collect();
    Ok(vec![gather(x, &dims, 0, &order, cx)?])
}

/// Runs a slice.
pub fn slice(op: &Slice, inputs: &[&Tensor], cx: &OpContext<'_>) -> Result<Vec<Tensor>, OpError> {
    let [x] = operands(inputs)?;
    let axes = axes(&cx.ints(&op.axes, inputs)?, x.rank())?;
    let read = |ints| cx.ints(ints, inputs);
    let (starts, ends, steps) = (read(&op.starts)?, read(&op.ends)?, read(&op.steps)?);
    if [starts.len(), ends.len(), steps.len()] != [axes.len(); 3] || steps.contains(&0) {
        return Err(OpError::operands(format!("slice of axes {axes:?} from {starts:?} to {ends:?} by {steps:?}")));
    }
    let strides = strides(x.dims());
    let mut order: Vec<_> = x.dims().iter().zip(strides).map(|(&size, stride)| (size, stride as isize)).collect();
    let mut first = 0;
    for (i, axis) in axes.into_iter().enumerate() {
        let (start, count) = window(starts[i], ends[i], steps[i], order[axis].0 as i64);
        let (_, stride) = order[axis];
        first += start as usize * stride as usize;
        order[axis] = (count, stride.saturating_mul(steps[i] as isize));
    }
    let dims: Dims = order.iter().map(|axis| axis.0).collect();
    if dims.as_slice() == x.dims() && order.iter().all(|axis| axis.0 < 2 || axis.1 > 0) {
        return Ok(vec![x.clone()]);
    }
    Ok(vec![gather(x, &dims, first, &order, cx)?])
}

/// First index and number of indices of a clamped window over an axis of `size` elements.
pub(crate) fn window(start: i64, end: i64, step: i64, size: i64) -> (i64, usize) {
    let from_front = |index: i64| if index < 0 { index.saturating_add(size) } else { index };
    let (start, end) = (from_front(start), from_front(end));
    let (start, length) = if step > 0 {
        let start = start.clamp(0, size);
        (start, end.clamp(0, size) - start)
    } else {
        let start = start.clamp(-1, size - 1);
        (start, start - end.clamp(-1, size - 1))
    };
    if length <= 0 { (0, 0) } else { (start, (length as u64).div_ceil(step.unsigned_abs()) as usize) }
}

/// Runs a split.
pub fn split(op: &Split, inputs: &[&Tensor], cx: &OpContext<'_>) -> Result<Vec<Tensor>, OpError> {
    let [x] = operands(inputs)?;
    let axis = axis(op.axis, x.rank())?;
    let sizes = cx.ints(&op.sizes, inputs)?.into_iter().map(size).collect::<Result<Vec<_>, _>>()?;
    let total = sizes.iter().try_fold(0usize, |sum, &size| sum.checked_add(size));
    if total != Some(x.dims()[axis]) {
        return Err(OpError::operands(format!("split of {} elements into {sizes:?}", x.dims()[axis])));
    }
    let strides = strides(x.dims());
    let mut order: Vec<_> = x.dims().iter().zip(&strides).map(|(&size, &stride)| (size, stride as isize)).collect();
    let mut start = 0;
    let mut parts = Vec::with_capacity(sizes.len());
    for size in sizes {
        order[axis].0 = size;
        let dims: Dims = order.iter().map(|axis| axis.0).collect();
        parts.push(gather(x, &dims, start * strides[axis], &order, cx)?);
        start += size;
    }
    Ok(parts)
}

/// Runs a concat.
pub fn concat(op: &Concat, inputs: &[&Tensor], cx: &OpContext<'_>) -> Result<Vec<Tensor>, OpError> {
    let [first] = operands(inputs)?;
    let axis = axis(op.axis, first.rank())?;
    let mut dims = Dims::from_slice(first.dims());
    for x in &inputs[1..] {
        let fits = x.rank() == dims.len() && (0..dims.len()).all(|i| i == axis || x.dims()[i] == dims[i]);
        if !fits || x.elem() != first.elem() {
            return Err(OpError::operands(format!("concat of {first:?} and {x:?} along axis {axis}")));
        }
        dims[axis] = dims[axis].checked_add(x.dims()[axis]).ok_or_else(|| OpError::operands("a concat is too large"))?;
    }
    let mut out = cx.alloc(&dims, first.elem())?;
    let width = elem_bytes(first.elem());
    let row = dims[axis..].iter().product::<usize>() * width;
    if row == 0 || out.is_empty() {
        return Ok(vec![out]);
    }
    let parts: Vec<(&[u8], usize)> = inputs.iter().map(|x| (x.bytes(), x.dims()[axis..].iter().product::<usize>() * width)).collect();
    if out.len() * width == row {
        join_long(&parts, out.bytes_mut());
    } else {
        for_chunks(out.bytes_mut(), (4 * CHUNK / row).max(1) * row, |offset, part| join_rows(&parts, offset / row, row, part));
    }
    Ok(vec![out])
}

/// Codes with a scale per row, joined along another axis than the last.
///
/// Errors  also when an operand has not as many scales as rows.
pub fn concat_rows(op: &Concat, inputs: &[&Tensor], cx: &OpContext<'_>) -> Result<Vec<Tensor>, OpError> {
    let [first] = operands(inputs)?;
    let axis = axis(op.axis, first.rank())?;
    if axis + 1 == first.rank() {
        return Err(OpError::unsupported("concat of parts of quantized rows"));
    }
    let mut out = concat(op, inputs, cx)?;
    let join = |parts: Vec<Tensor>| concat(&Concat { axis: axis as i64 }, &parts.iter().collect::<Vec<_>>(), cx);
    let scales = inputs.iter().map(|x| per_row(x, Elem::F32, &scales_of(x)?.scales)).collect::<Result<_, _>>()?;
    let scales = join(scales)?[0].slice::<f32>().to_vec();
    let has_zeros = first.elem().quant().is_some_and(|quant| quant.zero_point);
    let zeros = inputs.iter().filter(|_| has_zeros).map(|x| per_row(x, Elem::I32, &scales_of(x)?.zero_points));
    let zeros = zeros.collect::<Result<Vec<_>, _>>()?;
    let zero_points = if has_zeros { join(zeros)?[0].slice::<i32>().to_vec() } else { vec![] };
    out[0].scales = Some(Arc::new(Scales { scales, zero_points }));
    Ok(out)
}

/// One number per row of `x`.
fn per_row<T: Scalar>(x: &Tensor, elem: Elem, values: &[T]) -> Result<Tensor, OpError> {
    let rows = &x.dims()[..x.rank().saturating_sub(1)];
    match rows.iter().product::<usize>() == values.len() {
        true => Ok(Tensor::of(rows, elem, values)),
        false => Err(OpError::operands(format!("{x:?} has {} scales or zero points", values.len()))),
    }
}

/// One row: every operand is one run of bytes.
fn join_long(parts: &[(&[u8], usize)], out: &mut [u8]) {
    let mut rest = out;
    for (bytes, length) in parts {
        let (run, tail) = rest.split_at_mut(*length);
        for_chunks(run, 8 * CHUNK, |offset, part| part.copy_from_slice(&bytes[offset..offset + part.len()]));
        rest = tail;
    }
}

fn join_rows(parts: &[(&[u8], usize)], first: usize, row: usize, out: &mut [u8]) {
    for (i, mut rest) in out.chunks_mut(row).enumerate() {
        for (bytes, length) in parts {
            let (run, tail) = rest.split_at_mut(*length);
            run.copy_from_slice(&bytes[(first + i) * length..][..*length]);
            rest = tail;
        }
    }
}

/// Runs a tile.
pub fn tile(op: &Tile, inputs: &[&Tensor], cx: &OpContext<'_>) -> Result<Vec<Tensor>, OpError> {
    let [x] = operands(inputs)?;
    let repeats = cx.ints(&op.repeats, inputs)?.into_iter().map(size).collect::<Result<Vec<_>, _>>()?;
    if repeats.len() != x.rank() {
        return Err(OpError::operands(format!("tile of {:?} by {repeats:?}", x.dims())));
    }
    let product = |(&size, &repeat): (&usize, &usize)| size.checked_mul(repeat);
    let dims = x.dims().iter().zip(&repeats).map(product).collect::<Option<Dims>>();
    let dims = dims.ok_or_else(|| OpError::operands(format!("tile of {:?} by {repeats:?} is too large", x.dims())))?;
    let strides = strides(x.dims());
    let order: Vec<_> = (0..x.rank()).flat_map(|i| [(repeats[i], 0), (x.dims()[i], strides[i] as isize)]).collect();
    Ok(vec![gather(x, &dims, 0, &order, cx)?])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::tests::{fails, run_op as run};

    fn iota(dims: &[usize]) -> Tensor {
        Tensor::i64s(dims, &(0..dims.iter().product::<usize>() as i64).collect::<Vec<_>>())
    }

    fn ints<const N: usize>(values: [i64; N]) -> Ints {
        Ints::of(values)
    }

    #[test]
    fn reshapes() {
        let x = iota(&[2, 3, 4]);
        let at_run_time = |shape: &[i64], allow_zero| {
            let shape = Tensor::i64s(&[shape.len()], shape);
            crate::ops::tests::try_run(Reshape { shape: Ints::Operand(1), allow_zero }, &[&x, &shape]).map(|out| out[0].dims().to_vec())
        };
        assert_eq!(at_run_time(&[0, -1], false).unwrap(), [2, 12]);
        assert!(at_run_time(&[0, -1], true).is_err() && at_run_time(&[-1, -1], false).is_err() && at_run_time(&[5, -1], false).is_err());
        assert_eq!(run(Reshape { shape: ints([6, 4]), allow_zero: false }, &[&x])[0].dims(), [6, 4]);
        assert!(fails(Reshape { shape: ints([-1, 4]), allow_zero: false }, &[&x]));
        assert_eq!(run(Unsqueeze { axes: ints([0, -1]) }, &[&x])[0].dims(), [1, 2, 3, 4, 1]);
        let ones = iota(&[1, 3, 1]);
        assert_eq!(run(Squeeze { axes: ints([-1]), all: false }, &[&ones])[0].dims(), [1, 3]);
        assert_eq!(run(Squeeze { axes: ints([]), all: true }, &[&ones])[0].dims(), [3]);
        assert!(fails(Squeeze { axes: ints([1]), all: false }, &[&ones]));
    }

    #[test]
    fn transposes_every_permutation() {
        let dims = [3, 70, 2, 40];
        let x = iota(&dims);
        let own = strides(&dims);
        for perm in [[0, 1, 3, 2], [0, 2, 1, 3], [3, 2, 1, 0], [1, 0, 3, 2], [2, 3, 0, 1], [0, 3, 1, 2], [1, 2, 3, 0]] {
            let out = run(Transpose { perm: perm.to_vec() }, &[&x]).remove(0);
            let mut odometer = crate::ops::layout::Odometer::new(out.dims(), 0);
            for &value in out.slice::<i64>() {
                let want: usize = odometer.at().iter().zip(perm).map(|(index, axis)| index * own[axis as usize]).sum();
                assert_eq!(value, want as i64, "{perm:?} at {:?}", odometer.at());
                odometer.step();
            }
        }
        assert!(fails(Transpose { perm: vec![0, 1] }, &[&x]));
    }

    #[test]
    fn slices() {
        let x = iota(&[10]);
        let slice = |start, end, step| {
            let op = Slice { starts: ints([start]), ends: ints([end]), axes: ints([0]), steps: ints([step]) };
            run(op, &[&x])[0].slice::<i64>().to_vec()
        };
        assert_eq!(slice(2, 7, 2), [2, 4, 6]);
        assert_eq!(slice(-3, i64::MAX, 1), [7, 8, 9]);
        assert_eq!(slice(-1, i64::MIN, -4), [9, 5, 1]);
        assert_eq!(slice(100, 3, -3), [9, 6]);
        assert!(slice(5, 2, 1).is_empty());
        assert_eq!(slice(0, 10, i64::MAX), [0]);
        let grid = iota(&[3, 4]);
        let op = Slice { starts: ints([1, -1]), ends: ints([3, 0]), axes: ints([0, 1]), steps: ints([1, -2]) };
        assert_eq!(run(op, &[&grid])[0].slice::<i64>(), [7, 5, 11, 9]);
        assert!(fails(Slice { starts: ints([0]), ends: ints([1]), axes: ints([0]), steps: ints([0]) }, &[&x]));
    }

    #[test]
    fn splits_and_joins() {
        let x = iota(&[2, 5]);
        let parts = run(Split { axis: 1, sizes: ints([2, 0, 3]) }, &[&x]);
        assert_eq!(
            (parts[0].slice::<i64>(), parts[1].dims(), parts[2].slice::<i64>()),
            (&[0, 1, 5, 6][..], &[2, 0][..], &[2, 3, 4, 7, 8, 9][..])
        );
        assert_eq!(run(Concat { axis: -1 }, &parts.iter().collect::<Vec<_>>())[0].slice::<i64>(), x.slice::<i64>());
        assert_eq!(run(Concat { axis: 0 }, &[&x, &x])[0].dims(), [4, 5]);
        assert!(fails(Split { axis: 1, sizes: ints([2, 2]) }, &[&x]));
        assert!(fails(Concat { axis: 0 }, &[&x, &iota(&[2, 4])]));
    }

    #[test]
    fn repeats() {
        let x = iota(&[1, 3]);
        let out = run(Broadcast { shape: ints([2, 1, 1]) }, &[&x]).remove(0);
        assert_eq!((out.dims(), out.slice::<i64>()), (&[2, 1, 3][..], &[0, 1, 2, 0, 1, 2][..]));
        let out = run(Tile { repeats: ints([2, 2]) }, &[&x]).remove(0);
        assert_eq!((out.dims(), out.slice::<i64>()), (&[2, 6][..], &[0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2][..]));
        assert_eq!(run(Tile { repeats: ints([0, 2]) }, &[&x])[0].dims(), [0, 6]);
        assert!(fails(Tile { repeats: ints([i64::MAX, 8]) }, &[&iota(&[2, 3])]));
    }
}
