//! Conversion between element types.
//!
//! Float to integer truncates toward zero and saturates, NaN gives 0; types narrower than a byte keep the low bits of the
//! integer instead, as the ONNX reference does. Integer to integer wraps. To bool is `x != 0`.
//! Source  ONNX Cast-24.

use super::elementwise::map;
use super::lanes::map1;
use super::layout::operands;
use super::number::{Number, by_number};
use super::small_float::{SmallFloat, decode_e8m0, encode_e8m0};
use super::{OpContext, OpError};
use crate::tensor::Tensor;
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use mokume_ir::op::{Bitcast, Cast};
use mokume_ir::types::Elem;

/// Runs a cast.
pub fn cast(op: &Cast, inputs: &[&Tensor], cx: &OpContext<'_>) -> Result<Vec<Tensor>, OpError> {
    let [x] = operands(inputs)?;
    Ok(vec![convert(x, op.to, op.saturate, cx)?])
}

/// Runs a bitcast.
pub fn bitcast(op: &Bitcast, inputs: &[&Tensor], cx: &OpContext<'_>) -> Result<Vec<Tensor>, OpError> {
    let [x] = operands(inputs)?;
    let plain = |elem: Elem| elem.quant().is_none() && elem != Elem::String;
    // Not every byte is a bool.
    if x.elem().bits() != op.to.bits() || !plain(x.elem()) || !plain(op.to) || op.to == Elem::Bool {
        return Err(OpError::operands(format!("bitcast of {} to {}", x.elem(), op.to)));
    }
    let out = x.bitcast(op.to);
    let narrow = op.to.bits() < 8 && op.to.is_signed_int() != x.elem().is_signed_int();
    Ok(vec![if narrow { truncate(&out, op.to, cx)? } else { out }])
}

/// `x` with elements of type `to`.
pub fn convert(x: &Tensor, to: Elem, saturate: bool, cx: &OpContext<'_>) -> Result<Tensor, OpError> {
    let from = x.elem();
    match (from, to) {
        _ if from == to => Ok(x.clone()),
        (Elem::String, _) => parse(x, to, saturate, cx),
        (_, Elem::String) => print(x, cx),
        _ if is_coded(from) => convert(&widen(x, cx)?, to, saturate, cx),
        _ if is_coded(to) && from == Elem::F64 => narrow_f64(x, to, saturate, cx),
        _ if is_coded(to) => narrow_f32(&convert(x, Elem::F32, saturate, cx)?, to, saturate, cx),
        (Elem::Bool | Elem::U4 | Elem::U2, _) => convert(&x.bitcast(Elem::U8), to, saturate, cx),
        (Elem::I4 | Elem::I2, _) => convert(&x.bitcast(Elem::I8), to, saturate, cx),
        (_, Elem::Bool) => {
            by_number!(from, T => map::<T, u8>(x, to, |x, out| map1(x, out, |x| (x != T::ZERO).into()), cx), _ => Err(no_code(from, to)))
        }
        (_, Elem::I4 | Elem::I2 | Elem::U4 | Elem::U2) => truncate(&convert(x, Elem::I64, saturate, cx)?, to, cx),
        _ => by_number!(from, T => numeric::<T>(x, to, cx), _ => Err(no_code(from, to))),
    }
}

fn no_code(from: Elem, to: Elem) -> OpError {
    OpError::unsupported(format!("cast of {from} to {to}"))
}

/// Floats that are computed with as f32: f16, bf16 and the small ones.
fn is_coded(elem: Elem) -> bool {
    elem.is_float() && !matches!(elem, Elem::F32 | Elem::F64)
}

/// The f32 form of a float of 16 bits or less.
fn widen(x: &Tensor, cx: &OpContext<'_>) -> Result<Tensor, OpError> {
    match x.elem() {
        Elem::F16 => map::<f16, f32>(x, Elem::F32, |x, out| x.convert_to_f32_slice(out), cx),
        Elem::BF16 => map::<bf16, f32>(x, Elem::F32, |x, out| map1(x, out, |x| f32::from_bits(u32::from(x.to_bits()) << 16)), cx),
        Elem::F8E8M0 => map::<u8, f32>(x, Elem::F32, |x, out| map1(x, out, decode_e8m0), cx),
        elem => {
            let format = SmallFloat::of(elem).ok_or_else(|| no_code(elem, Elem::F32))?;
            let table: Vec<f32> = (0..=255).map(|code| format.decode(code)).collect();
            map::<u8, f32>(x, Elem::F32, |x, out| map1(x, out, |x| table[usize::from(x)]), cx)
        }
    }
}

fn narrow_f32(x: &Tensor, to: Elem, saturate: bool, cx: &OpContext<'_>) -> Result<Tensor, OpError> {
    match to {
        Elem::F16 => map::<f32, f16>(x, to, |x, out| out.convert_from_f32_slice(x), cx),
        Elem::BF16 => map::<f32, bf16>(x, to, |x, out| map1(x, out, bf16::from_f32), cx),
        Elem::F8E8M0 => map::<f32, u8>(x, to, |x, out| map1(x, out, |x| encode_e8m0(x, saturate)), cx),
        _ => {
            let format = SmallFloat::of(to).ok_or_else(|| no_code(Elem::F32, to))?;
            let saturate = saturate || to == Elem::F4E2M1;
            map::<f32, u8>(x, to, |x, out| map1(x, out, |x| format.encode(x.into(), saturate)), cx)
        }
    }
}

