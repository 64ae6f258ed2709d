//! Floats of 16 bits from and to f32, by integers: every machine gives the same bits. Rounding is half to even.

use super::emit::{Float, Int};
use inkwell::IntPredicate;

/// An f16 as f32.
pub(super) fn widened<'e, 'c>(half: Int<'e, 'c>) -> Float<'e, 'c> {
    let bits = half.extended(32, false);
    let magnitude = bits.and(bits.same(0x7fff)) * (1 << 13);
    // The exponent is 112 smaller than that of f32; a product moves it, also of numbers without leading one.
    let scaled = (magnitude.as_float() * f32::from_bits(0x7780_0000)).bits();
    let special = magnitude.and(magnitude.same(0x0f80_0000)).is(IntPredicate::EQ, magnitude.same(0x0f80_0000));
    let quiet = magnitude.and(magnitude.same(0x007f_ffff)).is(IntPredicate::NE, magnitude.same(0));
    let nan = quiet.choose(magnitude.same(0x0040_0000), magnitude.same(0));
    let value = special.choose(magnitude.or(magnitude.same(0x7f80_0000)).or(nan), scaled);
    value.or(bits.and(bits.same(0x8000)) * (1 << 16)).as_float()
}

/// An f32 as f16.
pub(super) fn narrowed<'e, 'c>(x: Float<'e, 'c>) -> Int<'e, 'c> {
    let bits = x.bits();
    let magnitude = bits.and(bits.same(0x7fff_ffff));
    let rest = magnitude.shifted(13);
    let rounded = magnitude + 0x0fff + rest.and(rest.same(1));
    let normal = (rounded - 0x3800_0000).shifted(13);
    // Below 2^-14, the sum with 1/2 rounds to the units of f16.
    let small = (magnitude.as_float() + 0.5).bits() - 0x3f00_0000;
    let value = magnitude.below(magnitude.same(0x3880_0000)).choose(small, normal);
    let value = magnitude.below(magnitude.same(0x477f_f000)).choose(value, value.same(0x7c00));
    let nan = rest.and(rest.same(0x03ff)).or(rest.same(0x7e00));
    let value = magnitude.is(IntPredicate::UGT, magnitude.same(0x7f80_0000)).choose(nan, value);
    value.or(bits.shifted(16).and(bits.same(0x8000))).truncated(16)
}

/// A bf16 as f32.
pub(super) fn b_widened<'e, 'c>(half: Int<'e, 'c>) -> Float<'e, 'c> {
    (half.extended(32, false) * (1 << 16)).as_float()
}

/// An f32 as bf16.
pub(super) fn b_narrowed<'e, 'c>(x: Float<'e, 'c>) -> Int<'e, 'c> {
    let bits = x.bits();
    let high = bits.shifted(16);
    let rounded = (bits + 0x7fff + high.and(high.same(1))).shifted(16);
    x.is_nan().choose(high.or(high.same(0x40)), rounded).truncated(16)
}
