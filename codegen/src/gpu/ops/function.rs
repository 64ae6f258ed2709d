//! What elementwise kinds compute.

use super::emit::{Float, Int, Value};
use super::math;
use crate::error::CodegenError;
use inkwell::{FloatPredicate, IntPredicate};
use mokume_ir::op::{ActivationKind, BinaryKind, UnaryKind};
use mokume_ir::types::Elem;

/// A function of one value.
pub(super) fn unary<'e, 'c>(kind: UnaryKind, elem: Elem, x: Value<'e, 'c>) -> Value<'e, 'c> {
    match x {
        Value::Float(x) => unary_float(kind, x),
        Value::Int(x) => Value::Int(unary_int(kind, elem, x)),
    }
}

fn unary_float<'e, 'c>(kind: UnaryKind, x: Float<'e, 'c>) -> Value<'e, 'c> {
    use UnaryKind::*;
    let is = |value: f32| Value::Int(x.is(FloatPredicate::OEQ, x.same(value)));
    Value::Float(match kind {
        IsNan => return Value::Int(x.is_nan()),
        IsPosInf => return is(f32::INFINITY),
        IsNegInf => return is(f32::NEG_INFINITY),
        Abs => math::abs(x),
        Neg => -x,
        Exp => math::exp(x),
        Log => math::ln(x),
        Sqrt => x.call("llvm.sqrt"),
        Reciprocal => x.same(1.0) / x,
        Rsqrt => x.same(1.0) / x.call("llvm.sqrt"),
        Floor => math::floor(x),
        Ceil => math::ceil(x),
        Round => math::round(x),
        Sign => x.gt(x.same(0.0)).pick(x.same(1.0), x.lt(x.same(0.0)).pick(x.same(-1.0), x)),
        Sin => math::sin(x),
        Cos => math::cos(x),
        Tan => math::sin(x) / math::cos(x),
        Sinh => math::sinh(x),
        Cosh => math::cosh(x),
        Tanh => math::tanh(x),
        Erf => math::erf(x),
        Sigmoid => math::sigmoid(x),
        Relu => x.lt(x.same(0.0)).pick(x.same(0.0), x),
        Softplus => math::softplus(x),
        Softsign => x / (math::abs(x) + 1.0),
        Not | BitNot | Asin | Acos | Atan | Asinh | Acosh | Atanh => unknown(x, kind.name()),
    })
}

fn unknown<'e, 'c>(x: Float<'e, 'c>, name: &str) -> Float<'e, 'c> {
    x.emit.kept(Err(CodegenError::Missing(format!("code for {name}"))), || x)
}

fn unary_int<'e, 'c>(kind: UnaryKind, elem: Elem, x: Int<'e, 'c>) -> Int<'e, 'c> {
    let negative = || x.is(if elem.is_signed_int() { IntPredicate::SLT } else { IntPredicate::ULT }, x.same(0));
    let positive = || x.is(IntPredicate::NE, x.same(0));
    match kind {
        UnaryKind::Not => x.xor(x.same(1)),
        UnaryKind::BitNot => x.xor(x.same(-1)),
        UnaryKind::Neg => x.same(0) - x,
        UnaryKind::Abs => negative().choose(x.same(0) - x, x),
        UnaryKind::Sign => negative().choose(x.same(-1), positive().choose(x.same(1), x.same(0))),
        _ => x.emit.kept(Err(CodegenError::Missing(format!("code for {} of {elem}", kind.name()))), || x),
    }
}

/// A function of two values of one type.
pub(super) fn binary<'e, 'c>(kind: BinaryKind, elem: Elem, a: Value<'e, 'c>, b: Value<'e, 'c>) -> Value<'e, 'c> {
    match (a, b) {
        (Value::Float(a), Value::Float(b)) => binary_float(kind, a, b),
        (a, b) => Value::Int(binary_int(kind, elem, a.int(), b.int())),
    }
}

