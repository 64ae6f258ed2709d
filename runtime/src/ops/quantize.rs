//! Real values to codes with scales, and back: the definition that every kernel follows bit for bit.
//!
//! Codes are unsigned, `level = step * code + offset` ([`Levels::affine`]), `real = scale * (level - zero)`. All arithmetic is f32
//! without fused multiply-add; rounding is half to even. Found scales: symmetric types have `scale = absmax / L`, where `L` is the
//! largest level in magnitude that both signs have (1 for one bit); types with a zero point have `scale = (hi - lo) / (2^n - 1)` for
//! the range `lo ..= hi` extended to hold 0, and `zero = round(-lo / scale)` above the lowest level. A scale of 0 becomes 1, its zero
//! the lowest level. With a clip the range is that part of the one found, and what lies beyond is clamped. Values that are not finite do not count for the range; infinities clamp, NaN is taken as 0.

use super::operands::{no_code, operand, operand_of};
use super::simd::vectorized;
use super::{OpContext, OpError};
use crate::tensor::{Scales, Tensor};
use mokume_ir::op::{ActScale, Dequantize, Quantize};
use mokume_ir::quant::{Granularity, Levels, QuantType};
use mokume_ir::types::Elem;
use rayon::prelude::*;
use std::sync::Arc;

/// Real values to codes, with given scales or ones found from the data.
///
/// Errors  when the operands do not fit the quantized type.
pub fn quantize(op: &Quantize, inputs: &[&Tensor], cx: &OpContext<'_>) -> Result<Vec<Tensor>, OpError> {
    let x = operand_of(inputs, 0, Elem::F32)?;
    let groups = Groups::new(x.dims(), op.to.granularity)?;
    let x = x.slice::<f32>();
    let (coder, scales) = match inputs.len() {
        1 => found_scales(op, x, &groups)?,
        _ => (Coder::new(op.to.bits, op.to.levels)?, given_scales(&op.to, inputs, groups.count)?),
    };
    let mut y = cx.alloc(inputs[0].dims(), Elem::Quant(op.to))?;
    groups.for_runs(y.slice_mut(), |at, group, codes: &mut [u8]| {
        let zero = scales.zero_points.get(group).copied().unwrap_or(0);
        code_all(&coder, &x[at..at + codes.len()], scales.scales[group], zero, 0, codes);
    });
    y.scales = Some(Arc::new(scales));
    Ok(vec![y])
}

/// Codes with scales to f32.
///
/// Errors  when the operand is not quantized.
pub fn dequantize(_: &Dequantize, inputs: &[&Tensor], cx: &OpContext<'_>) -> Result<Vec<Tensor>, OpError> {
    let x = operand(inputs, 0)?;
    let (reals, mut y) = (Reals::new("dequantize", x)?, cx.alloc(x.dims(), Elem::F32)?);
    reals.groups.for_runs(y.slice_mut(), |at, group, y: &mut [f32]| reals.fill(at, group, y));
    Ok(vec![y])
}

/// The numbers that the codes of a tensor stand for.
pub struct Reals<'t> {
    codes: &'t [u8],
    scales: &'t Scales,
    groups: Groups,
    step: i32,
    offset: i32,
}

impl<'t> Reals<'t> {
    /// Those of `x`, which the op called `name` reads.
    ///
    /// Errors  when it is not quantized, or does not have the scales that its type asks for.
    pub fn new(name: &str, x: &'t Tensor) -> Result<Self, OpError> {
        let Some(quant) = x.elem().quant() else { return no_code(name, x.elem()) };
        let scales = scales_of(x)?;
        let groups = Groups::new(x.dims(), quant.granularity)?;
        if scales.scales.len() != groups.count {
            return Err(OpError::operands(format!("{} scales for {} groups", scales.scales.len(), groups.count)));
        }
        let (step, offset) = quant.levels.affine(quant.bits);
        Ok(Reals { codes: x.slice(), scales, groups, step, offset })
    }
    /// The numbers from `at` on, all of one group.
    fn fill(&self, at: usize, group: usize, y: &mut [f32]) {
        let zero = self.scales.zero_points.get(group).copied().unwrap_or(0);
        real_line((self.step, self.offset - zero), self.scales.scales[group], &self.codes[at..at + y.len()], y);
    }
    /// Number `at` in the order of elements.
    pub fn at(&self, at: usize) -> f32 {
        let group = self.groups.of(at);
        let zero = self.scales.zero_points.get(group).copied().unwrap_or(0);
        (self.step * i32::from(self.codes[at]) + self.offset - zero) as f32 * self.scales.scales[group]
    }
}

