//! Elementwise functions of expressions.

use super::eval::Site;
use super::{Elements, MAX_WEIGHT};
use crate::dim::{Dim, DimFn};
use crate::op::{BinaryKind, Cast, UnaryKind};
use crate::types::Elem;

impl Elements {
    /// The elements of the tensor broadcast to `shape`.
    pub(super) fn broadcast_to(&self, shape: &[usize]) -> Option<Vec<Dim>> {
        let missing = shape.len().checked_sub(self.shape.len())?;
        let index_of = |index: &[usize]| {
            let own = index[missing..].iter().zip(&self.shape);
            own.map(|(&i, &size)| if size == 1 { 0 } else { i }).collect::<Vec<_>>()
        };
        super::rearrange::indices(shape).map(|index| self.at(&index_of(&index)).cloned()).collect()
    }
}

pub(super) fn unary(kind: UnaryKind, site: &Site<'_>) -> Option<Elements> {
    let items = site.operand(0)?.items.iter().map(|item| of_one(kind, item));
    Some(site.output(items.collect::<Option<_>>()?))
}

fn of_one(kind: UnaryKind, x: &Dim) -> Option<Dim> {
    let zero = Dim::from(0i64);
    match kind {
        UnaryKind::Neg => Some(zero.minus(x)),
        UnaryKind::Abs if x.is_non_negative() => Some(x.clone()),
        UnaryKind::Abs if x.is_negative() => Some(zero.minus(x)),
        UnaryKind::Sign if x.is_positive() => Some(Dim::from(1i64)),
        UnaryKind::Sign if x.is_negative() => Some(Dim::from(-1i64)),
        UnaryKind::Sign if x.known() == Some(0) => Some(zero),
        UnaryKind::Relu => Some(x.call(DimFn::Max, &zero)),
        UnaryKind::Floor | UnaryKind::Ceil | UnaryKind::Round => Some(x.clone()),
        UnaryKind::Not => x.known().map(|x| truth(x == 0)),
        _ => None,
    }
}

fn truth(value: bool) -> Dim {
    Dim::from(i64::from(value))
}

pub(super) fn binary(kind: BinaryKind, site: &Site<'_>) -> Option<Elements> {
    let a = site.operand(0)?.broadcast_to(site.shape)?;
    let b = site.operand(1)?.broadcast_to(site.shape)?;
    let is_float = (site.ty)(0)?.elem()?.is_float();
    let items = a.iter().zip(&b).map(|(a, b)| if is_float { of_two_floats(kind, a, b) } else { of_two(kind, a, b) });
    Some(site.output(items.collect::<Option<_>>()?))
}

fn of_two(kind: BinaryKind, a: &Dim, b: &Dim) -> Option<Dim> {
    match kind {
        BinaryKind::Add => Some(a.plus(b)),
        BinaryKind::Sub => Some(a.minus(b)),
        BinaryKind::Mul => a.try_times(b, MAX_WEIGHT),
        BinaryKind::Div => divide(a, b),
        BinaryKind::Mod => modulo(a, b),
        BinaryKind::Fmod if a.is_non_negative() => modulo(a, b),
        BinaryKind::Pow => power(a, b),
        BinaryKind::Min => Some(a.call(DimFn::Min, b)),
        BinaryKind::Max => Some(a.call(DimFn::Max, b)),
        BinaryKind::And => logical(a, b, |a, b| a && b),
        BinaryKind::Or => logical(a, b, |a, b| a || b),
        BinaryKind::Xor => logical(a, b, |a, b| a != b),
        BinaryKind::Eq => equal(a, b).map(truth),
        BinaryKind::Lt => less(a, b).map(truth),
        BinaryKind::Ge => less(a, b).map(|less| truth(!less)),
        BinaryKind::Gt => less(b, a).map(truth),
        BinaryKind::Le => less(b, a).map(|less| truth(!less)),
        _ => None,
    }
}

/// Of floats that are integers: a quotient must be one for every size, and where the divisor is 0 there is none.
fn of_two_floats(kind: BinaryKind, a: &Dim, b: &Dim) -> Option<Dim> {
    match kind {
        BinaryKind::Div => a.exact_div(b).filter(|_| b.is_positive() || b.is_negative()),
        BinaryKind::Mod | BinaryKind::Fmod if !b.is_positive() => None,
        _ => of_two(kind, a, b),
    }
}

/// Truncating division; for a divisor that is not negative and a dividend that is not either, it is the floor.
fn divide(a: &Dim, b: &Dim) -> Option<Dim> {
    match (a.known(), b.known()) {
        (_, Some(0)) => Some(Dim::from(0i64)),
        (Some(a), Some(b)) => a.checked_div(b).map(Dim::from),
        _ => a.exact_div(b).or_else(|| (a.is_non_negative() && b.is_non_negative()).then(|| a.floor_div(b))),
    }
}

fn modulo(a: &Dim, b: &Dim) -> Option<Dim> {
    (b.is_non_negative() && b.known() != Some(0)).then(|| a.call(DimFn::Mod, b))
}

fn power(a: &Dim, b: &Dim) -> Option<Dim> {
    let exponent = b.known().filter(|b| (0..=8).contains(b))?;
    (0..exponent).try_fold(Dim::from(1i64), |power, _| power.try_times(a, MAX_WEIGHT))
}

fn logical(a: &Dim, b: &Dim, function: fn(bool, bool) -> bool) -> Option<Dim> {
    Some(truth(function(a.known()? != 0, b.known()? != 0)))
}

fn equal(a: &Dim, b: &Dim) -> Option<bool> {
    let difference = a.minus(b);
    match difference.known() {
        Some(difference) => Some(difference == 0),
        None => (difference.is_positive() || difference.is_negative()).then_some(false),
    }
}

fn less(a: &Dim, b: &Dim) -> Option<bool> {
    let difference = a.minus(b);
    match difference.is_negative() {
        true => Some(true),
        false => difference.is_non_negative().then_some(false),
    }
}

pub(super) fn select(site: &Site<'_>) -> Option<Elements> {
    let pick = |index: usize| site.operand(index).and_then(|elements| elements.broadcast_to(site.shape));
    let (condition, a, b) = (pick(0), pick(1), pick(2));
    if let (Some(a), Some(b)) = (&a, &b)
        && a == b
    {
        return Some(site.output(a.clone()));
    }
    let items = condition?.into_iter().enumerate().map(|(i, condition)| {
        let chosen = if condition.known()? != 0 { &a } else { &b };
        chosen.as_ref().map(|items| items[i].clone())
    });
    Some(site.output(items.collect::<Option<_>>()?))
}

pub(super) fn cast(op: &Cast, site: &Site<'_>) -> Option<Elements> {
    let x = site.operand(0)?;
    if op.to != Elem::Bool {
        return Some(site.output(x.items.clone()));
    }
    let zero = Dim::from(0i64);
    let items = x.items.iter().map(|item| equal(item, &zero).map(|is_zero| truth(!is_zero)));
    Some(site.output(items.collect::<Option<_>>()?))
}
