//! Products of quantized operands, computed exactly: the definition that every native kernel equals bit for bit.
//!
//! For output (m, n) and each scale block g: `acc_g = Σ_k (level_a - zero_a)(level_w - zero_w)` in i32, then
//! `y = (acc_0 * s_w[n, 0] + acc_1 * s_w[n, 1] + …) * s_a[m]` in f32, from left to right, each operation rounded on its own; then the
//! epilogue. Where activations have a scale and zero point per group of a row, g counts the blocks in which both operands have one
//! scale, and `y = (acc_0 * s_w[n, 0]) * s_a[m, 0] + (acc_1 * s_w[n, 1]) * s_a[m, 1] + …`, rounded likewise. A block may have at most
//! `(2^31 - 1) / (largest |level_a - zero_a| * largest |level_w - zero_w|)` elements, so that i32 never overflows: 33,025 for the widest
//! types, whose differences reach 255.

use super::conv::Shape;
use super::epilogue::Steps;
use super::operands::{operand, operand_of};
use super::quantize::{Activation, Rows, code_of_zero, quantize_rows, scales_of};
use super::shared::Shared;
use super::simd::vectorized;
use super::window::Described;
use super::{OpContext, OpError, epilogue, patches};
use crate::tensor::{Dims, Tensor};
use mokume_ir::op::{ActScale, BitConv, BitMatmul};
use mokume_ir::quant::{Granularity, Levels, common_block};
use mokume_ir::types::Elem;
use rayon::prelude::*;
use std::ops::Range;

/// x `[..., k]` quantized per row or tensor, times w `[n, k]`, scaled, then the epilogue.
///
/// Errors  when the operands do not fit, or a block is too long for i32.
pub fn bit_matmul(op: &BitMatmul, inputs: &[&Tensor], cx: &OpContext<'_>) -> Result<Vec<Tensor>, OpError> {
    let x = operand_of(inputs, 0, Elem::F32)?;
    let w = Weights::new(operand(inputs, 1)?, op.a_group)?;
    let how = matmul_activation(op);
    let k = *x.dims().last().ok_or_else(|| OpError::operands("a scalar has no rows"))?;
    w.check(k, &how)?;
    let rows = quantize_rows(x.slice(), k, &how)?;
    let a = differences(&rows, k, &how);
    let mut dims: Dims = x.dims().into();
    dims[x.rank() - 1] = w.n;
    let mut y = cx.alloc(&dims, Elem::F32)?;
    multiply(&a, &w, (&rows.scales, op.a_group), y.slice_mut());
    epilogue::apply(&op.epilogue, &inputs[2..], &dims, y.slice_mut())?;
    Ok(vec![y])
}

/// Convolution of quantized patches.
///
/// Errors  as [`bit_matmul`].
pub fn bit_conv(op: &BitConv, inputs: &[&Tensor], cx: &OpContext<'_>) -> Result<Vec<Tensor>, OpError> {
    let x = operand_of(inputs, 0, Elem::F32)?;
    let w = Weights::new(operand(inputs, 1)?, None)?;
    let shape = conv_shape(op, x.dims(), (w.n, w.k))?;
    let how = conv_activation(op)?;
    w.check(shape.depth(), &how)?;
    let rows = quantize_rows(x.slice(), x.len(), &how)?;
    let plane = PatchSource { rows: &rows, pad: code_of_zero(&how, rows.zeros[0])?, how: &how };
    let dims = shape.output_dims();
    let steps = Steps::new(&op.epilogue, &inputs[2..], &dims, 1)?;
    let mut y = cx.alloc(&dims, Elem::F32)?;
    let out = Shared::new(y.slice_mut());
    shape.tasks(WINDOWS).into_par_iter().for_each(|(image, group, range)| {
        let a = plane.patches(&shape, image, group, range.clone());
        let filters = w.part(group * shape.filters..(group + 1) * shape.filters);
        let mut tile = vec![0.0; range.len() * shape.filters];
        multiply(&a, &filters, (&rows.scales, None), &mut tile);
        for filter in 0..shape.filters {
            let start = shape.output_at(image, group) + filter * shape.windows.count() + range.start;
            // SAFETY: tasks cover disjoint windows of disjoint planes.
            let line = unsafe { out.part(start, range.len()) };
            line.iter_mut().zip(tile.iter().skip(filter).step_by(shape.filters)).for_each(|(y, &t)| *y = t);
            steps.line(group * shape.filters + filter, start, line);
        }
    });
    Ok(vec![y])
}

/// Windows per task.
const WINDOWS: usize = 256;

