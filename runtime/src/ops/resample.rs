//! Resampling of grids: ONNX Resize, one axis after the other.
//!
//! Source  <https://onnx.ai/onnx/operators/onnx__Resize.html> (version 19): coordinates, rounding, cubic coefficients.

use super::lanes::for_rows;
use super::operands::{axis_of, no_code, operand};
use super::simd::vectorized;
use super::{OpContext, OpError};
use crate::tensor::Tensor;
use mokume_ir::op::{AspectPolicy, CoordinateMode, Interpolation, NearestMode, Resize};
use mokume_ir::types::Elem;

/// Resizes the axes of `op.axes`.
///
/// Errors  when scales or sizes are missing or out of range; for types other than f32.
pub fn resize(op: &Resize, inputs: &[&Tensor], cx: &OpContext<'_>) -> Result<Vec<Tensor>, OpError> {
    let x = operand(inputs, 0)?;
    if x.elem() != Elem::F32 {
        return no_code("resize", x.elem());
    }
    let mut current = x.clone();
    for plan in plans(op, x.dims(), inputs, cx)? {
        if !plan.is_identity() {
            current = resize_axis(&current, &plan, op, cx)?;
        }
    }
    Ok(vec![current])
}

/// What the positions of a resized axis are made of, as numbers that a device reads.
pub(crate) struct Table {
    /// The axis.
    pub(crate) axis: usize,
    /// Positions of the result.
    pub(crate) output: usize,
    /// Places for terms of every position.
    pub(crate) width: usize,
    /// Terms of every position; 0 where the extrapolation value stands.
    pub(crate) counts: Vec<i32>,
    /// Where terms come from, `width` per position.
    pub(crate) sources: Vec<i32>,
    /// Their weights, `width` per position.
    pub(crate) weights: Vec<f32>,
}

/// The tables of all axes that change, for an input of sizes `dims`; `op` has no run-time operands.
///
/// Errors  when scales or sizes are out of range.
pub(crate) fn tables(op: &Resize, dims: &[usize], cx: &OpContext<'_>) -> Result<Vec<Table>, OpError> {
    let plans = plans(op, dims, &[], cx)?;
    Ok(plans.iter().filter(|plan| !plan.is_identity()).map(|plan| table(plan, op)).collect())
}

fn table(plan: &Plan, op: &Resize) -> Table {
    let all: Vec<Taps> = (0..plan.output).map(|at| taps(plan, op, plan.coordinate(at))).collect();
    let width = all.iter().map(Vec::len).max().unwrap_or(0).max(1);
    let mut table = Table { axis: plan.axis, output: plan.output, width, counts: vec![], sources: vec![], weights: vec![] };
    for taps in &all {
        let padded = taps.iter().copied().chain(std::iter::repeat((0, 0.0))).take(width);
        table.counts.push(taps.len() as i32);
        padded.for_each(|(source, weight)| {
            table.sources.push(source as i32);
            table.weights.push(weight);
        });
    }
    table
}

/// How one axis changes.
struct Plan {
    axis: usize,
    input: usize,
    output: usize,
    scale: f64,
    roi: (f64, f64),
    mode: CoordinateMode,
}

impl Plan {
    fn is_identity(&self) -> bool {
        self.input == self.output && self.scale == 1.0 && self.mode != CoordinateMode::TfCropAndResize
    }
    /// The coordinate in the input of output position `at`.
    fn coordinate(&self, at: usize) -> f64 {
        let (x, input, output) = (at as f64, self.input as f64, self.output as f64);
        let half_pixel = (x + 0.5) / self.scale - 0.5;
        match self.mode {
            CoordinateMode::HalfPixel => half_pixel,
            CoordinateMode::HalfPixelSymmetric => input / 2.0 * (1.0 - output / (self.scale * input)) + half_pixel,
            CoordinateMode::PytorchHalfPixel if self.output > 1 => half_pixel,
            CoordinateMode::PytorchHalfPixel => 0.0,
            CoordinateMode::AlignCorners if self.output > 1 => x * (input - 1.0) / (self.scale * input - 1.0),
            CoordinateMode::AlignCorners => 0.0,
            CoordinateMode::Asymmetric => x / self.scale,
            CoordinateMode::TfCropAndResize if self.output > 1 => {
                (self.roi.0 + x * (self.roi.1 - self.roi.0) / (output - 1.0)) * (input - 1.0)
            }
            CoordinateMode::TfCropAndResize => 0.5 * (self.roi.0 + self.roi.1) * (input - 1.0),
        }
    }
}