fn narrow_f64(x: &Tensor, to: Elem, saturate: bool, cx: &OpContext<'_>) -> Result<Tensor, OpError> {
    match to {
        Elem::F16 => map::<f64, f16>(x, to, |x, out| map1(x, out, f16::from_f64), cx),
        Elem::BF16 => map::<f64, bf16>(x, to, |x, out| map1(x, out, bf16::from_f64), cx),
        Elem::F8E8M0 => narrow_f32(&convert(x, Elem::F32, saturate, cx)?, to, saturate, cx),
        _ => {
            let format = SmallFloat::of(to).ok_or_else(|| no_code(Elem::F64, to))?;
            let saturate = saturate || to == Elem::F4E2M1;
            map::<f64, u8>(x, to, |x, out| map1(x, out, |x| format.encode(x, saturate)), cx)
        }
    }
}

/// Integers cut to the bits of `to`, which is narrower than a byte.
fn truncate(x: &Tensor, to: Elem, cx: &OpContext<'_>) -> Result<Tensor, OpError> {
    let bits = to.bits();
    let unsigned = move |x: u8| x & ((1 << bits) - 1);
    let signed = move |x: i8| (x << (8 - bits)) >> (8 - bits);
    match (x.elem(), to.is_signed_int()) {
        (Elem::I64, true) => map::<i64, i8>(x, to, |x, out| map1(x, out, |x| signed(x as i8)), cx),
        (Elem::I64, false) => map::<i64, u8>(x, to, |x, out| map1(x, out, |x| unsigned(x as u8)), cx),
        (_, true) => map::<i8, i8>(x, to, |x, out| map1(x, out, signed), cx),
        (_, false) => map::<u8, u8>(x, to, |x, out| map1(x, out, unsigned), cx),
    }
}

/// Conversion as the `as` of Rust.
trait As<T> {
    fn to(self) -> T;
}

macro_rules! conversions {
    ($($from:ident)+ => $to:tt) => { $(conversions!(@ $from => $to);)+ };
    (@ $from:ident => [$($to:ident)+]) => {$(
        impl As<$to> for $from {
            #[inline(always)]
            fn to(self) -> $to { self as $to }
        }
    )+};
}

conversions! { i8 i16 i32 i64 u8 u16 u32 u64 => [i8 i16 i32 i64 u8 u16 u32 u64 f32 f64] }
conversions! { f32 f64 => [i32 i64 u32 u64 f32 f64] }

macro_rules! narrow_conversions {
    ($($from:ident)+ => $to:tt) => { $(narrow_conversions!(@ $from => $to);)+ };
    (@ $from:ident => [$($to:ident)+]) => {$(
        impl As<$to> for $from {
            // The same value, by steps that vectors have.
            #[inline(always)]
            fn to(self) -> $to { (self as i32).clamp($to::MIN.into(), $to::MAX.into()) as $to }
        }
    )+};
}

narrow_conversions! { f32 f64 => [i8 i16 u8 u16] }

trait Convertible: Number + As<i8> + As<i16> + As<i32> + As<i64> + As<u8> + As<u16> + As<u32> + As<u64> + As<f32> + As<f64> {}

impl<T> Convertible for T where T: Number + As<i8> + As<i16> + As<i32> + As<i64> + As<u8> + As<u16> + As<u32> + As<u64> + As<f32> + As<f64> {}

fn numeric<S: Convertible>(x: &Tensor, to: Elem, cx: &OpContext<'_>) -> Result<Tensor, OpError> {
    by_number!(to, T => map::<S, T>(x, to, |x, out| map1(x, out, |x| As::<T>::to(x)), cx), _ => Err(no_code(x.elem(), to)))
}

/// Numbers as text, with a decimal point for floats; bools as `True` and `False`.
fn print(x: &Tensor, cx: &OpContext<'_>) -> Result<Tensor, OpError> {
    let text = match x.elem() {
        Elem::Bool => x.slice::<u8>().iter().map(|&x| if x == 0 { "False" } else { "True" }.to_string()).collect(),
        Elem::I4 | Elem::I2 => return print(&x.bitcast(Elem::I8), cx),
        Elem::U4 | Elem::U2 => return print(&x.bitcast(Elem::U8), cx),
        elem if is_coded(elem) => return print(&widen(x, cx)?, cx),
        elem => {
            by_number!(elem, T => x.slice::<T>().iter().map(|x| format!("{x:?}")).collect(), _ => return Err(no_code(elem, Elem::String)))
        }
    };
    Ok(Tensor::strings(x.dims(), text))
}

