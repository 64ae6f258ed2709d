//! Arithmetic shared by the numeric types: integers wrap, floats follow IEEE 754.

use crate::tensor::Scalar;

/// A type with arithmetic.
pub trait Number: Scalar {
    /// 0
    const ZERO: Self;
    /// 1
    const ONE: Self;
    /// No value is smaller; -inf for floats.
    const LOWEST: Self;
    /// No value is larger; inf for floats.
    const HIGHEST: Self;
    /// a + b
    fn add(self, b: Self) -> Self;
    /// a - b
    fn sub(self, b: Self) -> Self;
    /// a * b
    fn mul(self, b: Self) -> Self;
    /// a / b; integers truncate, division by zero gives 0.
    fn div(self, b: Self) -> Self;
    /// a ^ b
    fn pow(self, b: Self) -> Self;
    /// Remainder with the sign of b; integers by zero give 0.
    fn modulo(self, b: Self) -> Self;
    /// Remainder with the sign of a; integers by zero give 0.
    fn fmod(self, b: Self) -> Self;
    /// |a|
    fn abs(self) -> Self;
    /// -1, 0 or 1
    fn sign(self) -> Self;
    /// True for NaN.
    #[inline(always)]
    #[allow(clippy::eq_op, reason = "only NaN differs from itself")]
    fn is_nan(self) -> bool {
        self != self
    }
    /// The smaller; NaN wins.
    #[inline(always)]
    fn min(self, b: Self) -> Self {
        if self < b || self.is_nan() { self } else { b }
    }
    /// The larger; NaN wins.
    #[inline(always)]
    fn max(self, b: Self) -> Self {
        if self > b || self.is_nan() { self } else { b }
    }
}

/// An integer type.
pub trait Integer: Number {
    /// Bits set in both.
    fn and(self, b: Self) -> Self;
    /// Bits set in either.
    fn or(self, b: Self) -> Self;
    /// Bits set in one.
    fn xor(self, b: Self) -> Self;
    /// All bits flipped.
    fn not(self) -> Self;
    /// Shift left; 0 when b is negative or as large as the width.
    fn shl(self, b: Self) -> Self;
    /// Shift right, signed types keep their sign; all bits go when b is negative or as large as the width.
    fn shr(self, b: Self) -> Self;
}

macro_rules! integer {
    ($($ty:ident, |$a:ident| $abs:expr, $sign:expr;)+) => {$(
        impl Number for $ty {
            const ZERO: Self = 0;
            const ONE: Self = 1;
            const LOWEST: Self = $ty::MIN;
            const HIGHEST: Self = $ty::MAX;
            #[inline(always)]
            fn add(self, b: Self) -> Self { self.wrapping_add(b) }
            #[inline(always)]
            fn sub(self, b: Self) -> Self { self.wrapping_sub(b) }
            #[inline(always)]
            fn mul(self, b: Self) -> Self { self.wrapping_mul(b) }
            #[inline(always)]
            fn div(self, b: Self) -> Self { if b == 0 { 0 } else { self.wrapping_div(b) } }
            fn pow(self, b: Self) -> Self { power(self, b) }
            #[inline(always)]
            fn modulo(self, b: Self) -> Self {
                let rest = self.fmod(b);
                #[allow(unused_comparisons, reason = "signed and unsigned types share the text")]
                if rest != 0 && (rest < 0) != (b < 0) { rest.wrapping_add(b) } else { rest }
            }
            #[inline(always)]
            fn fmod(self, b: Self) -> Self { if b == 0 { 0 } else { self.wrapping_rem(b) } }
            #[inline(always)]
            fn abs(self) -> Self { let $a = self; $abs }
            #[inline(always)]
            fn sign(self) -> Self { let $a = self; $sign }
        }
        impl Integer for $ty {
            #[inline(always)]
            fn and(self, b: Self) -> Self { self & b }
            #[inline(always)]
            fn or(self, b: Self) -> Self { self | b }
            #[inline(always)]
            fn xor(self, b: Self) -> Self { self ^ b }
            #[inline(always)]
            fn not(self) -> Self { !self }
            #[inline(always)]
            fn shl(self, b: Self) -> Self { u32::try_from(b).ok().and_then(|b| self.checked_shl(b)).unwrap_or(0) }
            #[inline(always)]
            fn shr(self, b: Self) -> Self {
                let shifted = u32::try_from(b).ok().and_then(|b| self.checked_shr(b));
                #[allow(unused_comparisons, reason = "signed and unsigned types share the text")]
                shifted.unwrap_or(if self < 0 { !0 } else { 0 })
            }
        }
    )+};
}

integer! {
    i8, |a| a.wrapping_abs(), a.signum();
    i16, |a| a.wrapping_abs(), a.signum();
    i32, |a| a.wrapping_abs(), a.signum();
    i64, |a| a.wrapping_abs(), a.signum();
    u8, |a| a, (a != 0).into();
    u16, |a| a, (a != 0).into();
    u32, |a| a, (a != 0).into();
    u64, |a| a, (a != 0).into();
}

