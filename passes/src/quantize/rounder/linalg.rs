//! Dense products and factors, in tiles of fixed size: the same bytes whatever the number of threads.

use gemm::Parallelism;
use rayon::prelude::*;

/// How a matrix lies in a slice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Row by row, at this distance.
    Rows(usize),
    /// The slice holds the transposed matrix, row by row, at this distance.
    Transposed(usize),
}

/// f32 and f64.
pub trait Number: Copy + Send + Sync + 'static {
    /// 0.
    const ZERO: Self;
    /// 1.
    const ONE: Self;
}

impl Number for f32 {
    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;
}

impl Number for f64 {
    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;
}

/// Rows of a product that are computed by one task.
const TILE: usize = 96;

/// Columns of a block of a factor.
const BLOCK: usize = 64;

/// `a · b` for `a` of `[m, k]` and `b` of `[k, n]`, row by row.
pub fn product<T: Number>(a: &[T], b: &[T], k: usize, n: usize) -> Vec<T> {
    let mut out = vec![T::ZERO; a.len() / k.max(1) * n];
    multiply_add(a, Layout::Rows(k), b, Layout::Rows(n), k, &mut out, n);
    out
}

/// `out += a · b`, where `out` is `[m, n]` row by row and `a` has `k` columns. The work is spread over the current pool.
pub fn multiply_add<T: Number>(a: &[T], a_layout: Layout, b: &[T], b_layout: Layout, k: usize, out: &mut [T], n: usize) {
    let first = |tile: usize| match a_layout {
        Layout::Rows(distance) => &a[tile * TILE * distance..],
        Layout::Transposed(_) => &a[tile * TILE..],
    };
    let tiles = out.par_chunks_mut((TILE * n).max(1)).enumerate();
    tiles.for_each(|(tile, out)| tile_multiply_add(T::ONE, (first(tile), a_layout), (b, b_layout), k, out, (n, n)));
}

