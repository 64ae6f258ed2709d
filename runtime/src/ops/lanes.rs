//! Loops over slices: split over threads in fixed chunks, and compiled for wide vectors.
//!
//! Results never depend on the number of threads: chunk sizes are constants.

use super::shared::Shared;
use super::simd::{Width, width};
use rayon::prelude::*;

/// Elements per chunk of cheap work.
pub const CHUNK: usize = 1 << 15;

/// Calls `work(offset, part)` for parts of `out`, in parallel when `out` is longer than `chunk`.
pub fn for_chunks<R: Send>(out: &mut [R], chunk: usize, work: impl Fn(usize, &mut [R]) + Sync) {
    let (chunk, len) = (chunk.max(1), out.len());
    if len <= chunk {
        return work(0, out);
    }
    let shared = Shared::new(out);
    for_each(len.div_ceil(chunk), &|i| {
        let offset = i * chunk;
        // SAFETY: the parts of different tasks do not overlap.
        work(offset, unsafe { shared.part(offset, chunk.min(len - offset)) });
    });
}

/// Calls `work(i)` for `0..count` in parallel. Not generic, so that the thread pool's code exists once.
pub fn for_each(count: usize, work: &(dyn Fn(usize) + Sync)) {
    (0..count).into_par_iter().for_each(work);
}

/// Calls both, in parallel when that is worth it.
pub fn join(worth_it: bool, a: &mut (dyn FnMut() + Send), b: &mut (dyn FnMut() + Send)) {
    if worth_it {
        rayon::join(a, b);
    } else {
        a();
        b();
    }
}

/// Calls `work(row, slice)` for every row of `width` elements, in parallel when there are many elements.
pub fn for_rows<R: Send>(out: &mut [R], width: usize, work: impl Fn(usize, &mut [R]) + Sync) {
    if width == 0 {
        return;
    }
    let rows_per_chunk = (CHUNK / width).max(1);
    for_chunks(out, rows_per_chunk * width, |offset, part| {
        for (i, row) in part.chunks_mut(width).enumerate() {
            work(offset / width + i, row);
        }
    });
}

/// `out[i] = f(x[i])`
pub fn map1<A: Copy, R>(x: &[A], out: &mut [R], f: impl Fn(A) -> R) {
    match width() {
        Width::Base => map1_body(x, out, f),
        // SAFETY: this machine has AVX2 and FMA.
        _ => unsafe { map1_wide(x, out, f) },
    }
}

#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma"))]
fn map1_wide<A: Copy, R>(x: &[A], out: &mut [R], f: impl Fn(A) -> R) {
    map1_body(x, out, f)
}

#[inline(always)]
fn map1_body<A: Copy, R>(x: &[A], out: &mut [R], f: impl Fn(A) -> R) {
    for (out, &x) in out.iter_mut().zip(x) {
        *out = f(x);
    }
}

/// `out[i] = f(a[i], b[i])`
pub fn map2<A: Copy, B: Copy, R>(a: &[A], b: &[B], out: &mut [R], f: impl Fn(A, B) -> R) {
    match width() {
        Width::Base => map2_body(a, b, out, f),
        // SAFETY: this machine has AVX2 and FMA.
        _ => unsafe { map2_wide(a, b, out, f) },
    }
}

#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma"))]
fn map2_wide<A: Copy, B: Copy, R>(a: &[A], b: &[B], out: &mut [R], f: impl Fn(A, B) -> R) {
    map2_body(a, b, out, f)
}

#[inline(always)]
fn map2_body<A: Copy, B: Copy, R>(a: &[A], b: &[B], out: &mut [R], f: impl Fn(A, B) -> R) {
    for ((out, &a), &b) in out.iter_mut().zip(a).zip(b) {
        *out = f(a, b);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_element_is_visited_once() {
        let mut out = vec![0usize; 3 * CHUNK + 5];
        for_chunks(&mut out, CHUNK, |offset, part| {
            for (i, value) in part.iter_mut().enumerate() {
                *value += offset + i;
            }
        });
        assert!(out.iter().enumerate().all(|(i, &value)| i == value));
        for_rows(&mut out[..70_000], 7, |row, slice| slice.fill(row));
        assert!(out[..70_000].iter().enumerate().all(|(i, &row)| row == i / 7));
    }
}
