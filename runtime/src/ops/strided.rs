//! Copies between strided layouts, of elements of any width: the core of transpose, slice, broadcast and tile.

use super::lanes::{CHUNK, for_chunks};
use super::layout::{Odometer, volume};
use super::simd::{self, Width};
use super::{OpContext, OpError};
use crate::tensor::{Tensor, elem_bytes};
use bytemuck::Pod;
use smallvec::SmallVec;

/// Side of the blocks in which a transposition walks, in elements.
const BLOCK: usize = 16;

/// Axes of a strided read: size, and elements between neighbors (may be 0 or negative).
pub type Axes = SmallVec<[(usize, isize); 8]>;

/// Calls `$call` with `$T` a type as wide as an element of `$elem`.
macro_rules! by_width {
    ($elem:expr, $T:ident => $call:expr) => {
        match $crate::tensor::elem_bytes($elem) {
            1 => {
                type $T = u8;
                $call
            }
            2 => {
                type $T = u16;
                $call
            }
            4 => {
                type $T = u32;
                $call
            }
            8 => {
                type $T = u64;
                $call
            }
            16 => {
                type $T = [u64; 2];
                $call
            }
            _ => return Err($crate::ops::OpError::unsupported(format!("elements of type {}", $elem))),
        }
    };
}
pub(crate) use by_width;

/// A new tensor of sizes `dims`, read from `x` along `axes` (whose sizes multiply to the same number), from element `start` on.
///
/// Every address must lie in `x`, which the caller has checked.
pub fn gather(x: &Tensor, dims: &[usize], start: usize, axes: &[(usize, isize)], cx: &OpContext<'_>) -> Result<Tensor, OpError> {
    volume(dims)?;
    let mut out = cx.alloc(dims, x.elem())?;
    if out.is_empty() {
        return Ok(out);
    }
    let axes = merge(axes);
    by_width!(x.elem(), T => copy::<T>(words(x), start, &axes, words_mut(&mut out)));
    Ok(out)
}

/// The elements as plain words of their width.
pub fn words<T: Pod>(x: &Tensor) -> &[T] {
    bytemuck::cast_slice(x.bytes())
}

/// The elements as writable plain words of their width.
pub fn words_mut<T: Pod>(x: &mut Tensor) -> &mut [T] {
    debug_assert_eq!(elem_bytes(x.elem()), size_of::<T>());
    bytemuck::cast_slice_mut(x.bytes_mut())
}

/// Drops axes of size 1 and joins neighbors that one stride walks; at least one axis remains.
fn merge(axes: &[(usize, isize)]) -> Axes {
    let mut merged = Axes::new();
    for &(size, stride) in axes.iter().filter(|axis| axis.0 != 1) {
        match merged.last_mut() {
            Some(outer) if outer.1 == stride * size as isize => *outer = (outer.0 * size, stride),
            _ => merged.push((size, stride)),
        }
    }
    if merged.is_empty() {
        merged.push((1, 1));
    }
    merged
}

fn copy<T: Pod + Send + Sync>(x: &[T], start: usize, axes: &[(usize, isize)], out: &mut [T]) {
    let Some((&(width, stride), outer)) = axes.split_last() else { return };
    match outer.split_last() {
        Some((&(height, 1), batch)) if stride > 1 && width > 1 => copy_blocks(x, start, batch, height, (width, stride), out),
        _ => copy_rows(x, start, outer, width, stride, out),
    }
}

/// Row by row; a row is contiguous, constant or strided in `x`.
fn copy_rows<T: Pod + Send + Sync>(x: &[T], start: usize, outer: &[(usize, isize)], width: usize, stride: isize, out: &mut [T]) {
    let sizes: SmallVec<[usize; 8]> = outer.iter().map(|axis| axis.0).collect();
    let chunk = if outer.is_empty() { CHUNK } else { (CHUNK / width).max(1) * width };
    for_chunks(out, chunk, |offset, part| {
        let mut odometer = Odometer::new(&sizes, offset / width);
        let mut skip = offset % width;
        let mut rest = part;
        while !rest.is_empty() {
            let (row, tail) = rest.split_at_mut((width - skip).min(rest.len()));
            let from = start as isize + address(odometer.at(), outer) + skip as isize * stride;
            copy_row(x, from as usize, stride, row);
            odometer.step();
            (rest, skip) = (tail, 0);
        }
    });
}