/// The scales of a quantized tensor.
pub fn scales_of(x: &Tensor) -> Result<&Scales, OpError> {
    x.scales.as_deref().ok_or_else(|| OpError::operands(format!("{x:?} has no scales")))
}

/// Quantizes rows one by one, each with a scale (and zero point) found from its data, as [`quantize`] does.
#[derive(Clone, Copy)]
pub struct RowCoder {
    coder: Coder,
    zero_point: bool,
    /// Part of the range that the levels span.
    clip: f32,
}

impl RowCoder {
    /// Rows of codes of this type.
    ///
    /// Errors  for bits, levels and zero points that do not fit together.
    pub fn new(to: &QuantType) -> Result<Self, OpError> {
        let coder = Coder::new(to.bits, to.levels)?;
        if to.zero_point && !matches!(to.levels, Levels::Signed | Levels::Unsigned) {
            return Err(OpError::operands(format!("{} levels with a zero point", to.levels.name())));
        }
        Ok(RowCoder { coder: if to.zero_point { coder } else { coder.symmetric() }, zero_point: to.zero_point, clip: 1.0 })
    }
    /// With scales that span this part of the range.
    pub fn clipped(self, clip: Option<f32>) -> Self {
        RowCoder { clip: clip.unwrap_or(1.0), ..self }
    }
    /// Rows of activations.
    ///
    /// Errors  for levels and bits that do not fit.
    pub fn of_activations(how: &Activation) -> Result<Self, OpError> {
        let coder = Coder::new(how.bits, how.levels)?.symmetric();
        Ok(RowCoder { coder, zero_point: how.levels == Levels::Unsigned, clip: how.clip })
    }
    /// The codes of a row or a group of its elements, minus `bias`; gives its scale and zero point.
    pub fn code(&self, x: &[f32], bias: u8, codes: &mut [u8]) -> (f32, i32) {
        let (scale, zero) = self.scale(range(x));
        code_all(&self.coder, x, scale, zero, bias, codes);
        (scale, zero)
    }
    fn scale(&self, (low, high): (f32, f32)) -> (f32, i32) {
        let range = (low * self.clip, high * self.clip);
        if self.zero_point { self.coder.spread(range) } else { self.coder.magnitude(range) }
    }
}

/// How activations are quantized.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Activation {
    /// Bits of a code.
    pub bits: u8,
    /// Levels; unsigned has a zero point.
    pub levels: Levels,
    /// Where the scale comes from.
    pub scale: ActScale,
    /// Elements of a row that share a scale, when that is found per row; none is all.
    pub group: Option<u32>,
    /// Part of the range that a found scale spans.
    pub clip: f32,
    /// Scale when static.
    pub static_scale: f32,
    /// Zero point when static.
    pub static_zero: i64,
}

/// Quantized rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Rows {
    /// Codes `[m, k]`.
    pub codes: Vec<u8>,
    /// One per row, or one per group of every row, or one alone.
    pub scales: Vec<f32>,
    /// In levels, beside the scales.
    pub zeros: Vec<i32>,
}

/// Quantizes rows of `k` elements.
///
/// Errors  for levels and bits that do not fit, or a static scale or zero point out of range.
pub fn quantize_rows(x: &[f32], k: usize, how: &Activation) -> Result<Rows, OpError> {
    let mut codes = vec![0; x.len()];
    let (scales, zeros) = match how.group {
        Some(group) if !x.is_empty() => quantize_groups(x, k, how, group, &mut codes)?,
        _ => quantize_into(x, k, how, 0, &mut codes)?,
    };
    Ok(Rows { codes, scales, zeros })
}