fn plans(op: &Resize, dims: &[usize], inputs: &[&Tensor], cx: &OpContext<'_>) -> Result<Vec<Plan>, OpError> {
    let axes = op.axes.iter().map(|&axis| axis_of(axis, dims.len())).collect::<Result<Vec<_>, _>>()?;
    let (scales, outputs) = match &op.sizes {
        Some(sizes) => from_sizes(op.aspect, &axes, dims, &cx.ints(sizes, inputs)?)?,
        None => from_scales(&axes, dims, &scales(op, inputs)?)?,
    };
    let roi = roi(op, inputs, axes.len())?;
    let plan = |(i, axis): (usize, usize)| {
        if outputs[i] > 0 && dims[axis] == 0 {
            return Err(OpError::operands("resize of an empty axis to a longer one"));
        }
        Ok(Plan { axis, input: dims[axis], output: outputs[i], scale: scales[i], roi: roi[i], mode: op.coordinates })
    };
    axes.iter().copied().enumerate().map(plan).collect()
}

fn scales(op: &Resize, inputs: &[&Tensor]) -> Result<Vec<f64>, OpError> {
    let Some(index) = op.scales_operand else { return Ok(op.scales.iter().map(|&scale| scale.into()).collect()) };
    let scales = operand(inputs, index as usize)?;
    match scales.elem() {
        Elem::F32 => Ok(scales.slice::<f32>().iter().map(|&scale| scale.into()).collect()),
        other => Err(OpError::operands(format!("scales must be f32, not {other}"))),
    }
}

fn from_scales(axes: &[usize], dims: &[usize], scales: &[f64]) -> Result<(Vec<f64>, Vec<usize>), OpError> {
    if scales.len() != axes.len() || scales.iter().any(|&scale| !scale.is_finite() || scale <= 0.0) {
        return Err(OpError::operands(format!("{} positive scales expected, got {scales:?}", axes.len())));
    }
    let outputs = axes.iter().zip(scales).map(|(&axis, scale)| (dims[axis] as f64 * scale).floor() as usize).collect();
    Ok((scales.to_vec(), outputs))
}

fn from_sizes(aspect: AspectPolicy, axes: &[usize], dims: &[usize], sizes: &[i64]) -> Result<(Vec<f64>, Vec<usize>), OpError> {
    if sizes.len() != axes.len() || sizes.iter().any(|&size| size < 0) {
        return Err(OpError::operands(format!("{} sizes expected, got {sizes:?}", axes.len())));
    }
    let ratios: Vec<f64> = axes.iter().zip(sizes).map(|(&axis, &size)| size as f64 / dims[axis].max(1) as f64).collect();
    let common = match aspect {
        AspectPolicy::Stretch => return Ok((ratios, sizes.iter().map(|&size| size as usize).collect())),
        AspectPolicy::NotLarger => ratios.iter().copied().fold(f64::INFINITY, f64::min),
        AspectPolicy::NotSmaller => ratios.iter().copied().fold(0.0, f64::max),
    };
    let outputs = axes.iter().map(|&axis| (dims[axis] as f64 * common + 0.5).floor() as usize).collect();
    Ok((vec![common; axes.len()], outputs))
}

/// Start and end of the region per axis, in 0..1.
fn roi(op: &Resize, inputs: &[&Tensor], count: usize) -> Result<Vec<(f64, f64)>, OpError> {
    if !op.roi || op.coordinates != CoordinateMode::TfCropAndResize {
        return Ok(vec![(0.0, 1.0); count]);
    }
    let region = operand(inputs, 1)?;
    if region.elem() != Elem::F32 || region.len() != 2 * count {
        return Err(OpError::operands(format!("the region must be {} numbers, not {region:?}", 2 * count)));
    }
    let values = region.slice::<f32>();
    Ok((0..count).map(|i| (values[i].into(), values[count + i].into())).collect())
}

/// What one output position is made of; empty for positions outside the region.
type Taps = Vec<(usize, f32)>;

