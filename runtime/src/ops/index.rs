//! Ops that read elements at given indices: gather, gather_elements, gather_nd.

use super::lanes::{CHUNK, for_chunks, for_rows};
use super::layout::{Odometer, around, axis, operands, strides, volume};
use super::strided::{by_width, words, words_mut};
use super::{OpContext, OpError};
use crate::tensor::{Dims, Tensor, elem_bytes};
use bytemuck::Pod;
use mokume_ir::op::{Gather, GatherElements, GatherNd};
use mokume_ir::types::Elem;
use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, Ordering};

/// `index` counted from the front of an axis of `size` elements; none when it lies outside.
pub fn counted(index: i64, size: usize) -> Option<usize> {
    let index = if index < 0 { index.wrapping_add(size as i64) } else { index };
    usize::try_from(index).ok().filter(|&position| position < size)
}

/// As [`counted`], with an error for indices outside.
fn position(index: i64, size: usize) -> Result<usize, OpError> {
    counted(index, size).ok_or_else(|| OpError::operands(format!("index {index} of an axis of {size} elements")))
}

/// The elements of an index tensor, counted from the front of an axis of `size` elements.
///
/// Errors  when one lies outside.
pub fn positions(indices: &Tensor, size: usize) -> Result<Vec<usize>, OpError> {
    integers(indices)?.iter().map(|&index| position(index, size)).collect()
}

/// Runs a gather.
pub fn gather(op: &Gather, inputs: &[&Tensor], cx: &OpContext<'_>) -> Result<Vec<Tensor>, OpError> {
    let [x, indices] = operands(inputs)?;
    let axis = axis(op.axis, x.rank())?;
    Ok(vec![take(x, axis, &positions(indices, x.dims()[axis])?, indices.dims(), cx)?])
}

/// The slices of `x` at `positions` of an axis, which is replaced by the axes `shape`.
///
/// Panics  when a position lies outside.
pub fn take(x: &Tensor, axis: usize, positions: &[usize], shape: &[usize], cx: &OpContext<'_>) -> Result<Tensor, OpError> {
    let (_, count, inner) = around(x.dims(), axis);
    let dims: Dims = [&x.dims()[..axis], shape, &x.dims()[axis + 1..]].concat().into();
    volume(&dims)?;
    let mut out = cx.alloc(&dims, x.elem())?;
    if out.is_empty() {
        return Ok(out);
    }
    if inner == 1 {
        by_width!(x.elem(), T => gather_elements_of_rows::<T>(words(x), count, positions, words_mut(&mut out)));
    } else {
        gather_runs(x.bytes(), count, inner * elem_bytes(x.elem()), positions, out.bytes_mut());
    }
    Ok(out)
}

fn gather_elements_of_rows<T: Pod + Send + Sync>(x: &[T], count: usize, positions: &[usize], out: &mut [T]) {
    let row = positions.len();
    for_chunks(out, (CHUNK / row).max(1) * row, |offset, part| {
        for (i, out) in part.chunks_mut(row).enumerate() {
            let x = &x[(offset / row + i) * count..][..count];
            out.iter_mut().zip(positions).for_each(|(out, &position)| *out = x[position]);
        }
    });
}

/// Copies runs of `run` bytes.
fn gather_runs(x: &[u8], count: usize, run: usize, positions: &[usize], out: &mut [u8]) {
    for_chunks(out, (4 * CHUNK / run).max(1) * run, |offset, part| {
        for (i, out) in part.chunks_mut(run).enumerate() {
            let (outer, k) = ((offset / run + i) / positions.len(), (offset / run + i) % positions.len());
            out.copy_from_slice(&x[(outer * count + positions[k]) * run..][..run]);
        }
    });
}

/// Runs a gather_elements.
pub fn gather_elements(op: &GatherElements, inputs: &[&Tensor], cx: &OpContext<'_>) -> Result<Vec<Tensor>, OpError> {
    let [x, indices] = operands(inputs)?;
    let places = ElementPlaces::new(x, indices, op.axis)?;
    let mut out = cx.alloc(indices.dims(), x.elem())?;
    let outside = AtomicBool::new(false);
    by_width!(x.elem(), T => read_places::<T>(words(x), &places, &outside, words_mut(&mut out)));
    match outside.into_inner() {
        true => places.all().map(|_| vec![]),
        false => Ok(vec![out]),
    }
}