/// Text as numbers: integers exactly, else through f64.
fn parse(x: &Tensor, to: Elem, saturate: bool, cx: &OpContext<'_>) -> Result<Tensor, OpError> {
    let texts = x.string_slice().iter().map(|text| text.trim());
    let integers: Option<Vec<i64>> = if to.is_float() { None } else { texts.clone().map(|text| text.parse().ok()).collect() };
    let exact = match integers {
        Some(integers) => Tensor::i64s(x.dims(), &integers),
        None => {
            let bad = |text: &str| OpError::operands(format!("cast of {text:?} to {to}"));
            let floats: Vec<f64> = texts.map(|text| text.parse().map_err(|_| bad(text))).collect::<Result<_, _>>()?;
            Tensor::of(x.dims(), Elem::F64, &floats)
        }
    };
    convert(&exact, to, saturate, cx)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::tests::{fails, run_op as run};

    fn to(elem: Elem, x: &Tensor) -> Tensor {
        run(Cast { to: elem, saturate: true }, &[x]).remove(0)
    }

    #[test]
    fn floats_to_integers() {
        let x = Tensor::f32s(&[6], &[1.9, -1.9, 300.0, -300.0, f32::NAN, 1e20]);
        assert_eq!(to(Elem::I8, &x).slice::<i8>(), [1, -1, 127, -128, 0, 127]);
        assert_eq!(to(Elem::U8, &x).slice::<u8>(), [1, 0, 255, 0, 0, 255]);
        assert_eq!(to(Elem::I64, &x).slice::<i64>(), [1, -1, 300, -300, 0, i64::MAX]);
        assert_eq!(to(Elem::Bool, &Tensor::f32s(&[3], &[0.0, -0.0, f32::NAN])).slice::<u8>(), [0, 0, 1]);
        let narrow = Tensor::f32s(&[3], &[-9.0, 8.5, 15.0]);
        assert_eq!(to(Elem::I4, &narrow).slice::<i8>(), [7, -8, -1]);
        assert_eq!(to(Elem::U4, &narrow).slice::<u8>(), [7, 8, 15]);
    }

    #[test]
    fn every_pair_of_plain_types_keeps_one() {
        use Elem::*;
        let floats = [F16, BF16, F32, F64, F8E4M3FN, F8E4M3FNUZ, F8E5M2, F8E5M2FNUZ, F8E8M0, F4E2M1];
        let integers = [Bool, I8, I16, I32, I64, U8, U16, U32, U64, I4, U4, I2, U2];
        let one = Tensor::f32s(&[1], &[1.0]);
        for from in floats.into_iter().chain(integers) {
            for into in floats.into_iter().chain(integers) {
                let there = to(into, &to(from, &one));
                assert_eq!((there.elem(), to(F32, &there).slice::<f32>()), (into, &[1.0][..]), "{from} to {into}");
            }
        }
    }

    #[test]
    fn integers_wrap() {
        let x = Tensor::of(&[2], Elem::I16, &[200i16, -1]);
        assert_eq!(to(Elem::I8, &x).slice::<i8>(), [-56, -1]);
        assert_eq!(to(Elem::U64, &x).slice::<u64>(), [200, u64::MAX]);
        assert_eq!(to(Elem::I2, &x).slice::<i8>(), [0, -1]);
    }

    #[test]
    fn halves_round_to_even() {
        let x = Tensor::f32s(&[3], &[1.0 + 1.0 / 2048.0, 65520.0, 1.0 + 3.0 / 256.0]);
        assert_eq!(to(Elem::F16, &x).slice::<f16>()[..2], [f16::ONE, f16::INFINITY]);
        assert_eq!(to(Elem::BF16, &x).slice::<bf16>()[2], bf16::from_f32(1.015625));
    }

    #[test]
    fn text() {
        let words = |values: &[&str]| Tensor::strings(&[values.len()], values.iter().map(|text| text.to_string()).collect());
        assert_eq!(to(Elem::F32, &words(&["3.25", "1e-5", "+INF", "-inf"])).slice::<f32>(), [3.25, 1e-5, f32::INFINITY, f32::NEG_INFINITY]);
        assert!(to(Elem::F32, &words(&["NaN"])).slice::<f32>()[0].is_nan());
        assert_eq!(to(Elem::I32, &words(&["-12", "7"])).slice::<i32>(), [-12, 7]);
        assert_eq!(to(Elem::String, &Tensor::i64s(&[1], &[-3])).string_slice(), ["-3"]);
        assert_eq!(to(Elem::String, &Tensor::f32s(&[2], &[0.5, 2.0])).string_slice(), ["0.5", "2.0"]);
        assert!(fails(Cast { to: Elem::F32, saturate: true }, &[&words(&["hello"])]));
    }

    #[test]
    fn bits() {
        let x = Tensor::f32s(&[1], &[1.0]);
        assert_eq!(run(Bitcast { to: Elem::U32 }, &[&x])[0].slice::<u32>(), [0x3f80_0000]);
        let nibbles = Tensor::of(&[2], Elem::I4, &[-1i8, 7]);
        assert_eq!(run(Bitcast { to: Elem::U4 }, &[&nibbles])[0].slice::<u8>(), [15, 7]);
        assert!(fails(Bitcast { to: Elem::F64 }, &[&x]));
    }
}