/// Quantizes groups of elements of rows.
fn quantize_groups(x: &[f32], k: usize, how: &Activation, group: u32, codes: &mut [u8]) -> Result<(Vec<f32>, Vec<i32>), OpError> {
    if how.scale != ActScale::Row || group == 0 {
        return Err(OpError::operands(format!("groups of {group} activations, whose scale is {}", how.scale.name())));
    }
    let (coder, group) = (RowCoder::of_activations(how)?, group as usize);
    let rows = codes.par_chunks_mut(k).zip(x.par_chunks(k));
    let scales = rows.flat_map_iter(|(codes, x)| {
        let groups = codes.chunks_mut(group).zip(x.chunks(group));
        groups.map(|(codes, x)| coder.code(x, 0, codes))
    });
    Ok(scales.collect::<Vec<_>>().into_iter().unzip())
}

/// Quantizes rows of `k` elements to `code - bias`; gives scales and zero points, one per row or one alone, whatever groups there are.
///
/// Errors  as [`quantize_rows`].
pub fn quantize_into(x: &[f32], k: usize, how: &Activation, bias: u8, codes: &mut [u8]) -> Result<(Vec<f32>, Vec<i32>), OpError> {
    let rows = RowCoder::of_activations(how)?;
    let coder = rows.coder;
    let row = match how.scale {
        ActScale::Row => k.max(1),
        ActScale::Tensor | ActScale::Static => x.len().max(1),
    };
    let found = |x: &[f32]| match how.scale {
        ActScale::Static => coder.given(how.static_scale, how.static_zero),
        _ => Ok(rows.scale(range_of(x))),
    };
    let scales = if x.is_empty() { vec![found(x)?] } else { x.par_chunks(row).map(found).collect::<Result<Vec<_>, _>>()? };
    codes.par_chunks_mut(row).zip(x.par_chunks(row)).zip(&scales).for_each(|((codes, x), &(scale, zero))| {
        codes.par_chunks_mut(1 << 14).zip(x.par_chunks(1 << 14)).for_each(|(codes, x)| code_all(&coder, x, scale, zero, bias, codes));
    });
    Ok(scales.into_iter().unzip())
}

/// The code that the real value 0 has.
///
/// Errors  as [`quantize_rows`].
pub fn code_of_zero(how: &Activation, zero: i32) -> Result<u8, OpError> {
    Ok(Coder::new(how.bits, how.levels)?.symmetric().code(0.0, 1.0, zero))
}

/// From real values to the codes of one type.
#[derive(Clone, Copy)]
struct Coder {
    offset: f32,
    /// Smallest and largest level used.
    low: f32,
    high: f32,
    /// Largest magnitude that symmetric scales map to.
    top: f32,
    levels: Levels,
    /// Distance of the smallest and the largest level.
    width: f32,
}

impl Coder {
    fn new(bits: u8, levels: Levels) -> Result<Self, OpError> {
        let ty = QuantType { bits, levels, granularity: Granularity::Tensor, zero_point: false };
        if !ty.is_valid() {
            return Err(OpError::operands(format!("{} levels in {bits} bits", levels.name())));
        }
        let (low, high) = levels.range(bits);
        let [offset, low, high] = [levels.affine(bits).1, low, high].map(|v| v as f32);
        Ok(Coder { offset, low, high, top: high.max(1.0), levels, width: high - low })
    }
    /// Signed levels of two bits or more without the one whose negative is missing.
    fn symmetric(mut self) -> Self {
        if self.levels == Levels::Signed && self.high > 0.0 {
            self.low = -self.high;
        }
        self
    }
    /// Scale (and zero point 0) of a symmetric range.
    fn magnitude(&self, (low, high): (f32, f32)) -> (f32, i32) {
        let scale = high.max(-low) / self.top;
        (if scale == 0.0 { 1.0 } else { scale }, 0)
    }
    /// Scale and zero point of a range that holds 0.
    fn spread(&self, (low, high): (f32, f32)) -> (f32, i32) {
        let bottom = self.high - self.width;
        let scale = (high - low) / self.width;
        if scale == 0.0 {
            return (1.0, bottom as i32);
        }
        (scale, ((-low / scale).round_ties_even() + bottom).clamp(bottom, self.high) as i32)
    }
    /// A static scale and zero point.
    fn given(&self, scale: f32, zero: i64) -> Result<(f32, i32), OpError> {
        let fits = if self.levels == Levels::Unsigned { (0..=self.high as i64).contains(&zero) } else { zero == 0 };
        match fits && scale.is_finite() && scale > 0.0 {
            true => Ok((scale, zero as i32)),
            false => Err(OpError::operands(format!("static scale {scale} and zero point {zero} of {} levels", self.levels.name()))),
        }
    }
    fn code(&self, x: f32, scale: f32, zero: i32) -> u8 {
        Line::new(self, zero).code(x, scale)
    }
}

