//! Dense products and factors, in tiles of fixed size: the same bytes whatever the number of threads.

use gemm::Parallelism;
use rayon::prelude::*;

/// How a matrix lies in a slice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Row by row, with this many columns.
    Rows(usize),
    /// The slice holds the transposed matrix row by row, which has this many columns.
    Transposed(usize),
}

/// Rows of a product that are computed by one task.
const TILE: usize = 96;

/// `out += a · b`, where `out` is `[m, n]` row by row.
///
/// Panics  when sizes disagree.
pub fn multiply_add<T: Number>(a: &[T], a_layout: Layout, b: &[T], b_layout: Layout, out: &mut [T], n: usize) {
    if n == 0 || out.is_empty() {
        return;
    }
    let m = out.len() / n;
    let k = a.len() / m;
    let (a_row, a_col) = strides(a_layout, m, k);
    let (b_row, b_col) = strides(b_layout, k, n);
    assert!(out.len() == m * n && a.len() == m * k && b.len() == k * n, "sizes of a product agree");
    out.par_chunks_mut(TILE * n).enumerate().for_each(|(tile, out)| {
        let a = &a[tile * TILE * a_row..];
        // SAFETY: operands and result lie in their slices by the checks above; `out` is borrowed for this task alone.
        unsafe {
            gemm::gemm(
                out.len() / n,
                n,
                k,
                out.as_mut_ptr(),
                1,
                n as isize,
                true,
                a.as_ptr(),
                a_col as isize,
                a_row as isize,
                b.as_ptr(),
                b_col as isize,
                b_row as isize,
                T::ONE,
                T::ONE,
                false,
                false,
                false,
                Parallelism::None,
            );
        }
    });
}

/// Distances of rows and of columns of a matrix `[m, n]`.
fn strides(layout: Layout, m: usize, n: usize) -> (usize, usize) {
    match layout {
        Layout::Rows(cols) => {
            assert!(cols == n, "columns of an operand agree");
            (n, 1)
        }
        Layout::Transposed(cols) => {
            assert!(cols == m, "columns of an operand agree");
            (1, m)
        }
    }
}

/// f32 and f64.
pub trait Number: Copy + Send + Sync + 'static {
    /// 1.
    const ONE: Self;
}

impl Number for f32 {
    const ONE: Self = 1.0;
}

impl Number for f64 {
    const ONE: Self = 1.0;
}

/// `out += a · b`, where all of them lie row by row and `b` is `[k, n]`.
pub fn add_product<T: Number>(a: &[T], b: &[T], k: usize, n: usize, out: &mut [T]) {
    multiply_add(a, Layout::Rows(k), b, Layout::Rows(n), out, n);
}

/// `Σ a_i b_i`.
pub fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}
