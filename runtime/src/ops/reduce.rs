//! Reductions over axes. Floats are summed in blocks whose sums are added pairwise, always in the same order.

use super::lanes::{CHUNK, for_chunks, for_rows, join};
use super::layout::{around, axes, operands};
use super::number::{Float, Number, by_integer};
use super::simd::{Width, width};
use super::{OpContext, OpError, cast, strided};
use crate::tensor::{Dims, Scalar, Tensor};
use mokume_ir::op::{Reduce, ReduceKind};
use mokume_ir::types::Elem;

/// Elements summed by one loop; longer ranges are split in two.
const LEAF: usize = 1024;
/// Rows added one by one; more are split in two.
const LEAF_ROWS: usize = 64;
/// Columns reduced at a time.
const TILE: usize = 512;
/// Independent sums of one loop, which fill the widest vectors.
const LANES: usize = 32;

/// Runs a reduction. Operands of f16 and bf16 arrive as f32.
pub fn reduce(op: &Reduce, inputs: &[&Tensor], cx: &OpContext<'_>) -> Result<Vec<Tensor>, OpError> {
    let [x] = operands(inputs)?;
    let reduced = if op.all { (0..x.rank()).collect() } else { axes(&cx.ints(&op.axes, inputs)?, x.rank())? };
    let dims: Dims = (0..x.rank())
        .filter(|axis| op.keep_dims || !reduced.contains(axis))
        .map(|axis| if reduced.contains(&axis) { 1 } else { x.dims()[axis] })
        .collect();
    let (x, block) = arrange(x, &reduced, cx)?;
    Ok(vec![block.run(op.kind, &x, cx)?.reshaped(&dims)])
}

/// The largest or smallest elements along one axis; NaN wins.
pub fn extremes(x: &Tensor, axis: usize, largest: bool, cx: &OpContext<'_>) -> Result<Tensor, OpError> {
    let (outer, count, inner) = around(x.dims(), axis);
    Block { outer, count, inner }.run(if largest { ReduceKind::Max } else { ReduceKind::Min }, x, cx)
}

/// `[outer, count, inner]`, reduced over `count`.
#[derive(Clone, Copy)]
struct Block {
    outer: usize,
    count: usize,
    inner: usize,
}

/// `x` as a block, transposed where the reduced axes are not neighbors.
fn arrange(x: &Tensor, reduced: &[usize], cx: &OpContext<'_>) -> Result<(Tensor, Block), OpError> {
    let size = |axes: std::ops::Range<usize>| x.dims()[axes].iter().product();
    let long = || reduced.iter().copied().filter(|&axis| x.dims()[axis] != 1);
    let (Some(first), Some(last)) = (long().min(), long().max()) else {
        return Ok((x.clone(), Block { outer: x.len(), count: 1, inner: 1 }));
    };
    if (first..=last).all(|axis| reduced.contains(&axis) || x.dims()[axis] == 1) {
        let block = Block { outer: size(0..first), count: size(first..last + 1), inner: size(last + 1..x.rank()) };
        return Ok((x.clone(), block));
    }
    let strides = super::layout::strides(x.dims());
    let (kept, gone): (Vec<usize>, Vec<usize>) = (0..x.rank()).partition(|axis| !reduced.contains(axis));
    let order: Vec<(usize, isize)> = kept.iter().chain(&gone).map(|&axis| (x.dims()[axis], strides[axis] as isize)).collect();
    let dims: Vec<usize> = order.iter().map(|axis| axis.0).collect();
    let block = Block { outer: dims[..kept.len()].iter().product(), count: dims[kept.len()..].iter().product(), inner: 1 };
    Ok((strided::gather(x, &dims, 0, &order, cx)?, block))
}

impl Block {
    fn run(self, kind: ReduceKind, x: &Tensor, cx: &OpContext<'_>) -> Result<Tensor, OpError> {
        let no_code = || Err(OpError::unsupported(format!("reduce {} of {}", kind.name(), x.elem())));
        match x.elem() {
            Elem::F32 => self.floats::<f32>(kind, x, cx),
            Elem::F64 => self.floats::<f64>(kind, x, cx),
            Elem::Bool => match kind {
                ReduceKind::Max => self.fold::<u8>(x, 0, |x| x, |a, b| a | b, cx),
                ReduceKind::Min => self.fold::<u8>(x, 1, |x| x, |a, b| a & b, cx),
                _ => no_code(),
            },
            elem => by_integer!(elem, T => self.integers::<T>(kind, x, cx), _ => no_code()),
        }
    }

