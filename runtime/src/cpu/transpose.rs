//! Transposition of bytes and floats, by tiles that stay in registers.

#[cfg(target_arch = "x86_64")]
use crate::ops::simd::{Width, width};

/// Sides of a tile of bytes.
const BYTES: usize = 16;
/// Sides of a tile of floats.
const FLOATS: usize = 4;
/// Sides of a tile of floats in wide registers.
#[cfg(target_arch = "x86_64")]
const WIDE: usize = 16;

/// Writes `out [pixels, channels]` from `x [channels, pixels]`. Lines of `x` begin `plane` elements apart, pixels of `out` `stride`.
pub fn interleave(x: &[u8], plane: usize, channels: usize, stride: usize, out: &mut [u8]) {
    let pixels = out.len() / stride.max(1);
    if channels < BYTES || pixels < BYTES {
        return interleave_each(x, plane, channels, stride, out);
    }
    for c in starts(channels, BYTES) {
        for p in starts(pixels, BYTES) {
            let rows = std::array::from_fn(|i| tile_row(&x[(c + i) * plane + p..]));
            for (i, row) in transposed(rows).iter().enumerate() {
                out[(p + i) * stride + c..][..BYTES].copy_from_slice(row);
            }
        }
    }
}

/// Writes `lines [n][width]`, given by their beginnings in `y`, from `rows [width, stride]`.
///
/// `line(n)` is the place of line `n`; only the first `n` columns of the rows are read.
pub fn split_columns<'y>(rows: &[f32], stride: usize, n: usize, mut line: impl FnMut(usize) -> &'y mut [f32]) {
    let wide = split_wide(rows, stride, n, &mut line);
    let whole = if stride.is_multiple_of(FLOATS) { n / FLOATS * FLOATS } else { 0 };
    for first in (wide..whole).step_by(FLOATS) {
        split_four(rows, stride, first, std::array::from_fn(|i| line(first + i)));
    }
    for column in whole..n {
        line(column).iter_mut().zip(rows[column..].iter().step_by(stride)).for_each(|(y, &x)| *y = x);
    }
}

/// Columns in groups of sixteen where the machine has registers for that; gives how many are done.
#[cfg(target_arch = "x86_64")]
fn split_wide<'y>(rows: &[f32], stride: usize, n: usize, line: &mut impl FnMut(usize) -> &'y mut [f32]) -> usize {
    if width() != Width::Avx512 || !stride.is_multiple_of(WIDE) {
        return 0;
    }
    for first in (0..n / WIDE * WIDE).step_by(WIDE) {
        let mut lines = std::array::from_fn(|i| line(first + i));
        // SAFETY: the machine has AVX-512.
        unsafe { split_sixteen(rows, stride, first, &mut lines) };
    }
    n / WIDE * WIDE
}

#[cfg(not(target_arch = "x86_64"))]
fn split_wide<'y>(_: &[f32], _: usize, _: usize, _: &mut impl FnMut(usize) -> &'y mut [f32]) -> usize {
    0
}

/// Sixteen columns from `first` on.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn split_sixteen(rows: &[f32], stride: usize, first: usize, lines: &mut [&mut [f32]; WIDE]) {
    use std::arch::x86_64::{_mm512_loadu_ps, _mm512_permutex2var_ps, _mm512_setr_epi32, _mm512_setzero_ps, _mm512_storeu_ps};
    let low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    let high = _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
    let blocks = rows.chunks_exact(WIDE * stride);
    let done = blocks.len() * WIDE;
    for (at, block) in blocks.enumerate() {
        let mut tile = [_mm512_setzero_ps(); WIDE];
        for i in 0..WIDE {
            let row: [f32; WIDE] = tile_row(&block[i * stride + first..]);
            // SAFETY: the row has sixteen elements.
            tile[i] = unsafe { _mm512_loadu_ps(row.as_ptr()) };
        }
        for _ in 0..WIDE.ilog2() {
            let from = tile;
            for i in 0..WIDE {
                tile[i] = _mm512_permutex2var_ps(from[i / 2], if i % 2 == 0 { low } else { high }, from[i / 2 + WIDE / 2]);
            }
        }
        for (line, column) in lines.iter_mut().zip(tile) {
            let to = &mut line[at * WIDE..][..WIDE];
            // SAFETY: the part has sixteen elements.
            unsafe { _mm512_storeu_ps(to.as_mut_ptr(), column) };
        }
    }
    for (w, row) in rows.chunks_exact(stride).enumerate().skip(done) {
        lines.iter_mut().zip(&row[first..]).for_each(|(line, &x)| line[w] = x);
    }
}

