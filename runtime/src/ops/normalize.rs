//! Normalizations. Sums are in f64 (f32 data in several f32 lanes per block), so that long rows stay exact enough.

use super::operands::{at_least_rank, axis_of, operand, operand_as, positive};
use super::real::{Real, for_reals};
use super::{OpContext, OpError};
use crate::tensor::Tensor;
use mokume_ir::op::{GroupNorm, LayerNorm, LocalResponseNorm, Op, RmsNorm};
use mokume_ir::types::Elem;
use rayon::prelude::*;

/// (x - mean)/sqrt(var + epsilon) * scale + bias over axes `axis..`.
pub fn layer_norm(op: &LayerNorm, inputs: &[&Tensor], cx: &OpContext<'_>) -> Result<Vec<Tensor>, OpError> {
    let x = operand(inputs, 0)?;
    for_reals!("layer_norm", x.elem(), T => {
        let rows = Rows::new(x, op.axis, inputs)?;
        let (scale, bias) = (inputs[1].slice::<T>(), inputs.get(2).map(|bias| bias.slice::<T>()));
        rows.map::<T>(x, cx, |x, y| {
            layer_row(x, op.epsilon, y);
            rows.scale(y, scale);
            if let Some(bias) = bias {
                rows.add(y, bias);
            }
        })
    })
}

/// x/sqrt(mean x² + epsilon) * scale over axes `axis..`.
pub fn rms_norm(op: &RmsNorm, inputs: &[&Tensor], cx: &OpContext<'_>) -> Result<Vec<Tensor>, OpError> {
    let x = operand(inputs, 0)?;
    for_reals!("rms_norm", x.elem(), T => {
        let rows = Rows::new(x, op.axis, inputs)?;
        let scale = inputs[1].slice::<T>();
        rows.map::<T>(x, cx, |x, y| {
            rms_row(x, op.epsilon, y);
            rows.scale(y, scale);
        })
    })
}

/// A norm of f32 rows whose scale and bias are as long as a row; the same bits as the op.
#[derive(Debug, Clone, Copy)]
pub struct RowNorm<'a> {
    epsilon: f32,
    scale: &'a [f32],
    /// With one the mean is subtracted.
    bias: Option<&'a [f32]>,
}

impl<'a> RowNorm<'a> {
    /// The norm that `op` is, of rows of `row` elements; `parameters` are its operands behind the first.
    ///
    /// Errors  when they do not fit.
    pub fn new(op: &Op, row: usize, parameters: &'a [Tensor]) -> Result<Self, OpError> {
        let fits = parameters.iter().all(|tensor| tensor.elem() == Elem::F32 && tensor.len() == row);
        match (op, parameters) {
            (Op::RmsNorm(op), [scale]) if fits => Ok(RowNorm { epsilon: op.epsilon, scale: scale.slice(), bias: None }),
            (Op::LayerNorm(op), [scale, bias]) if fits => {
                Ok(RowNorm { epsilon: op.epsilon, scale: scale.slice(), bias: Some(bias.slice()) })
            }
            _ => Err(OpError::operands(format!("{} of rows of {row} elements with {parameters:?}", op.name()))),
        }
    }
    /// Normalizes a row.
    pub fn row(&self, x: &[f32], y: &mut [f32]) {
        match self.bias {
            None => rms_row(x, self.epsilon, y),
            Some(_) => layer_row(x, self.epsilon, y),
        }
        y.iter_mut().zip(self.scale).for_each(|(y, &scale)| *y *= scale);
        if let Some(bias) = self.bias {
            y.iter_mut().zip(bias).for_each(|(y, &bias)| *y += bias);
        }
    }
}

/// [`rms_norm`] of a row, without scale.
fn rms_row<T: Real>(x: &[T], epsilon: f32, y: &mut [T]) {
    let factor = 1.0 / (sum(x, |x| x * x) / x.len() as f64 + epsilon as f64).sqrt();
    normalize(x, T::ZERO, T::of(factor), y);
}

/// [`layer_norm`] of a row, without scale and bias.
fn layer_row<T: Real>(x: &[T], epsilon: f32, y: &mut [T]) {
    let (mean, factor) = standard(x, epsilon);
    normalize(x, mean, factor, y);
}