/// From real values over scale to codes: `code = round(clamp(x / scale * slope + shift)) + add`.
#[derive(Clone, Copy)]
struct Line {
    slope: f32,
    shift: f32,
    /// Whole numbers, so that clamping may come before rounding.
    low: f32,
    high: f32,
    /// What makes the rounded number a code, in the representation of [`ROUND`].
    add: u32,
}

/// Added to a number below 2^22, this rounds it to even; the whole number is in the low bits.
const ROUND: f32 = 12_582_912.0;

impl Line {
    fn new(coder: &Coder, zero: i32) -> Self {
        let add = |add: f32| (add as i32 as u32).wrapping_sub(ROUND.to_bits());
        match coder.levels {
            Levels::Odd => Line { slope: 0.5, shift: -coder.offset, low: 0.0, high: -coder.offset, add: add(0.0) },
            _ => {
                let (low, high) = (coder.low - zero as f32, coder.high - zero as f32);
                Line { slope: 1.0, shift: 0.0, low, high, add: add(zero as f32 - coder.offset) }
            }
        }
    }
    #[inline(always)]
    fn code(&self, x: f32, scale: f32) -> u8 {
        let x = if x.is_nan() { 0.0 } else { x };
        let at = (x / scale + self.shift) * self.slope;
        let at = if at < self.low { self.low } else { at };
        let at = if at > self.high { self.high } else { at };
        (at + ROUND).to_bits().wrapping_add(self.add) as u8
    }
}

/// Codes minus `bias`.
fn code_all(coder: &Coder, x: &[f32], scale: f32, zero: i32, bias: u8, codes: &mut [u8]) {
    let line = Line::new(coder, zero);
    code_line(Line { add: line.add.wrapping_sub(bias.into()), ..line }, scale, x, codes);
}

vectorized! {
    fn code_line<const FMA: bool>(line: Line, scale: f32, x: &[f32], codes: &mut [u8]) -> () {
        for (code, &x) in codes.iter_mut().zip(x) {
            *code = line.code(x, scale);
        }
    }
}

vectorized! {
    fn real_line<const FMA: bool>(levels: (i32, i32), scale: f32, codes: &[u8], y: &mut [f32]) -> () {
        let (step, offset) = levels;
        for (y, &code) in y.iter_mut().zip(codes) {
            *y = (step * i32::from(code) + offset) as f32 * scale;
        }
    }
}

/// Smallest and largest finite value, extended to hold 0.
fn range_of(x: &[f32]) -> (f32, f32) {
    let wider = |a: (f32, f32), b: (f32, f32)| (a.0.min(b.0), a.1.max(b.1));
    x.par_chunks(1 << 14).map(range).reduce(|| (0.0, 0.0), wider)
}

vectorized! {
    /// [`range_of`] of a short slice.
    fn range<const FMA: bool>(x: &[f32]) -> (f32, f32) {
        let (mut low, mut high) = ([0.0f32; 16], [0.0f32; 16]);
        let (blocks, tail) = x.as_chunks::<16>();
        for block in blocks {
            for i in 0..16 {
                let x = if block[i].is_finite() { block[i] } else { 0.0 };
                low[i] = if x < low[i] { x } else { low[i] };
                high[i] = if x > high[i] { x } else { high[i] };
            }
        }
        let mut half = 8;
        while half > 0 {
            for i in 0..half {
                low[i] = if low[i + half] < low[i] { low[i + half] } else { low[i] };
                high[i] = if high[i + half] > high[i] { high[i + half] } else { high[i] };
            }
            half /= 2;
        }
        let finite = tail.iter().copied().filter(|x| x.is_finite());
        finite.fold((low[0], high[0]), |(low, high), x| (f32::min(low, x), f32::max(high, x)))
    }
}

/// Elements that are worth a task.
const LONG: usize = 1 << 14;

