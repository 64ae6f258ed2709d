//! Elementary functions of f32, as the CPU's op library has them (`runtime/src/ops/math.rs`) without fused multiply-add: errors of
//! about 1 unit in the last place, at most 3.5, in PTX and in the emulator alike.

#![allow(clippy::excessive_precision, reason = "coefficients as published")]

use super::emit::Float;
use inkwell::{FloatPredicate, IntPredicate};
use std::f32::consts::{FRAC_1_SQRT_2, FRAC_2_PI};

const LN2_HI: f32 = 0.693_359_4;
const LN2_LO: f32 = -2.121_944_4e-4;
/// Added and subtracted, it rounds to an integer, which the low bits then hold.
const ROUND: f32 = 12_582_912.0;

fn horner<'e, 'c>(x: Float<'e, 'c>, coefficients: &[f32]) -> Float<'e, 'c> {
    let first = x.same(coefficients[0]);
    coefficients[1..].iter().fold(first, |sum, &coefficient| sum * x + coefficient)
}

/// |x|
pub(super) fn abs<'e, 'c>(x: Float<'e, 'c>) -> Float<'e, 'c> {
    x.bits().and(x.bits().same(0x7fff_ffff)).as_float()
}

/// |x| with the sign of `sign`.
pub(super) fn copysign<'e, 'c>(x: Float<'e, 'c>, sign: Float<'e, 'c>) -> Float<'e, 'c> {
    let top = sign.bits().and(sign.bits().same(0x8000_0000));
    abs(x).bits().or(top).as_float()
}

/// e^x
pub(super) fn exp<'e, 'c>(x: Float<'e, 'c>) -> Float<'e, 'c> {
    x.of(crate::gpu::math::exp(x.emit.build, x.value))
}

/// e^x - 1
pub(super) fn exp_m1<'e, 'c>(x: Float<'e, 'c>) -> Float<'e, 'c> {
    let series = horner(x, &[1.984_127e-4, 1.388_888_9e-3, 8.333_333e-3, 4.166_666_8e-2, 1.666_666_7e-1, 0.5, 1.0]) * x;
    abs(x).lt(x.same(0.35)).pick(series, exp(x) - 1.0)
}

/// Natural logarithm.
pub(super) fn ln<'e, 'c>(x: Float<'e, 'c>) -> Float<'e, 'c> {
    let tiny = x.lt(x.same(f32::MIN_POSITIVE));
    let scaled = tiny.pick(x * 8_388_608.0, x);
    // The mantissa m lies in sqrt(1/2)..sqrt(2).
    let root = i64::from(FRAC_1_SQRT_2.to_bits());
    let bits = scaled.bits() - root;
    let exponent = bits.halved(23).to_float() - tiny.pick(x.same(23.0), x.same(0.0));
    let m = (bits.and(bits.same(0x007f_ffff)) + root).as_float() - 1.0;
    let z = m * m;
    let p = horner(
        m,
        &[
            7.037_683_6e-2,
            -1.151_461e-1,
            1.167_699_9e-1,
            -1.242_014_1e-1,
            1.424_932_3e-1,
            -1.666_805_8e-1,
            2.000_071_5e-1,
            -2.499_999_4e-1,
            3.333_333_1e-1,
        ],
    );
    let low = exponent * LN2_LO + (z * -0.5 + m * z * p);
    let value = exponent * LN2_HI + (m + low);
    let value = x.is(FloatPredicate::OEQ, x.same(f32::INFINITY)).pick(x, value);
    let value = x.is(FloatPredicate::OEQ, x.same(0.0)).pick(x.same(f32::NEG_INFINITY), value);
    x.is(FloatPredicate::OGE, x.same(0.0)).pick(value, x.same(f32::NAN))
}

/// ln(1 + x) for x >= 0.
fn ln_1p_positive<'e, 'c>(x: Float<'e, 'c>) -> Float<'e, 'c> {
    let sum = x + 1.0;
    let value = ln(sum) - ((sum - 1.0) - x) / sum;
    sum.is(FloatPredicate::OEQ, x.same(1.0)).pick(x, value)
}

/// 1/(1 + e^-x)
pub(super) fn sigmoid<'e, 'c>(x: Float<'e, 'c>) -> Float<'e, 'c> {
    x.same(1.0) / (exp(-x) + 1.0)
}

/// Hyperbolic tangent.
pub(super) fn tanh<'e, 'c>(x: Float<'e, 'c>) -> Float<'e, 'c> {
    let z = x * x;
    let p = horner(z, &[-5.704_988_7e-3, 2.063_908_8e-2, -5.373_971_5e-2, 1.333_144_2e-1, -3.333_328_2e-1]);
    let near = p * z * x + x;
    let far = x.same(1.0) - x.same(2.0) / (exp(abs(x) * 2.0) + 1.0);
    copysign(abs(x).lt(x.same(0.625)).pick(near, far), x)
}

/// Sine, for |x| up to 8192.
pub(super) fn sin<'e, 'c>(x: Float<'e, 'c>) -> Float<'e, 'c> {
    quarter_turns(x, 0)
}

/// Cosine, for |x| up to 8192.
pub(super) fn cos<'e, 'c>(x: Float<'e, 'c>) -> Float<'e, 'c> {
    quarter_turns(x, 1)
}