/// How a product quantizes its activations.
pub fn matmul_activation(op: &BitMatmul) -> Activation {
    Activation {
        bits: op.a_bits,
        levels: op.a_levels,
        scale: op.a_scale,
        group: op.a_group,
        clip: op.a_clip.unwrap_or(1.0),
        static_scale: op.static_scale,
        static_zero: op.static_zero,
    }
}

/// How a convolution quantizes its activations.
///
/// Errors  for a scale per row: patches share their elements.
pub fn conv_activation(op: &BitConv) -> Result<Activation, OpError> {
    match op.a_scale {
        ActScale::Row => Err(OpError::operands("bit_conv has one activation scale per tensor, not per row")),
        scale => Ok(Activation {
            bits: op.a_bits,
            levels: op.a_levels,
            scale,
            group: None,
            clip: 1.0,
            static_scale: op.static_scale,
            static_zero: op.static_zero,
        }),
    }
}

/// Sizes of a quantized convolution of `x` with `filters.0` filters of `filters.1` weights.
///
/// Errors  when they do not fit.
pub fn conv_shape(op: &BitConv, x: &[usize], filters: (usize, usize)) -> Result<Shape, OpError> {
    let kernel = op.kernel.iter().map(|&size| super::operands::positive(size, "a kernel size")).collect::<Result<Dims, _>>()?;
    super::window::check_size(&kernel)?;
    let taps = kernel.iter().product::<usize>();
    let described = Described { strides: &op.strides, dilations: &op.dilations, pads: &op.pads, auto_pad: op.auto_pad, ceil: false };
    if !filters.1.is_multiple_of(taps) {
        return Err(OpError::operands(format!("rows of {} weights for a kernel of {taps}", filters.1)));
    }
    Shape::with(x, (filters.0, filters.1 / taps), &kernel, &described, op.groups)
}

/// Weights as differences `level - zero`, ready to multiply.
pub struct Weights {
    /// Rows.
    pub n: usize,
    /// Elements per row.
    pub k: usize,
    /// Elements per scale of a row.
    pub block: usize,
    /// `[n, k]`
    pub differences: Vec<i16>,
    /// `[n, blocks]`
    pub scales: Vec<f32>,
    /// Largest magnitude a difference may have.
    pub most: i64,
}

impl Weights {
    /// From a quantized `[n, k]` tensor with one scale, one per row, or one per block of a row; where activations have a scale per
    /// `group` elements, in blocks in which both have one scale.
    ///
    /// Errors  for other tensors, and blocks that do not go with the groups.
    pub fn new(w: &Tensor, group: Option<u32>) -> Result<Self, OpError> {
        let (Some(quant), [n, k]) = (w.elem().quant(), w.dims()) else {
            return Err(OpError::operands(format!("quantized [n, k] weights expected, not {w:?}")));
        };
        let (n, k, scales) = (*n, *k, scales_of(w)?);
        let own = quant.granularity.row_block().map_err(OpError::operands)?;
        let common = common_block(group, own).map_err(OpError::operands)?;
        let [own, common] = [own, common].map(|size| size.map_or(k, |size| (size as usize).min(k)).max(1));
        let blocks = k.div_ceil(own).max(1);
        let count = n * blocks;
        let spread = |index: usize| if quant.granularity == Granularity::Tensor { 0 } else { index };
        let present = if quant.granularity == Granularity::Tensor { 1 } else { count };
        let zeros = if quant.zero_point { present } else { 0 };
        if scales.scales.len() != present || scales.zero_points.len() != zeros {
            return Err(OpError::operands(format!("{} scales for {present} blocks of weights", scales.scales.len())));
        }
        let (step, offset) = quant.levels.affine(quant.bits);
        let zero = |row: usize, block: usize| scales.zero_points.get(spread(row * blocks + block)).copied().unwrap_or(0);
        let mut differences = vec![0i16; n * k];
        differences.par_chunks_mut(k.max(1)).zip(w.slice::<u8>().par_chunks(k.max(1))).enumerate().for_each(|(row, (to, codes))| {
            for (number, (to, codes)) in to.chunks_mut(own).zip(codes.chunks(own)).enumerate() {
                let offset = offset - zero(row, number);
                to.iter_mut().zip(codes).for_each(|(to, &code)| *to = (step * code as i32 + offset) as i16);
            }
        });
        let most = largest_difference(quant.levels, quant.bits, scales.zero_points.iter().copied());
        let of_row = |row: usize| (0..k.max(1)).step_by(common).map(move |at| row * blocks + at / own);
        let scales = (0..n).flat_map(of_row).map(|index| scales.scales[spread(index)]).collect();
        Ok(Weights { n, k, block: common, differences, scales, most })
    }
    /// Scales per row.
    pub fn blocks(&self) -> usize {
        self.k.div_ceil(self.block).max(1)
    }
    /// Refuses rows of another length, and sums that could overflow.
    pub fn check(&self, k: usize, how: &Activation) -> Result<(), OpError> {
        if k != self.k {
            return Err(OpError::operands(format!("rows of {k} activations and {} weights", self.k)));
        }
        let (low, high) = how.levels.range(how.bits);
        let zeros = if how.levels == Levels::Unsigned { low..=high } else { 0..=0 };
        let most = largest_difference(how.levels, how.bits, [*zeros.start(), *zeros.end()].into_iter());
        match most * self.most * self.block.min(k) as i64 <= i32::MAX as i64 {
            true => Ok(()),
            false => Err(OpError::unsupported(format!("sums of {} products up to {} in i32", self.block, most * self.most))),
        }
    }
    /// The weights of some rows.
    fn part(&self, rows: Range<usize>) -> Weights {
        let blocks = self.blocks();
        Weights {
            n: rows.len(),
            differences: self.differences[rows.start * self.k..rows.end * self.k].to_vec(),
            scales: self.scales[rows.start * blocks..rows.end * blocks].to_vec(),
            ..*self
        }
    }
}

