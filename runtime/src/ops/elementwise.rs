//! Broadcasting: operands are read block by block as if they had the shape of the result.

use super::lanes::for_chunks;
use super::layout::{Odometer, broadcast_strides};
use super::{OpContext, OpError};
use crate::tensor::{Dims, Scalar, Tensor};
use mokume_ir::types::Elem;

/// Elements per call of a kernel: blocks of operands stay in the first cache.
pub const BLOCK: usize = 1024;
/// Elements per task.
const TASK: usize = 16 * BLOCK;

/// `out[i] = f(x[i])` for slices.
pub type Kernel1<T, R> = fn(&[T], &mut [R]);
/// `out[i] = f(a[i], b[i])` for slices.
pub type Kernel2<T, U, R> = fn(&[T], &[U], &mut [R]);

/// An operand read as if it had a larger shape.
pub struct View<'a, T> {
    data: &'a [T],
    /// Axes on which neighbors are one element apart, or the same element; joined as far as possible.
    dims: Dims,
    strides: Dims,
}

impl<'a, T: Copy> View<'a, T> {
    /// `data` of sizes `dims`, read as `target`, to which `dims` broadcasts.
    pub fn new(data: &'a [T], dims: &[usize], target: &[usize]) -> Self {
        let wide = broadcast_strides(dims, target);
        let (mut dims, mut strides) = (Dims::new(), Dims::new());
        for (&size, stride) in target.iter().zip(wide).filter(|axis| *axis.0 != 1) {
            match (dims.last_mut(), strides.last_mut()) {
                (Some(outer), Some(step)) if *step == stride * size => (*outer, *step) = (*outer * size, stride),
                _ => {
                    dims.push(size);
                    strides.push(stride);
                }
            }
        }
        if dims.is_empty() {
            dims.push(1);
            strides.push(1);
        }
        View { data, dims, strides }
    }
    /// The only element, when every one is the same.
    fn constant(&self) -> Option<T> {
        self.data.first().copied().filter(|_| self.strides[..] == [0])
    }
    /// The elements `start..start + len` of the larger shape; `buffer` has room for `len`.
    pub fn read<'b>(&'b self, start: usize, len: usize, buffer: &'b mut [T]) -> &'b [T] {
        let (Some((&width, outer)), Some((&stride, steps))) = (self.dims.split_last(), self.strides.split_last()) else { return &[] };
        let mut odometer = Odometer::new(outer, start / width);
        let mut at = start % width;
        let mut filled = 0;
        while filled < len {
            let count = (width - at).min(len - filled);
            let from = odometer.at().iter().zip(steps).map(|(index, step)| index * step).sum::<usize>() + at * stride;
            match stride {
                0 => buffer[filled..filled + count].fill(self.data[from]),
                _ if count == len => return &self.data[from..from + count],
                _ => copy_short(&self.data[from..from + count], &mut buffer[filled..filled + count]),
            }
            odometer.step();
            (filled, at) = (filled + count, 0);
        }
        &buffer[..len]
    }
}

/// Rows are often a few elements long, where a call of `memcpy` costs more than the copy.
fn copy_short<T: Copy>(x: &[T], out: &mut [T]) {
    if x.len() < 16 {
        out.iter_mut().zip(x).for_each(|(out, &x)| *out = x);
    } else {
        out.copy_from_slice(x);
    }
}

/// Applies `kernel` to every element of `x`; the result has elements of type `elem`.
pub fn map<T: Scalar, R: Scalar>(
    x: &Tensor,
    elem: Elem,
    kernel: impl Fn(&[T], &mut [R]) + Sync,
    cx: &OpContext<'_>,
) -> Result<Tensor, OpError> {
    let mut out = cx.alloc(x.dims(), elem)?;
    let x = x.slice::<T>();
    for_chunks(out.slice_mut::<R>(), TASK, |offset, part| kernel(&x[offset..offset + part.len()], part));
    Ok(out)
}

/// Applies `kernel` to the elements of two operands broadcast to `dims`.
pub fn zip<T: Scalar, U: Scalar, R: Scalar>(
    (a, b): (&Tensor, &Tensor),
    dims: &[usize],
    elem: Elem,
    kernel: impl Fn(&[T], &[U], &mut [R]) + Sync,
    cx: &OpContext<'_>,
) -> Result<Tensor, OpError> {
    let mut out = cx.alloc(dims, elem)?;
    let a = View::new(a.slice::<T>(), a.dims(), dims);
    let b = View::new(b.slice::<U>(), b.dims(), dims);
    for_chunks(out.slice_mut::<R>(), TASK, |offset, part| {
        let (mut left, mut right) = ([a.constant().unwrap_or_default(); BLOCK], [b.constant().unwrap_or_default(); BLOCK]);
        for (i, block) in part.chunks_mut(BLOCK).enumerate() {
            let (start, len) = (offset + i * BLOCK, block.len());
            let a = if a.constant().is_some() { &left[..len] } else { a.read(start, len, &mut left) };
            let b = if b.constant().is_some() { &right[..len] } else { b.read(start, len, &mut right) };
            kernel(a, b, block);
        }
    });
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_broadcast() {
        let data = [1, 2, 3];
        let mut buffer = [0; 12];
        assert_eq!(View::new(&data, &[3], &[2, 3]).read(2, 3, &mut buffer), [3, 1, 2]);
        assert_eq!(View::new(&data, &[3, 1], &[3, 2]).read(1, 4, &mut buffer), [1, 2, 2, 3]);
        assert_eq!(View::new(&data, &[3, 1], &[2, 3, 2]).read(5, 3, &mut buffer), [3, 1, 1]);
        assert_eq!(View::new(&data[..1], &[], &[2, 2]).read(0, 4, &mut buffer), [1; 4]);
        assert_eq!(View::new(&data, &[3], &[3]).read(1, 2, &mut buffer), [2, 3]);
    }
}