    /// Integers wrap; means and logarithms are computed in f64 and truncated.
    fn integers<T: Number>(self, kind: ReduceKind, x: &Tensor, cx: &OpContext<'_>) -> Result<Tensor, OpError> {
        match kind {
            ReduceKind::Sum => self.fold::<T>(x, T::ZERO, |x| x, T::add, cx),
            ReduceKind::Prod => self.fold::<T>(x, T::ONE, |x| x, T::mul, cx),
            ReduceKind::Max => self.fold::<T>(x, T::LOWEST, |x| x, T::max, cx),
            ReduceKind::Min => self.fold::<T>(x, T::HIGHEST, |x| x, T::min, cx),
            ReduceKind::SumSquare => self.fold::<T>(x, T::ZERO, |x| x.mul(x), T::add, cx),
            ReduceKind::L1 => self.fold::<T>(x, T::ZERO, T::abs, T::add, cx),
            _ => {
                let exact = self.floats::<f64>(kind, &cast::convert(x, Elem::F64, false, cx)?, cx)?;
                cast::convert(&exact, x.elem(), false, cx)
            }
        }
    }

    fn floats<T: Float>(self, kind: ReduceKind, x: &Tensor, cx: &OpContext<'_>) -> Result<Tensor, OpError> {
        let mut out = match kind {
            ReduceKind::Sum | ReduceKind::Mean | ReduceKind::LogSum => self.fold::<T>(x, T::ZERO, |x| x, T::add, cx)?,
            ReduceKind::Prod => self.fold::<T>(x, T::ONE, |x| x, T::mul, cx)?,
            ReduceKind::Max => self.fold::<T>(x, T::LOWEST, |x| x, T::max, cx)?,
            ReduceKind::Min => self.fold::<T>(x, T::HIGHEST, |x| x, T::min, cx)?,
            ReduceKind::SumSquare | ReduceKind::L2 => self.fold::<T>(x, T::ZERO, |x| x.mul(x), T::add, cx)?,
            ReduceKind::L1 => self.fold::<T>(x, T::ZERO, T::abs, T::add, cx)?,
            ReduceKind::LogSumExp => return self.log_sum_exp::<T>(x, cx),
        };
        let count = T::of_count(self.count);
        let finish = |of: &dyn Fn(T) -> T, out: &mut Tensor| out.slice_mut::<T>().iter_mut().for_each(|x| *x = of(*x));
        match kind {
            ReduceKind::Mean => finish(&|x| x.div(count), &mut out),
            ReduceKind::L2 => finish(&T::root, &mut out),
            ReduceKind::LogSum => finish(&T::log, &mut out),
            _ => {}
        }
        Ok(out)
    }

    /// `max + ln Σ e^(x - max)`; where the maximum is infinite, it is the result.
    fn log_sum_exp<T: Float>(self, x: &Tensor, cx: &OpContext<'_>) -> Result<Tensor, OpError> {
        let mut out = self.fold::<T>(x, T::LOWEST, |x| x, T::max, cx)?;
        let Block { count, inner, .. } = self;
        let x = x.slice::<T>();
        for_chunks(out.slice_mut::<T>(), (CHUNK / count.max(1)).max(1), |offset, part| {
            for (i, out) in part.iter_mut().enumerate() {
                let (row, column) = ((offset + i) / inner, (offset + i) % inner);
                let max = if out.is_infinite() { T::ZERO } else { *out };
                let terms = (0..count).map(|k| x[(row * count + k) * inner + column].sub(max).exponential());
                *out = max.add(terms.fold(T::ZERO, T::add).log());
            }
        });
        Ok(out)
    }

    /// Combines `of(x)` over the reduced axis, starting from `start`, which must be neutral for `combine`.
    fn fold<T: Scalar>(
        self,
        x: &Tensor,
        start: T,
        of: impl Fn(T) -> T + Copy + Sync,
        combine: impl Fn(T, T) -> T + Copy + Sync,
        cx: &OpContext<'_>,
    ) -> Result<Tensor, OpError> {
        let Block { outer, count, inner } = self;
        let mut out = cx.alloc(&[outer * inner], x.elem())?;
        let x = x.slice::<T>();
        let values = out.slice_mut::<T>();
        if count == 0 {
            values.fill(start);
        } else if inner == 1 {
            for_chunks(values, (CHUNK / count).max(1), |offset, part| {
                for (i, out) in part.iter_mut().enumerate() {
                    let row = offset + i;
                    *out = fold_row(&x[row * count..(row + 1) * count], start, of, combine);
                }
            });
        } else {
            let tile = inner.min(TILE);
            for_rows(values, inner, |row, out| {
                let x = &x[row * count * inner..(row + 1) * count * inner];
                for_chunks(out, tile, |left, out| fold_columns(x, inner, left, out, of, combine));
            });
        }
        Ok(out)
    }
}