/// Normalization over groups of channels and all spatial axes.
pub fn group_norm(op: &GroupNorm, inputs: &[&Tensor], cx: &OpContext<'_>) -> Result<Vec<Tensor>, OpError> {
    let x = operand(inputs, 0)?;
    at_least_rank(x, 2)?;
    let (channels, groups) = (x.dims()[1], positive(op.groups, "the number of groups")?);
    if !channels.is_multiple_of(groups) {
        return Err(OpError::operands(format!("{channels} channels in {groups} groups")));
    }
    let scale = operand_as(inputs, 1, x.elem(), &[channels])?;
    let bias = operand_as(inputs, 2, x.elem(), &[channels])?;
    let plane: usize = x.dims()[2..].iter().product();
    let rows = Rows { row: channels / groups * plane, period: 1 };
    for_reals!("group_norm", x.elem(), T => {
        let (scale, bias, per_group) = (scale.slice::<T>(), bias.slice::<T>(), channels / groups);
        rows.map_numbered::<T>(x, cx, |number, x, y| {
            let (mean, factor) = standard(x, op.epsilon);
            let first = number % groups * per_group;
            for (i, (x, y)) in x.chunks(plane).zip(y.chunks_mut(plane)).enumerate() {
                let (scale, bias) = (scale[first + i], bias[first + i]);
                y.iter_mut().zip(x).for_each(|(y, &x)| *y = (x - mean) * factor * scale + bias);
            }
        })
    })
}

/// x / (bias + alpha/size Σ x²)^beta over neighboring channels.
pub fn local_response_norm(op: &LocalResponseNorm, inputs: &[&Tensor], cx: &OpContext<'_>) -> Result<Vec<Tensor>, OpError> {
    let x = operand(inputs, 0)?;
    at_least_rank(x, 2)?;
    let size = positive(op.size, "the window")?;
    let (channels, plane) = (x.dims()[1], x.dims()[2..].iter().product::<usize>());
    for_reals!("local_response_norm", x.elem(), T => {
        let (alpha, beta, bias) = (T::of(op.alpha as f64 / size as f64), T::of(op.beta as f64), T::of(op.bias as f64));
        let images = Rows { row: channels * plane, period: 1 };
        images.map::<T>(x, cx, |x, y| {
            for c in 0..channels {
                let near = c.saturating_sub((size - 1) / 2)..(c + size / 2 + 1).min(channels);
                for i in 0..plane {
                    let squares: T = near.clone().map(|c| x[c * plane + i] * x[c * plane + i]).sum();
                    y[c * plane + i] = x[c * plane + i] / (bias + alpha * squares).powf(beta);
                }
            }
        })
    })
}

/// Rows that are normalized each on its own, and how often scale and bias repeat in a row.
struct Rows {
    row: usize,
    period: usize,
}

impl Rows {
    /// Rows of axes `axis..`; scale (operand 1) and bias (operand 2) broadcast to a row along its leading axes.
    fn new(x: &Tensor, axis: i64, inputs: &[&Tensor]) -> Result<Self, OpError> {
        let axis = axis_of(axis, x.rank())?;
        let dims = &x.dims()[axis..];
        let scale = operand(inputs, 1)?;
        let parameters = scale.dims().iter().position(|&d| d != 1).map_or(&[][..], |first| &scale.dims()[first..]);
        let fits = dims.ends_with(parameters) || scale.len() == 1;
        if !fits || scale.elem() != x.elem() {
            return Err(OpError::operands(format!("scale {:?} does not fit rows of {dims:?}", scale.dims())));
        }
        if let Some(bias) = inputs.get(2).filter(|bias| bias.len() != scale.len() || bias.elem() != x.elem()) {
            return Err(OpError::operands(format!("bias {:?} and scale {:?} differ", bias.dims(), scale.dims())));
        }
        Ok(Rows { row: dims.iter().product(), period: scale.len().max(1) })
    }
    fn scale<T: Real>(&self, y: &mut [T], scale: &[T]) {
        y.chunks_mut(self.period).for_each(|y| y.iter_mut().zip(scale).for_each(|(y, &scale)| *y *= scale));
    }
    fn add<T: Real>(&self, y: &mut [T], bias: &[T]) {
        y.chunks_mut(self.period).for_each(|y| y.iter_mut().zip(bias).for_each(|(y, &bias)| *y += bias));
    }
    fn map<T: Real>(&self, x: &Tensor, cx: &OpContext<'_>, row: impl Fn(&[T], &mut [T]) + Sync) -> Result<Vec<Tensor>, OpError> {
        self.map_numbered(x, cx, |_, x, y| row(x, y))
    }
    /// Applies `row` to every row of `x`.
    fn map_numbered<T: Real>(
        &self,
        x: &Tensor,
        cx: &OpContext<'_>,
        row: impl Fn(usize, &[T], &mut [T]) + Sync,
    ) -> Result<Vec<Tensor>, OpError> {
        let mut y = cx.alloc(x.dims(), x.elem())?;
        if !x.is_empty() {
            let rows = y.slice_mut::<T>().par_chunks_mut(self.row).zip(x.slice::<T>().par_chunks(self.row));
            rows.enumerate().with_min_len((1usize << 13).div_ceil(self.row)).for_each(|(i, (y, x))| row(i, x, y));
        }
        Ok(vec![y])
    }
}

