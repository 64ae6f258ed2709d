//! The kernel that makes results of raw sums: one thread per result, parts in order.

use super::args::Args;
use super::end::Finish;
use crate::gpu::build::{Axis, Build, Result};
use inkwell::values::{BasicValueEnum, FloatValue};
use mokume_runtime::gpu::spec::FinishSpec;

/// Emits the kernel.
pub(super) fn emit(build: &Build<'_>, spec: &FinishSpec) -> Result<()> {
    let args = Args::begin(build, &spec.symbol(), FinishSpec::THREADS);
    let first = build.times(build.group(Axis::X)?, FinishSpec::THREADS as usize)?;
    let column = build.add(first, build.thread()?)?;
    let finish = Finish { build, spec, args, row: build.group(Axis::Y)?, column };
    build.when(build.below(column, args.n)?, || {
        let result = if spec.product.block.is_some() { blocks(&finish)? } else { parts(&finish)? };
        finish.store(result)
    })?;
    build.end()
}

/// Every part is a scale block.
fn blocks<'c>(finish: &Finish<'_, 'c>) -> Result<FloatValue<'c>> {
    let build = finish.build;
    let nothing = BasicValueEnum::from(build.f32(-0.0));
    let total = build.repeat(build.i32(0), finish.args.blocks, build.i32(1), &[nothing], |block, total| {
        let term = finish.term(block, finish.raw(block)?)?;
        Ok(vec![build.fadd(total[0].into_float_value(), term)?.into()])
    })?;
    Ok(total[0].into_float_value())
}

/// Parts add up to one sum.
fn parts<'c>(finish: &Finish<'_, 'c>) -> Result<FloatValue<'c>> {
    let build = finish.build;
    let total = build.repeat(build.i32(0), finish.args.chunks, build.i32(1), &[build.i32(0).into()], |part, total| {
        Ok(vec![build.add(total[0].into_int_value(), finish.raw(part)?)?.into()])
    })?;
    finish.term(build.i32(0), total[0].into_int_value())
}
