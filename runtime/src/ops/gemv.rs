//! Products of a few rows with a large matrix: bound by reading the matrix once.

use super::gemm::Sizes;
use super::simd::{self, LANES, mul_add, vectorized};
use rayon::prelude::*;

/// Most rows of the left matrix that go this way.
pub const MAX_ROWS: usize = 4;
/// The same when the right matrix is transposed: its rows are read once and not packed.
pub const MAX_ROWS_TRANSPOSED: usize = 32;

/// Outputs per task; fixed, so that the sums do not depend on the number of threads.
const CHUNK: usize = 256;

/// `y [m, n] = a [m, k] · b`, with `b` as `[n, k]` (`transposed`) or `[k, n]`; meant for few rows.
pub fn gemv(sizes: Sizes, a: &[f32], b: &[f32], transposed: bool, y: &mut [f32]) {
    let Sizes { m, n, k } = sizes;
    if k == 0 {
        return y.fill(0.0);
    }
    if m == 1 {
        return chunks(sizes, a, b, transposed, y);
    }
    let mut columns = vec![0.0; m * n];
    chunks(sizes, a, b, transposed, &mut columns);
    scatter(&columns, m, n, y);
}

/// `out` holds, per chunk of columns, the chunk of every row (`[m, chunk]`).
fn chunks(sizes: Sizes, a: &[f32], b: &[f32], transposed: bool, out: &mut [f32]) {
    let Sizes { m, n, k } = sizes;
    out.par_chunks_mut(m * CHUNK).enumerate().for_each(|(chunk, out)| {
        let first = chunk * CHUNK;
        match transposed {
            true => rows_by_rows(a, &b[first * k..], k, m, out),
            false => rows_by_columns(a, &b[first..], k, n, m, out),
        }
    });
}

/// From the layout of [`chunks`] to rows.
fn scatter(columns: &[f32], m: usize, n: usize, y: &mut [f32]) {
    for (chunk, block) in columns.chunks(m * CHUNK).enumerate() {
        let width = block.len() / m;
        for (row, part) in block.chunks(width).enumerate() {
            y[row * n + chunk * CHUNK..][..width].copy_from_slice(part);
        }
    }
}

/// `out [m, width]` of `b [width, k]`: dot products.
fn rows_by_rows(a: &[f32], b: &[f32], k: usize, m: usize, out: &mut [f32]) {
    let width = out.len() / m;
    for j in 0..width {
        let b = &b[j * k..(j + 1) * k];
        for i in 0..m {
            out[i * width + j] = simd::dot(&a[i * k..(i + 1) * k], b);
        }
    }
}

/// `out [m, width]` of `b [k, n]`, of which the first `width` columns are used: sums of rows.
fn rows_by_columns(a: &[f32], b: &[f32], k: usize, n: usize, m: usize, out: &mut [f32]) {
    let width = out.len() / m;
    for (i, out) in out.chunks_mut(width).enumerate() {
        out.fill(0.0);
        add_rows(&a[i * k..(i + 1) * k], b, n, out);
    }
}

/// `out[i stride + j] = Σ_p a[i, p] b[j, p]` of rows of `k` elements.
pub fn dots(a: &[f32], b: &[f32], k: usize, out: &mut [f32], stride: usize) {
    #[cfg(target_arch = "x86_64")]
    if simd::width() == simd::Width::Avx512 {
        // SAFETY: the machine has these instructions.
        return unsafe { dots_avx512(a, b, k, out, stride) };
    }
    for_pairs(a, b, k, |i, j, a, b| out[i * stride + j] = simd::dot(a, b));
}

/// Calls `body(i, j, a_i, b_j)` for all pairs of rows, all of `a` for one of `b` after the other.
#[inline(always)]
fn for_pairs(a: &[f32], b: &[f32], k: usize, mut body: impl FnMut(usize, usize, &[f32], &[f32])) {
    for (j, b) in b.chunks_exact(k).enumerate() {
        a.chunks_exact(k).enumerate().for_each(|(i, a)| body(i, j, a, b));
    }
}

/// [`dots`] of rows too short for [`simd::dot`], whose sums of lanes take longer than the products.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn dots_avx512(a: &[f32], b: &[f32], k: usize, out: &mut [f32], stride: usize) {
    for_pairs(a, b, k, |i, j, a, b| out[i * stride + j] = short_dot_avx512(a, b));
}

#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx512f")]
fn short_dot_avx512(a: &[f32], b: &[f32]) -> f32 {
    use std::arch::x86_64::{_mm512_fmadd_ps, _mm512_loadu_ps, _mm512_reduce_add_ps, _mm512_setzero_ps};
    let ((a, a_tail), (b, b_tail)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let mut sums = _mm512_setzero_ps();
    for (a, b) in a.iter().zip(b) {
        // SAFETY: both are as long as a register.
        let (a, b) = unsafe { (_mm512_loadu_ps(a.as_ptr()), _mm512_loadu_ps(b.as_ptr())) };
        sums = _mm512_fmadd_ps(a, b, sums);
    }
    let tail = a_tail.iter().zip(b_tail).fold(0.0, |sum, (a, b)| sum + a * b);
    _mm512_reduce_add_ps(sums) + tail
}

vectorized! {
    /// `out += Σ_p a[p] b[p * stride..]`, four rows at a time.
    pub fn add_rows<const FMA: bool>(a: &[f32], b: &[f32], stride: usize, out: &mut [f32]) -> () {
        let width = out.len();
        let (fours, tail) = a.as_chunks::<4>();
        for (p, a) in fours.iter().enumerate() {
            let row = |i: usize| &b[(4 * p + i) * stride..][..width];
            let (b0, b1, b2, b3) = (row(0), row(1), row(2), row(3));
            for j in 0..width {
                let near = mul_add::<FMA>(a[1], b1[j], a[0] * b0[j]);
                let far = mul_add::<FMA>(a[3], b3[j], a[2] * b2[j]);
                out[j] += near + far;
            }
        }
        for (p, a) in tail.iter().enumerate() {
            let b = &b[(fours.len() * 4 + p) * stride..][..width];
            for j in 0..width {
                out[j] = mul_add::<FMA>(*a, b[j], out[j]);
            }
        }
    }
}
