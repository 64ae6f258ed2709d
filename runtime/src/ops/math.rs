//! Elementary functions of f32, written without branches so that loops over them vectorize; errors of about 1 ulp.
//!
//! `FMA` says whether fused multiply-add is an instruction; the results may differ in the last bit between the two.
//! Sources  Cephes `expf logf tanhf`; N. Juffa's `erff`; all checked against f64 in the tests.

#![allow(clippy::excessive_precision, reason = "coefficients as published")]

use super::simd::mul_add;
use std::f32::consts::{FRAC_1_SQRT_2, FRAC_2_PI, LOG2_E};

const LN2_HI: f32 = 0.693_359_4;
const LN2_LO: f32 = -2.121_944_4e-4;
/// Added and subtracted, it rounds to an integer, which the low bits then hold.
const ROUND: f32 = 12_582_912.0;

#[inline(always)]
fn horner<const FMA: bool, const N: usize>(x: f32, coefficients: [f32; N]) -> f32 {
    let mut sum = coefficients[0];
    let mut i = 1;
    while i < N {
        sum = mul_add::<FMA>(sum, x, coefficients[i]);
        i += 1;
    }
    sum
}

/// e^x
#[inline(always)]
pub fn exp<const FMA: bool>(x: f32) -> f32 {
    let x = if x > 89.0 { 89.0 } else { x };
    let x = if x < -104.0 { -104.0 } else { x };
    let shifted = mul_add::<FMA>(x, LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = mul_add::<FMA>(n, -LN2_LO, mul_add::<FMA>(n, -LN2_HI, x));
    let p = horner::<FMA, 6>(r, [1.987_569_1e-4, 1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5]);
    let p = mul_add::<FMA>(p, r * r, r) + 1.0;
    let n = shifted.to_bits().wrapping_sub(ROUND.to_bits()) as i32;
    let half = n >> 1;
    p * power_of_two(half) * power_of_two(n.wrapping_sub(half))
}

/// 2^n for n in -126..=127.
#[inline(always)]
fn power_of_two(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) as u32) << 23)
}

/// e^x - 1
#[inline(always)]
pub fn exp_m1<const FMA: bool>(x: f32) -> f32 {
    let series = horner::<FMA, 7>(x, [1.984_127e-4, 1.388_888_9e-3, 8.333_333e-3, 4.166_666_8e-2, 1.666_666_7e-1, 0.5, 1.0]) * x;
    let far = exp::<FMA>(x) - 1.0;
    if x.abs() < 0.35 { series } else { far }
}