/// sin(x + turns pi/2)
fn quarter_turns<'e, 'c>(x: Float<'e, 'c>, turns: i64) -> Float<'e, 'c> {
    let shifted = x * FRAC_2_PI + ROUND;
    let n = shifted - ROUND;
    let r = n * -7.549_789_95e-8 + (n * -4.837_512_97e-4 + (n * -1.570_312_5 + x));
    let z = r * r;
    let sine = horner(z, &[-1.951_529_6e-4, 8.332_161e-3, -1.666_665_46e-1]) * z * r + r;
    let p = horner(z, &[2.443_315_7e-5, -1.388_731_6e-3, 4.166_664_6e-2]);
    let cosine = p * z * z + (z * -0.5 + 1.0);
    let quadrant = shifted.bits() + turns;
    let even = |bit: i64| quadrant.and(quadrant.same(bit)).is(IntPredicate::EQ, quadrant.same(0));
    let value = even(1).pick(sine, cosine);
    even(2).pick(value, -value)
}

/// Error function.
pub(super) fn erf<'e, 'c>(x: Float<'e, 'c>) -> Float<'e, 'c> {
    let (t, s) = (abs(x), x * x);
    let high = t * -1.728_534_7e-5 + 3.831_972e-4;
    let low = t * -3.883_964_4e-3 + 2.425_462_2e-2;
    let first = high * s + low;
    let p = [-1.067_778_8e-1, -6.348_467e-1, -1.287_175_1e-1].iter().fold(first, |sum, &coefficient| sum * t + coefficient);
    let far = copysign(x.same(1.0) - exp(p * t - t), x);
    let q = horner(s, &[-5.967_617e-4, 4.991_194_2e-3, -2.676_813_5e-2, 1.128_199_25e-1, -3.761_253_4e-1, 1.283_791_7e-1]);
    t.gt(x.same(0.927_734_4)).pick(far, q * x + x)
}

/// ln(1 + e^x)
pub(super) fn softplus<'e, 'c>(x: Float<'e, 'c>) -> Float<'e, 'c> {
    x.lt(x.same(0.0)).pick(x.same(0.0), x) + ln_1p_positive(exp(-abs(x)))
}

/// x sigmoid(x)
pub(super) fn silu<'e, 'c>(x: Float<'e, 'c>) -> Float<'e, 'c> {
    x.of(crate::gpu::math::silu(x.emit.build, x.value))
}

/// x/2 (1 + erf(x/sqrt 2))
pub(super) fn gelu<'e, 'c>(x: Float<'e, 'c>) -> Float<'e, 'c> {
    x * 0.5 * (erf(x * FRAC_1_SQRT_2) + 1.0)
}

/// x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))
pub(super) fn gelu_tanh<'e, 'c>(x: Float<'e, 'c>) -> Float<'e, 'c> {
    let inner = (x * 0.044_715 * x * x + x) * 0.797_884_6;
    x * 0.5 * (tanh(inner) + 1.0)
}

/// To a whole number, half to even.
pub(super) fn round<'e, 'c>(x: Float<'e, 'c>) -> Float<'e, 'c> {
    let whole = 8_388_608.0;
    let size = abs(x);
    size.lt(x.same(whole)).pick(copysign(size + whole - whole, x), x)
}

/// Toward minus infinity.
pub(super) fn floor<'e, 'c>(x: Float<'e, 'c>) -> Float<'e, 'c> {
    let near = round(x);
    near.gt(x).pick(near - 1.0, near)
}

/// Toward plus infinity.
pub(super) fn ceil<'e, 'c>(x: Float<'e, 'c>) -> Float<'e, 'c> {
    -floor(-x)
}

/// Hyperbolic sine.
pub(super) fn sinh<'e, 'c>(x: Float<'e, 'c>) -> Float<'e, 'c> {
    let grown = exp_m1(abs(x));
    let value = (grown + grown / (grown + 1.0)) * 0.5;
    copysign(grown.gt(x.same(1e30)).pick(grown * 0.5, value), x)
}

/// Hyperbolic cosine.
pub(super) fn cosh<'e, 'c>(x: Float<'e, 'c>) -> Float<'e, 'c> {
    (exp(x) + exp(-x)) * 0.5
}

/// `x ^ y`; the error is about `|y ln x|` units in the last place.
pub(super) fn pow<'e, 'c>(x: Float<'e, 'c>, y: Float<'e, 'c>) -> Float<'e, 'c> {
    let equal = |a: Float<'e, 'c>, b: Float<'e, 'c>| a.is(FloatPredicate::OEQ, b);
    let square = equal(y, x.same(2.0)).pick(x * x, exp(y * ln(abs(x))));
    let value = equal(y, x.same(1.0)).pick(x, square);
    let value = equal(y, x.same(0.0)).pick(x.same(1.0), value);
    let (whole, half) = (equal(floor(y), y), floor(y * 0.5));
    let odd = equal(half + half, y).is(IntPredicate::EQ, whole.same(0));
    let negative = x.lt(x.same(0.0));
    let signed = whole.pick(odd.pick(-abs(value), abs(value)), x.same(f32::NAN));
    negative.pick(signed, value)
}