/// `out += factor · a · b` in this thread, where rows of `out` have `n` columns, at a distance.
pub fn tile_multiply_add<T: Number>(
    factor: T,
    (a, a_layout): (&[T], Layout),
    (b, b_layout): (&[T], Layout),
    k: usize,
    out: &mut [T],
    (n, distance): (usize, usize),
) {
    let m = (out.len() + distance - n.min(distance)) / distance.max(1);
    if m == 0 || n == 0 || k == 0 {
        return;
    }
    let ((a_row, a_col), (b_row, b_col)) = (strides(a_layout), strides(b_layout));
    let fits = |len: usize, rows: usize, cols: usize, (row, col): (usize, usize)| (rows - 1) * row + (cols - 1) * col < len;
    assert!(fits(a.len(), m, k, (a_row, a_col)) && fits(b.len(), k, n, (b_row, b_col)), "operands of a product lie in their slices");
    assert!(fits(out.len(), m, n, (distance, 1)) && n <= distance, "a product lies in its slice");
    // SAFETY: operands and result lie in their slices by the checks above; `out` is borrowed alone.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            1,
            distance as isize,
            true,
            a.as_ptr(),
            a_col as isize,
            a_row as isize,
            b.as_ptr(),
            b_col as isize,
            b_row as isize,
            T::ONE,
            factor,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

/// Distances of rows and of columns.
fn strides(layout: Layout) -> (usize, usize) {
    match layout {
        Layout::Rows(distance) => (distance, 1),
        Layout::Transposed(distance) => (1, distance),
    }
}

/// `Σ a_i b_i`.
pub fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// `a m bᵀ` for every row of `a` and `b`, `[rows, k]`, in f64.
pub fn forms(a: &[f32], m: &[f64], b: &[f32], k: usize) -> Vec<f64> {
    let size = (TILE * k).max(1);
    let tile = |(a, b): (&[f32], &[f32])| {
        let a: Vec<f64> = a.iter().map(|&x| f64::from(x)).collect();
        let mut image = vec![0.0; a.len()];
        tile_multiply_add(1.0, (&a, Layout::Rows(k)), (m, Layout::Rows(k)), k, &mut image, (k, k));
        let rows = image.chunks(k.max(1)).zip(b.chunks(k.max(1)));
        rows.map(|(image, b)| image.iter().zip(b).map(|(x, &y)| x * f64::from(y)).sum()).collect::<Vec<f64>>()
    };
    a.par_chunks(size).zip(b.par_chunks(size)).flat_map_iter(tile).collect()
}

/// The lower factor of `a = L Lᵀ`, `[n, n]`, with zeros above; nothing if `a` is not positive definite.
///
/// Reads the lower half of `a`.
pub fn cholesky(mut a: Vec<f64>, n: usize) -> Option<Vec<f64>> {
    for start in (0..n).step_by(BLOCK) {
        let end = (start + BLOCK).min(n);
        factor_block(&mut a, n, start, end)?;
        let (above, below) = a.split_at_mut(end * n);
        let corner = &above[start * n..];
        below.par_chunks_mut(n).for_each(|row| solve_row(row, corner, n, start, end));
        subtract_square(below, n, start, end);
    }
    for row in 0..n {
        a[row * n + row + 1..(row + 1) * n].fill(0.0);
    }
    Some(a)
}

/// The factor of the block on the diagonal.
fn factor_block(a: &mut [f64], n: usize, start: usize, end: usize) -> Option<()> {
    for i in start..end {
        let (above, row) = a.split_at_mut(i * n);
        solve_row(row, &above[start * n..], n, start, i);
        let rest = row[i] - dot(&row[start..i], &row[start..i]);
        if !(rest > 0.0 && rest.is_finite()) {
            return None;
        }
        row[i] = rest.sqrt();
    }
    Some(())
}

/// Columns `start .. end` of a row below a factored corner, whose first row is that of column `start`.
fn solve_row(row: &mut [f64], corner: &[f64], n: usize, start: usize, end: usize) {
    for j in start..end {
        let line = &corner[(j - start) * n..];
        row[j] = (row[j] - dot(&row[start..j], &line[start..j])) / line[j];
    }
}

/// Subtracts what columns `start .. end` explain from the columns behind them.
fn subtract_square(below: &mut [f64], n: usize, start: usize, end: usize) {
    let (rest, width) = (n - end, end - start);
    let panel: Vec<f64> = below.chunks(n).flat_map(|row| row[start..end].iter().copied()).collect();
    below.par_chunks_mut(TILE * n).enumerate().for_each(|(tile, rows)| {
        let own = &panel[tile * TILE * width..];
        let cols = rest.min((tile + 1) * TILE);
        tile_multiply_add(-1.0, (own, Layout::Rows(width)), (&panel, Layout::Transposed(width)), width, &mut rows[end..], (cols, n));
    });
}

/// The inverse of a lower factor.
pub fn lower_inverse(l: &[f64], n: usize) -> Vec<f64> {
    let mut inverse = vec![0.0; n * n];
    for start in (0..n).step_by(BLOCK) {
        let end = (start + BLOCK).min(n);
        let (done, rows) = inverse.split_at_mut(start * n);
        let rows = &mut rows[..(end - start) * n];
        if start > 0 {
            tile_multiply_add(-1.0, (&l[start * n..], Layout::Rows(n)), (done, Layout::Rows(n)), start, rows, (start, n));
        }
        for i in start..end {
            let (before, row) = rows.split_at_mut((i - start) * n);
            row[i] = 1.0;
            for (j, line) in (start..i).zip(before.chunks(n)) {
                let factor = l[i * n + j];
                row[..=j].iter_mut().zip(line).for_each(|(x, &y)| *x -= factor * y);
            }
            row[..=i].iter_mut().for_each(|x| *x /= l[i * n + i]);
        }
    }
    inverse
}

/// The inverse of a positive definite matrix, from its lower factor.
pub fn inverse(l: &[f64], n: usize) -> Vec<f64> {
    let (lower, mut out) = (lower_inverse(l, n), vec![0.0; n * n]);
    multiply_add(&lower, Layout::Transposed(n), &lower, Layout::Rows(n), n, &mut out, n);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `A Aᵀ + I` for numbers that look random.
    fn positive(n: usize) -> Vec<f64> {
        let a: Vec<f64> = (0..n * n).map(|i| ((i * 7919 + i / n * 31) % 1009) as f64 / 504.5 - 1.0).collect();
        let mut out: Vec<f64> = (0..n * n).map(|i| f64::from(u8::from(i / n == i % n))).collect();
        multiply_add(&a, Layout::Rows(n), &a, Layout::Transposed(n), n, &mut out, n);
        out
    }

    #[test]
    fn factors_and_inverses_multiply_back() {
        for n in [1, 5, 63, 64, 65, 200] {
            let a = positive(n);
            let l = cholesky(a.clone(), n).unwrap();
            let mut back = vec![0.0; n * n];
            multiply_add(&l, Layout::Rows(n), &l, Layout::Transposed(n), n, &mut back, n);
            let unit = product(&a, &inverse(&l, n), n, n);
            for i in 0..n * n {
                assert!((back[i] - a[i]).abs() < 1e-9 * a[i / n * (n + 1)], "{n}: {i}");
                assert!((unit[i] - f64::from(u8::from(i / n == i % n))).abs() < 1e-7, "{n}: {i}");
            }
        }
    }

    #[test]
    fn what_is_not_positive_definite_has_no_factor() {
        let mut a = positive(130);
        a[100 * 131] = -1.0;
        assert_eq!(cholesky(a, 130), None);
        assert_eq!(cholesky(vec![0.0], 1), None);
        assert_eq!(cholesky(vec![], 0), Some(vec![]));
    }
}
