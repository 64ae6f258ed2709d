//! Elementwise functions of one operand.

use super::elementwise::{Kernel1, map};
use super::lanes::map1;
use super::layout::operands;
use super::math;
use super::number::{Integer, Number, by_integer};
use super::simd::vectorized;
use super::{OpContext, OpError};
use crate::tensor::Tensor;
use mokume_ir::op::UnaryKind;
use mokume_ir::types::Elem;

/// Runs a unary op. Operands of f16 and bf16 arrive as f32.
pub fn unary(kind: UnaryKind, inputs: &[&Tensor], cx: &OpContext<'_>) -> Result<Vec<Tensor>, OpError> {
    let [x] = operands(inputs)?;
    let out = if is_predicate(kind) { predicate(kind, x, cx) } else { same_type(kind, x, cx) };
    Ok(vec![out?])
}

fn is_predicate(kind: UnaryKind) -> bool {
    matches!(kind, UnaryKind::IsNan | UnaryKind::IsPosInf | UnaryKind::IsNegInf)
}

fn predicate(kind: UnaryKind, x: &Tensor, cx: &OpContext<'_>) -> Result<Tensor, OpError> {
    match x.elem() {
        Elem::F32 => map(x, Elem::Bool, float_class::<f32>(kind), cx),
        Elem::F64 => map(x, Elem::Bool, float_class::<f64>(kind), cx),
        _ => Err(no_code(kind, x)),
    }
}

fn float_class<T: Number>(kind: UnaryKind) -> Kernel1<T, u8> {
    match kind {
        UnaryKind::IsNan => |x, out| map1(x, out, |x| x.is_nan().into()),
        UnaryKind::IsPosInf => |x, out| map1(x, out, |x| (x == T::HIGHEST).into()),
        _ => |x, out| map1(x, out, |x| (x == T::LOWEST).into()),
    }
}

fn same_type(kind: UnaryKind, x: &Tensor, cx: &OpContext<'_>) -> Result<Tensor, OpError> {
    match x.elem() {
        Elem::Bool if kind == UnaryKind::Not => map::<u8, u8>(x, Elem::Bool, |x, out| map1(x, out, |x| x ^ 1), cx),
        Elem::F32 => map(x, Elem::F32, single(kind).ok_or_else(|| no_code(kind, x))?, cx),
        Elem::F64 => map(x, Elem::F64, double(kind).ok_or_else(|| no_code(kind, x))?, cx),
        elem => by_integer!(elem, T => map(x, elem, integer::<T>(kind).ok_or_else(|| no_code(kind, x))?, cx), _ => Err(no_code(kind, x))),
    }
}

fn no_code(kind: UnaryKind, x: &Tensor) -> OpError {
    OpError::unsupported(format!("{} of {}", kind.name(), x.elem()))
}

fn integer<T: Integer>(kind: UnaryKind) -> Option<Kernel1<T, T>> {
    Some(match kind {
        UnaryKind::Abs => |x, out| map1(x, out, |x| x.abs()),
        UnaryKind::Neg => |x, out| map1(x, out, |x| T::ZERO.sub(x)),
        UnaryKind::Sign => |x, out| map1(x, out, |x| x.sign()),
        UnaryKind::Relu => |x, out| map1(x, out, |x| Number::max(x, T::ZERO)),
        UnaryKind::BitNot => |x, out| map1(x, out, |x| x.not()),
        UnaryKind::Floor | UnaryKind::Ceil | UnaryKind::Round => |x, out| out.copy_from_slice(x),
        _ => return None,
    })
}

