//! Functions of f32, the same bits as on the CPU: no operation is contracted.

use super::build::{Build, Result};
use inkwell::FloatPredicate;
use inkwell::values::{FloatValue, IntValue};
use mokume_runtime::gpu::spec::Activation;

/// Applies an activation.
pub(crate) fn activate<'c>(build: &Build<'c>, activation: Activation, x: FloatValue<'c>) -> Result<FloatValue<'c>> {
    match activation {
        Activation::Relu => or_if_less(build, x, 0.0),
        Activation::Silu => silu(build, x),
        Activation::HardSwish => hard_swish(build, x),
    }
}

/// x / (1 + e^-x).
pub(crate) fn silu<'c>(build: &Build<'c>, x: FloatValue<'c>) -> Result<FloatValue<'c>> {
    let opposite = build.at.build_float_neg(x, "")?;
    build.fdiv(x, build.fadd(build.f32(1.0), exp(build, opposite)?)?)
}

fn hard_swish<'c>(build: &Build<'c>, x: FloatValue<'c>) -> Result<FloatValue<'c>> {
    let gate = build.fadd(build.fmul(x, build.f32(1.0 / 6.0))?, build.f32(0.5))?;
    build.fmul(x, or_if_more(build, or_if_less(build, gate, 0.0)?, 1.0)?)
}

/// e^x, as the runtime's `exp`.
pub(crate) fn exp<'c>(build: &Build<'c>, x: FloatValue<'c>) -> Result<FloatValue<'c>> {
    const MAGIC: f32 = 12_582_912.0;
    let clamped = or_if_more(build, or_if_less(build, x, -104.0)?, 89.0)?;
    let shifted = build.fadd(build.fmul(clamped, build.f32(std::f32::consts::LOG2_E))?, build.f32(MAGIC))?;
    let n = build.fsub(shifted, build.f32(MAGIC))?;
    let r = build.fadd(build.fmul(n, build.f32(-0.693_359_4))?, clamped)?;
    let r = build.fadd(build.fmul(n, build.f32(2.121_944_4e-4))?, r)?;
    let coefficients = [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 0.166_666_65, 0.5];
    let p = coefficients.iter().try_fold(build.f32(1.987_569_1e-4), |p, &c| build.fadd(build.fmul(p, r)?, build.f32(c)))?;
    let e = build.fadd(build.fadd(build.fmul(p, build.fmul(r, r)?)?, r)?, build.f32(1.0))?;
    let bits = build.sub(build.bits(shifted)?, build.i32(MAGIC.to_bits() as i32))?;
    let half = build.at.build_right_shift(bits, build.i32(1), true, "")?;
    build.fmul(build.fmul(e, power_of_two(build, half)?)?, power_of_two(build, build.sub(bits, half)?)?)
}

/// 2^n, for n of normal numbers.
fn power_of_two<'c>(build: &Build<'c>, n: IntValue<'c>) -> Result<FloatValue<'c>> {
    build.float_of(build.shl(build.add(n, build.i32(127))?, 23)?)
}

/// `bound` if x is less.
pub(crate) fn or_if_less<'c>(build: &Build<'c>, x: FloatValue<'c>, bound: f32) -> Result<FloatValue<'c>> {
    build.select(build.fis(x, FloatPredicate::OLT, build.f32(bound))?, build.f32(bound), x)
}

/// `bound` if x is more.
pub(crate) fn or_if_more<'c>(build: &Build<'c>, x: FloatValue<'c>, bound: f32) -> Result<FloatValue<'c>> {
    build.select(build.fis(x, FloatPredicate::OGT, build.f32(bound))?, build.f32(bound), x)
}
