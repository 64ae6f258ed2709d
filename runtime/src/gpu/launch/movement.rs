//! Transpose, broadcast, slice, split, concat, constant padding, and appending to state: strided copies.
//!
//! Arguments of `copy`  source, result, number of elements, sizes, strides of the source, strides of the result.

use super::{Cx, Result, Types, count, dense, misfit, one, spread, walk};
use crate::gpu::kernel::{Kernel, THREADS};
use crate::gpu::memory::DeviceTensor;
use crate::ops::OpError;
use crate::ops::layout::{axes, axis};
use crate::ops::movement::window;
use crate::tensor::elem_bytes;
use mokume_ir::op::{Op, Pad, PadMode, Slice};
use mokume_ir::types::Elem;

/// Room for this many indices at least, when state grows.
pub(super) const MIN_ROOM: usize = 64;

/// The kernels of a movement op.
pub(crate) fn kernels(types: &Types<'_>) -> std::result::Result<Vec<Kernel>, String> {
    match &types.node.op {
        Op::Slice(op) => types.known(&[&op.starts, &op.ends, &op.axes, &op.steps])?,
        Op::Split(op) => types.known(&[&op.sizes])?,
        Op::Pad(op) if op.mode != PadMode::Constant => return Err(format!("padding by {}", op.mode.name())),
        Op::Pad(op) => types.known(&[&op.pads, &op.axes])?,
        _ => {}
    }
    Ok(vec![copy_kernel(types.elem(0)?)?])
}

fn copy_kernel(elem: Elem) -> std::result::Result<Kernel, String> {
    match elem_bytes(elem) {
        bytes @ (1 | 2 | 4 | 8) if elem.quant().is_none() => Ok(Kernel::Copy { bytes: bytes as u8 }),
        _ => Err(format!("elements of type {elem}")),
    }
}

/// Runs a movement op.
pub(crate) fn run(op: &Op, inputs: &[DeviceTensor], dims: &[Vec<usize>], cx: &mut Cx<'_>) -> Result<Vec<DeviceTensor>> {
    let x = one(inputs)?;
    match op {
        Op::Transpose(op) => {
            let (rank, own) = (x.dims.len(), dense(&x.dims));
            let perm = axes(&op.perm, rank)?;
            if perm.len() != rank {
                return misfit(format!("a permutation {perm:?} of {rank} axes"));
            }
            let to: Vec<usize> = perm.iter().map(|&axis| x.dims[axis]).collect();
            let strides = perm.iter().map(|&axis| own[axis]).collect();
            Ok(vec![gathered(x, &to, 0, strides, cx)?])
        }
        Op::Broadcast(_) => match spread(&x.dims, &dims[0]) {
            Some(strides) => Ok(vec![gathered(x, &dims[0], 0, strides, cx)?]),
            None => misfit(format!("{:?} does not broadcast to {:?}", x.dims, dims[0])),
        },
        Op::Slice(op) => Ok(vec![slice(op, x, cx)?]),
        Op::Split(op) => split(axis(op.axis, x.dims.len())?, &cx.ints(&op.sizes)?, x, cx),
        Op::Concat(op) => Ok(vec![concat(axis(op.axis, x.dims.len())?, inputs, &dims[0], cx)?]),
        Op::Pad(op) => Ok(vec![pad(op, inputs, &dims[0], cx)?]),
        other => Err(OpError::unsupported(other.name()).into()),
    }
}

/// A new tensor of sizes `dims`, read from `x` along `strides` from element `start` on.
fn gathered(x: &DeviceTensor, dims: &[usize], start: usize, strides: Vec<i64>, cx: &mut Cx<'_>) -> Result<DeviceTensor> {
    let y = cx.alloc(dims, x.elem)?;
    copy((x, start, strides), (&y, 0, dense(dims)), dims, cx)?;
    Ok(y)
}