fn address(at: &[usize], axes: &[(usize, isize)]) -> isize {
    at.iter().zip(axes).map(|(&index, axis)| index as isize * axis.1).sum()
}

fn copy_row<T: Pod>(x: &[T], from: usize, stride: isize, row: &mut [T]) {
    match stride {
        1 if row.len() < 16 => row.iter_mut().zip(&x[from..]).for_each(|(out, &x)| *out = x),
        1 => row.copy_from_slice(&x[from..from + row.len()]),
        0 => row.fill(x[from]),
        2.. => row.iter_mut().zip(x[from..].iter().step_by(stride as usize)).for_each(|(out, &x)| *out = x),
        _ => row.iter_mut().enumerate().for_each(|(i, out)| *out = x[(from as isize + i as isize * stride) as usize]),
    }
}

/// Matrices whose columns are contiguous in `x`, in square blocks so that both sides stay in cache.
fn copy_blocks<T: Pod + Send + Sync>(
    x: &[T],
    start: usize,
    batch: &[(usize, isize)],
    height: usize,
    (width, stride): (usize, isize),
    out: &mut [T],
) {
    let sizes: SmallVec<[usize; 8]> = batch.iter().map(|axis| axis.0).collect();
    let bands = height.div_ceil(BLOCK);
    // One task is a band of rows of one matrix, or several whole small matrices.
    let matrix = height * width;
    if matrix <= CHUNK {
        for_chunks(out, (CHUNK / matrix).max(1) * matrix, |offset, part| {
            let mut odometer = Odometer::new(&sizes, offset / matrix);
            for band in part.chunks_mut(matrix) {
                let from = start as isize + address(odometer.at(), batch);
                transpose_band(&x[from as usize..], stride as usize, width, band);
                odometer.step();
            }
        });
        return;
    }
    for (index, matrix) in out.chunks_mut(matrix).enumerate() {
        let odometer = Odometer::new(&sizes, index);
        let from = start as isize + address(odometer.at(), batch);
        let rows = (CHUNK / width).max(1).next_multiple_of(BLOCK).min(bands * BLOCK);
        for_chunks(matrix, rows * width, |offset, band| {
            transpose_band(&x[from as usize + offset / width..], stride as usize, width, band);
        });
    }
}

/// `out[r][c] = x[c * stride + r]`
fn transpose_band<T: Pod>(x: &[T], stride: usize, width: usize, out: &mut [T]) {
    match simd::width() {
        Width::Base => transpose_blocks(x, stride, width, out),
        // SAFETY: this machine has AVX2 and FMA.
        _ => unsafe { transpose_blocks_wide(x, stride, width, out) },
    }
}

#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma"))]
fn transpose_blocks_wide<T: Pod>(x: &[T], stride: usize, width: usize, out: &mut [T]) {
    transpose_blocks(x, stride, width, out)
}

#[inline(always)]
fn transpose_blocks<T: Pod>(x: &[T], stride: usize, width: usize, out: &mut [T]) {
    for (block, rows) in out.chunks_mut(BLOCK * width).enumerate() {
        let x = &x[block * BLOCK..];
        let whole = if rows.len() == BLOCK * width { width - width % BLOCK } else { 0 };
        for left in (0..whole).step_by(BLOCK) {
            transpose_block(&x[left * stride..], stride, width, &mut rows[left..]);
        }
        for (r, row) in rows.chunks_mut(width).enumerate() {
            for (c, out) in row.iter_mut().enumerate().skip(whole) {
                *out = x[c * stride + r];
            }
        }
    }
}

/// A whole block, in loops of known length.
#[inline(always)]
fn transpose_block<T: Pod>(x: &[T], stride: usize, width: usize, out: &mut [T]) {
    let mut block = [[T::zeroed(); BLOCK]; BLOCK];
    for (c, column) in block.iter_mut().enumerate() {
        column.copy_from_slice(&x[c * stride..][..BLOCK]);
    }
    for r in 0..BLOCK {
        let row = &mut out[r * width..][..BLOCK];
        for c in 0..BLOCK {
            row[c] = block[c][r];
        }
    }
}
