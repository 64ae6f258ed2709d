//! Quantizes rows of f32 and packs them where they go in state: a warp per row.

use super::code::{Coder, Line};
use super::range;
use crate::gpu::build::{Axis, Build, Param, Result};
use inkwell::values::{IntValue, PointerValue};
use mokume_runtime::gpu::codes::{CodeRow, Part};
use mokume_runtime::gpu::spec::WARP;
use mokume_runtime::tensor::row_bytes;

/// Emits the kernel of `row`.
///
/// Errors  when LLVM refuses it.
pub fn emit(build: &Build<'_>, row: &CodeRow, name: &str) -> Result<()> {
    let params = [&[Param::Address; 2][..], &[Param::I64; 3]].concat();
    let values = build.kernel(name, &params, WARP);
    let [of_block, stride, start] = [2, 3, 4].map(|i| values[i].into_int_value());
    let number = build.widen(build.group(Axis::X)?)?;
    let x = build.word_at(values[0].into_pointer_value(), build.times(number, row.width as usize)?)?;
    let block = build.mul(build.udiv(number, of_block)?, stride)?;
    let in_block = build.times(build.urem(number, of_block)?, row.bytes())?;
    let to = build.offset(values[1].into_pointer_value(), build.add(block, build.add(start, in_block)?)?)?;

    let coder = Coder::new(row.bits, row.levels);
    let elements = (build.thread()?, build.i32(row.width as i32), build.i32(WARP as i32));
    let (scale, zero) =
        coder.scale(build, range::of(build, elements, WARP, name, |i| build.load_float(build.word_at(x, build.widen(i)?)?))?)?;
    let line = coder.line(build, scale, zero)?;
    for part in row.parts() {
        pack(build, row, (&coder, &line), &part, x, to)?;
    }
    let is_first = build.is(build.thread()?, inkwell::IntPredicate::EQ, build.i32(0))?;
    build.when(is_first, || {
        for at in row_bytes(row.bits, row.width as usize)..row.scale_at() {
            build.store(build.offset_by(to, at)?, build.context.i8_type().const_zero())?;
        }
        build.store(build.offset_by(to, row.scale_at())?, scale)?;
        if row.zero_point() {
            let center = build.sub(zero, build.i32(row.levels.affine(row.bits).1))?;
            build.store(build.offset_by(to, row.scale_at() + 4)?, build.to_float(center)?)?;
        }
        Ok(())
    })?;
    build.end()
}

/// Writes the bytes of one part of a row; threads take them in turn.
fn pack<'c>(
    build: &Build<'c>,
    row: &CodeRow,
    (coder, line): (&Coder, &Line<'c>),
    part: &Part,
    x: PointerValue<'c>,
    to: PointerValue<'c>,
) -> Result<()> {
    let to = build.offset_by(to, part.start)?;
    build.repeat(build.thread()?, build.i32(part.bytes as i32), build.i32(WARP as i32), &[], |i, _| {
        let mut byte = build.i32(0);
        for k in 0..8 / part.bits {
            let bits = build.shl(bits_of(build, row, (coder, line), part, x, build.plus(i, k as usize * part.bytes)?)?, k * part.bits)?;
            byte = build.or(byte, bits)?;
        }
        let byte = build.at.build_int_truncate(byte, build.context.i8_type(), "")?;
        build.store(build.offset(to, build.widen(i)?)?, byte)?;
        Ok(vec![])
    })?;
    Ok(())
}

/// The bits of a part of code `index`; 0 beyond the row.
fn bits_of<'c>(
    build: &Build<'c>,
    row: &CodeRow,
    (coder, line): (&Coder, &Line<'c>),
    part: &Part,
    x: PointerValue<'c>,
    index: IntValue<'c>,
) -> Result<IntValue<'c>> {
    let last = build.i32(row.width as i32 - 1);
    let value = build.load_float(build.word_at(x, build.widen(build.least(index, last)?)?)?)?;
    let code = build.add(line.byte(build, value)?, build.i32(coder.bytes().bias))?;
    let bits = build.and(build.shr(code, part.shift)?, build.i32((1 << part.bits) - 1))?;
    build.select(build.below(index, build.i32(row.width as i32))?, bits, build.i32(0))
}