/// Which scale an element has.
struct Groups {
    count: usize,
    /// Per axis: size, elements per step of the index, groups per step of the index.
    axes: Vec<(usize, usize, usize)>,
    /// Per axis: elements of the axis in one block.
    blocks: Vec<usize>,
}

impl Groups {
    fn new(dims: &[usize], granularity: Granularity) -> Result<Self, OpError> {
        let rank = dims.len();
        let check = |axis: u32| match (axis as usize) < rank {
            true => Ok(axis as usize),
            false => Err(OpError::operands(format!("quantized axis {axis} of {rank}"))),
        };
        let mut groups = Groups { count: 1, axes: vec![], blocks: vec![] };
        match granularity {
            Granularity::Tensor => {}
            Granularity::Axis(axis) => groups.push(dims, check(axis)?, 1),
            Granularity::Row => (0..rank.saturating_sub(1)).for_each(|axis| groups.push(dims, axis, 1)),
            Granularity::RowBlock(size) if size > 0 && rank > 0 => {
                (0..rank - 1).for_each(|axis| groups.push(dims, axis, 1));
                groups.push(dims, rank - 1, size as usize);
            }
            Granularity::RowBlock(size) => return Err(OpError::operands(format!("rows in blocks of {size} elements, of {rank} axes"))),
            Granularity::Block { size: 0, .. } => return Err(OpError::operands("quantized blocks of 0 elements")),
            Granularity::Block { axis, along, size } => {
                groups.push(dims, check(axis)?, 1);
                groups.push(dims, check(along)?, size as usize);
            }
        }
        Ok(groups)
    }
    fn push(&mut self, dims: &[usize], axis: usize, block: usize) {
        let stride = dims[axis + 1..].iter().product::<usize>().max(1);
        let parts = dims[axis].div_ceil(block);
        self.axes.iter_mut().for_each(|axis| axis.2 *= parts);
        self.axes.push((dims[axis].max(1), stride, 1));
        self.blocks.push(block);
        self.count *= parts;
    }
    /// Every so many elements begin parts that lie alike, and the runs in them whose elements share a scale.
    fn runs(&self) -> (usize, usize) {
        let axes = self.axes.iter().zip(&self.blocks).map(|(&(size, stride, _), &block)| (size * stride, stride * block));
        axes.min().unwrap_or((LONG, LONG))
    }
    /// Calls `fill` for runs of elements that share a scale, with their place and group.
    fn for_runs<T: Send>(&self, y: &mut [T], fill: impl Fn(usize, usize, &mut [T]) + Sync) {
        let (row, run) = self.runs();
        let many = row * (LONG / row).max(1);
        y.par_chunks_mut(many).enumerate().for_each(|(index, part)| {
            for (number, part) in part.chunks_mut(row).enumerate() {
                let begin = index * many + number * row;
                part.chunks_mut(run).enumerate().for_each(|(number, part)| {
                    let at = begin + number * run;
                    fill(at, self.of(at), part);
                });
            }
        });
    }
    fn of(&self, at: usize) -> usize {
        self.axes.iter().zip(&self.blocks).map(|(&(size, stride, groups), block)| at / stride % size / block * groups).sum()
    }
}

fn found_scales(&Quantize { to, clip }: &Quantize, x: &[f32], groups: &Groups) -> Result<(Coder, Scales), OpError> {
    let coder = RowCoder::new(&to)?.clipped(clip);
    let mut ranges = vec![(0.0f32, 0.0f32); groups.count];
    let (row, run) = groups.runs();
    let parts = x
        .par_chunks(row)
        .enumerate()
        .flat_map_iter(|(index, part)| part.chunks(run).enumerate().map(move |(number, part)| (index * row + number * run, range(part))));
    for (at, (low, high)) in parts.collect::<Vec<_>>() {
        let range = &mut ranges[groups.of(at)];
        *range = (range.0.min(low), range.1.max(high));
    }
    let (scales, mut zero_points): (_, Vec<i32>) = ranges.into_iter().map(|range| coder.scale(range)).unzip();
    if !to.zero_point {
        zero_points.clear();
    }
    Ok((coder.coder, Scales { scales, zero_points }))
}