fn resize_axis(x: &Tensor, plan: &Plan, op: &Resize, cx: &OpContext<'_>) -> Result<Tensor, OpError> {
    let taps: Vec<Taps> = (0..plan.output).map(|at| taps(plan, op, plan.coordinate(at))).collect();
    let mut dims = x.dims().to_vec();
    dims[plan.axis] = plan.output;
    let inner: usize = dims[plan.axis + 1..].iter().product();
    let mut out = cx.alloc(&dims, Elem::F32)?;
    let source = x.slice::<f32>();
    if inner == 1 {
        let line = Line::new(&taps, op.extrapolation);
        for_rows(out.slice_mut::<f32>(), plan.output, |row, target| line.fill(&source[row * plan.input..][..plan.input], target));
        return Ok(out);
    }
    for_rows(out.slice_mut::<f32>(), inner, |index, target| {
        let (outer, at) = (index / plan.output, index % plan.output);
        let from = |position: usize| &source[(outer * plan.input + position) * inner..][..inner];
        match &taps[at][..] {
            [] => target.fill(op.extrapolation),
            [(only, _)] => target.copy_from_slice(from(*only)),
            many => blend(target, many, from),
        }
    });
    Ok(out)
}

/// How the elements of one line come from those of another.
enum Line {
    /// Every element that often.
    Repeat(usize),
    /// One element each.
    Pick(Vec<usize>),
    /// Sums from a start: `taps` of every element, one after the other, those it lacks with weight 0.
    Sum { start: Vec<f32>, taps: usize, from: Vec<(usize, f32)> },
}

impl Line {
    fn new(taps: &[Taps], extrapolation: f32) -> Self {
        let count = taps.iter().map(Vec::len).max().unwrap_or(0);
        if taps.iter().all(|taps| taps.len() == 1) {
            let times = taps.iter().take_while(|taps| taps[0].0 == 0).count().max(1);
            let is_repeated = taps.iter().enumerate().all(|(at, taps)| taps[0].0 == at / times);
            return if is_repeated { Line::Repeat(times) } else { Line::Pick(taps.iter().map(|taps| taps[0].0).collect()) };
        }
        let start = taps.iter().map(|taps| if taps.is_empty() { extrapolation } else { 0.0 }).collect();
        let padded = |taps: &Taps| taps.clone().into_iter().chain(std::iter::repeat((0, 0.0))).take(count);
        Line::Sum { start, taps: count, from: taps.iter().flat_map(padded).collect() }
    }
    fn fill(&self, source: &[f32], target: &mut [f32]) {
        match self {
            Line::Repeat(2) if target.len().is_multiple_of(2) => repeat_twice(source, target),
            Line::Repeat(times) => target.chunks_mut(*times).zip(source).for_each(|(target, &x)| target.fill(x)),
            Line::Pick(from) => target.iter_mut().zip(from).for_each(|(target, &from)| *target = source[from]),
            Line::Sum { start, taps, from } => {
                for ((target, start), from) in target.iter_mut().zip(start).zip(from.chunks_exact(*taps)) {
                    *target = from.iter().fold(*start, |sum, &(from, weight)| sum + weight * source[from]);
                }
            }
        }
    }
}

vectorized! {
    fn repeat_twice<const FMA: bool>(source: &[f32], target: &mut [f32]) -> () {
        for (target, &x) in target.as_chunks_mut::<2>().0.iter_mut().zip(source) {
            *target = [x, x];
        }
    }
}

fn blend<'s>(target: &mut [f32], taps: &[(usize, f32)], from: impl Fn(usize) -> &'s [f32]) {
    target.fill(0.0);
    for &(position, weight) in taps {
        target.iter_mut().zip(from(position)).for_each(|(t, &s)| *t += weight * s);
    }
}

fn taps(plan: &Plan, op: &Resize, at: f64) -> Taps {
    let last = plan.input as i64 - 1;
    if plan.mode == CoordinateMode::TfCropAndResize && !(0.0..=last as f64).contains(&at) {
        return vec![];
    }
    let radius = match op.mode {
        Interpolation::Nearest => return vec![(nearest(op.nearest, at).clamp(0, last) as usize, 1.0)],
        Interpolation::Linear => 1.0,
        Interpolation::Cubic => 2.0,
    };
    let (floor, part) = (at.floor() as i64, at - at.floor());
    let squeeze = if op.antialias { plan.scale.min(1.0) } else { 1.0 };
    let first = (-radius / squeeze).floor() as i64 + 1;
    let reach = first..2 - first;
    merged(reach.map(|step| (floor + step, weight(op, (step as f64 - part) * squeeze))), op, last)
}