/// Relu and clamps keep NaN.
fn single(kind: UnaryKind) -> Option<Kernel1<f32, f32>> {
    use UnaryKind::*;
    Some(match kind {
        Abs => |x, out| map1(x, out, f32::abs),
        Neg => |x, out| map1(x, out, |x| -x),
        Exp => exp,
        Log => ln,
        Sqrt => |x, out| map1(x, out, f32::sqrt),
        Reciprocal => |x, out| map1(x, out, |x| 1.0 / x),
        Rsqrt => |x, out| map1(x, out, |x| 1.0 / x.sqrt()),
        Floor => floor,
        Ceil => ceil,
        Round => round,
        Sign => |x, out| map1(x, out, Number::sign),
        Sin => |x, out| angles(x, out, small_sin, f32::sin),
        Cos => |x, out| angles(x, out, small_cos, f32::cos),
        Tan => |x, out| map1(x, out, f32::tan),
        Asin => |x, out| map1(x, out, f32::asin),
        Acos => |x, out| map1(x, out, f32::acos),
        Atan => |x, out| map1(x, out, f32::atan),
        Sinh => |x, out| map1(x, out, f32::sinh),
        Cosh => |x, out| map1(x, out, f32::cosh),
        Tanh => tanh,
        Asinh => |x, out| map1(x, out, |x| f64::from(x).asinh() as f32),
        Acosh => |x, out| map1(x, out, |x| f64::from(x).acosh() as f32),
        Atanh => |x, out| map1(x, out, |x| f64::from(x).atanh() as f32),
        Erf => erf,
        Sigmoid => sigmoid,
        Relu => |x, out| map1(x, out, |x| if x < 0.0 { 0.0 } else { x }),
        Softplus => softplus,
        Softsign => |x, out| map1(x, out, |x| x / (1.0 + x.abs())),
        Not | BitNot | IsNan | IsPosInf | IsNegInf => return None,
    })
}

vectorized! {
    fn exp<const FMA: bool>(x: &[f32], out: &mut [f32]) {
        x.iter().zip(out).for_each(|(&x, out)| *out = math::exp::<FMA>(x));
    }
}

vectorized! {
    fn ln<const FMA: bool>(x: &[f32], out: &mut [f32]) {
        x.iter().zip(out).for_each(|(&x, out)| *out = math::ln::<FMA>(x));
    }
}

vectorized! {
    fn floor<const FMA: bool>(x: &[f32], out: &mut [f32]) {
        x.iter().zip(out).for_each(|(&x, out)| *out = x.floor());
    }
}

vectorized! {
    fn ceil<const FMA: bool>(x: &[f32], out: &mut [f32]) {
        x.iter().zip(out).for_each(|(&x, out)| *out = x.ceil());
    }
}

vectorized! {
    fn round<const FMA: bool>(x: &[f32], out: &mut [f32]) {
        x.iter().zip(out).for_each(|(&x, out)| *out = x.round_ties_even());
    }
}

vectorized! {
    fn tanh<const FMA: bool>(x: &[f32], out: &mut [f32]) {
        x.iter().zip(out).for_each(|(&x, out)| *out = math::tanh::<FMA>(x));
    }
}

vectorized! {
    fn erf<const FMA: bool>(x: &[f32], out: &mut [f32]) {
        x.iter().zip(out).for_each(|(&x, out)| *out = math::erf::<FMA>(x));
    }
}

vectorized! {
    fn sigmoid<const FMA: bool>(x: &[f32], out: &mut [f32]) {
        x.iter().zip(out).for_each(|(&x, out)| *out = math::sigmoid::<FMA>(x));
    }
}

vectorized! {
    fn softplus<const FMA: bool>(x: &[f32], out: &mut [f32]) {
        x.iter().zip(out).for_each(|(&x, out)| *out = math::softplus::<FMA>(x));
    }
}

vectorized! {
    fn small_sin<const FMA: bool>(x: &[f32], out: &mut [f32]) {
        x.iter().zip(out).for_each(|(&x, out)| *out = math::sin::<FMA>(x));
    }
}

vectorized! {
    fn small_cos<const FMA: bool>(x: &[f32], out: &mut [f32]) {
        x.iter().zip(out).for_each(|(&x, out)| *out = math::cos::<FMA>(x));
    }
}

/// Large angles, which are rare, need the long way around.
fn angles(x: &[f32], out: &mut [f32], small: Kernel1<f32, f32>, any: fn(f32) -> f32) {
    small(x, out);
    if x.iter().any(|x| x.abs() > math::LARGEST_ANGLE) {
        x.iter().zip(out).filter(|(x, _)| x.abs() > math::LARGEST_ANGLE).for_each(|(&x, out)| *out = any(x));
    }
}

