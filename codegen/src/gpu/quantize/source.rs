//! The values that are quantized, as the ops compute them: sums of a norm are taken in the order of the CPU, in f32 lanes of a block
//! and in f64 over lanes and blocks.

use super::Row;
use crate::gpu::build::{Build, Result};
use crate::gpu::math;
use inkwell::values::{BasicValueEnum, FloatValue, IntValue, PointerValue};
use mokume_runtime::gpu::quantize::{Patches, QuantizeSpec, Source};

const LANES: usize = QuantizeSpec::LANES;
const BLOCK: usize = QuantizeSpec::SUM_BLOCK;

/// The values of a row.
pub(super) struct Values<'r, 'k, 'c> {
    row: &'r Row<'k, 'c>,
    /// What is subtracted, and what the difference is multiplied with.
    norm: Option<(FloatValue<'c>, FloatValue<'c>)>,
    patch: Option<Patch<'c>>,
}

impl<'r, 'k, 'c> Values<'r, 'k, 'c> {
    pub(super) fn new(row: &'r Row<'k, 'c>) -> Result<Self> {
        let norm = match row.spec.source {
            Source::Plain | Source::SiluMul | Source::Patches => None,
            Source::RmsNorm => Some((row.build.f32(0.0), factor(row, row.build.f32(0.0))?)),
            Source::LayerNorm => {
                let mean = round(row, mean(row, Ok)?)?;
                Some((mean, factor(row, mean)?))
            }
        };
        let patch = (row.spec.source == Source::Patches).then(|| Patch::new(row)).transpose()?;
        Ok(Values { row, norm, patch })
    }
    /// Element `i`.
    pub(super) fn at(&self, i: IntValue<'c>) -> Result<FloatValue<'c>> {
        let (build, args) = (self.row.build, &self.row.args);
        if let Some(patch) = &self.patch {
            return patch.at(build, args.x, i);
        }
        let x = build.load_float(self.row.at(args.x, i)?)?;
        match (self.row.spec.source, self.norm) {
            (Source::SiluMul, _) => build.fmul(math::silu(build, x)?, build.load_float(self.row.at(args.second, i)?)?),
            (source, Some((mean, factor))) => {
                let standard = build.fmul(build.fsub(x, mean)?, factor)?;
                let scaled = build.fmul(standard, build.load_float(build.word_at(args.second, i)?)?)?;
                match source {
                    Source::LayerNorm => build.fadd(scaled, build.load_float(build.word_at(args.third, i)?)?),
                    _ => Ok(scaled),
                }
            }
            _ => Ok(x),
        }
    }
}

/// The patch of a window, whose numbers are [`Patches`]'.
struct Patch<'c> {
    channels: IntValue<'c>,
    input: [IntValue<'c>; 2],
    kernel_width: IntValue<'c>,
    dilations: [IntValue<'c>; 2],
    /// Where the window begins; before the input for padding.
    first: [IntValue<'c>; 2],
    image: IntValue<'c>,
}

impl<'c> Patch<'c> {
    fn new(row: &Row<'_, 'c>) -> Result<Self> {
        let build = row.build;
        let number = |i: usize| build.load_int(build.offset_by(row.args.second, i * 4)?);
        let numbers = (0..Patches::NUMBERS).map(number).collect::<Result<Vec<_>>>()?;
        let pair = |i: usize| [numbers[1 + 2 * i], numbers[2 + 2 * i]];
        let ([input, output, kernel], [strides, dilations, begin]) = ([pair(0), pair(1), pair(2)], [pair(3), pair(4), pair(5)]);
        let windows = build.mul(output[0], output[1])?;
        let window = build.urem(row.clamped, windows)?;
        let at = [build.udiv(window, output[1])?, build.urem(window, output[1])?];
        let first = |axis: usize| build.sub(build.mul(at[axis], strides[axis])?, begin[axis]);
        Ok(Patch {
            channels: numbers[0],
            input,
            kernel_width: kernel[1],
            dilations,
            first: [first(0)?, first(1)?],
            image: build.udiv(row.clamped, windows)?,
        })
    }
    /// Element `i`; 0 in the padding, whose places are beyond the input, unsigned.
    fn at(&self, build: &Build<'c>, x: PointerValue<'c>, i: IntValue<'c>) -> Result<FloatValue<'c>> {
        let (tap, channel) = (build.udiv(i, self.channels)?, build.urem(i, self.channels)?);
        let taps = [build.udiv(tap, self.kernel_width)?, build.urem(tap, self.kernel_width)?];
        let place = |axis: usize| build.add(self.first[axis], build.mul(taps[axis], self.dilations[axis])?);
        let places = [place(0)?, place(1)?];
        let inside = build.and(build.below(places[0], self.input[0])?, build.below(places[1], self.input[1])?)?;
        let value = build.change(inside, &[build.f32(0.0).into()], |_| {
            let plane = build.add(build.mul(self.image, self.channels)?, channel)?;
            let line = build.add(build.mul(build.widen(plane)?, build.widen(self.input[0])?)?, build.widen(places[0])?)?;
            let at = build.add(build.mul(line, build.widen(self.input[1])?)?, build.widen(places[1])?)?;
            Ok(vec![build.load_float(build.word_at(x, at)?)?.into()])
        })?;
        Ok(value[0].into_float_value())
    }
}

/// 1 / sqrt(mean (x - center)² + epsilon).
fn factor<'c>(row: &Row<'_, 'c>, center: FloatValue<'c>) -> Result<FloatValue<'c>> {
    let build = row.build;
    let variance = mean(row, |x| {
        let difference = build.fsub(x, center)?;
        build.fmul(difference, difference)
    })?;
    let epsilon = build.at.build_float_ext(row.args.epsilon, build.context.f64_type(), "")?;
    let sum = build.at.build_float_add(variance, epsilon, "")?;
    let root = build.intrinsic_of("llvm.sqrt", &[build.context.f64_type().into()], &[sum.into()])?;
    let root = root.ok_or_else(|| crate::error::CodegenError::Missing("llvm.sqrt".into()))?.into_float_value();
    round(row, build.at.build_float_div(build.context.f64_type().const_float(1.0), root, "")?)
}

fn round<'c>(row: &Row<'_, 'c>, x: FloatValue<'c>) -> Result<FloatValue<'c>> {
    Ok(row.build.at.build_float_trunc(x, row.build.float(), "")?)
}