/// Integer power by squaring; a negative exponent gives 1/a^-b truncated toward zero, and 0 for a = 0.
fn power<T: Integer>(a: T, b: T) -> T {
    if b < T::ZERO {
        let minus_one = T::ZERO.sub(T::ONE);
        let odd = b.and(T::ONE) == T::ONE;
        return match a {
            _ if a == T::ONE => T::ONE,
            _ if a == minus_one => {
                if odd {
                    minus_one
                } else {
                    T::ONE
                }
            }
            _ => T::ZERO,
        };
    }
    let (mut base, mut exponent, mut product) = (a, b, T::ONE);
    while exponent != T::ZERO {
        if exponent.and(T::ONE) == T::ONE {
            product = product.mul(base);
        }
        base = base.mul(base);
        exponent = exponent.shr(T::ONE);
    }
    product
}

/// A float type.
pub trait Float: Number {
    /// A number of elements.
    fn of_count(count: usize) -> Self;
    /// Square root.
    fn root(self) -> Self;
    /// Natural logarithm.
    fn log(self) -> Self;
    /// e^x
    fn exponential(self) -> Self;
    /// True for inf and -inf.
    fn is_infinite(self) -> bool {
        self == Self::LOWEST || self == Self::HIGHEST
    }
}

macro_rules! float {
    ($($ty:ident)+) => {$(
        impl Float for $ty {
            fn of_count(count: usize) -> Self { count as $ty }
            fn root(self) -> Self { self.sqrt() }
            fn log(self) -> Self { self.ln() }
            fn exponential(self) -> Self { self.exp() }
        }
        impl Number for $ty {
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;
            const LOWEST: Self = $ty::NEG_INFINITY;
            const HIGHEST: Self = $ty::INFINITY;
            #[inline(always)]
            fn add(self, b: Self) -> Self { self + b }
            #[inline(always)]
            fn sub(self, b: Self) -> Self { self - b }
            #[inline(always)]
            fn mul(self, b: Self) -> Self { self * b }
            #[inline(always)]
            fn div(self, b: Self) -> Self { self / b }
            #[inline(always)]
            fn pow(self, b: Self) -> Self { self.powf(b) }
            #[inline(always)]
            fn modulo(self, b: Self) -> Self {
                let rest = self % b;
                if rest != 0.0 && (rest < 0.0) != (b < 0.0) { rest + b } else { rest }
            }
            #[inline(always)]
            fn fmod(self, b: Self) -> Self { self % b }
            #[inline(always)]
            fn abs(self) -> Self { $ty::abs(self) }
            #[inline(always)]
            fn sign(self) -> Self {
                let positive = if self > 0.0 { 1.0 } else { self };
                if self < 0.0 { -1.0 } else { positive }
            }
        }
    )+};
}

float! { f32 f64 }

/// Calls `$call` with `$T` the native form of `$elem`, one of the types with arithmetic.
macro_rules! by_number {
    ($elem:expr, $T:ident => $call:expr, _ => $other:expr) => {
        match $elem {
            mokume_ir::types::Elem::F32 => { type $T = f32; $call }
            mokume_ir::types::Elem::F64 => { type $T = f64; $call }
            elem => $crate::ops::number::by_integer!(elem, $T => $call, _ => $other),
        }
    };
}
pub(crate) use by_number;

/// Calls `$call` with `$T` the native form of `$elem`, an integer of a byte or more.
macro_rules! by_integer {
    ($elem:expr, $T:ident => $call:expr, _ => $other:expr) => {
        match $elem {
            mokume_ir::types::Elem::I8 => {
                type $T = i8;
                $call
            }
            mokume_ir::types::Elem::I16 => {
                type $T = i16;
                $call
            }
            mokume_ir::types::Elem::I32 => {
                type $T = i32;
                $call
            }
            mokume_ir::types::Elem::I64 => {
                type $T = i64;
                $call
            }
            mokume_ir::types::Elem::U8 => {
                type $T = u8;
                $call
            }
            mokume_ir::types::Elem::U16 => {
                type $T = u16;
                $call
            }
            mokume_ir::types::Elem::U32 => {
                type $T = u32;
                $call
            }
            mokume_ir::types::Elem::U64 => {
                type $T = u64;
                $call
            }
            _ => $other,
        }
    };
}
pub(crate) use by_integer;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_wrap_and_never_trap() {
        assert_eq!((i8::MIN.div(-1), 5i32.div(0), 5u8.modulo(0)), (i8::MIN, 0, 0));
        assert_eq!(((-7i64).modulo(3), 7i64.modulo(-3), (-7i64).fmod(3)), (2, -2, -1));
        assert_eq!((Number::pow(2i32, 10), Number::pow(2i32, -1), Number::pow(-1i64, -3), Number::pow(3u8, 6)), (1024, 0, -1, 217));
        assert_eq!((Integer::shl(1u8, 9), Integer::shr(0x80u8, 7), Integer::shr(-8i8, 1), Integer::shr(-1i8, 9)), (0, 1, -4, -1));
    }

    #[test]
    fn nan_wins() {
        assert!(Number::min(f32::NAN, 1.0).is_nan() && Number::max(1.0, f32::NAN).is_nan() && Number::sign(f32::NAN).is_nan());
        assert_eq!(Number::modulo(-7.5f32, 2.0), 0.5);
    }
}
