//! Bounds of expressions by interval arithmetic, symbols being non-negative.

use super::{Atom, Dim, DimFn, Term};

/// An interval; the extreme values of i128 are the infinities.
#[derive(Clone, Copy)]
struct Interval {
    low: i128,
    high: i128,
}

/// How many functions a proof takes apart.
const DEPTH: u32 = 6;

impl Dim {
    /// True when it is 0 or more for all sizes of the symbols; false when that is not so, or not found.
    pub fn is_non_negative(&self) -> bool {
        non_negative(self, DEPTH)
    }
    /// True when it is 1 or more for all sizes of the symbols; false when that is not so, or not found.
    pub fn is_positive(&self) -> bool {
        self.known().map_or_else(|| self.minus(&Dim::from(1i64)).is_non_negative(), |n| n > 0)
    }
    /// True when it is below 0 for all sizes of the symbols; false when that is not so, or not found.
    pub fn is_negative(&self) -> bool {
        self.known().map_or_else(|| Dim::from(-1i64).minus(self).is_non_negative(), |n| n < 0)
    }
    /// True when it lies in `0..end` for all sizes of the symbols, by bounds alone.
    pub(super) fn is_below(&self, end: i64) -> bool {
        let Interval { low, high } = interval(self);
        low >= 0 && high < end.into()
    }
}

fn non_negative(dim: &Dim, depth: u32) -> bool {
    if interval(dim).low >= 0 {
        return true;
    }
    depth > 0 && dim.terms().iter().any(|term| without_call(dim, term, depth - 1))
}

/// Whether `dim` is not negative by what is known of the call that `term` is.
fn without_call(dim: &Dim, term: &Term, depth: u32) -> bool {
    let [Atom::Call(function, a, b)] = &term.atoms[..] else { return false };
    let rest = dim.minus(&Dim::from_terms(vec![term.clone()]));
    let factor = Dim::from(term.coefficient);
    let with = |dim: &Dim| non_negative(&rest.plus(&dim.times(&factor)), depth);
    match (function, term.coefficient > 0) {
        (DimFn::Max, true) | (DimFn::Min, false) => with(a) || with(b),
        (DimFn::Min, true) | (DimFn::Max, false) => with(a) && with(b),
        (DimFn::FloorDiv, positive) => match b.known() {
            Some(divisor) if divisor > 0 => {
                // The quotient lies between (a - divisor + 1)/divisor and a/divisor.
                let bound = if positive { a.minus(&Dim::from(divisor - 1)) } else { a.clone() };
                non_negative(&rest.times(b).plus(&bound.times(&factor)), depth)
            }
            _ => false,
        },
        _ => false,
    }
}

fn interval(dim: &Dim) -> Interval {
    let terms = dim.terms();
    terms.iter().map(of_term).fold(point(0), |a, b| Interval { low: add(a.low, b.low), high: add(a.high, b.high) })
}

fn point(value: i64) -> Interval {
    Interval { low: value.into(), high: value.into() }
}

fn of_term(term: &Term) -> Interval {
    term.atoms.iter().map(of_atom).fold(point(term.coefficient), product)
}

fn of_atom(atom: &Atom) -> Interval {
    match atom {
        Atom::Symbol(_) => Interval { low: 0, high: i128::MAX },
        Atom::Call(function, a, b) => of_call(*function, interval(a), interval(b)),
    }
}

fn of_call(function: DimFn, a: Interval, b: Interval) -> Interval {
    match function {
        DimFn::Min => Interval { low: a.low.min(b.low), high: a.high.min(b.high) },
        DimFn::Max => Interval { low: a.low.max(b.low), high: a.high.max(b.high) },
        DimFn::Broadcast => Interval { low: a.low.min(b.low), high: a.high.max(b.high) },
        // The divisor is 1 or more: it is not negative, and not 0 where the quotient is defined.
        DimFn::FloorDiv if b.low >= 0 => quotient(a, b),
        DimFn::Mod if b.low >= 0 => Interval { low: 0, high: add(b.high, -1) },
        DimFn::FloorDiv | DimFn::Mod => Interval { low: i128::MIN, high: i128::MAX },
    }
}

/// Quotient by a positive divisor: the nearer divisor moves a bound farther from 0.
fn quotient(a: Interval, b: Interval) -> Interval {
    let (near, far) = (b.low.max(1), b.high.max(1));
    let low = if a.low < 0 { divide(a.low, near) } else { divide(a.low, far) };
    let high = if a.high < 0 { divide(a.high, far) } else { divide(a.high, near) };
    Interval { low, high }
}

fn divide(a: i128, b: i128) -> i128 {
    match (a, b) {
        (i128::MIN | i128::MAX, _) => a,
        (_, i128::MAX) => {
            if a < 0 {
                -1
            } else {
                0
            }
        }
        _ => a.div_euclid(b),
    }
}

fn product(a: Interval, b: Interval) -> Interval {
    let corners = [multiply(a.low, b.low), multiply(a.low, b.high), multiply(a.high, b.low), multiply(a.high, b.high)];
    corners.iter().fold(Interval { low: i128::MAX, high: i128::MIN }, |all, &corner| Interval {
        low: all.low.min(corner),
        high: all.high.max(corner),
    })
}

fn infinite(value: i128) -> bool {
    value == i128::MIN || value == i128::MAX
}

fn multiply(a: i128, b: i128) -> i128 {
    if a == 0 || b == 0 {
        return 0;
    }
    let signed_infinity = if (a < 0) == (b < 0) { i128::MAX } else { i128::MIN };
    if infinite(a) || infinite(b) { signed_infinity } else { a.checked_mul(b).unwrap_or(signed_infinity) }
}

fn add(a: i128, b: i128) -> i128 {
    match (infinite(a), infinite(b)) {
        (true, _) => a,
        (_, true) => b,
        _ => a.saturating_add(b),
    }
}