/// Taps inside the axis: those outside move to the border, or go and the rest is renormalized.
fn merged(taps: impl Iterator<Item = (i64, f64)>, op: &Resize, last: i64) -> Taps {
    let taps: Vec<(i64, f64)> = taps.filter(|(position, _)| !op.exclude_outside || (0..=last).contains(position)).collect();
    let normalize = op.exclude_outside || op.antialias;
    let sum: f64 = if normalize { taps.iter().map(|tap| tap.1).sum() } else { 1.0 };
    taps.into_iter().map(|(position, weight)| (position.clamp(0, last) as usize, (weight / sum) as f32)).collect()
}

fn nearest(mode: NearestMode, at: f64) -> i64 {
    (match mode {
        NearestMode::RoundPreferFloor => (at - 0.5).ceil(),
        NearestMode::RoundPreferCeil => (at + 0.5).floor(),
        NearestMode::Floor => at.floor(),
        NearestMode::Ceil => at.ceil(),
    }) as i64
}

/// Weight of a neighbor at `distance`: a triangle of radius 1, or a cubic of radius 2 with coefficient `op.cubic_a`.
///
/// Source  Keys, "Cubic Convolution Interpolation for Digital Image Processing", 1981.
fn weight(op: &Resize, distance: f64) -> f64 {
    let (a, d) = (f64::from(op.cubic_a), distance.abs());
    match op.mode {
        Interpolation::Cubic if d <= 1.0 => ((a + 2.0) * d - (a + 3.0)) * d * d + 1.0,
        Interpolation::Cubic if d < 2.0 => ((a * d - 5.0 * a) * d + 8.0 * a) * d - 4.0 * a,
        Interpolation::Cubic => 0.0,
        _ => (1.0 - d).max(0.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn op(mode: Interpolation, coordinates: CoordinateMode, scale: f32) -> Resize {
        Resize {
            mode,
            coordinates,
            nearest: NearestMode::RoundPreferFloor,
            cubic_a: -0.75,
            exclude_outside: false,
            extrapolation: 0.0,
            antialias: false,
            aspect: AspectPolicy::Stretch,
            axes: vec![1],
            scales: vec![scale],
            scales_operand: None,
            sizes: None,
            roi: false,
        }
    }

    fn check(op: &Resize, expected: &[f32]) {
        let cx = OpContext { alloc: &|dims, elem| Tensor::zeros(dims, elem), size_of: &|_| None };
        let out = resize(op, &[&Tensor::f32s(&[1, 4], &[1.0, 2.0, 3.0, 4.0])], &cx).unwrap().remove(0);
        assert_eq!(out.slice::<f32>(), expected);
    }

    #[test]
    fn nearest_repeats_and_linear_interpolates() {
        let (nearest, linear) = (Interpolation::Nearest, Interpolation::Linear);
        check(&op(nearest, CoordinateMode::Asymmetric, 2.0), &[1.0, 1.0, 2.0, 2.0, 3.0, 3.0, 4.0, 4.0]);
        check(&op(linear, CoordinateMode::HalfPixel, 2.0), &[1.0, 1.25, 1.75, 2.25, 2.75, 3.25, 3.75, 4.0]);
        check(&op(linear, CoordinateMode::AlignCorners, 0.5), &[1.0, 4.0]);
    }

    #[test]
    fn antialiasing_widens_the_triangle() {
        let op = Resize { antialias: true, ..op(Interpolation::Linear, CoordinateMode::HalfPixel, 0.5) };
        check(&op, &[1.625, 3.375]);
    }

    #[test]
    fn cubic_weights_sum_to_one() {
        let op = op(Interpolation::Cubic, CoordinateMode::HalfPixel, 2.0);
        for part in [0.0, 0.25, 0.5, 0.9] {
            let sum: f64 = (-1..3).map(|step| weight(&op, f64::from(step) - part)).sum();
            assert!((sum - 1.0).abs() < 1e-12);
        }
    }
}