fn double(kind: UnaryKind) -> Option<Kernel1<f64, f64>> {
    use UnaryKind::*;
    Some(match kind {
        Abs => |x, out| map1(x, out, f64::abs),
        Neg => |x, out| map1(x, out, |x| -x),
        Exp => |x, out| map1(x, out, f64::exp),
        Log => |x, out| map1(x, out, f64::ln),
        Sqrt => |x, out| map1(x, out, f64::sqrt),
        Reciprocal => |x, out| map1(x, out, |x| 1.0 / x),
        Rsqrt => |x, out| map1(x, out, |x| 1.0 / x.sqrt()),
        Floor => |x, out| map1(x, out, f64::floor),
        Ceil => |x, out| map1(x, out, f64::ceil),
        Round => |x, out| map1(x, out, f64::round_ties_even),
        Sign => |x, out| map1(x, out, Number::sign),
        Sin => |x, out| map1(x, out, f64::sin),
        Cos => |x, out| map1(x, out, f64::cos),
        Tan => |x, out| map1(x, out, f64::tan),
        Asin => |x, out| map1(x, out, f64::asin),
        Acos => |x, out| map1(x, out, f64::acos),
        Atan => |x, out| map1(x, out, f64::atan),
        Sinh => |x, out| map1(x, out, f64::sinh),
        Cosh => |x, out| map1(x, out, f64::cosh),
        Tanh => |x, out| map1(x, out, f64::tanh),
        Asinh => |x, out| map1(x, out, f64::asinh),
        Acosh => |x, out| map1(x, out, f64::acosh),
        Atanh => |x, out| map1(x, out, f64::atanh),
        Erf => |x, out| map1(x, out, libm::erf),
        Sigmoid => |x, out| map1(x, out, |x| 1.0 / (1.0 + (-x).exp())),
        Relu => |x, out| map1(x, out, |x| if x < 0.0 { 0.0 } else { x }),
        Softplus => |x, out| map1(x, out, |x| x.max(0.0) + (-x.abs()).exp().ln_1p()),
        Softsign => |x, out| map1(x, out, |x| x / (1.0 + x.abs())),
        Not | BitNot | IsNan | IsPosInf | IsNegInf => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::tests::{fails, run_op as run};
    use half::f16;
    use mokume_ir::op::Op;

    #[test]
    fn every_function_agrees_in_f32_and_f64() {
        let values: Vec<f32> = (-40..=40).map(|i| i as f32 * 0.173).collect();
        let single = Tensor::f32s(&[81], &values);
        let double = Tensor::of(&[81], Elem::F64, &values.iter().map(|&x| f64::from(x)).collect::<Vec<_>>());
        for &kind in UnaryKind::ALL.iter().filter(|&&kind| super::double(kind).is_some()) {
            let (a, b) = (run(Op::Unary(kind), &[&single]).remove(0), run(Op::Unary(kind), &[&double]).remove(0));
            for (&a, &b) in a.slice::<f32>().iter().zip(b.slice::<f64>()) {
                let close = (f64::from(a) - b).abs() <= 1e-5 * b.abs().max(1.0);
                assert!(close || f64::from(a) == b || (a.is_nan() && b.is_nan()), "{}: {a} {b}", kind.name());
            }
        }
    }

    #[test]
    fn predicates_and_integers() {
        let x = Tensor::f32s(&[3], &[f32::NAN, f32::INFINITY, f32::NEG_INFINITY]);
        let class = |kind| run(Op::Unary(kind), &[&x])[0].slice::<u8>().to_vec();
        assert_eq!(class(UnaryKind::IsNan), [1, 0, 0]);
        assert_eq!((class(UnaryKind::IsPosInf), class(UnaryKind::IsNegInf)), (vec![0, 1, 0], vec![0, 0, 1]));
        let x = Tensor::of(&[2], Elem::I8, &[-128i8, 5]);
        assert_eq!(run(Op::Unary(UnaryKind::Neg), &[&x])[0].slice::<i8>(), [-128, -5]);
        assert_eq!(run(Op::Unary(UnaryKind::Relu), &[&x])[0].slice::<i8>(), [0, 5]);
        assert!(fails(Op::Unary(UnaryKind::Sin), &[&x]) && fails(Op::Unary(UnaryKind::Abs), &[]));
    }

    #[test]
    fn halves_are_computed_in_f32() {
        let x = Tensor::of(&[2], Elem::F16, &[f16::from_f32(4.0), f16::from_f32(-1.5)]);
        let out = run(Op::Unary(UnaryKind::Abs), &[&x]).remove(0);
        assert_eq!((out.elem(), out.slice::<f16>()), (Elem::F16, &[f16::from_f32(4.0), f16::from_f32(1.5)][..]));
        assert_eq!(run(Op::Unary(UnaryKind::IsNan), &[&x])[0].elem(), Elem::Bool);
    }
}