/// The largest `|level - zero|`, for zero points `zeros` or 0.
fn largest_difference(levels: Levels, bits: u8, zeros: impl Iterator<Item = i32>) -> i64 {
    let (low, high) = levels.range(bits);
    let reach = |zero: i32| (high as i64 - zero as i64).abs().max((low as i64 - zero as i64).abs());
    zeros.map(reach).max().unwrap_or_else(|| reach(0))
}

/// Differences `level - zero` of quantized rows.
pub fn differences(rows: &Rows, k: usize, how: &Activation) -> Vec<i16> {
    let (step, offset) = how.levels.affine(how.bits);
    let row = if rows.scales.len() == 1 { rows.codes.len().max(1) } else { k.max(1) };
    let group = how.group.map_or(row, |size| (size as usize).min(row)).max(1);
    let mut differences = vec![0; rows.codes.len()];
    let lines = differences.par_chunks_mut(row).zip(rows.codes.par_chunks(row)).zip(rows.zeros.par_chunks(row.div_ceil(group)));
    lines.for_each(|((to, codes), zeros)| {
        for ((to, codes), zero) in to.chunks_mut(group).zip(codes.chunks(group)).zip(zeros) {
            to.iter_mut().zip(codes).for_each(|(to, &code)| *to = (step * code as i32 + offset - zero) as i16);
        }
    });
    differences
}

/// The integer sums `[m, n, blocks]` of differences `a [m, k]` and weights.
pub fn accumulators(a: &[i16], w: &Weights) -> Vec<i32> {
    let rows = a.par_chunks(w.k.max(1));
    rows.flat_map_iter(|a| (0..w.n).flat_map(move |n| (0..w.blocks()).map(move |block| accumulator(a, w, n, block)))).collect()
}

fn accumulator(a: &[i16], w: &Weights, n: usize, block: usize) -> i32 {
    let range = block * w.block..((block + 1) * w.block).min(w.k);
    dot(&a[range.clone()], &w.differences[n * w.k..][range])
}

vectorized! {
    fn dot<const FMA: bool>(a: &[i16], b: &[i16]) -> i32 {
        a.iter().zip(b).fold(0, |sum, (&a, &b)| sum + a as i32 * b as i32)
    }
}

/// Rows of activations that share one pass over the weights.
const ROWS: usize = 8;

/// `y [m, n]`: sums scaled to f32; `scales` are one per row, one per group of a row, or one alone.
fn multiply(a: &[i16], w: &Weights, (scales, group): (&[f32], Option<u32>), y: &mut [f32]) {
    if w.n == 0 {
        return;
    }
    let groups = group.map_or(1, |size| w.k.div_ceil(size as usize).max(1));
    let per_row = if scales.len() == 1 { 0 } else { groups };
    y.par_chunks_mut(ROWS * w.n).enumerate().for_each(|(chunk, y)| {
        let first = chunk * ROWS;
        for n in 0..w.n {
            for (i, y) in y.chunks_mut(w.n).enumerate() {
                let a = &a[(first + i) * w.k..(first + i + 1) * w.k];
                let scales = &scales[(first + i) * per_row..];
                y[n] = match group {
                    None => scaled(a, w, n) * scales[0],
                    Some(group) => scaled_by_groups(a, w, n, (scales, group as usize)),
                };
            }
        }
    });
}

