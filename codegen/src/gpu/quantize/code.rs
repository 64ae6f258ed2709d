//! From values to codes: the arithmetic of the runtime's `ops::quantize`.

use crate::gpu::build::{Build, Result};
use crate::gpu::math::{or_if_less, or_if_more};
use inkwell::FloatPredicate;
use inkwell::values::{FloatValue, IntValue};
use mokume_ir::quant::Levels;
use mokume_runtime::bit_product::ByteCode;

/// Added to a number below 2^22, this rounds it to even; the whole number is in the low bits.
const ROUND: f32 = 12_582_912.0;

/// What codes of some levels and bits are.
pub(super) struct Coder {
    bits: u8,
    levels: Levels,
    offset: f32,
    /// Smallest and largest level used.
    low: f32,
    high: f32,
    /// Distance of the smallest and the largest level.
    width: f32,
}

/// From values to bytes, for one scale.
#[derive(Clone, Copy)]
pub(super) struct Line<'c> {
    scale: FloatValue<'c>,
    low: FloatValue<'c>,
    high: FloatValue<'c>,
    /// What makes the bits of the rounded number a byte.
    add: IntValue<'c>,
    is_odd: bool,
    shift: f32,
}

impl Coder {
    pub(super) fn new(bits: u8, levels: Levels) -> Self {
        let (low, high) = levels.range(bits);
        let [offset, low, high] = [levels.affine(bits).1, low, high].map(|level| level as f32);
        let symmetric = levels == Levels::Signed && high > 0.0;
        Coder { bits, levels, offset, low: if symmetric { -high } else { low }, high, width: high - low }
    }
    pub(super) fn bytes(&self) -> ByteCode {
        ByteCode::of(self.levels, self.bits)
    }
    /// Scale and zero point of a range that holds 0.
    pub(super) fn scale<'c>(&self, build: &Build<'c>, range: (FloatValue<'c>, FloatValue<'c>)) -> Result<(FloatValue<'c>, IntValue<'c>)> {
        match self.levels {
            Levels::Unsigned => self.spread(build, range),
            _ => Ok((self.magnitude(build, range)?, build.i32(0))),
        }
    }
    fn magnitude<'c>(&self, build: &Build<'c>, (low, high): (FloatValue<'c>, FloatValue<'c>)) -> Result<FloatValue<'c>> {
        let opposite = build.at.build_float_neg(low, "")?;
        let most = build.select(build.fis(opposite, FloatPredicate::OGT, high)?, opposite, high)?;
        let scale = build.fdiv(most, build.f32(self.high.max(1.0)))?;
        build.select(is_zero(build, scale)?, build.f32(1.0), scale)
    }
    fn spread<'c>(&self, build: &Build<'c>, (low, high): (FloatValue<'c>, FloatValue<'c>)) -> Result<(FloatValue<'c>, IntValue<'c>)> {
        let bottom = self.high - self.width;
        let scale = build.fdiv(build.fsub(high, low)?, build.f32(self.width))?;
        let none = is_zero(build, scale)?;
        let scale = build.select(none, build.f32(1.0), scale)?;
        let at = build.fdiv(build.at.build_float_neg(low, "")?, scale)?;
        let rounded = build.fsub(build.fadd(at, build.f32(ROUND))?, build.f32(ROUND))?;
        let zero = or_if_more(build, or_if_less(build, build.fadd(rounded, build.f32(bottom))?, bottom)?, self.high)?;
        let zero = build.at.build_float_to_signed_int(zero, build.int(), "")?;
        Ok((scale, build.select(none, build.i32(bottom as i32), zero)?))
    }
    /// The line of codes for a scale and a zero point.
    pub(super) fn line<'c>(&self, build: &Build<'c>, scale: FloatValue<'c>, zero: IntValue<'c>) -> Result<Line<'c>> {
        let fixed = |add: i32| build.i32(add.wrapping_sub(ROUND.to_bits() as i32).wrapping_sub(self.bytes().bias));
        if self.levels == Levels::Odd {
            let (low, high) = (build.f32(0.0), build.f32(-self.offset));
            return Ok(Line { scale, low, high, add: fixed(0), is_odd: true, shift: -self.offset });
        }
        let real = build.to_float(zero)?;
        Ok(Line {
            scale,
            low: build.fsub(build.f32(self.low), real)?,
            high: build.fsub(build.f32(self.high), real)?,
            add: build.add(zero, fixed(-self.offset as i32))?,
            is_odd: false,
            shift: 0.0,
        })
    }
}

fn is_zero<'c>(build: &Build<'c>, x: FloatValue<'c>) -> Result<IntValue<'c>> {
    build.fis(x, FloatPredicate::OEQ, build.f32(0.0))
}

impl<'c> Line<'c> {
    /// The byte of a value, in the low bits of a word.
    pub(super) fn byte(&self, build: &Build<'c>, x: FloatValue<'c>) -> Result<IntValue<'c>> {
        let x = build.select(build.fis(x, FloatPredicate::UNO, x)?, build.f32(0.0), x)?;
        let at = build.fdiv(x, self.scale)?;
        let at = if self.is_odd { build.fmul(build.fadd(at, build.f32(self.shift))?, build.f32(0.5))? } else { at };
        let at = build.select(build.fis(at, FloatPredicate::OLT, self.low)?, self.low, at)?;
        let at = build.select(build.fis(at, FloatPredicate::OGT, self.high)?, self.high, at)?;
        build.add(build.bits(build.fadd(at, build.f32(ROUND))?)?, self.add)
    }
}