/// One row; ranges longer than a leaf are split in two, the halves combined.
fn fold_row<T: Scalar>(x: &[T], start: T, of: impl Fn(T) -> T + Copy + Sync, combine: impl Fn(T, T) -> T + Copy + Sync) -> T {
    if x.len() <= LEAF {
        return match width() {
            Width::Base => fold_leaf(x, start, of, combine),
            // SAFETY: this machine has AVX2 and FMA.
            _ => unsafe { fold_leaf_wide(x, start, of, combine) },
        };
    }
    let (low, high) = x.split_at((x.len() / 2).next_multiple_of(LANES));
    let mut halves = (start, start);
    join(x.len() > CHUNK, &mut || halves.0 = fold_row(low, start, of, combine), &mut || halves.1 = fold_row(high, start, of, combine));
    combine(halves.0, halves.1)
}

#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma"))]
fn fold_leaf_wide<T: Scalar>(x: &[T], start: T, of: impl Fn(T) -> T, combine: impl Fn(T, T) -> T) -> T {
    fold_leaf(x, start, of, combine)
}

#[inline(always)]
fn fold_leaf<T: Scalar>(x: &[T], start: T, of: impl Fn(T) -> T, combine: impl Fn(T, T) -> T) -> T {
    let mut lanes = [start; LANES];
    let (groups, rest) = x.as_chunks::<LANES>();
    for group in groups {
        for (lane, &x) in lanes.iter_mut().zip(group) {
            *lane = combine(*lane, of(x));
        }
    }
    for (lane, &x) in lanes.iter_mut().zip(rest) {
        *lane = combine(*lane, of(x));
    }
    let sixteen: [T; 16] = halved(&lanes, &combine);
    let eight: [T; 8] = halved(&sixteen, &combine);
    let four: [T; 4] = halved(&eight, &combine);
    let [low, high] = halved(&four, &combine);
    combine(low, high)
}

/// The lanes of the lower half with those of the upper one: arrays of their own, which stay in registers.
#[inline(always)]
fn halved<T: Scalar, const HALF: usize>(lanes: &[T], combine: &impl Fn(T, T) -> T) -> [T; HALF] {
    let mut half = [lanes[0]; HALF];
    for i in 0..HALF {
        half[i] = combine(lanes[i], lanes[i + HALF]);
    }
    half
}

/// Columns `left..left + out.len()` of rows `inner` wide; many rows are split in two, the halves combined.
fn fold_columns<T: Scalar>(
    x: &[T],
    inner: usize,
    left: usize,
    out: &mut [T],
    of: impl Fn(T) -> T + Copy + Sync,
    combine: impl Fn(T, T) -> T + Copy + Sync,
) {
    let count = x.len() / inner;
    if count <= LEAF_ROWS {
        return match width() {
            Width::Base => fold_rows(x, inner, left, out, of, combine),
            // SAFETY: this machine has AVX2 and FMA.
            _ => unsafe { fold_rows_wide(x, inner, left, out, of, combine) },
        };
    }
    let mut other = [T::default(); TILE];
    let other = &mut other[..out.len()];
    let (low, high) = x.split_at(count / 2 * inner);
    join(count * out.len() > CHUNK, &mut || fold_columns(low, inner, left, out, of, combine), &mut || {
        fold_columns(high, inner, left, other, of, combine)
    });
    map2_in_place(out, other, combine);
}

fn map2_in_place<T: Scalar>(out: &mut [T], other: &[T], combine: impl Fn(T, T) -> T) {
    out.iter_mut().zip(other).for_each(|(out, &other)| *out = combine(*out, other));
}

#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,fma"))]
fn fold_rows_wide<T: Scalar>(x: &[T], inner: usize, left: usize, out: &mut [T], of: impl Fn(T) -> T, combine: impl Fn(T, T) -> T) {
    fold_rows(x, inner, left, out, of, combine)
}

