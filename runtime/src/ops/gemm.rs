//! Matrix products over strided views.

use super::real::Real;
use super::shared::Shared;
use gemm::Parallelism;

/// A matrix in a slice: element (i, j) is at `i * rows + j * cols`.
#[derive(Clone, Copy)]
pub struct Matrix<'a, T> {
    /// The elements, from (0, 0) on.
    pub data: &'a [T],
    /// Distance of rows.
    pub rows: usize,
    /// Distance of columns.
    pub cols: usize,
}

impl<T> Matrix<'_, T> {
    fn holds(&self, m: usize, n: usize) -> bool {
        m == 0 || n == 0 || (m - 1) * self.rows + (n - 1) * self.cols < self.data.len()
    }
}

/// Where a product goes: element (i, j) is at `start + i * rows + j`.
#[derive(Clone, Copy)]
pub struct Target {
    /// Position of (0, 0).
    pub start: usize,
    /// Distance of rows.
    pub rows: usize,
    /// Add to what is there.
    pub add: bool,
}

/// Sizes of a product: `[m, k] · [k, n]`.
#[derive(Clone, Copy)]
pub struct Sizes {
    /// Rows of the result.
    pub m: usize,
    /// Columns of the result.
    pub n: usize,
    /// Terms of each sum.
    pub k: usize,
}

/// `out = a · b`, or `out += a · b`. With `threads` the work is spread over the current pool; the result is the same.
///
/// # Safety
/// No other thread touches the elements of the target meanwhile.
///
/// Panics  when an operand or the target does not lie in its slice.
pub unsafe fn product<T: Real>(sizes: Sizes, a: Matrix<T>, b: Matrix<T>, out: &Shared<T>, target: Target, threads: bool) {
    let Sizes { m, n, k } = sizes;
    if m == 0 || n == 0 {
        return;
    }
    assert!(a.holds(m, k) && b.holds(k, n), "operands of a product lie in their slices");
    assert!(target.start + (m - 1) * target.rows + n <= out.len(), "the target of a product lies in its slice");
    let parallelism = if threads { Parallelism::Rayon(0) } else { Parallelism::None };
    let (a_stride, b_stride) = ((a.cols as isize, a.rows as isize), (b.cols as isize, b.rows as isize));
    // SAFETY: in range by the checks above; exclusive by the promise of the caller.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.at(target.start),
            1,
            target.rows as isize,
            target.add,
            a.data.as_ptr(),
            a_stride.0,
            a_stride.1,
            b.data.as_ptr(),
            b_stride.0,
            b_stride.1,
            T::ONE,
            T::ONE,
            false,
            false,
            false,
            parallelism,
        );
    }
}