/// Natural logarithm.
#[inline(always)]
pub fn ln<const FMA: bool>(x: f32) -> f32 {
    let tiny = x < f32::MIN_POSITIVE;
    let scaled = if tiny { x * 8_388_608.0 } else { x };
    // The mantissa m lies in sqrt(1/2)..sqrt(2).
    let bits = scaled.to_bits().wrapping_sub(FRAC_1_SQRT_2.to_bits());
    let exponent = ((bits as i32) >> 23) as f32 - if tiny { 23.0 } else { 0.0 };
    let m = f32::from_bits((bits & 0x007f_ffff).wrapping_add(FRAC_1_SQRT_2.to_bits())) - 1.0;
    let z = m * m;
    let p = horner::<FMA, 9>(
        m,
        [
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
    let low = mul_add::<FMA>(exponent, LN2_LO, mul_add::<FMA>(-0.5, z, m * z * p));
    let value = mul_add::<FMA>(exponent, LN2_HI, m + low);
    let value = if x == f32::INFINITY { x } else { value };
    let value = if x == 0.0 { f32::NEG_INFINITY } else { value };
    if x >= 0.0 { value } else { f32::NAN }
}

/// ln(1 + x) for x >= 0.
#[inline(always)]
fn ln_1p_positive<const FMA: bool>(x: f32) -> f32 {
    let sum = 1.0 + x;
    let value = ln::<FMA>(sum) - ((sum - 1.0) - x) / sum;
    if sum == 1.0 { x } else { value }
}

/// 1/(1 + e^-x)
#[inline(always)]
pub fn sigmoid<const FMA: bool>(x: f32) -> f32 {
    1.0 / (1.0 + exp::<FMA>(-x))
}

/// Hyperbolic tangent.
#[inline(always)]
pub fn tanh<const FMA: bool>(x: f32) -> f32 {
    let z = x * x;
    let p = horner::<FMA, 5>(z, [-5.704_988_7e-3, 2.063_908_8e-2, -5.373_971_5e-2, 1.333_144_2e-1, -3.333_328_2e-1]);
    let near = mul_add::<FMA>(p * z, x, x);
    let far = 1.0 - 2.0 / (exp::<FMA>(2.0 * x.abs()) + 1.0);
    (if x.abs() < 0.625 { near } else { far }).copysign(x)
}

/// Largest |x| for which [`sin`] and [`cos`] are meant.
pub const LARGEST_ANGLE: f32 = 8192.0;

/// Sine of |x| <= [`LARGEST_ANGLE`].
#[inline(always)]
pub fn sin<const FMA: bool>(x: f32) -> f32 {
    quarter_turns::<FMA>(x, 0)
}

/// Cosine of |x| <= [`LARGEST_ANGLE`].
#[inline(always)]
pub fn cos<const FMA: bool>(x: f32) -> f32 {
    quarter_turns::<FMA>(x, 1)
}

/// sin(x + turns pi/2)
#[inline(always)]
fn quarter_turns<const FMA: bool>(x: f32, turns: u32) -> f32 {
    let shifted = mul_add::<FMA>(x, FRAC_2_PI, ROUND);
    let n = shifted - ROUND;
    let r = mul_add::<FMA>(n, -7.549_789_95e-8, mul_add::<FMA>(n, -4.837_512_97e-4, mul_add::<FMA>(n, -1.570_312_5, x)));
    let z = r * r;
    let sine = mul_add::<FMA>(horner::<FMA, 3>(z, [-1.951_529_6e-4, 8.332_161e-3, -1.666_665_46e-1]) * z, r, r);
    let p = horner::<FMA, 3>(z, [2.443_315_7e-5, -1.388_731_6e-3, 4.166_664_6e-2]);
    let cosine = mul_add::<FMA>(p * z, z, mul_add::<FMA>(-0.5, z, 1.0));
    let quadrant = shifted.to_bits().wrapping_add(turns);
    let value = if quadrant & 1 == 0 { sine } else { cosine };
    if quadrant & 2 == 0 { value } else { -value }
}

/// Error function.
#[inline(always)]
pub fn erf<const FMA: bool>(x: f32) -> f32 {
    let (t, s) = (x.abs(), x * x);
    let high = mul_add::<FMA>(-1.728_534_7e-5, t, 3.831_972e-4);
    let low = mul_add::<FMA>(-3.883_964_4e-3, t, 2.425_462_2e-2);
    let p = horner::<FMA, 4>(t, [mul_add::<FMA>(high, s, low), -1.067_778_8e-1, -6.348_467e-1, -1.287_175_1e-1]);
    let far = (1.0 - exp::<FMA>(mul_add::<FMA>(p, t, -t))).copysign(x);
    let q = horner::<FMA, 6>(s, [-5.967_617e-4, 4.991_194_2e-3, -2.676_813_5e-2, 1.128_199_25e-1, -3.761_253_4e-1, 1.283_791_7e-1]);
    let near = mul_add::<FMA>(q, x, x);
    if t > 0.927_734_4 { far } else { near }
}

/// ln(1 + e^x)
#[inline(always)]
pub fn softplus<const FMA: bool>(x: f32) -> f32 {
    let positive = if x < 0.0 { 0.0 } else { x };
    positive + ln_1p_positive::<FMA>(exp::<FMA>(-x.abs()))
}

/// x sigmoid(x)
#[inline(always)]
pub fn silu<const FMA: bool>(x: f32) -> f32 {
    x / (1.0 + exp::<FMA>(-x))
}

/// x/2 (1 + erf(x/sqrt 2))
#[inline(always)]
pub fn gelu<const FMA: bool>(x: f32) -> f32 {
    0.5 * x * (1.0 + erf::<FMA>(x * FRAC_1_SQRT_2))
}

/// x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))
#[inline(always)]
pub fn gelu_tanh<const FMA: bool>(x: f32) -> f32 {
    let inner = 0.797_884_6 * mul_add::<FMA>(0.044_715 * x * x, x, x);
    0.5 * x * (1.0 + tanh::<FMA>(inner))
}

/// x tanh(softplus(x))
#[inline(always)]
pub fn mish<const FMA: bool>(x: f32) -> f32 {
    x * tanh::<FMA>(softplus::<FMA>(x))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Largest error in units of the last place of the exact value over a sweep of `lo..hi`.
    fn worst(lo: f32, hi: f32, f: impl Fn(f32) -> f32, exact: impl Fn(f64) -> f64) -> f64 {
        (0..=200_000)
            .map(|i| lo + (hi - lo) * (i as f32 / 200_000.0))
            .map(|x| {
                let want = exact(x.into());
                let ulp = f64::from(f32::EPSILON) * 2f64.powi((want.abs() as f32).max(f32::MIN_POSITIVE).log2().floor() as i32);
                (f64::from(f(x)) - want).abs() / ulp
            })
            .fold(0.0, f64::max)
    }

    fn check(bound: f64, lo: f32, hi: f32, fused: fn(f32) -> f32, plain: fn(f32) -> f32, exact: fn(f64) -> f64) {
        let errors = (worst(lo, hi, fused, exact), worst(lo, hi, plain, exact));
        assert!(errors.0 <= bound && errors.1 <= bound, "{errors:?} ulp on {lo}..{hi}, bound {bound}");
    }

    #[test]
    fn errors_are_small() {
        check(1.5, -87.0, 88.7, exp::<true>, exp::<false>, f64::exp);
        check(1.5, -1.0, 1.0, exp::<true>, exp::<false>, f64::exp);
        check(3.5, -20.0, 20.0, exp_m1::<true>, exp_m1::<false>, f64::exp_m1);
        check(3.5, -0.5, 0.5, exp_m1::<true>, exp_m1::<false>, f64::exp_m1);
        check(1.5, 1e-3, 10.0, ln::<true>, ln::<false>, f64::ln);
        check(1.5, 10.0, 1e30, ln::<true>, ln::<false>, f64::ln);
        check(2.5, -80.0, 30.0, sigmoid::<true>, sigmoid::<false>, |x| 1.0 / (1.0 + (-x).exp()));
        check(2.0, -10.0, 10.0, tanh::<true>, tanh::<false>, f64::tanh);
        check(2.0, -5.0, 5.0, erf::<true>, erf::<false>, libm::erf);
        check(3.0, -30.0, 30.0, softplus::<true>, softplus::<false>, |x| x.exp().ln_1p());
    }

    #[test]
    fn angles() {
        for i in -100_000..100_000 {
            let x = i as f32 * 0.0017;
            let (sine, cosine) = f64::from(x).sin_cos();
            let error = |got: f32, want: f64| (f64::from(got) - want).abs();
            assert!(error(sin::<true>(x), sine) < 1e-7 && error(sin::<false>(x), sine) < 1e-7, "sin {x}");
            assert!(error(cos::<true>(x), cosine) < 1e-7 && error(cos::<false>(x), cosine) < 1e-7, "cos {x}");
        }
        assert!(sin::<true>(f32::NAN).is_nan() && cos::<true>(f32::INFINITY).is_nan());
        assert_eq!((sin::<true>(1e-30), cos::<true>(0.0)), (1e-30, 1.0));
    }

    #[test]
    fn special_values() {
        let inf = f32::INFINITY;
        assert_eq!((exp::<false>(inf), exp::<false>(-inf), exp::<false>(0.0)), (inf, 0.0, 1.0));
        assert_eq!((ln::<false>(inf), ln::<false>(0.0), ln::<false>(1.0)), (inf, -inf, 0.0));
        assert_eq!(ln::<false>(1e-40), 1e-40f32.ln());
        assert!(ln::<false>(-1.0).is_nan() && exp::<true>(f32::NAN).is_nan() && ln::<true>(f32::NAN).is_nan());
        assert_eq!((tanh::<true>(inf), tanh::<true>(-inf), tanh::<true>(-0.0).to_bits()), (1.0, -1.0, (-0.0f32).to_bits()));
        assert_eq!((erf::<true>(inf), erf::<true>(-inf)), (1.0, -1.0));
        assert!(tanh::<true>(f32::NAN).is_nan() && erf::<true>(f32::NAN).is_nan() && softplus::<true>(f32::NAN).is_nan());
        assert_eq!((sigmoid::<true>(-200.0), softplus::<true>(inf), softplus::<true>(-inf)), (0.0, inf, 0.0));
        assert!(mish::<true>(-inf).is_nan());
    }
}