fn binary_float<'e, 'c>(kind: BinaryKind, a: Float<'e, 'c>, b: Float<'e, 'c>) -> Value<'e, 'c> {
    use BinaryKind::*;
    let compare = |how| Value::Int(a.is(how, b));
    Value::Float(match kind {
        Add => a + b,
        Sub => a - b,
        Mul => a * b,
        Div => a / b,
        Pow => math::pow(a, b),
        Min => a.min(b),
        Max => a.max(b),
        Eq => return compare(FloatPredicate::OEQ),
        Lt => return compare(FloatPredicate::OLT),
        Le => return compare(FloatPredicate::OLE),
        Gt => return compare(FloatPredicate::OGT),
        Ge => return compare(FloatPredicate::OGE),
        _ => unknown(a, kind.name()),
    })
}

fn binary_int<'e, 'c>(kind: BinaryKind, elem: Elem, a: Int<'e, 'c>, b: Int<'e, 'c>) -> Int<'e, 'c> {
    use BinaryKind::*;
    let signed = elem.is_signed_int();
    let order = |signed_how, unsigned_how| a.is(if signed { signed_how } else { unsigned_how }, b);
    match kind {
        Add => a + b,
        Sub => a - b,
        Mul => a * b,
        Div => divide(signed, a, b),
        Min => order(IntPredicate::SLT, IntPredicate::ULT).choose(a, b),
        Max => order(IntPredicate::SGT, IntPredicate::UGT).choose(a, b),
        And | BitAnd => a.and(b),
        Or | BitOr => a.or(b),
        Xor | BitXor => a.xor(b),
        Eq => a.is(IntPredicate::EQ, b),
        Lt => order(IntPredicate::SLT, IntPredicate::ULT),
        Le => order(IntPredicate::SLE, IntPredicate::ULE),
        Gt => order(IntPredicate::SGT, IntPredicate::UGT),
        Ge => order(IntPredicate::SGE, IntPredicate::UGE),
        _ => a.emit.kept(Err(CodegenError::Missing(format!("code for {} of {elem}", kind.name()))), || a),
    }
}

/// Division by zero gives 0; the smallest number over -1 wraps.
fn divide<'e, 'c>(signed: bool, a: Int<'e, 'c>, b: Int<'e, 'c>) -> Int<'e, 'c> {
    let zero = b.is(IntPredicate::EQ, b.same(0));
    let (one, minus) = (b.same(1), b.is(IntPredicate::EQ, b.same(-1)));
    let quotient = match signed {
        true => minus.choose(a.same(0) - a, a.quotient(zero.or(minus).choose(one, b))),
        false => a / zero.choose(one, b),
    };
    zero.choose(a.same(0), quotient)
}

/// An activation with its parameters.
pub(super) fn activation<'e, 'c>(kind: ActivationKind, x: Float<'e, 'c>, alpha: f32, beta: f32) -> Float<'e, 'c> {
    use ActivationKind::*;
    let zero = x.same(0.0);
    let clamp = |x: Float<'e, 'c>| {
        let x = x.lt(zero).pick(zero, x);
        x.gt(x.same(1.0)).pick(x.same(1.0), x)
    };
    match kind {
        LeakyRelu => x.lt(zero).pick(x * alpha, x),
        Elu => x.lt(zero).pick(math::exp_m1(x) * alpha, x),
        Celu => x.lt(zero).pick(math::exp_m1(x / alpha) * alpha, x),
        Selu => x.gt(zero).pick(x, math::exp_m1(x) * alpha) * beta,
        HardSigmoid => clamp(x * alpha + beta),
        HardSwish => x * clamp(x / 6.0 + 0.5),
        ThresholdedRelu => x.gt(x.same(alpha)).pick(x, zero),
        Shrink => x.lt(x.same(-alpha)).pick(x + beta, x.gt(x.same(alpha)).pick(x - beta, zero)),
        Silu if alpha == 1.0 => math::silu(x),
        Silu => x / (math::exp(-(x * alpha)) + 1.0),
        Mish => x * math::tanh(math::softplus(x)),
        Gelu => math::gelu(x),
        GeluTanh => math::gelu_tanh(x),
    }
}
