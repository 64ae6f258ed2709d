//! Normal forms of the functions that are not polynomials. Every rule holds for all non-negative sizes of the symbols for
//! which the expression is defined, and applying the rules again changes nothing.

use super::{Dim, DimFn, Term};

pub(super) fn floor_div(a: &Dim, b: &Dim) -> Dim {
    if let Some(quotient) = a.exact_div(b) {
        return quotient;
    }
    match b.known() {
        Some(b) if b > 0 => floor_div_known(a, b),
        Some(b) if (-i64::MAX..0).contains(&b) => negated(a).call(DimFn::FloorDiv, &Dim::from(-b)),
        Some(_) => Dim::atom(DimFn::FloorDiv, a.clone(), b.clone()),
        None => {
            let (quotient, rest) = split_symbolic(a, b);
            quotient.plus(&Dim::atom(DimFn::FloorDiv, rest, b.clone()))
        }
    }
}

/// Splits `a` in `quotient * b + rest` term by term.
fn split_symbolic(a: &Dim, b: &Dim) -> (Dim, Dim) {
    let (mut quotient, mut rest) = (Dim::from(0i64), Dim::from(0i64));
    for term in a.terms() {
        let term = Dim::from_terms(vec![term]);
        match term.exact_div(b) {
            Some(part) => quotient = quotient.plus(&part),
            None => rest = rest.plus(&term),
        }
    }
    (quotient, rest)
}

/// Splits `a` in `quotient * b + rest`; the constant of the rest is in `0..b`.
fn split_known(a: &Dim, b: i64) -> (Dim, Dim) {
    let (mut quotient, mut rest) = (Vec::new(), Vec::new());
    for Term { atoms, coefficient } in a.terms() {
        let (q, r) = match atoms.is_empty() {
            true => (coefficient.div_euclid(b), coefficient.rem_euclid(b)),
            false => (coefficient / b, coefficient % b),
        };
        quotient.push(Term { atoms: atoms.clone(), coefficient: q });
        rest.push(Term { atoms, coefficient: r });
    }
    (Dim::from_terms(quotient), Dim::from_terms(rest))
}

fn floor_div_known(a: &Dim, b: i64) -> Dim {
    let (quotient, rest) = split_known(a, b);
    if rest.is_below(b) {
        return quotient;
    }
    let (rest, b) = reduced(&rest, b);
    let whole = match b {
        1 => rest,
        _ => match nested(&rest, b) {
            Some(flat) => flat,
            None => Dim::atom(DimFn::FloorDiv, rest, Dim::from(b)),
        },
    };
    quotient.plus(&whole)
}

/// `floor((g x + c) / (g b)) = floor((x + floor(c/g)) / b)`
fn reduced(a: &Dim, b: i64) -> (Dim, i64) {
    let terms = a.terms();
    let common = terms.iter().filter(|term| !term.atoms.is_empty()).fold(b, |g, term| gcd(g, term.coefficient));
    let divided = terms.into_iter().map(|Term { atoms, coefficient }| Term { atoms, coefficient: coefficient.div_euclid(common) });
    (Dim::from_terms(divided.collect()), b / common)
}

fn gcd(a: i64, b: i64) -> i64 {
    let (mut a, mut b) = (a.unsigned_abs(), b.unsigned_abs());
    while b != 0 {
        (a, b) = (b, a % b);
    }
    i64::try_from(a).unwrap_or(1).max(1)
}

/// `floor((floor(x/m) + c) / b) = floor((x + c m) / (m b))`
fn nested(a: &Dim, b: i64) -> Option<Dim> {
    let terms = a.terms();
    let constant = terms.last().filter(|term| term.atoms.is_empty()).map_or(0, |term| term.coefficient);
    let inner = a.minus(&Dim::from(constant));
    let (DimFn::FloorDiv, x, m) = inner.as_call()? else { return None };
    let m = m.known().filter(|m| *m > 0)?;
    let numerator = x.plus(&Dim::from(constant.checked_mul(m)?));
    Some(numerator.call(DimFn::FloorDiv, &Dim::from(m.checked_mul(b)?)))
}

fn negated(a: &Dim) -> Dim {
    Dim::from(0i64).minus(a)
}

pub(super) fn modulo(a: &Dim, b: &Dim) -> Dim {
    match b.known() {
        Some(number) if number > 0 => {
            let rest = split_known(a, number).1;
            if rest.is_below(number) { rest } else { Dim::atom(DimFn::Mod, rest, b.clone()) }
        }
        Some(number) if (-i64::MAX..0).contains(&number) => negated(&negated(a).call(DimFn::Mod, &Dim::from(-number))),
        Some(_) => Dim::atom(DimFn::Mod, a.clone(), b.clone()),
        None if a.exact_div(b).is_some() => Dim::from(0i64),
        None => Dim::atom(DimFn::Mod, split_symbolic(a, b).1, b.clone()),
    }
}

/// Minimum and maximum: a sorted list without operands that another one makes superfluous.
pub(super) fn extreme(function: DimFn, a: &Dim, b: &Dim) -> Dim {
    let mut kept: Vec<Dim> = Vec::new();
    for operand in operands(function, a).into_iter().chain(operands(function, b)) {
        if kept.iter().any(|other| decides(function, other, &operand)) {
            continue;
        }
        kept.retain(|other| !decides(function, &operand, other));
        kept.push(operand);
    }
    nest(function, kept)
}

/// Whether `winner` is never worse than `loser`.
fn decides(function: DimFn, winner: &Dim, loser: &Dim) -> bool {
    match function {
        DimFn::Min => loser.minus(winner).is_non_negative(),
        _ => winner.minus(loser).is_non_negative(),
    }
}

/// The operands of nested calls of `function`.
fn operands(function: DimFn, dim: &Dim) -> Vec<Dim> {
    let mut found = Vec::new();
    let mut rest = dim.clone();
    while let Some((f, a, b)) = rest.as_call()
        && f == function
    {
        found.push(b.clone());
        rest = a.clone();
    }
    found.push(rest);
    found
}

fn nest(function: DimFn, mut operands: Vec<Dim>) -> Dim {
    operands.sort();
    operands.dedup();
    let nested = operands.into_iter().reduce(|nested, operand| Dim::atom(function, nested, operand));
    nested.unwrap_or_else(|| Dim::from(1i64))
}

/// Broadcasting: 1 gives way, and any other number decides, as what it meets is equal or 1.
pub(super) fn broadcast(a: &Dim, b: &Dim) -> Dim {
    let both = operands(DimFn::Broadcast, a).into_iter().chain(operands(DimFn::Broadcast, b));
    let mut all: Vec<Dim> = both.filter(|operand| operand.known() != Some(1)).collect();
    let whole = all.clone();
    all.retain(|operand| !whole.iter().any(|other| is_cut(operand, other)));
    let number = all.iter().find(|operand| operand.known().is_some());
    match number {
        Some(number) if all.iter().all(|other| other.known().is_none_or(|n| Some(n) == number.known())) => number.clone(),
        // Two different numbers do not broadcast: undefined, and kept so.
        Some(_) => Dim::atom(DimFn::Broadcast, a.clone(), b.clone()),
        None => nest(DimFn::Broadcast, all),
    }
}

/// Whether `part` is `min(whole, n)` for a number `n` above 1: where these two broadcast, they are equal.
fn is_cut(part: &Dim, whole: &Dim) -> bool {
    match part.as_call() {
        Some((DimFn::Min, a, b)) => [(a, b), (b, a)].iter().any(|(n, of)| *of == whole && n.known().is_some_and(|n| n > 1)),
        _ => false,
    }
}
