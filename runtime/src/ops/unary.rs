//! Elementwise functions of one operand.

use super::elementwise::{Kernel1, map};
use super::lanes::{map1, vectorized};
use super::layout::operands;
use super::math;
use super::number::{Integer, Number, by_integer};
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
        Sin => |x, out| map1(x, out, f32::sin),
        Cos => |x, out| map1(x, out, f32::cos),
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
    fn exp(x: &[f32], out: &mut [f32]) {
        x.iter().zip(out).for_each(|(&x, out)| *out = math::exp::<FMA>(x));
    }
    fn ln(x: &[f32], out: &mut [f32]) {
        x.iter().zip(out).for_each(|(&x, out)| *out = math::ln::<FMA>(x));
    }
    fn floor(x: &[f32], out: &mut [f32]) {
        x.iter().zip(out).for_each(|(&x, out)| *out = x.floor());
    }
    fn ceil(x: &[f32], out: &mut [f32]) {
        x.iter().zip(out).for_each(|(&x, out)| *out = x.ceil());
    }
    fn round(x: &[f32], out: &mut [f32]) {
        x.iter().zip(out).for_each(|(&x, out)| *out = x.round_ties_even());
    }
    fn tanh(x: &[f32], out: &mut [f32]) {
        x.iter().zip(out).for_each(|(&x, out)| *out = math::tanh::<FMA>(x));
    }
    fn erf(x: &[f32], out: &mut [f32]) {
        x.iter().zip(out).for_each(|(&x, out)| *out = math::erf::<FMA>(x));
    }
    fn sigmoid(x: &[f32], out: &mut [f32]) {
        x.iter().zip(out).for_each(|(&x, out)| *out = math::sigmoid::<FMA>(x));
    }
    fn softplus(x: &[f32], out: &mut [f32]) {
        x.iter().zip(out).for_each(|(&x, out)| *out = math::softplus::<FMA>(x));
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