/// Mean, and 1/sqrt(var + epsilon).
fn standard<T: Real>(x: &[T], epsilon: f32) -> (T, T) {
    let mean = sum(x, |x| x) / x.len() as f64;
    let center = T::of(mean);
    let variance = sum(x, |x| (x - center) * (x - center)) / x.len() as f64;
    (center, T::of(1.0 / (variance + epsilon as f64).sqrt()))
}

fn normalize<T: Real>(x: &[T], mean: T, factor: T, y: &mut [T]) {
    y.iter_mut().zip(x).for_each(|(y, &x)| *y = (x - mean) * factor);
}

const LANES: usize = 16;
const BLOCK: usize = 64 * LANES;

/// Sum of terms: in lanes within a block, in f64 over blocks.
fn sum<T: Real>(x: &[T], term: impl Fn(T) -> T) -> f64 {
    x.chunks(BLOCK).map(|block| block_sum(block, &term)).sum()
}

fn block_sum<T: Real>(x: &[T], term: &impl Fn(T) -> T) -> f64 {
    let (blocks, tail) = x.as_chunks::<LANES>();
    let mut lanes = [T::ZERO; LANES];
    for block in blocks {
        for i in 0..LANES {
            lanes[i] += term(block[i]);
        }
    }
    lanes.iter().map(|lane| lane.to_f64()).sum::<f64>() + tail.iter().map(|&x| term(x).to_f64()).sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_close, numbers, refuses, run};
    use super::*;

    fn moments(x: &[f32]) -> (f64, f64) {
        let mean = x.iter().map(|&x| x as f64).sum::<f64>() / x.len() as f64;
        (mean, x.iter().map(|&x| (x as f64 - mean).powi(2)).sum::<f64>() / x.len() as f64)
    }

    #[test]
    fn rows_have_scale_and_bias() {
        let (x, scale, bias) = (numbers(&[4, 2, 35], 1), numbers(&[2, 35], 2), numbers(&[2, 35], 3));
        let want: Vec<f32> = x
            .slice::<f32>()
            .chunks(70)
            .flat_map(|row| {
                let (mean, variance) = moments(row);
                let unit = move |x: f32| (x as f64 - mean) / (variance + 1e-3).sqrt();
                row.iter().zip(scale.slice::<f32>()).zip(bias.slice::<f32>()).map(move |((&x, &s), &b)| (unit(x) * s as f64) as f32 + b)
            })
            .collect();
        let y = run(LayerNorm { axis: 1, epsilon: 1e-3 }, &[x.clone(), scale.clone(), bias]);
        assert_close(y[0].slice(), &want, 1e-6);
        let y = run(RmsNorm { axis: -1, epsilon: 1e-3 }, &[x.clone(), numbers(&[35], 2)]);
        let (mean, variance) = moments(&x.slice::<f32>()[..35]);
        let first = x.slice::<f32>()[0] as f64 / (variance + mean * mean + 1e-3).sqrt() * numbers(&[35], 2).slice::<f32>()[0] as f64;
        assert!((y[0].slice::<f32>()[0] as f64 - first).abs() < 1e-6);
        assert!(refuses(RmsNorm { axis: -1, epsilon: 0.0 }, &[x, numbers(&[2, 3], 1)]));
    }

    #[test]
    fn groups_share_moments() {
        let (x, ones, zeros) = (numbers(&[2, 4, 3, 5], 1), Tensor::f32s(&[4], &[1.0; 4]), Tensor::f32s(&[4], &[0.0; 4]));
        let y = run(GroupNorm { groups: 2, epsilon: 0.0 }, &[x, ones, zeros]);
        for group in y[0].slice::<f32>().chunks(30) {
            let (mean, variance) = moments(group);
            assert!(mean.abs() < 1e-6 && (variance - 1.0).abs() < 1e-5);
        }
    }

    #[test]
    fn neighbors_dampen() {
        let x = Tensor::f32s(&[1, 3, 1], &[1.0, 2.0, 3.0]);
        let y = run(LocalResponseNorm { size: 2, alpha: 2.0, beta: 1.0, bias: 1.0 }, &[x]);
        assert_close(y[0].slice(), &[1.0 / 6.0, 2.0 / 14.0, 3.0 / 10.0], 1e-6);
    }
}