/// Four columns from `first` on.
fn split_four(rows: &[f32], stride: usize, first: usize, lines: [&mut [f32]; FLOATS]) {
    let blocks = rows.chunks_exact(FLOATS * stride);
    let rest = blocks.remainder().chunks_exact(stride);
    let [(a, a_rest), (b, b_rest), (c, c_rest), (d, d_rest)] = lines.map(|line| line.as_chunks_mut::<FLOATS>());
    for ((((block, a), b), c), d) in blocks.zip(a).zip(b).zip(c).zip(d) {
        [*a, *b, *c, *d] = transposed_floats(std::array::from_fn(|i| tile_row(&block[i * stride + first..])));
    }
    for ((((row, a), b), c), d) in rest.zip(a_rest).zip(b_rest).zip(c_rest).zip(d_rest) {
        [*a, *b, *c, *d] = tile_row(&row[first..]);
    }
}

/// Beginnings of tiles that cover `0..len`; the last one overlaps the one before where they do not divide it.
fn starts(len: usize, tile: usize) -> impl Iterator<Item = usize> {
    (0..len.div_ceil(tile)).map(move |i| (i * tile).min(len - tile))
}

#[allow(clippy::expect_used, reason = "the slice of a tile's row has a tile's width")]
#[inline(always)]
fn tile_row<T: Copy, const N: usize>(x: &[T]) -> [T; N] {
    *x.first_chunk().expect("a whole row of a tile")
}

fn interleave_each(x: &[u8], plane: usize, channels: usize, stride: usize, out: &mut [u8]) {
    let pixels = out.len() / stride.max(1);
    for c in 0..channels {
        let line = &x[c * plane..][..pixels];
        out[c..].iter_mut().step_by(stride).zip(line).for_each(|(out, &x)| *out = x);
    }
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn transposed(rows: [[u8; BYTES]; BYTES]) -> [[u8; BYTES]; BYTES] {
    use std::arch::x86_64::{__m128i, _mm_unpackhi_epi8, _mm_unpacklo_epi8};
    let mut rows: [__m128i; BYTES] = bytemuck::cast(rows);
    // Each round doubles the distance of neighbors: after four, rows are columns.
    for _ in 0..4 {
        // SAFETY: every x86-64 machine has SSE2.
        rows = std::array::from_fn(|i| unsafe {
            let (a, b) = (rows[i / 2], rows[i / 2 + BYTES / 2]);
            if i % 2 == 0 { _mm_unpacklo_epi8(a, b) } else { _mm_unpackhi_epi8(a, b) }
        });
    }
    bytemuck::cast(rows)
}

#[cfg(not(target_arch = "x86_64"))]
fn transposed(rows: [[u8; BYTES]; BYTES]) -> [[u8; BYTES]; BYTES] {
    std::array::from_fn(|i| std::array::from_fn(|j| rows[j][i]))
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn transposed_floats(rows: [[f32; FLOATS]; FLOATS]) -> [[f32; FLOATS]; FLOATS] {
    use std::arch::x86_64::{__m128, _mm_unpackhi_ps, _mm_unpacklo_ps};
    let mut rows: [__m128; FLOATS] = bytemuck::cast(rows);
    for _ in 0..2 {
        // SAFETY: every x86-64 machine has SSE.
        rows = std::array::from_fn(|i| unsafe {
            let (a, b) = (rows[i / 2], rows[i / 2 + FLOATS / 2]);
            if i % 2 == 0 { _mm_unpacklo_ps(a, b) } else { _mm_unpackhi_ps(a, b) }
        });
    }
    bytemuck::cast(rows)
}

#[cfg(not(target_arch = "x86_64"))]
fn transposed_floats(rows: [[f32; FLOATS]; FLOATS]) -> [[f32; FLOATS]; FLOATS] {
    std::array::from_fn(|i| std::array::from_fn(|j| rows[j][i]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_any_size() {
        for (channels, pixels) in [(1, 5), (3, 40), (16, 16), (17, 31), (24, 7), (50, 33)] {
            let plane = pixels + 3;
            let x: Vec<u8> = (0..channels * plane).map(|i| (i * 7 % 251) as u8).collect();
            for stride in [channels, channels + 5] {
                let mut out = vec![0; pixels * stride];
                interleave(&x, plane, channels, stride, &mut out);
                let want = |i: usize| if i % stride < channels { x[i % stride * plane + i / stride] } else { 0 };
                assert_eq!(out, (0..out.len()).map(want).collect::<Vec<u8>>(), "{channels} by {pixels}");
            }
        }
    }

    #[test]
    fn floats_of_any_size() {
        for (width, n, stride) in [(1, 1, 16), (5, 16, 16), (64, 19, 32), (53, 37, 48), (8, 4, 4)] {
            let rows: Vec<f32> = (0..width * stride).map(|i| i as f32).collect();
            let mut y = vec![0.0; n * width];
            let mut lines: Vec<Option<&mut [f32]>> = y.chunks_mut(width).map(Some).collect();
            split_columns(&rows, stride, n, |i| lines[i].take().unwrap());
            let want: Vec<f32> = (0..n * width).map(|i| rows[i % width * stride + i / width]).collect();
            assert_eq!(y, want);
        }
    }
}
