//! Convolution: patches as a matrix, times the weights, over ranges of windows that fit the cache.

use super::depthwise::depthwise;
use super::gemm::{Matrix, Sizes, Target, product};
use super::operands::{at_least_rank, no_code, operand, operand_as, operand_of, positive};
use super::real::Real;
use super::shared::Shared;
use super::window::{Described, Windows};
use super::{OpContext, OpError, patches, scratch};
use crate::tensor::{Dims, Tensor};
use mokume_ir::op::Conv;
use mokume_ir::types::Elem;
use rayon::prelude::*;
use std::ops::Range;

/// Convolution, NCHW by OIHW, any number of spatial axes.
///
/// Errors  when the sizes do not fit, or for types other than floats and i32.
pub fn conv(op: &Conv, inputs: &[&Tensor], cx: &OpContext<'_>) -> Result<Vec<Tensor>, OpError> {
    let shape = Shape::new(op, inputs)?;
    let mut y = cx.alloc(&shape.output_dims(), inputs[0].elem())?;
    match inputs[0].elem() {
        Elem::F32 if depthwise(&shape, inputs, y.slice_mut()) => {}
        Elem::F32 => floats::<f32>(&shape, inputs, y.slice_mut()),
        Elem::F64 => floats::<f64>(&shape, inputs, y.slice_mut()),
        Elem::I32 => integers(&shape, inputs, y.slice_mut()),
        other => return no_code("conv", other),
    }
    Ok(vec![y])
}

/// Sizes of a convolution.
pub struct Shape {
    /// Batch.
    pub n: usize,
    /// Groups.
    pub groups: usize,
    /// Input channels per group.
    pub channels: usize,
    /// Output channels per group.
    pub filters: usize,
    /// Where the windows lie.
    pub windows: Windows,
}

impl Shape {
    fn new(op: &Conv, inputs: &[&Tensor]) -> Result<Self, OpError> {
        let x = operand(inputs, 0)?;
        let w = operand_of(inputs, 1, x.elem())?;
        at_least_rank(x, 2)?;
        let described = Described { strides: &op.strides, dilations: &op.dilations, pads: &op.pads, auto_pad: op.auto_pad, ceil: false };
        if w.rank() != x.rank() {
            return Err(OpError::operands(format!("cannot convolve {:?} with {:?}", x.dims(), w.dims())));
        }
        let shape = Shape::with(x.dims(), (w.dims()[0], w.dims()[1]), &w.dims()[2..], &described, op.groups)?;
        if inputs.len() > 2 {
            operand_as(inputs, 2, x.elem(), &[w.dims()[0]])?;
        }
        Ok(shape)
    }
    /// Sizes of the convolution of `x` with `filters.0` filters of `filters.1` channels and this kernel.
    ///
    /// Errors  when the channels do not fit, or the kernel does not.
    pub fn with(x: &[usize], filters: (usize, usize), kernel: &[usize], described: &Described<'_>, groups: i64) -> Result<Self, OpError> {
        let groups = positive(groups, "the number of groups")?;
        if x.len() < 2 || filters.1.checked_mul(groups) != Some(x[1]) || !filters.0.is_multiple_of(groups) {
            return Err(OpError::operands(format!("{filters:?} filters and channels in {groups} groups do not fit input {x:?}")));
        }
        if kernel.contains(&0) {
            return Err(OpError::operands("a kernel without elements"));
        }
        let windows = Windows::new(&x[2..], kernel, described)?;
        Ok(Shape { n: x[0], groups, channels: filters.1, filters: filters.0 / groups, windows })
    }
    /// Sizes of the output.
    pub fn output_dims(&self) -> Dims {
        [self.n, self.groups * self.filters].into_iter().chain(self.windows.output.iter().copied()).collect()
    }
    /// Terms of each sum.
    pub fn depth(&self) -> usize {
        self.channels * self.windows.taps()
    }
    /// Where the channels of a group begin in the input.
    pub fn input_at(&self, image: usize, group: usize) -> usize {
        (image * self.groups + group) * self.channels * self.windows.plane()
    }
    /// Where the filters of a group begin in the output.
    pub fn output_at(&self, image: usize, group: usize) -> usize {
        (image * self.groups + group) * self.filters * self.windows.count()
    }
    /// Tasks: image, group, range of at most `most` windows.
    pub fn tasks(&self, most: usize) -> Vec<(usize, usize, Range<usize>)> {
        let count = self.windows.count();
        let tile = count.div_ceil(count.div_ceil(most).max(1)).next_multiple_of(16).max(16);
        let ranges = || (0..count).step_by(tile).map(|start| start..(start + tile).min(count));
        let groups = |image| (0..self.groups).flat_map(move |group| ranges().map(move |range| (image, group, range)));
        (0..self.n).flat_map(groups).collect()
    }
}

