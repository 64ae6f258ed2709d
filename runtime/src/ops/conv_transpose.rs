//! Transposed convolution: weights times input, then the columns are added onto the output planes.

use super::conv::start_with_bias;
use super::gemm::{Matrix, Sizes, Target, product};
use super::operands::{at_least_rank, operand, operand_as, operand_of, positive};
use super::real::{Real, for_reals};
use super::shared::Shared;
use super::window::{Windows, check_size};
use super::{OpContext, OpError, patches, scratch};
use crate::tensor::{Dims, Tensor};
use mokume_ir::op::{AutoPad, ConvTranspose};
use rayon::prelude::*;

/// Transposed convolution, NCHW by IOHW.
///
/// Errors  when the sizes do not fit.
/// Source  ONNX ConvTranspose-11.
pub fn conv_transpose(op: &ConvTranspose, inputs: &[&Tensor], cx: &OpContext<'_>) -> Result<Vec<Tensor>, OpError> {
    let x = operand(inputs, 0)?;
    let w = operand_of(inputs, 1, x.elem())?;
    let shape = Shape::new(op, x, w)?;
    let filters = shape.groups * shape.filters;
    if inputs.len() > 2 {
        operand_as(inputs, 2, x.elem(), &[filters])?;
    }
    let dims: Dims = [shape.n, filters].into_iter().chain(shape.windows.input.iter().copied()).collect();
    let mut y = cx.alloc(&dims, x.elem())?;
    for_reals!("conv_transpose", x.elem(), T => {
        shape.start::<T>(inputs, y.slice_mut());
        shape.add_columns::<T>(x.slice(), w.slice(), y.slice_mut());
        Ok(vec![y])
    })
}

/// Sizes. The windows are those of the convolution that this transposes: their input is our output.
struct Shape {
    n: usize,
    groups: usize,
    /// Input channels per group.
    channels: usize,
    /// Output channels per group.
    filters: usize,
    windows: Windows,
}

impl Shape {
    fn new(op: &ConvTranspose, x: &Tensor, w: &Tensor) -> Result<Self, OpError> {
        at_least_rank(x, 2)?;
        let groups = positive(op.groups, "the number of groups")?;
        let misfit = || OpError::operands(format!("cannot convolve {:?} with {:?} in {groups} groups", x.dims(), w.dims()));
        if w.rank() != x.rank() || w.dims()[0] != x.dims()[1] || !x.dims()[1].is_multiple_of(groups) || w.dims()[2..].contains(&0) {
            return Err(misfit());
        }
        let windows = windows(op, &x.dims()[2..], &w.dims()[2..])?;
        Ok(Shape { n: x.dims()[0], groups, channels: x.dims()[1] / groups, filters: w.dims()[1], windows })
    }
    fn start<T: Real>(&self, inputs: &[&Tensor], y: &mut [T]) {
        match inputs.get(2) {
            Some(bias) => start_with_bias(bias.slice::<T>(), self.windows.plane(), y),
            None => y.fill(T::ZERO),
        }
    }
    fn add_columns<T: Real>(&self, x: &[T], w: &[T], y: &mut [T]) {
        let (taps, count, plane) = (self.windows.taps(), self.windows.count(), self.windows.plane());
        if plane == 0 || count == 0 || self.filters == 0 {
            return;
        }
        let at_once = (COLUMNS / (taps * count)).clamp(1, self.filters);
        let blocks = y.par_chunks_mut(self.filters * plane).enumerate();
        blocks.for_each(|(image_group, planes)| {
            let x = &x[image_group * self.channels * count..][..self.channels * count];
            let w = &w[image_group % self.groups * self.channels * self.filters * taps..];
            planes.par_chunks_mut(at_once * plane).enumerate().for_each(|(block, planes)| {
                self.add_block(x, &w[block * at_once * taps..], planes);
            });
        });
    }
    /// Some output channels of one image and group; `w` begins at the first.
    fn add_block<T: Real>(&self, x: &[T], w: &[T], planes: &mut [T]) {
        let (taps, count, plane) = (self.windows.taps(), self.windows.count(), self.windows.plane());
        let rows = planes.len() / plane * taps;
        scratch::with::<T, _>(rows * count, |columns| {
            let weights = Matrix { data: w, rows: 1, cols: self.filters * taps };
            let input = Matrix { data: x, rows: count, cols: 1 };
            let target = Target { start: 0, rows: count, add: false };
            let sizes = Sizes { m: rows, n: count, k: self.channels };
            // SAFETY: the columns belong to this task.
            unsafe { product(sizes, weights, input, &Shared::new(&mut *columns), target, true) };
            for (plane, columns) in planes.chunks_mut(plane).zip(columns.chunks(taps * count)) {
                patches::scatter_add(columns, &self.windows, plane);
            }
        });
    }
}

/// Elements of columns that a task holds at once: 4 MiB of f32.
const COLUMNS: usize = 1 << 20;

fn windows(op: &ConvTranspose, input: &[usize], kernel: &[usize]) -> Result<Windows, OpError> {
    let axes = input.len();
    let explicit = op.auto_pad == AutoPad::Explicit && op.output_shape.is_empty();
    let optional = |values: &[i64]| values.is_empty() || values.len() == axes;
    let fits = op.strides.len() == axes && op.dilations.len() == axes && (!explicit || op.pads.len() == 2 * axes);
    if !fits || !optional(&op.output_padding) || !optional(&op.output_shape) {
        return Err(OpError::operands(format!("strides, dilations, pads or output sizes do not fit {axes} spatial axes")));
    }
    let sizes = |values: &[i64], what| values.iter().map(|&v| positive(v, what)).collect::<Result<Dims, _>>();
    let mut windows = Windows {
        input: Dims::from_elem(0, axes),
        kernel: kernel.into(),
        strides: sizes(&op.strides, "a stride")?,
        dilations: sizes(&op.dilations, "a dilation")?,
        begin: vec![0; axes],
        end: vec![0; axes],
        output: input.into(),
    };
    (0..axes).try_for_each(|axis| place(op, axis, &mut windows))?;
    check_size(&windows.input)?;
    Ok(windows)
}