fn read_places<T: Pod + Send + Sync>(x: &[T], places: &ElementPlaces<'_>, outside: &AtomicBool, out: &mut [T]) {
    for_rows(out, places.width, |row, out| {
        for (out, place) in out.iter_mut().zip(places.row(row)) {
            match place {
                Ok(place) => *out = x[place],
                Err(_) => outside.store(true, Ordering::Relaxed),
            }
        }
    });
}

/// Where in a tensor the elements of an index tensor point: at their own coordinates, but the index along one axis.
pub struct ElementPlaces<'a> {
    indices: Cow<'a, [i64]>,
    /// Sizes of the index tensor before its last axis, and strides of the tensor for them, 0 along the axis.
    outer: &'a [usize],
    steps: Dims,
    /// Elements of the last axis of the index tensor, and stride of the tensor for them.
    width: usize,
    step: usize,
    /// Size of the axis, and its stride.
    size: usize,
    stride: usize,
}

impl<'a> ElementPlaces<'a> {
    /// The places of `indices` along an axis of `x`.
    ///
    /// Errors  when the shapes do not fit.
    pub fn new(x: &Tensor, indices: &'a Tensor, along: i64) -> Result<Self, OpError> {
        let along = axis(along, x.rank())?;
        let fits = |i: usize| i == along || indices.dims()[i] <= x.dims()[i];
        if indices.rank() != x.rank() || !(0..x.rank()).all(fits) {
            return Err(OpError::operands(format!("indices {:?} along axis {along} of {:?}", indices.dims(), x.dims())));
        }
        let mut steps = strides(x.dims());
        let stride = std::mem::take(&mut steps[along]);
        let step = steps.pop().unwrap_or(0);
        let (width, outer) = indices.dims().split_last().ok_or_else(|| OpError::operands("indices of a scalar"))?;
        Ok(ElementPlaces { indices: integers(indices)?, outer, steps, width: *width, step, size: x.dims()[along], stride })
    }
    /// The places of one row.
    fn row(&self, row: usize) -> impl Iterator<Item = Result<usize, OpError>> {
        let odometer = Odometer::new(self.outer, row);
        let start: usize = odometer.at().iter().zip(&self.steps).map(|(index, step)| index * step).sum();
        let indices = &self.indices[row * self.width..(row + 1) * self.width];
        indices.iter().enumerate().map(move |(i, &index)| Ok(start + i * self.step + position(index, self.size)? * self.stride))
    }
    /// All places.
    ///
    /// Errors  when an index lies outside.
    pub fn all(&self) -> Result<Vec<usize>, OpError> {
        let mut places = Vec::with_capacity(self.indices.len());
        for row in 0..self.outer.iter().product() {
            for place in self.row(row) {
                places.push(place?);
            }
        }
        Ok(places)
    }
}

fn integers(indices: &Tensor) -> Result<Cow<'_, [i64]>, OpError> {
    match indices.elem() {
        Elem::I64 => Ok(Cow::Borrowed(indices.slice())),
        Elem::I32 => Ok(Cow::Owned(indices.slice::<i32>().iter().map(|&index| index.into()).collect())),
        elem => Err(OpError::operands(format!("indices of type {elem}"))),
    }
}