/// Elements of patches per task: half a megabyte of f32.
const TILE: usize = 1 << 17;

fn floats<T: Real>(shape: &Shape, inputs: &[&Tensor], y: &mut [T]) {
    let (x, w) = (inputs[0].slice::<T>(), inputs[1].slice::<T>());
    let tasks = shape.tasks((TILE / shape.depth().max(1)).clamp(64, 4096));
    let threads = tasks.len() < 8;
    if let Some(bias) = inputs.get(2) {
        start_with_bias(bias.slice::<T>(), shape.windows.count(), y);
    }
    let out = Shared::new(y);
    tasks.into_par_iter().for_each(|(image, group, range)| {
        let tile = Tile { shape, range, image, group };
        let x = &x[shape.input_at(image, group)..][..shape.channels * shape.windows.plane()];
        let w = &w[group * shape.filters * shape.depth()..];
        tile.multiply(x, w, &out, inputs.len() > 2, threads);
    });
}

/// Every output plane filled with the bias of its channel.
pub fn start_with_bias<T: Copy + Send + Sync>(bias: &[T], count: usize, y: &mut [T]) {
    if count > 0 {
        y.par_chunks_mut(count).enumerate().for_each(|(i, plane)| plane.fill(bias[i % bias.len()]));
    }
}

struct Tile<'a> {
    shape: &'a Shape,
    range: Range<usize>,
    image: usize,
    group: usize,
}

impl Tile<'_> {
    fn multiply<T: Real>(&self, x: &[T], w: &[T], out: &Shared<T>, add: bool, threads: bool) {
        let windows = &self.shape.windows;
        if windows.is_identity() {
            return self.product(Matrix { data: &x[self.range.start..], rows: windows.plane(), cols: 1 }, w, out, add, threads);
        }
        let width = self.range.len();
        scratch::with::<T, _>(self.shape.depth() * width, |columns| {
            patches::gather(x, windows, self.range.clone(), T::ZERO, columns);
            self.product(Matrix { data: columns, rows: width, cols: 1 }, w, out, add, threads);
        });
    }

    fn product<T: Real>(&self, columns: Matrix<T>, w: &[T], out: &Shared<T>, add: bool, threads: bool) {
        let shape = self.shape;
        let sizes = Sizes { m: shape.filters, n: self.range.len(), k: shape.depth() };
        let start = shape.output_at(self.image, self.group) + self.range.start;
        let filters = Matrix { data: w, rows: shape.depth(), cols: 1 };
        // SAFETY: tasks cover disjoint windows of disjoint planes.
        unsafe { product(sizes, filters, columns, out, Target { start, rows: shape.windows.count(), add }, threads) }
    }
}

/// Windows per task of the integer convolution.
const INTEGER_TILE: usize = 256;

fn integers(shape: &Shape, inputs: &[&Tensor], y: &mut [i32]) {
    let (x, w, depth) = (inputs[0].slice::<i32>(), inputs[1].slice::<i32>(), shape.depth());
    y.fill(0);
    if let Some(bias) = inputs.get(2) {
        start_with_bias(bias.slice::<i32>(), shape.windows.count(), y);
    }
    let out = Shared::new(y);
    shape.tasks(INTEGER_TILE).into_par_iter().for_each(|(image, group, range)| {
        let x = &x[shape.input_at(image, group)..][..shape.channels * shape.windows.plane()];
        let w = &w[group * shape.filters * depth..];
        let mut columns = vec![0; depth * range.len()];
        patches::gather(x, &shape.windows, range.clone(), 0, &mut columns);
        for filter in 0..shape.filters {
            let start = shape.output_at(image, group) + filter * shape.windows.count() + range.start;
            // SAFETY: tasks cover disjoint windows of disjoint planes.
            let row = unsafe { out.part(start, range.len()) };
            add_products(&w[filter * depth..(filter + 1) * depth], &columns, row);
        }
    });
}

