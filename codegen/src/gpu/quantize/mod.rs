//! Kernels that quantize rows of activations and pack them, plain or fused into what makes the rows.
//!
//! A block of threads takes one row: it finds the range of the values, then codes and packs them; the values are computed twice
//! instead of stored. Where groups of a row have scales, every warp finds the range of the group of its block. Warps take words of 32 elements, lane `8 r + t` element `4 t + r`, so that a ballot is a word of a plane.

mod code;
pub mod codes;
mod pack;
mod range;
mod source;

use super::build::{Axis, Build, Param, Result};
use code::Coder;
use inkwell::values::{BasicValueEnum, FloatValue, IntValue, PointerValue};
use mokume_runtime::gpu::quantize::{QuantizeArgs, QuantizeSpec, RangeSpec};

/// Emits the kernel of `spec` into the module.
///
/// Errors  when LLVM refuses it.
pub fn emit(build: &Build<'_>, spec: &QuantizeSpec) -> Result<()> {
    let args = Args::begin(build, &spec.symbol());
    let row = Row::new(build, spec, args)?;
    let (values, coder) = (source::Values::new(&row)?, Coder::new(spec.bits, spec.levels));
    match (spec.group, spec.block) {
        (Some(group), Some(block)) => pack::groups(&row, &values, &coder, (group, block))?,
        _ => {
            let (scale, zero) = if spec.given { row.given()? } else { row.found(&values)? };
            row.describe(&coder, scale, zero)?;
            pack::emit(&row, &values, &coder.line(build, scale, zero)?)?;
        }
    }
    build.end()
}

/// Emits the kernel that finds scale and zero point of a whole tensor.
///
/// Errors  when LLVM refuses it.
pub fn emit_range(build: &Build<'_>, spec: &RangeSpec) -> Result<()> {
    let values = build.kernel(&spec.symbol(), &[Param::Address, Param::Address, Param::I64], RangeSpec::THREADS);
    let (x, given, count) = (values[0].into_pointer_value(), values[1].into_pointer_value(), values[2].into_int_value());
    let begin = build.widen(build.thread()?)?;
    let step = build.i64(RangeSpec::THREADS.into());
    let range = range::of(build, (begin, count, step), RangeSpec::THREADS, &spec.symbol(), |i| build.load_float(build.word_at(x, i)?))?;
    let (scale, zero) = Coder::new(spec.bits, spec.levels).scale(build, range)?;
    build.store(given, scale)?;
    build.store(build.offset_by(given, 4)?, zero)?;
    build.end()
}

/// Parameters, named as in [`QuantizeArgs`].
#[derive(Clone, Copy)]
struct Args<'c> {
    x: PointerValue<'c>,
    second: PointerValue<'c>,
    third: PointerValue<'c>,
    given: PointerValue<'c>,
    activations: PointerValue<'c>,
    corrections: PointerValue<'c>,
    centers: PointerValue<'c>,
    scales: PointerValue<'c>,
    m: IntValue<'c>,
    k: IntValue<'c>,
    chunks: IntValue<'c>,
    blocks: IntValue<'c>,
    factor: IntValue<'c>,
    epsilon: FloatValue<'c>,
    clip: FloatValue<'c>,
}

impl<'c> Args<'c> {
    fn begin(build: &Build<'c>, name: &str) -> Self {
        let params =
            [&[Param::Address; QuantizeArgs::ADDRESSES][..], &[Param::I32; QuantizeArgs::NUMBERS], &[Param::F32; QuantizeArgs::FLOATS]]
                .concat();
        let values = build.kernel(name, &params, QuantizeSpec::THREADS);
        let address = |i: usize| BasicValueEnum::into_pointer_value(values[i]);
        let number = |i: usize| values[QuantizeArgs::ADDRESSES + i].into_int_value();
        let float = |i: usize| values[QuantizeArgs::ADDRESSES + QuantizeArgs::NUMBERS + i].into_float_value();
        Args {
            x: address(0),
            second: address(1),
            third: address(2),
            given: address(3),
            activations: address(4),
            corrections: address(5),
            centers: address(6),
            scales: address(7),
            m: number(0),
            k: number(1),
            chunks: number(2),
            blocks: number(3),
            factor: number(4),
            epsilon: float(0),
            clip: float(1),
        }
    }
}

/// A row under construction.
struct Row<'k, 'c> {
    build: &'k Build<'c>,
    spec: &'k QuantizeSpec,
    args: Args<'c>,
    index: IntValue<'c>,
    /// The last row of a group may not exist; it is packed as zeros.
    exists: IntValue<'c>,
    /// The row, or the last one if there is none.
    clamped: IntValue<'c>,
    thread: IntValue<'c>,
}

impl<'k, 'c> Row<'k, 'c> {
    fn new(build: &'k Build<'c>, spec: &'k QuantizeSpec, args: Args<'c>) -> Result<Self> {
        let index = build.group(Axis::X)?;
        let clamped = build.least(index, build.sub(args.m, build.i32(1))?)?;
        Ok(Row { build, spec, args, index, exists: build.below(index, args.m)?, clamped, thread: build.thread()? })
    }
    /// Where element `i` of the row lies in rows of `k`.
    fn at(&self, rows: PointerValue<'c>, i: IntValue<'c>) -> Result<PointerValue<'c>> {
        let build = self.build;
        let start = build.mul(build.widen(self.clamped)?, build.widen(self.args.k)?)?;
        build.word_at(rows, build.add(start, build.widen(i)?)?)
    }
    fn given(&self) -> Result<(FloatValue<'c>, IntValue<'c>)> {
        let given = self.args.given;
        Ok((self.build.load_float(given)?, self.build.load_int(self.build.offset_by(given, 4)?)?))
    }
    /// Scale and zero point of the range of the values.
    fn found(&self, values: &source::Values<'_, 'k, 'c>) -> Result<(FloatValue<'c>, IntValue<'c>)> {
        let build = self.build;
        let step = build.i32(QuantizeSpec::THREADS as i32);
        let elements = (self.thread, self.args.k, step);
        let range = range::of(build, elements, QuantizeSpec::THREADS, &self.spec.symbol(), |i| values.at(i))?;
        Coder::new(self.spec.bits, self.spec.levels).scale(build, self.clipped(range)?)
    }
    /// The part of a range that its levels span.
    fn clipped(&self, (low, high): range::Range<'c>) -> Result<range::Range<'c>> {
        Ok((self.build.fmul(low, self.args.clip)?, self.build.fmul(high, self.args.clip)?))
    }
    /// Writes scale and center.
    fn describe(&self, coder: &Coder, scale: FloatValue<'c>, zero: IntValue<'c>) -> Result<()> {
        let build = self.build;
        let is_first = build.is(self.thread, inkwell::IntPredicate::EQ, build.i32(0))?;
        build.when(build.and(is_first, self.exists)?, || self.write(coder, scale, zero, self.index))
    }
    fn write(&self, coder: &Coder, scale: FloatValue<'c>, zero: IntValue<'c>, index: IntValue<'c>) -> Result<()> {
        let build = self.build;
        build.store(build.word_at(self.args.scales, index)?, scale)?;
        let center = build.sub(build.i32(coder.bytes().center), zero)?;
        build.store(build.word_at(self.args.centers, index)?, center)
    }
}