#[inline(always)]
fn fold_rows<T: Scalar>(x: &[T], inner: usize, left: usize, out: &mut [T], of: impl Fn(T) -> T, combine: impl Fn(T, T) -> T) {
    for (i, row) in x.chunks_exact(inner).enumerate() {
        let row = &row[left..left + out.len()];
        if i == 0 {
            out.iter_mut().zip(row).for_each(|(out, &x)| *out = of(x));
        } else {
            out.iter_mut().zip(row).for_each(|(out, &x)| *out = combine(*out, of(x)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::tests::run_op as run;
    use mokume_ir::attr::Ints;

    fn reduced(kind: ReduceKind, axes: &[i64], keep_dims: bool, x: &Tensor) -> Tensor {
        let op = Reduce { kind, axes: Ints::of(axes.iter().copied()), all: axes.is_empty(), keep_dims };
        run(op, &[x]).remove(0)
    }

    #[test]
    fn axes_first_last_middle_and_apart() {
        let values: Vec<f32> = (0..24).map(|i| i as f32).collect();
        let x = Tensor::f32s(&[2, 3, 4], &values);
        let sum = |axes: &[i64]| reduced(ReduceKind::Sum, axes, false, &x).slice::<f32>().to_vec();
        assert_eq!(sum(&[-1]), [6.0, 22.0, 38.0, 54.0, 70.0, 86.0]);
        assert_eq!(sum(&[0])[..3], [12.0, 14.0, 16.0]);
        assert_eq!(sum(&[1]), [12.0, 15.0, 18.0, 21.0, 48.0, 51.0, 54.0, 57.0]);
        assert_eq!(sum(&[0, 2]), [60.0, 92.0, 124.0]);
        assert_eq!(sum(&[]), [276.0]);
        assert_eq!(reduced(ReduceKind::Mean, &[0, 2], true, &x).dims(), [1, 3, 1]);
    }

    #[test]
    fn kinds() {
        let x = Tensor::f32s(&[4], &[1.0, -2.0, 3.0, -4.0]);
        let value = |kind| reduced(kind, &[0], false, &x).slice::<f32>()[0];
        assert_eq!(value(ReduceKind::Mean), -0.5);
        assert_eq!(value(ReduceKind::Prod), 24.0);
        assert_eq!((value(ReduceKind::Max), value(ReduceKind::Min)), (3.0, -4.0));
        assert_eq!((value(ReduceKind::L1), value(ReduceKind::SumSquare)), (10.0, 30.0));
        assert_eq!(value(ReduceKind::L2), 30f32.sqrt());
        let want = (1f64.exp() + (-2f64).exp() + 3f64.exp() + (-4f64).exp()).ln() as f32;
        assert!((value(ReduceKind::LogSumExp) - want).abs() < 1e-6);
        let large = Tensor::f32s(&[2], &[1000.0, 1000.0]);
        assert_eq!(reduced(ReduceKind::LogSumExp, &[0], false, &large).slice::<f32>(), [1000.0 + std::f32::consts::LN_2]);
    }

    #[test]
    fn nothing_reduces_to_the_neutral_element() {
        let x = Tensor::f32s(&[2, 0], &[]);
        let values = |kind| reduced(kind, &[1], false, &x).slice::<f32>().to_vec();
        assert_eq!(values(ReduceKind::Sum), [0.0; 2]);
        assert_eq!(values(ReduceKind::Prod), [1.0; 2]);
        assert_eq!(values(ReduceKind::Max), [f32::NEG_INFINITY; 2]);
        assert_eq!(values(ReduceKind::LogSumExp), [f32::NEG_INFINITY; 2]);
        assert!(values(ReduceKind::Mean)[0].is_nan());
    }

    #[test]
    fn long_sums_are_accurate() {
        let x = Tensor::f32s(&[1_000_000], &vec![0.1; 1_000_000]);
        let sum = reduced(ReduceKind::Sum, &[], false, &x).slice::<f32>()[0];
        assert!((sum - 100_000.0).abs() < 0.05, "{sum}");
        let columns = reduced(ReduceKind::Sum, &[0], false, &x.reshaped(&[500_000, 2]));
        assert!((columns.slice::<f32>()[1] - 50_000.0).abs() < 0.05);
    }

    #[test]
    fn integers_wrap_and_means_truncate() {
        let x = Tensor::of(&[3], Elem::I8, &[100i8, 100, -1]);
        assert_eq!(reduced(ReduceKind::Sum, &[0], false, &x).slice::<i8>(), [-57]);
        assert_eq!(reduced(ReduceKind::Mean, &[0], false, &x).slice::<i8>(), [66]);
        let nan = Tensor::f32s(&[3], &[1.0, f32::NAN, 2.0]);
        assert!(reduced(ReduceKind::Max, &[0], false, &nan).slice::<f32>()[0].is_nan());
    }
}
