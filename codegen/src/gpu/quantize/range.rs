//! The smallest and the largest finite value, extended to hold 0.

use crate::gpu::build::{Build, Result};
use inkwell::values::{BasicValueEnum, FloatValue, IntValue, PointerValue};
use inkwell::{FloatPredicate, IntPredicate};
use mokume_runtime::gpu::spec::WARP;

/// Bits of the exponent of f32.
const EXPONENT: i32 = 0x7f80_0000;

pub(super) type Range<'c> = (FloatValue<'c>, FloatValue<'c>);

/// The range of the values at `begin, begin + step .. end` of every thread of a block; all threads get it.
pub(super) fn of<'c>(
    build: &Build<'c>,
    (begin, end, step): (IntValue<'c>, IntValue<'c>, IntValue<'c>),
    threads: u32,
    name: &str,
    value: impl FnOnce(IntValue<'c>) -> Result<FloatValue<'c>>,
) -> Result<Range<'c>> {
    over_block(build, of_warp(build, (begin, end, step), value)?, threads, name)
}

/// The range of the values at `begin, begin + step .. end` of every thread of a warp; all its threads get it.
pub(super) fn of_warp<'c>(
    build: &Build<'c>,
    (begin, end, step): (IntValue<'c>, IntValue<'c>, IntValue<'c>),
    value: impl FnOnce(IntValue<'c>) -> Result<FloatValue<'c>>,
) -> Result<Range<'c>> {
    let zero = BasicValueEnum::from(build.f32(0.0));
    let own = build.repeat(begin, end, step, &[zero, zero], |i, range| {
        let x = value(i)?;
        let exponent = build.and(build.bits(x)?, build.i32(EXPONENT))?;
        let x = build.select(build.is(exponent, IntPredicate::NE, build.i32(EXPONENT))?, x, build.f32(0.0))?;
        let (low, high) = wider(build, (range[0].into_float_value(), range[1].into_float_value()), (x, x))?;
        Ok(vec![low.into(), high.into()])
    })?;
    let own = (own[0].into_float_value(), own[1].into_float_value());
    over_warp(build, own)
}

fn wider<'c>(build: &Build<'c>, a: Range<'c>, b: Range<'c>) -> Result<Range<'c>> {
    let low = build.select(build.fis(b.0, FloatPredicate::OLT, a.0)?, b.0, a.0)?;
    Ok((low, build.select(build.fis(b.1, FloatPredicate::OGT, a.1)?, b.1, a.1)?))
}

fn over_warp<'c>(build: &Build<'c>, range: Range<'c>) -> Result<Range<'c>> {
    [16, 8, 4, 2, 1]
        .iter()
        .try_fold(range, |range, &mask| wider(build, range, (build.shuffle_float(range.0, mask)?, build.shuffle_float(range.1, mask)?)))
}

fn over_block<'c>(build: &Build<'c>, range: Range<'c>, threads: u32, name: &str) -> Result<Range<'c>> {
    let warps = threads / WARP;
    let shared = build.own_shared(&format!("{name}.range"), 2 * warps);
    let thread = build.thread()?;
    let (warp, lane) = (build.over(thread, WARP as usize)?, build.lane()?);
    let place = |warp: IntValue<'c>| -> Result<PointerValue<'c>> { build.offset(shared, build.times(warp, 8)?) };
    build.when(build.is(lane, IntPredicate::EQ, build.i32(0))?, || {
        build.store(place(warp)?, range.0)?;
        build.store(build.offset_by(place(warp)?, 4)?, range.1)
    })?;
    build.barrier()?;
    let other = place(build.modulo(lane, warps as usize)?)?;
    over_warp(build, (build.load_float(other)?, build.load_float(build.offset_by(other, 4)?)?))
}