/// `row += Σ_k w[k] columns[k]`, wrapping.
fn add_products(w: &[i32], columns: &[i32], row: &mut [i32]) {
    for (&w, column) in w.iter().zip(columns.chunks_exact(row.len())) {
        row.iter_mut().zip(column).for_each(|(y, &x)| *y = y.wrapping_add(w.wrapping_mul(x)));
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_close, numbers, run};
    use super::super::window::unflatten;
    use super::*;
    use mokume_ir::op::AutoPad;

    /// The definition, in f64.
    fn naive(shape: &Shape, x: &[f32], w: &[f32], bias: &[f32]) -> Vec<f32> {
        let (windows, filters) = (&shape.windows, shape.groups * shape.filters);
        let sum = |i: usize| {
            let (plane, at) = (i / windows.count(), unflatten(i % windows.count(), &windows.output));
            let (image, filter) = (plane / filters, plane % filters);
            let input = shape.input_at(image, filter / shape.filters);
            (0..shape.depth()).fold(bias[filter] as f64, |sum, k| {
                let tap = unflatten(k % windows.taps(), &windows.kernel);
                let at = (0..windows.rank()).try_fold(k / windows.taps(), |flat, axis| {
                    let at = usize::try_from(windows.position(axis, at[axis], tap[axis])).ok()?;
                    (at < windows.input[axis]).then(|| flat * windows.input[axis] + at)
                });
                sum + at.map_or(0.0, |at| x[input + at] as f64 * w[filter * shape.depth() + k] as f64)
            }) as f32
        };
        (0..shape.n * filters * windows.count()).map(sum).collect()
    }

    fn check(x: &[usize], w: &[usize], strides: &[i64], dilations: &[i64], pads: &[i64], auto_pad: AutoPad, groups: i64) {
        let op = Conv { strides: strides.into(), dilations: dilations.into(), pads: pads.into(), auto_pad, groups };
        let inputs = [numbers(x, 1), numbers(w, 2), numbers(&w[..1], 3)];
        let shape = Shape::new(&op, &inputs.iter().collect::<Vec<_>>()).unwrap();
        let want = naive(&shape, inputs[0].slice(), inputs[1].slice(), inputs[2].slice());
        let y = run(op.clone(), &inputs);
        assert_eq!(y[0].dims(), &shape.output_dims()[..]);
        assert_close(y[0].slice(), &want, 1e-5);
        let integers =
            inputs.map(|x| Tensor::of(x.dims(), Elem::I32, &x.slice::<f32>().iter().map(|v| (v * 9.0) as i32).collect::<Vec<_>>()));
        let floats = integers.each_ref().map(|x| x.slice::<i32>().iter().map(|&v| v as f32).collect::<Vec<_>>());
        let exact: Vec<f32> = run(op, &integers)[0].slice::<i32>().iter().map(|&v| v as f32).collect();
        assert_eq!(exact, naive(&shape, &floats[0], &floats[1], &floats[2]));
    }

    #[test]
    fn any_rank_stride_dilation_padding_and_group() {
        let explicit = AutoPad::Explicit;
        check(&[2, 3, 9, 8], &[5, 3, 3, 3], &[1, 1], &[1, 1], &[1, 1, 1, 1], explicit, 1);
        check(&[1, 4, 9, 11], &[6, 2, 3, 2], &[2, 3], &[2, 1], &[0, 2, 1, 1], explicit, 2);
        check(&[1, 5, 40, 30], &[7, 5, 1, 1], &[1, 1], &[1, 1], &[0; 4], explicit, 1);
        check(&[1, 5, 9, 9], &[7, 5, 1, 1], &[2, 2], &[1, 1], &[0; 4], explicit, 1);
        check(&[2, 3, 17], &[4, 3, 5], &[2], &[3], &[4, 1], explicit, 1);
        check(&[1, 2, 4, 5, 6], &[3, 2, 2, 3, 2], &[1, 2, 1], &[1, 1, 2], &[1, 0, 1, 0, 1, 1], explicit, 1);
        check(&[1, 2, 7, 7], &[3, 2, 4, 4], &[2, 2], &[1, 1], &[], AutoPad::SameUpper, 1);
        check(&[1, 2, 7, 7], &[3, 2, 4, 4], &[2, 2], &[1, 1], &[], AutoPad::SameLower, 1);
    }

    #[test]
    fn depthwise_sweeps_equal_the_definition() {
        for (size, kernel, stride, dilation) in [(9, 3, 1, 1), (70, 5, 2, 1), (131, 3, 1, 2), (20, 4, 3, 2), (5, 5, 1, 1)] {
            let (strides, dilations) = ([stride, stride], [dilation, dilation]);
            check(&[2, 3, 7 + kernel, size + 4], &[3, 1, kernel, kernel], &strides, &dilations, &[2, 1, 2, 2], AutoPad::Explicit, 3);
            check(&[1, 2, size + 4], &[6, 1, kernel], &strides[..1], &dilations[..1], &[0, 3], AutoPad::Explicit, 2);
        }
    }

    #[test]
    fn misfits_are_refused() {
        let op = |groups| Conv { strides: vec![1], dilations: vec![1], pads: vec![0, 0], auto_pad: AutoPad::Explicit, groups };
        let (x, w) = (numbers(&[1, 4, 8], 1), numbers(&[6, 2, 3], 2));
        for (groups, x) in [(1, &x), (0, &x), (2, &numbers(&[1, 4, 2], 3)), (2, &numbers(&[1, 4], 4))] {
            assert!(super::super::testing::refuses(op(groups), &[x.clone(), w.clone()]), "{groups} {x:?}");
        }
    }
}
