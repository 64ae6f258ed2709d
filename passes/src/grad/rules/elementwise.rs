//! Functions of single elements.

use super::{Parts, Seen, sign};
use crate::grad::expr::{self, Expr, apply};
use mokume_ir::op::{BinaryKind, Dequantize, Quantize, UnaryKind};
use mokume_ir::types::Elem;
use std::f64::consts::PI;

/// `g f'(x)`
pub fn unary(node: &Seen<'_>, kind: UnaryKind) -> Result<Parts, String> {
    use UnaryKind::*;
    if kind == Round && node.straight_through {
        return Ok(node.first(node.g()?));
    }
    let (x, y) = (node.x(0), node.y());
    let one = || Expr::from(1.0);
    let slope = match kind {
        Abs => sign(&x),
        Neg => return Ok(node.first(-node.g()?)),
        Exp => y,
        Log => x.unary(Reciprocal),
        Sqrt => y.unary(Reciprocal) * 0.5,
        Reciprocal => -y.squared(),
        Rsqrt => y.squared() * y * -0.5,
        Sin => x.unary(Cos),
        Cos => -x.unary(Sin),
        Tan => y.squared() + 1.0,
        Asin => (one() - x.squared()).unary(Rsqrt),
        Acos => -(one() - x.squared()).unary(Rsqrt),
        Atan => (x.squared() + 1.0).unary(Reciprocal),
        Sinh => x.unary(Cosh),
        Cosh => x.unary(Sinh),
        Tanh => one() - y.squared(),
        Asinh => (x.squared() + 1.0).unary(Rsqrt),
        Acosh => (x.squared() - 1.0).unary(Rsqrt),
        Atanh => (one() - x.squared()).unary(Reciprocal),
        Erf => (-x.squared()).unary(Exp) * (2.0 / PI.sqrt()),
        Sigmoid => y.clone() * (one() - y),
        Relu => return Ok(node.first(expr::select(x.above(0.0), node.g()?, 0.0))),
        Softplus => x.unary(Sigmoid),
        Softsign => (x.unary(Abs) + 1.0).squared().unary(Reciprocal),
        Floor | Ceil | Round | Sign | Not | BitNot | IsNan | IsPosInf | IsNegInf => return Ok(node.nothing()),
    };
    Ok(node.first(node.g()? * slope))
}

/// Both parts, summed to the operands.
pub fn binary(node: &Seen<'_>, kind: BinaryKind) -> Result<Parts, String> {
    use BinaryKind::*;
    let (a, b, y) = (node.x(0), node.x(1), node.y());
    if kind.is_comparison() {
        return Ok(node.nothing());
    }
    let g = node.g()?;
    let (left, right) = match kind {
        Add => (g.clone(), g),
        Sub => (g.clone(), -g),
        Mul => (g.clone() * b, g * a),
        Div => (g.clone() / b.clone(), -(g * y / b)),
        Pow => return power(node),
        Max => (expr::select(a.below(b.clone()), 0.0, g.clone()), expr::select(a.below(b), g, 0.0)),
        Min => (expr::select(a.above(b.clone()), 0.0, g.clone()), expr::select(a.above(b), g, 0.0)),
        // a - b floor(a/b), or with the quotient cut off.
        Mod | Fmod => (g.clone(), g * (y - a) / b),
        _ => return Ok(node.nothing()),
    };
    Ok(vec![Some(node.summed(left, 0)?), Some(node.summed(right, 1)?)])
}

/// `g b a^(b-1)`, and `g y ln a` where the exponent is float.
fn power(node: &Seen<'_>) -> Result<Parts, String> {
    let (a, b, g) = (node.x(0), node.x(1), node.g()?);
    let elem = node.elem(0).ok_or("its operand is no tensor")?;
    let exponent = if node.elem(1) == Some(elem) { b } else { b.cast(elem) };
    let left = g.clone() * exponent.clone() * a.binary(BinaryKind::Pow, exponent - 1.0);
    let is_float = node.elem(1).is_some_and(Elem::is_float);
    // Where the base is 0 or less, the exponent does not vary.
    let log = expr::select(a.above(0.0), a.max(f64::from(f32::MIN_POSITIVE)).unary(UnaryKind::Log), 0.0);
    let right = is_float.then(|| node.summed(g * node.y() * log, 1)).transpose()?;
    Ok(vec![Some(node.summed(left, 0)?), right])
}

/// To the operand that was taken.
pub fn select(node: &Seen<'_>) -> Result<Parts, String> {
    let (condition, g) = (node.x(0), node.g()?);
    let (taken, other) = (expr::select(condition.clone(), g.clone(), 0.0), expr::select(condition, 0.0, g));
    Ok(vec![None, Some(node.summed(taken, 1)?), Some(node.summed(other, 2)?)])
}

/// Back to the type before, between floats.
pub fn cast(node: &Seen<'_>) -> Result<Parts, String> {
    match node.elem(0) {
        Some(elem) if elem.is_float() => Ok(node.first(node.g()?.cast(elem))),
        _ => Ok(node.nothing()),
    }
}

/// Straight through, where the element is within the range that codes reach; a range found in the data holds them all.
pub fn quantize(node: &Seen<'_>, op: &Quantize) -> Result<Parts, String> {
    if !node.straight_through {
        return Ok(node.nothing());
    }
    if node.node.inputs.len() == 1 {
        return Ok(node.first(node.g()?));
    }
    let again = apply(Dequantize {}, [apply(op.clone(), node.node.inputs.iter().map(|&value| value.into()))]);
    let within = (node.x(0) - again).unary(UnaryKind::Abs).below(node.x(1));
    Ok(node.first(expr::select(within, node.g()?, 0.0)))
}

/// The gradient by codes is that by the numbers they stand for.
pub fn dequantize(node: &Seen<'_>) -> Result<Parts, String> {
    Ok(node.first(node.g()?))
}