/// Copies `x` of sizes `[a, b, c]` to `y` as `[a, c, b]`.
pub(super) fn swap(x: &DeviceTensor, y: &DeviceTensor, cx: &mut Cx<'_>) -> Result<()> {
    let &[outer, rows, columns] = &x.dims[..] else { return misfit(format!("a matrix of {:?}", x.dims)) };
    let (block, width) = ((rows * columns) as i64, columns as i64);
    copy((x, 0, vec![block, 1, width]), (y, 0, vec![block, rows as i64, 1]), &[outer, columns, rows], cx)
}

/// Where a strided copy reads or writes: tensor, first element, elements between neighbors.
type Side<'t> = (&'t DeviceTensor, usize, Vec<i64>);

/// Copies a block of sizes `dims`.
fn copy(from: Side<'_>, to: Side<'_>, dims: &[usize], cx: &mut Cx<'_>) -> Result<()> {
    let (len, elem) = (count(dims.iter().product())?, from.0.elem);
    let bytes = elem_bytes(elem) as u64;
    let walk = walk(dims, &[from.2, to.2])?;
    let mut args = vec![from.0.address() + from.1 as u64 * bytes, to.0.address() + to.1 as u64 * bytes, len as u64];
    args.extend(walk.dims);
    walk.strides.iter().for_each(|strides| args.extend(strides));
    let kernel = copy_kernel(elem).map_err(OpError::unsupported)?;
    cx.launch(kernel, [len.div_ceil(THREADS as usize), 1, 1], THREADS, &args)
}

/// Copies rows of words; beside each tensor the words between its rows.
pub(super) fn copy_words(from: (&DeviceTensor, usize), to: (&DeviceTensor, usize), dims: [usize; 2], cx: &mut Cx<'_>) -> Result<()> {
    let words = |tensor: &DeviceTensor| tensor.clone().with_elem(Elem::U32);
    copy((&words(from.0), 0, vec![from.1 as i64, 1]), (&words(to.0), 0, vec![to.1 as i64, 1]), &dims, cx)
}

fn slice(op: &Slice, x: &DeviceTensor, cx: &mut Cx<'_>) -> Result<DeviceTensor> {
    let axes = axes(&cx.ints(&op.axes)?, x.dims.len())?;
    let (starts, ends, steps) = (cx.ints(&op.starts)?, cx.ints(&op.ends)?, cx.ints(&op.steps)?);
    if [starts.len(), ends.len(), steps.len()] != [axes.len(); 3] || steps.contains(&0) {
        return misfit(format!("slice of axes {axes:?} from {starts:?} to {ends:?} by {steps:?}"));
    }
    let (mut dims, mut strides, mut first) = (x.dims.to_vec(), dense(&x.dims), 0);
    for (i, axis) in axes.into_iter().enumerate() {
        let (start, count) = window(starts[i], ends[i], steps[i], dims[axis] as i64);
        first += start as usize * strides[axis] as usize;
        (dims[axis], strides[axis]) = (count, strides[axis].saturating_mul(steps[i]));
    }
    gathered(x, &dims, first, strides, cx)
}

fn split(axis: usize, sizes: &[i64], x: &DeviceTensor, cx: &mut Cx<'_>) -> Result<Vec<DeviceTensor>> {
    if sizes.iter().any(|&size| size < 0) || sizes.iter().sum::<i64>() != x.dims[axis] as i64 {
        return misfit(format!("split of {} elements into {sizes:?}", x.dims[axis]));
    }
    let strides = dense(&x.dims);
    let mut start = 0;
    let part = |&size: &i64| {
        let mut dims = x.dims.to_vec();
        dims[axis] = size as usize;
        let part = gathered(x, &dims, start * strides[axis] as usize, strides.clone(), cx);
        start += size as usize;
        part
    };
    sizes.iter().map(part).collect()
}