fn scaled(a: &[i16], w: &Weights, n: usize) -> f32 {
    let term = |block: usize| accumulator(a, w, n, block) as f32 * w.scales[n * w.blocks() + block];
    (1..w.blocks()).fold(term(0), |sum, block| sum + term(block))
}

fn scaled_by_groups(a: &[i16], w: &Weights, n: usize, (scales, group): (&[f32], usize)) -> f32 {
    let term = |block: usize| accumulator(a, w, n, block) as f32 * w.scales[n * w.blocks() + block] * scales[block * w.block / group];
    (1..w.blocks()).fold(term(0), |sum, block| sum + term(block))
}

/// A quantized image from which patches are taken.
struct PatchSource<'a> {
    rows: &'a Rows,
    pad: u8,
    how: &'a Activation,
}

impl PatchSource<'_> {
    /// Differences of the patches of windows `range`, `[range, depth]`.
    fn patches(&self, shape: &Shape, image: usize, group: usize, range: Range<usize>) -> Vec<i16> {
        let (depth, width) = (shape.depth(), range.len());
        let codes = &self.rows.codes[shape.input_at(image, group)..][..shape.channels * shape.windows.plane()];
        let mut columns = vec![0u8; depth * width];
        patches::gather(codes, &shape.windows, range, self.pad, &mut columns);
        let (step, offset) = self.how.levels.affine(self.how.bits);
        let offset = offset - self.rows.zeros[0];
        let (channels, taps) = (shape.channels, shape.windows.taps());
        let difference = |at: usize| {
            let (window, k) = (at / depth, at % depth);
            let (tap, channel) = (k / channels, k % channels);
            (step * i32::from(columns[(channel * taps + tap) * width + window]) + offset) as i16
        };
        (0..depth * width).map(difference).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_close, numbers, refuses, run};
    use super::*;
    use mokume_ir::op::{AutoPad, Conv, Dequantize, Epilogue, Matmul, Quantize, Transpose};
    use mokume_ir::quant::QuantType;

    fn op(bits: u8, levels: Levels, scale: ActScale) -> BitMatmul {
        BitMatmul {
            a_bits: bits,
            a_levels: levels,
            a_scale: scale,
            a_group: None,
            a_clip: None,
            static_scale: 0.01,
            static_zero: 0,
            epilogue: vec![],
        }
    }

    fn weights(dims: &[usize], bits: u8, levels: Levels, granularity: Granularity, zero_point: bool) -> Tensor {
        run(Quantize { to: QuantType { bits, levels, granularity, zero_point }, clip: None }, &[numbers(dims, 7)]).remove(0)
    }

    /// Activations as they are after quantization.
    fn rounded(x: &Tensor, how: &Activation) -> Tensor {
        let k = *x.dims().last().unwrap();
        let rows = quantize_rows(x.slice(), k, how).unwrap();
        let group = how.group.map_or(k, |size| size as usize);
        let scale = |i: usize| rows.scales[if rows.scales.len() == 1 { 0 } else { i / k * k.div_ceil(group) + i % k / group }];
        let reals: Vec<f32> = differences(&rows, k, how).iter().enumerate().map(|(i, &d)| d as f32 * scale(i)).collect();
        Tensor::f32s(x.dims(), &reals)
    }

    #[test]
    fn products_equal_the_product_of_rounded_operands() {
        let (x, k) = (numbers(&[2, 3, 70], 1), 70);
        let block = Granularity::Block { axis: 0, along: 1, size: 32 };
        for (granularity, zero_point) in [(Granularity::Tensor, true), (Granularity::Axis(0), false), (block, true), (block, false)] {
            for (bits, levels, scale) in [
                (8, Levels::Signed, ActScale::Row),
                (4, Levels::Unsigned, ActScale::Row),
                (3, Levels::Odd, ActScale::Tensor),
                (8, Levels::Unsigned, ActScale::Static),
                (3, Levels::Five, ActScale::Row),
                (2, Levels::Ternary, ActScale::Tensor),
            ] {
                let w = weights(&[5, k], 4, Levels::Signed, granularity, zero_point);
                let op = op(bits, levels, scale);
                let a = rounded(&x, &matmul_activation(&op));
                let real = run(Dequantize {}, std::slice::from_ref(&w)).remove(0);
                let want = run(Matmul { transpose_a: false, transpose_b: true }, &[a, real]);
                let y = run(op, &[x.clone(), w]);
                assert_eq!(y[0].dims(), &[2, 3, 5]);
                assert_close(y[0].slice(), want[0].slice(), 1e-5);
            }
        }
    }

    #[test]
    fn groups_of_activations_go_with_blocks_of_weights() {
        let (x, k) = (numbers(&[3, 150], 1), 150);
        let blocks = |size| Granularity::Block { axis: 0, along: 1, size };
        for granularity in [Granularity::Tensor, Granularity::Axis(0), blocks(32), blocks(64), blocks(128)] {
            for (bits, levels, zero_point) in [(4, Levels::Unsigned, false), (4, Levels::Signed, true), (8, Levels::Odd, false)] {
                let w = weights(&[5, k], 4, Levels::Signed, granularity, zero_point);
                let op = BitMatmul { a_group: Some(64), ..op(bits, levels, ActScale::Row) };
                let a = rounded(&x, &matmul_activation(&op));
                let real = run(Dequantize {}, std::slice::from_ref(&w)).remove(0);
                let want = run(Matmul { transpose_a: false, transpose_b: true }, &[a, real]);
                assert_close(run(op, &[x.clone(), w])[0].slice(), want[0].slice(), 1e-5);
            }
        }
        let op = |group| BitMatmul { a_group: Some(group), ..op(4, Levels::Unsigned, ActScale::Row) };
        let w = weights(&[5, k], 4, Levels::Signed, Granularity::Axis(0), false);
        let (one, all) = (run(op(150), &[x.clone(), w.clone()]), run(BitMatmul { a_group: None, ..op(1) }, &[x.clone(), w]));
        assert_eq!(one[0].slice::<f32>(), all[0].slice::<f32>());
        assert!(refuses(op(48), &[x, weights(&[5, k], 4, Levels::Signed, blocks(32), false)]));
    }

    #[test]
    fn accumulators_are_exact_sums() {
        let w = Weights::new(&weights(&[3, 33], 8, Levels::Odd, Granularity::Block { axis: 0, along: 1, size: 16 }, false), None).unwrap();
        let a: Vec<i16> = (0..66).map(|i| i * 7 % 255 - 127).collect();
        let sums = accumulators(&a, &w);
        assert_eq!(sums.len(), 2 * 3 * 3);
        let want: i32 = (16..32).map(|k| a[33 + k] as i32 * w.differences[2 * 33 + k] as i32).sum();
        assert_eq!(sums[(3 + 2) * 3 + 1], want);
    }

    #[test]
    fn convolutions_equal_those_of_rounded_operands() {
        let (x, w) = (numbers(&[2, 4, 6, 7], 1), weights(&[6, 2 * 9], 5, Levels::Signed, Granularity::Axis(0), false));
        for (levels, scale) in
            [(Levels::Signed, ActScale::Tensor), (Levels::Unsigned, ActScale::Tensor), (Levels::Signed, ActScale::Static)]
        {
            let op = BitConv {
                kernel: vec![3, 3],
                strides: vec![2, 1],
                dilations: vec![1, 1],
                pads: vec![1, 0, 1, 2],
                auto_pad: AutoPad::Explicit,
                groups: 2,
                a_bits: 8,
                a_levels: levels,
                a_scale: scale,
                static_scale: 0.02,
                static_zero: 0,
                epilogue: vec![Epilogue::Bias, Epilogue::Relu],
            };
            let real = run(Dequantize {}, std::slice::from_ref(&w)).remove(0).reshaped(&[6, 3, 3, 2]);
            let real = run(Transpose { perm: vec![0, 3, 1, 2] }, &[real]).remove(0);
            let (strides, dilations, pads) = (op.strides.clone(), op.dilations.clone(), op.pads.clone());
            let float = Conv { strides, dilations, pads, auto_pad: AutoPad::Explicit, groups: 2 };
            let (a, bias) = (rounded(&x, &conv_activation(&op).unwrap()), numbers(&[6], 5));
            let want: Vec<f32> = run(float, &[a, real, bias.clone()])[0].slice::<f32>().iter().map(|x| x.max(0.0)).collect();
            assert_close(run(op, &[x.clone(), w.clone(), bias])[0].slice(), &want, 1e-5);
        }
    }

    #[test]
    fn sums_beyond_i32_and_misfits_are_refused() {
        let wide = |k| weights(&[1, k], 8, Levels::Odd, Granularity::Axis(0), false);
        let odd = || op(8, Levels::Odd, ActScale::Row);
        assert!(!refuses(odd(), &[numbers(&[1, 33_025], 1), wide(33_025)]));
        assert!(refuses(odd(), &[numbers(&[1, 33_026], 1), wide(33_026)]));
        assert!(refuses(odd(), &[numbers(&[1, 4], 1), wide(5)]));
        assert!(refuses(odd(), &[numbers(&[1, 4], 1), numbers(&[1, 4], 1)]));
    }
}