/// The mean of `term` over the row, in f64; every thread gets it.
fn mean<'c>(row: &Row<'_, 'c>, term: impl Fn(FloatValue<'c>) -> Result<FloatValue<'c>>) -> Result<FloatValue<'c>> {
    let build = row.build;
    let blocks = build.over(build.plus(row.args.k, BLOCK - 1)?, BLOCK)?;
    let lanes = build.shared();
    let sums = build.offset(lanes, build.times(blocks, LANES * 4)?)?;
    build.barrier()?;
    let step = build.i32(QuantizeSpec::THREADS as i32);
    build.repeat(row.thread, build.times(blocks, LANES)?, step, &[], |number, _| {
        lane_sum(row, lanes, number, &term)?;
        Ok(vec![])
    })?;
    build.barrier()?;
    build.repeat(row.thread, blocks, step, &[], |block, _| {
        block_sum(row, (lanes, sums), block, &term)?;
        Ok(vec![])
    })?;
    build.barrier()?;
    let nothing = BasicValueEnum::from(build.context.f64_type().const_float(0.0));
    let total = build.repeat(build.i32(0), blocks, build.i32(1), &[nothing], |block, total| {
        let sum = build.load(build.context.f64_type(), build.offset(sums, build.times(block, 8)?)?)?.into_float_value();
        Ok(vec![build.at.build_float_add(total[0].into_float_value(), sum, "")?.into()])
    })?;
    let count = build.at.build_unsigned_int_to_float(row.args.k, build.context.f64_type(), "")?;
    Ok(build.at.build_float_div(total[0].into_float_value(), count, "")?)
}

/// Elements of a block, and of them those in whole rows of lanes.
fn extent<'c>(row: &Row<'_, 'c>, block: IntValue<'c>) -> Result<(IntValue<'c>, IntValue<'c>, IntValue<'c>)> {
    let build = row.build;
    let begin = build.times(block, BLOCK)?;
    let end = build.least(build.plus(begin, BLOCK)?, row.args.k)?;
    let whole = build.and(build.sub(end, begin)?, build.i32(-(LANES as i32)))?;
    Ok((begin, build.add(begin, whole)?, end))
}

/// The f32 sum of one lane of a block, to shared memory.
fn lane_sum<'c>(
    row: &Row<'_, 'c>,
    lanes: PointerValue<'c>,
    number: IntValue<'c>,
    term: impl Fn(FloatValue<'c>) -> Result<FloatValue<'c>>,
) -> Result<()> {
    let build = row.build;
    let (begin, whole, _) = extent(row, build.over(number, LANES)?)?;
    let first = build.add(begin, build.modulo(number, LANES)?)?;
    let sum = build.repeat(first, whole, build.i32(LANES as i32), &[build.f32(0.0).into()], |i, sum| {
        let x = term(build.load_float(row.at(row.args.x, i)?)?)?;
        Ok(vec![build.fadd(sum[0].into_float_value(), x)?.into()])
    })?;
    build.store(build.offset(lanes, build.times(number, 4)?)?, sum[0])
}

/// The f64 sum of a block: of its lanes, plus that of the elements after them.
fn block_sum<'c>(
    row: &Row<'_, 'c>,
    (lanes, sums): (PointerValue<'c>, PointerValue<'c>),
    block: IntValue<'c>,
    term: impl Fn(FloatValue<'c>) -> Result<FloatValue<'c>>,
) -> Result<()> {
    let (build, double) = (row.build, row.build.context.f64_type());
    let (_, whole, end) = extent(row, block)?;
    let nothing = [BasicValueEnum::from(double.const_float(0.0))];
    let first = build.times(block, LANES)?;
    let add = |sum: &[BasicValueEnum<'c>], x: FloatValue<'c>| -> Result<Vec<BasicValueEnum<'c>>> {
        let x = build.at.build_float_ext(x, double, "")?;
        Ok(vec![build.at.build_float_add(sum[0].into_float_value(), x, "")?.into()])
    };
    let of_lanes = build.repeat(first, build.plus(first, LANES)?, build.i32(1), &nothing, |lane, sum| {
        add(sum, build.load_float(build.offset(lanes, build.times(lane, 4)?)?)?)
    })?;
    let of_rest = build.repeat(whole, end, build.i32(1), &nothing, |i, sum| add(sum, term(build.load_float(row.at(row.args.x, i)?)?)?))?;
    let total = build.at.build_float_add(of_lanes[0].into_float_value(), of_rest[0].into_float_value(), "")?;
    build.store(build.offset(sums, build.times(block, 8)?)?, total)
}