fn given_scales(to: &QuantType, inputs: &[&Tensor], count: usize) -> Result<Scales, OpError> {
    let scales = operand_of(inputs, 1, Elem::F32)?.slice::<f32>().to_vec();
    let zero_points = inputs.get(2).map_or(Ok(vec![]), |zero| integers(zero))?;
    let zeros = if to.zero_point { count } else { 0 };
    match scales.len() == count && zero_points.len() == zeros {
        true => Ok(Scales { scales, zero_points }),
        false => Err(OpError::operands(format!("{} scales and {} zero points for {count} groups", scales.len(), zero_points.len()))),
    }
}

/// Zero points as i32.
fn integers(x: &Tensor) -> Result<Vec<i32>, OpError> {
    match x.elem() {
        Elem::I8 | Elem::I4 | Elem::I2 => Ok(x.slice::<i8>().iter().map(|&v| v.into()).collect()),
        Elem::U8 | Elem::U4 | Elem::U2 => Ok(x.slice::<u8>().iter().map(|&v| v.into()).collect()),
        Elem::I16 => Ok(x.slice::<i16>().iter().map(|&v| v.into()).collect()),
        Elem::U16 => Ok(x.slice::<u16>().iter().map(|&v| v.into()).collect()),
        Elem::I32 => Ok(x.slice::<i32>().to_vec()),
        other => no_code("quantize with zero points", other),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{refuses, run};
    use super::*;

    fn act(bits: u8, levels: Levels, scale: ActScale) -> Activation {
        Activation { bits, levels, scale, group: None, clip: 1.0, static_scale: 0.5, static_zero: 0 }
    }

    #[test]
    fn rows_follow_the_definition() {
        let signed = quantize_rows(&[-1.0, 0.5, 0.004, f32::NAN, 2.0, -4.0, f32::INFINITY, 0.0], 4, &act(8, Levels::Signed, ActScale::Row));
        let signed = signed.unwrap();
        assert_eq!(signed.scales, [1.0 / 127.0, 4.0 / 127.0]);
        assert_eq!(signed.codes, [1, 192, 129, 128, 192, 1, 255, 128]);
        let unsigned = quantize_rows(&[-1.0, 2.0, 0.0, 0.5], 2, &act(2, Levels::Unsigned, ActScale::Tensor)).unwrap();
        assert_eq!((unsigned.codes, unsigned.scales, unsigned.zeros), (vec![0, 3, 1, 1], vec![1.0], vec![1]));
        let odd = quantize_rows(&[3.0, -3.0, 0.9, 0.0], 4, &act(2, Levels::Odd, ActScale::Row)).unwrap();
        assert_eq!((odd.codes, odd.scales), (vec![3, 0, 2, 2], vec![1.0]));
        let fixed = quantize_rows(&[0.25, 0.75, -100.0, 100.0], 4, &act(3, Levels::Five, ActScale::Static)).unwrap();
        assert_eq!(fixed.codes, [2, 4, 0, 4]);
        let one = quantize_rows(&[-2.0, 2.0, -0.9, -1.1], 4, &act(1, Levels::Signed, ActScale::Row)).unwrap();
        assert_eq!((one.codes, one.scales), (vec![0, 1, 1, 0], vec![2.0]));
    }

    #[test]
    fn groups_are_quantized_as_the_rows_of_their_blocks() {
        let x = Tensor::f32s(&[2, 5], &[-1.0, 0.5, 4.0, 3.0, -0.25, 0.0, 0.0, -8.0, 1.0, 2.0]);
        for levels in [Levels::Signed, Levels::Unsigned] {
            let how = Activation { group: Some(2), ..act(4, levels, ActScale::Row) };
            let rows = quantize_rows(x.slice(), 5, &how).unwrap();
            assert_eq!((rows.scales.len(), rows.zeros.len()), (6, 6));
            let to = QuantType { bits: 4, levels, granularity: Granularity::RowBlock(2), zero_point: levels == Levels::Unsigned };
            let y = run(Quantize { to, clip: None }, std::slice::from_ref(&x)).remove(0);
            let scales = scales_of(&y).unwrap();
            assert_eq!((&rows.codes[..], &rows.scales), (y.slice::<u8>(), &scales.scales));
            assert!(scales.zero_points.is_empty() || scales.zero_points == rows.zeros);
        }
        assert!(quantize_rows(x.slice(), 5, &Activation { group: Some(0), ..act(4, Levels::Signed, ActScale::Row) }).is_err());
        assert!(quantize_rows(x.slice(), 5, &Activation { group: Some(2), ..act(4, Levels::Signed, ActScale::Tensor) }).is_err());
    }

    #[test]
    fn clipped_rows_span_a_part_of_their_range() {
        let x = Tensor::f32s(&[2, 4], &[-1.0, 0.5, 0.25, 4.0, 8.0, -2.0, 3.0, 0.0]);
        for (levels, zero_point) in [(Levels::Signed, false), (Levels::Unsigned, true)] {
            let to = QuantType { bits: 4, levels, granularity: Granularity::Row, zero_point };
            let clipped = run(Quantize { to, clip: Some(0.5) }, std::slice::from_ref(&x)).remove(0);
            let how = Activation { clip: 0.5, ..act(4, levels, ActScale::Row) };
            let rows = quantize_rows(x.slice(), 4, &how).unwrap();
            assert_eq!((clipped.slice::<u8>(), &scales_of(&clipped).unwrap().scales), (&rows.codes[..], &rows.scales));
            let whole = quantize_rows(x.slice(), 4, &act(4, levels, ActScale::Row)).unwrap();
            assert_eq!(rows.scales, whole.scales.iter().map(|scale| scale * 0.5).collect::<Vec<_>>());
            assert_eq!(rows.codes[3], 15, "what lies beyond has the last code");
        }
    }

    #[test]
    fn nothing_but_zeros_has_scale_one() {
        for levels in Levels::ALL {
            let bits = [4, 4, 4, 3, 2][Levels::ALL.iter().position(|&l| l == levels).unwrap()];
            let rows = quantize_rows(&[0.0; 3], 3, &act(bits, levels, ActScale::Row)).unwrap();
            assert_eq!((&rows.scales[..], &rows.zeros[..]), (&[1.0][..], &[0][..]));
            assert_eq!(rows.codes, [code_of_zero(&act(bits, levels, ActScale::Row), 0).unwrap(); 3]);
        }
    }

    #[test]
    fn every_granularity_comes_back() {
        let x = Tensor::f32s(&[2, 3], &[1.0, -2.0, 0.5, 10.0, 4.0, -8.0]);
        let granularities = [
            (Granularity::Tensor, 1),
            (Granularity::Axis(1), 3),
            (Granularity::Row, 2),
            (Granularity::RowBlock(2), 4),
            (Granularity::Block { axis: 0, along: 1, size: 2 }, 4),
        ];
        for (granularity, count) in granularities {
            for zero_point in [false, true] {
                let to = QuantType { bits: 8, levels: Levels::Signed, granularity, zero_point };
                let y = run(Quantize { to, clip: None }, std::slice::from_ref(&x));
                assert_eq!(scales_of(&y[0]).unwrap().scales.len(), count);
                let back = run(Dequantize {}, &y);
                for (a, b) in x.slice::<f32>().iter().zip(back[0].slice::<f32>()) {
                    assert!((a - b).abs() <= 0.05, "{a} {b}");
                }
            }
        }
    }

    #[test]
    fn given_scales_saturate_and_misfits_are_refused() {
        let to = QuantType { bits: 8, levels: Levels::Signed, granularity: Granularity::Tensor, zero_point: true };
        let (x, scale) = (Tensor::f32s(&[3], &[-1000.0, 1.0, 3.0]), Tensor::f32s(&[], &[2.0]));
        let zero = Tensor::of(&[], Elem::I8, &[10i8]);
        let y = run(Quantize { to, clip: None }, &[x.clone(), scale.clone(), zero]);
        assert_eq!(y[0].slice::<u8>(), &[0, 138, 140]);
        assert!(refuses(Quantize { to, clip: None }, &[x, scale]));
        assert!(quantize_rows(&[1.0], 1, &act(4, Levels::Ternary, ActScale::Row)).is_err());
        assert!(quantize_rows(&[1.0], 1, &Activation { static_zero: 3, ..act(8, Levels::Signed, ActScale::Static) }).is_err());
    }
}