/// Runs a gather_nd.
pub fn gather_nd(op: &GatherNd, inputs: &[&Tensor], cx: &OpContext<'_>) -> Result<Vec<Tensor>, OpError> {
    let [x, indices] = operands(inputs)?;
    let batch = usize::try_from(op.batch_dims).unwrap_or(usize::MAX);
    let bad = || OpError::operands(format!("gather_nd of {x:?} at {indices:?} with {batch} batch axes"));
    if batch >= indices.rank() || batch > x.rank() || x.dims()[..batch] != indices.dims()[..batch] {
        return Err(bad());
    }
    let (runs, depth) = tuple_places(&x.dims()[batch..], indices)?;
    let dims: Dims = [&indices.dims()[..indices.rank() - 1], &x.dims()[batch + depth..]].concat().into();
    volume(&dims)?;
    let mut out = cx.alloc(&dims, x.elem())?;
    let run = x.dims()[batch + depth..].iter().product::<usize>() * elem_bytes(x.elem());
    let slab = x.dims()[batch..].iter().product::<usize>() * elem_bytes(x.elem());
    let per_batch = indices.dims()[batch..indices.rank() - 1].iter().product::<usize>();
    if out.is_empty() {
        return Ok(vec![out]);
    }
    let bytes = x.bytes();
    for_chunks(out.bytes_mut(), (4 * CHUNK / run).max(1) * run, |offset, part| {
        for (i, out) in part.chunks_mut(run).enumerate() {
            let i = offset / run + i;
            out.copy_from_slice(&bytes[i / per_batch * slab + runs[i] * run..][..run]);
        }
    });
    Ok(vec![out])
}

/// For every tuple in the last axis of `indices`: the number of the slice of `dims` it points at; and the length of a tuple.
pub fn tuple_places(dims: &[usize], indices: &Tensor) -> Result<(Vec<usize>, usize), OpError> {
    let depth = indices.dims().last().copied().unwrap_or(usize::MAX);
    if indices.elem() != Elem::I64 || depth > dims.len() {
        return Err(OpError::operands(format!("index tuples {indices:?} of {dims:?}")));
    }
    let count = indices.dims()[..indices.rank() - 1].iter().product();
    let values = indices.slice::<i64>();
    let place = |tuple: &[i64]| tuple.iter().zip(dims).try_fold(0, |place, (&index, &size)| Ok(place * size + position(index, size)?));
    let places = (0..count).map(|i| place(&values[i * depth..(i + 1) * depth])).collect::<Result<_, OpError>>()?;
    Ok((places, depth))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::tests::{fails, run_op as run};

    fn grid() -> Tensor {
        Tensor::f32s(&[2, 3], &[0.0, 1.0, 2.0, 10.0, 11.0, 12.0])
    }

    #[test]
    fn gathers_rows_and_columns() {
        let indices = Tensor::i64s(&[2], &[-1, 0]);
        assert_eq!(run(Gather { axis: 0 }, &[&grid(), &indices])[0].slice::<f32>(), [10.0, 11.0, 12.0, 0.0, 1.0, 2.0]);
        let columns = run(Gather { axis: 1 }, &[&grid(), &indices]).remove(0);
        assert_eq!((columns.dims(), columns.slice::<f32>()), (&[2, 2][..], &[2.0, 0.0, 12.0, 10.0][..]));
        let scalar = Tensor::of(&[], Elem::I32, &[1]);
        assert_eq!(run(Gather { axis: 0 }, &[&grid(), &scalar])[0].dims(), [3]);
        assert!(fails(Gather { axis: 0 }, &[&grid(), &Tensor::i64s(&[1], &[2])]));
        assert!(fails(Gather { axis: 0 }, &[&grid(), &Tensor::i64s(&[1], &[i64::MIN])]));
    }

    #[test]
    fn gathers_elements() {
        let indices = Tensor::i64s(&[1, 3], &[1, 0, -1]);
        assert_eq!(run(GatherElements { axis: 0 }, &[&grid(), &indices])[0].slice::<f32>(), [10.0, 1.0, 12.0]);
        assert!(fails(GatherElements { axis: 0 }, &[&grid(), &Tensor::i64s(&[1, 4], &[0; 4])]));
    }

    #[test]
    fn gathers_tuples() {
        let indices = Tensor::i64s(&[2, 2], &[0, 2, 1, -3]);
        assert_eq!(run(GatherNd { batch_dims: 0 }, &[&grid(), &indices])[0].slice::<f32>(), [2.0, 10.0]);
        let rows = Tensor::i64s(&[2, 1], &[2, 0]);
        assert_eq!(run(GatherNd { batch_dims: 1 }, &[&grid(), &rows])[0].slice::<f32>(), [2.0, 10.0]);
        assert!(fails(GatherNd { batch_dims: 2 }, &[&grid(), &rows]));
    }
}