fn concat(axis: usize, inputs: &[DeviceTensor], dims: &[usize], cx: &mut Cx<'_>) -> Result<DeviceTensor> {
    let y = cx.alloc(dims, inputs[0].elem)?;
    let mut at = 0;
    for x in inputs {
        let fits = x.dims.len() == dims.len() && (0..dims.len()).all(|i| i == axis || x.dims[i] == dims[i]);
        if !fits || x.elem != y.elem || x.spare.is_some() || at + x.dims[axis] > dims[axis] {
            return misfit(format!("concat of {:?} into {dims:?} along axis {axis}", x.dims));
        }
        let strides = dense(dims);
        copy((x, 0, dense(&x.dims)), (&y, at * strides[axis] as usize, strides), &x.dims, cx)?;
        at += x.dims[axis];
    }
    if at == dims[axis] { Ok(y) } else { misfit(format!("{at} of {} elements along axis {axis}", dims[axis])) }
}

fn pad(op: &Pad, inputs: &[DeviceTensor], dims: &[usize], cx: &mut Cx<'_>) -> Result<DeviceTensor> {
    let (x, rank) = (&inputs[0], inputs[0].dims.len());
    let (axes, pads) = (axes(&cx.ints(&op.axes)?, rank)?, cx.ints(&op.pads)?);
    if pads.len() != 2 * axes.len() || dims.len() != rank {
        return misfit(format!("{} pads of {} axes", pads.len(), axes.len()));
    }
    let y = cx.alloc(dims, x.elem)?;
    match inputs.get(1).filter(|_| op.value) {
        Some(value) if value.elem == x.elem && value.len() == 1 => copy((value, 0, vec![0; rank]), (&y, 0, dense(dims)), dims, cx)?,
        Some(value) => return misfit(format!("padding of {} with {:?} {}", x.elem, value.dims, value.elem)),
        None => cx.device.fill(y.address(), 0, y.bytes())?,
    }
    let (mut kept, mut from, mut to) = (x.dims.to_vec(), 0, 0);
    let (own, outer) = (dense(&x.dims), dense(dims));
    for (i, &axis) in axes.iter().enumerate() {
        let (begin, end) = (pads[i], pads[axes.len() + i]);
        let left = kept[axis] as i64 + begin.min(0) + end.min(0);
        if kept[axis] as i64 + begin + end != dims[axis] as i64 {
            return misfit(format!("pads {begin} and {end} of {} elements", kept[axis]));
        }
        from += (-begin.min(0) * own[axis]) as usize;
        to += (begin.max(0) * outer[axis]) as usize;
        kept[axis] = left.max(0) as usize;
    }
    copy((x, from, own), (&y, to, outer), &kept, cx)?;
    Ok(y)
}

/// `past` with `more` behind it along `axis`, in place where there is room.
pub(crate) fn append(past: DeviceTensor, more: &DeviceTensor, axis: usize, cx: &mut Cx<'_>) -> Result<DeviceTensor> {
    let rest = |dims: &[usize]| (dims[..axis].to_vec(), dims[axis + 1..].to_vec());
    let fits = axis < past.dims.len() && past.dims.len() == more.dims.len() && past.elem == more.elem;
    if !fits || rest(&past.dims) != rest(&more.dims) || more.spare.is_some() {
        return misfit(format!("{:?} does not continue {:?} along axis {axis}", more.dims, past.dims));
    }
    let (outer, inner): (usize, usize) = (past.dims[..axis].iter().product(), past.dims[axis + 1..].iter().product());
    let (old, size) = (past.dims[axis], past.dims[axis] + more.dims[axis]);
    let mut dims = past.dims.to_vec();
    dims[axis] = size;
    let grown = match past.spare {
        Some((at, stride)) if at == axis && stride >= size * inner => past.with_sizes(&dims),
        _ => {
            let stride = (size * 2).max(MIN_ROOM) * inner;
            let room = cx.alloc(&[outer, stride], past.elem)?.with_spare(&dims, axis, stride);
            let from = past.block_stride(axis).unwrap_or(old * inner) as i64;
            copy((&past, 0, vec![from, 1]), (&room, 0, vec![stride as i64, 1]), &[outer, old * inner], cx)?;
            room
        }
    };
    let stride = grown.block_stride(axis).unwrap_or(size * inner) as i64;
    let added = more.dims[axis] * inner;
    copy((more, 0, vec![added as i64, 1]), (&grown, old * inner, vec![stride, 1]), &[outer, added], cx)?;
    Ok(grown)
}