/// Output size and padding of one axis.
fn place(op: &ConvTranspose, axis: usize, windows: &mut Windows) -> Result<(), OpError> {
    let extra = op.output_padding.get(axis).copied().unwrap_or(0);
    let stride = windows.strides[axis] as i64;
    let reach = (windows.output[axis] as i64 - 1).saturating_mul(stride).saturating_add(windows.span(axis) as i64).saturating_add(extra);
    let same = matches!(op.auto_pad, AutoPad::SameUpper | AutoPad::SameLower);
    let size = match op.output_shape.get(axis) {
        Some(&size) => Some(size),
        None if same => Some((windows.output[axis] as i64).saturating_mul(stride)),
        None => None,
    };
    let (begin, end) = match (size, op.auto_pad) {
        (Some(size), auto_pad) => split(reach.saturating_sub(size), auto_pad == AutoPad::SameUpper),
        (None, AutoPad::Valid) => (0, 0),
        (None, _) => (op.pads[axis], op.pads[axis + windows.rank()]),
    };
    let size = size.unwrap_or_else(|| reach.saturating_sub(begin).saturating_sub(end));
    windows.input[axis] = usize::try_from(size).map_err(|_| OpError::operands(format!("an output of {size} elements")))?;
    (windows.begin[axis], windows.end[axis]) = (begin as isize, end as isize);
    Ok(())
}

/// Total padding as begin and end; odd padding goes to the end for `upper`, else to the beginning.
fn split(total: i64, upper: bool) -> (i64, i64) {
    let less = total.div_euclid(2);
    if upper { (less, total - less) } else { (total - less, less) }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_close, numbers, refuses, run};
    use super::super::window::unflatten;
    use super::*;

    fn op(axes: usize, stride: i64, pads: &[i64], groups: i64) -> ConvTranspose {
        let (strides, dilations, pads) = (vec![stride; axes], vec![1; axes], pads.to_vec());
        ConvTranspose { strides, dilations, pads, auto_pad: AutoPad::Explicit, output_padding: vec![], output_shape: vec![], groups }
    }

    /// Every input element adds a scaled kernel to the output.
    fn naive(op: &ConvTranspose, x: &Tensor, w: &Tensor) -> Vec<f32> {
        let shape = Shape::new(op, x, w).unwrap();
        let (windows, taps, plane) = (&shape.windows, shape.windows.taps(), shape.windows.plane());
        let mut y = vec![0.0; shape.n * shape.groups * shape.filters * plane];
        for (i, &value) in x.slice::<f32>().iter().enumerate() {
            let (channel, at) = (i / windows.count(), unflatten(i % windows.count(), &windows.output));
            for (j, weight) in w.slice::<f32>().chunks(taps * shape.filters).nth(channel % x.dims()[1]).unwrap().iter().enumerate() {
                let tap = unflatten(j % taps, &windows.kernel);
                let at = (0..windows.rank()).try_fold(0, |flat, axis| {
                    let at = usize::try_from(windows.position(axis, at[axis], tap[axis])).ok()?;
                    (at < windows.input[axis]).then(|| flat * windows.input[axis] + at)
                });
                if let Some(at) = at {
                    y[(channel / shape.channels * shape.filters + j / taps) * plane + at] += value * weight;
                }
            }
        }
        y
    }

    fn check(op: ConvTranspose, x: &[usize], w: &[usize], dims: &[usize]) {
        let (x, w) = (numbers(x, 1), numbers(w, 2));
        let want = naive(&op, &x, &w);
        let y = run(op, &[x, w]);
        assert_eq!(y[0].dims(), dims);
        assert_close(y[0].slice(), &want, 1e-5);
    }

    #[test]
    fn any_rank_stride_padding_and_group() {
        check(op(2, 2, &[1, 0, 0, 1], 1), &[2, 3, 4, 5], &[3, 2, 3, 3], &[2, 2, 8, 10]);
        check(op(1, 3, &[0, 0], 2), &[1, 4, 7], &[4, 3, 2], &[1, 6, 20]);
        check(op(3, 1, &[0; 6], 1), &[1, 2, 3, 2, 4], &[2, 2, 2, 2, 2], &[1, 2, 4, 3, 5]);
        let padded = ConvTranspose { output_padding: vec![1, 1], dilations: vec![2, 1], ..op(2, 3, &[0; 4], 1) };
        check(padded, &[1, 1, 3, 3], &[1, 2, 2, 2], &[1, 2, 10, 9]);
    }

    #[test]
    fn sizes_decide_the_padding() {
        let same = ConvTranspose { auto_pad: AutoPad::SameUpper, ..op(2, 2, &[0; 4], 1) };
        check(same, &[1, 1, 3, 3], &[1, 2, 3, 3], &[1, 2, 6, 6]);
        let given = ConvTranspose { output_shape: vec![10, 8], output_padding: vec![1, 1], ..op(2, 3, &[0; 4], 1) };
        check(given, &[1, 1, 3, 3], &[1, 2, 3, 3], &[1, 2, 10, 8]);
        assert!(refuses(op(2, 1, &[9; 4], 1), &[numbers(&[1, 1, 3, 3], 1), numbers(&[1, 1, 2, 2], 1)]));
    }
}
