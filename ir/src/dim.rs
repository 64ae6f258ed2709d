//! Dimensions: integers, symbols, or expressions over symbols, in one normal form so that equality is decidable.
//!
//! A dimension is a polynomial with integer coefficients over atoms. An atom is a symbol, or an operation that
//! polynomials cannot express (`floordiv`, `mod`, `min`, `max`, `broadcast`). Symbols stand for sizes, so they are
//! non-negative. A symbol whose name starts with `?` is data dependent: no input shape determines it.

mod bounds;
mod simplify;

use crate::text::{Quoted, is_plain_symbol};
use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

/// A named size, such as `batch`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Symbol(Arc<str>);

impl Symbol {
    /// The symbol called `name`.
    pub fn new(name: impl AsRef<str>) -> Self {
        Symbol(name.as_ref().into())
    }
    /// The `n`-th data dependent symbol, `?n`.
    pub fn unknown(n: u32) -> Self {
        Symbol(format!("?{n}").into())
    }
    /// Its name.
    pub fn name(&self) -> &str {
        &self.0
    }
    /// True when no input shape determines it.
    pub fn is_unknown(&self) -> bool {
        self.0.starts_with('?')
    }
}

/// `batch`, `?3`; quoted where that would not read back: `"batch size"`
impl fmt::Display for Symbol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match is_plain_symbol(&self.0) {
            true => f.write_str(&self.0),
            false => Quoted(&self.0).fmt(f),
        }
    }
}

impl fmt::Debug for Symbol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a polynomial is made of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Atom {
    /// A symbol.
    Symbol(Symbol),
    /// A two-operand function that is not polynomial.
    Call(DimFn, Dim, Dim),
}

/// Functions of two dimensions that are not polynomials.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DimFn {
    /// Quotient rounded toward minus infinity; undefined for divisor 0.
    FloorDiv,
    /// Remainder with the sign of the divisor; undefined for divisor 0.
    Mod,
    /// The smaller.
    Min,
    /// The larger.
    Max,
    /// Numpy broadcasting of two sizes: equal, or one of them 1; undefined otherwise.
    Broadcast,
}

impl DimFn {
    /// Name in the text form.
    pub fn name(self) -> &'static str {
        match self {
            DimFn::FloorDiv => "floordiv",
            DimFn::Mod => "mod",
            DimFn::Min => "min",
            DimFn::Max => "max",
            DimFn::Broadcast => "broadcast",
        }
    }
    /// The function called `name`.
    pub fn from_name(name: &str) -> Option<Self> {
        [DimFn::FloorDiv, DimFn::Mod, DimFn::Min, DimFn::Max, DimFn::Broadcast].into_iter().find(|f| f.name() == name)
    }
    /// Its value, or none where it is undefined.
    pub fn apply(self, a: i64, b: i64) -> Option<i64> {
        match self {
            DimFn::FloorDiv => {
                let q = a.checked_div(b)?;
                Some(if a % b != 0 && (a < 0) != (b < 0) { q - 1 } else { q })
            }
            DimFn::Mod => {
                let r = a.checked_rem(b)?;
                Some(if r != 0 && (r < 0) != (b < 0) { r + b } else { r })
            }
            DimFn::Min => Some(a.min(b)),
            DimFn::Max => Some(a.max(b)),
            DimFn::Broadcast if a == b || b == 1 => Some(a),
            DimFn::Broadcast if a == 1 => Some(b),
            DimFn::Broadcast => None,
        }
    }
}

/// A product of atoms (sorted) times a coefficient.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Term {
    /// Atoms, sorted, repeated for powers; empty for the constant term.
    pub atoms: Vec<Atom>,
    /// Never 0.
    pub coefficient: i64,
}

/// A dimension. Construct through `Dim::from`, [`Dim::symbol`] and the arithmetic methods, which keep the normal form.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Dim(Repr);

#[derive(Clone, PartialEq, Eq, Hash)]
enum Repr {
    Known(i64),
    Sum(Arc<Sum>),
}

#[derive(PartialEq, Eq, Hash)]
struct Sum {
    /// Sorted by atoms (more atoms first), at least one term with an atom.
    terms: Vec<Term>,
    weight: usize,
}

impl From<i64> for Dim {
    fn from(value: i64) -> Self {
        Dim(Repr::Known(value))
    }
}

impl From<usize> for Dim {
    fn from(value: usize) -> Self {
        Dim(Repr::Known(value as i64))
    }
}

impl From<Symbol> for Dim {
    fn from(symbol: Symbol) -> Self {
        Dim::from_terms(vec![Term { atoms: vec![Atom::Symbol(symbol)], coefficient: 1 }])
    }
}

impl PartialOrd for Dim {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// A total order for normal forms; says nothing about sizes.
impl Ord for Dim {
    fn cmp(&self, other: &Self) -> Ordering {
        self.terms().cmp(&other.terms())
    }
}

impl Dim {
    /// The symbol called `name`.
    pub fn symbol(name: impl AsRef<str>) -> Self {
        Symbol::new(name).into()
    }
    /// Its value, when it is a number.
    pub fn known(&self) -> Option<i64> {
        match self.0 {
            Repr::Known(value) => Some(value),
            Repr::Sum(_) => None,
        }
    }
    /// The symbol, when it is just one.
    pub fn as_symbol(&self) -> Option<&Symbol> {
        match &self.0 {
            Repr::Sum(sum) => match &sum.terms[..] {
                [Term { atoms, coefficient: 1 }] => match &atoms[..] {
                    [Atom::Symbol(symbol)] => Some(symbol),
                    _ => None,
                },
                _ => None,
            },
            Repr::Known(_) => None,
        }
    }
    /// Function and operands, when it is just one call.
    pub fn as_call(&self) -> Option<(DimFn, &Dim, &Dim)> {
        match &self.0 {
            Repr::Sum(sum) => match &sum.terms[..] {
                [Term { atoms, coefficient: 1 }] => match &atoms[..] {
                    [Atom::Call(function, a, b)] => Some((*function, a, b)),
                    _ => None,
                },
                _ => None,
            },
            Repr::Known(_) => None,
        }
    }
    /// How many symbols, numbers and functions it is written with.
    pub fn weight(&self) -> usize {
        match &self.0 {
            Repr::Known(_) => 1,
            Repr::Sum(sum) => sum.weight,
        }
    }
    /// The terms of the normal form.
    pub fn terms(&self) -> Vec<Term> {
        match &self.0 {
            Repr::Known(0) => vec![],
            Repr::Known(value) => vec![Term { atoms: vec![], coefficient: *value }],
            Repr::Sum(sum) => sum.terms.clone(),
        }
    }
    /// The normal form of a sum of terms.
    pub fn from_terms(mut terms: Vec<Term>) -> Self {
        terms.sort_by(|a, b| b.atoms.len().cmp(&a.atoms.len()).then_with(|| a.atoms.cmp(&b.atoms)));
        let mut sum: Vec<Term> = Vec::with_capacity(terms.len());
        for term in terms {
            match sum.last_mut() {
                Some(last) if last.atoms == term.atoms => last.coefficient = last.coefficient.wrapping_add(term.coefficient),
                _ => sum.push(term),
            }
        }
        sum.retain(|term| term.coefficient != 0);
        match &sum[..] {
            [] => Dim::from(0i64),
            [only] if only.atoms.is_empty() => Dim::from(only.coefficient),
            _ => Dim(Repr::Sum(Arc::new(Sum { weight: weight(&sum), terms: sum }))),
        }
    }
    /// `self + other`
    pub fn plus(&self, other: &Dim) -> Dim {
        let mut terms = self.terms();
        terms.extend(other.terms());
        Dim::from_terms(terms)
    }
    /// `self - other`
    pub fn minus(&self, other: &Dim) -> Dim {
        self.plus(&other.times(&Dim::from(-1i64)))
    }
    /// `self * other`
    pub fn times(&self, other: &Dim) -> Dim {
        let mut product = Vec::new();
        for a in self.terms() {
            for b in other.terms() {
                let mut atoms = a.atoms.clone();
                atoms.extend(b.atoms.iter().cloned());
                atoms.sort();
                product.push(Term { atoms, coefficient: a.coefficient.wrapping_mul(b.coefficient) });
            }
        }
        Dim::from_terms(product)
    }
    /// `self * other`, unless the result weighs more than `limit` or a number overflows.
    pub fn try_times(&self, other: &Dim, limit: usize) -> Option<Dim> {
        if let (Some(a), Some(b)) = (self.known(), other.known()) {
            return a.checked_mul(b).map(Dim::from);
        }
        let terms = |dim: &Dim| dim.terms().len();
        if terms(self).saturating_mul(terms(other)) > limit {
            return None;
        }
        Some(self.times(other)).filter(|product| product.weight() <= limit)
    }
    /// `self / other` when the division is exact for every value of the symbols for which `other` is not 0.
    pub fn exact_div(&self, other: &Dim) -> Option<Dim> {
        if let (Some(a), Some(b)) = (self.known(), other.known()) {
            return (a.checked_rem(b)? == 0).then(|| Dim::from(a / b));
        }
        divide(self, other)
    }
    /// `function(self, other)`, folded where it can be.
    pub fn call(&self, function: DimFn, other: &Dim) -> Dim {
        if let (Some(a), Some(b)) = (self.known(), other.known())
            && let Some(value) = function.apply(a, b)
        {
            return Dim::from(value);
        }
        match function {
            DimFn::FloorDiv => simplify::floor_div(self, other),
            DimFn::Mod => simplify::modulo(self, other),
            DimFn::Min | DimFn::Max => simplify::extreme(function, self, other),
            DimFn::Broadcast => simplify::broadcast(self, other),
        }
    }
    /// `function(self, other)` as it stands.
    fn atom(function: DimFn, a: Dim, b: Dim) -> Dim {
        Dim::from_terms(vec![Term { atoms: vec![Atom::Call(function, a, b)], coefficient: 1 }])
    }
    /// `floor(self / other)`
    pub fn floor_div(&self, other: &Dim) -> Dim {
        self.call(DimFn::FloorDiv, other)
    }
    /// Its value under `size_of`, or none where a symbol is unbound, a function undefined or i64 overflows.
    pub fn eval(&self, size_of: &dyn Fn(&Symbol) -> Option<i64>) -> Option<i64> {
        let Repr::Sum(sum) = &self.0 else { return self.known() };
        sum.terms.iter().try_fold(0i64, |sum, term| {
            let product = term.atoms.iter().try_fold(term.coefficient, |product, atom| {
                let value = match atom {
                    Atom::Symbol(symbol) => size_of(symbol)?,
                    Atom::Call(function, a, b) => function.apply(a.eval(size_of)?, b.eval(size_of)?)?,
                };
                product.checked_mul(value)
            })?;
            sum.checked_add(product)
        })
    }
    /// The expression with every symbol replaced by `by(symbol)`.
    pub fn substitute(&self, by: &dyn Fn(&Symbol) -> Dim) -> Dim {
        let Repr::Sum(sum) = &self.0 else { return self.clone() };
        sum.terms.iter().fold(Dim::from(0i64), |sum, term| {
            let product = term.atoms.iter().fold(Dim::from(term.coefficient), |product, atom| {
                product.times(&match atom {
                    Atom::Symbol(symbol) => by(symbol),
                    Atom::Call(function, a, b) => a.substitute(by).call(*function, &b.substitute(by)),
                })
            });
            sum.plus(&product)
        })
    }
    /// Calls `visit` for every symbol in it.
    pub fn symbols(&self, visit: &mut dyn FnMut(&Symbol)) {
        let Repr::Sum(sum) = &self.0 else { return };
        for atom in sum.terms.iter().flat_map(|term| &term.atoms) {
            match atom {
                Atom::Symbol(symbol) => visit(symbol),
                Atom::Call(_, a, b) => {
                    a.symbols(visit);
                    b.symbols(visit);
                }
            }
        }
    }
    /// True when some symbol in it is data dependent.
    pub fn is_unknown(&self) -> bool {
        let mut unknown = false;
        self.symbols(&mut |symbol| unknown |= symbol.is_unknown());
        unknown
    }
}

fn weight(terms: &[Term]) -> usize {
    let of_atom = |atom: &Atom| match atom {
        Atom::Symbol(_) => 1,
        Atom::Call(_, a, b) => a.weight().saturating_add(b.weight()).saturating_add(1),
    };
    terms.iter().flat_map(|term| &term.atoms).fold(terms.len(), |sum, atom| sum.saturating_add(of_atom(atom)))
}

/// Polynomial division by leading terms; none when a remainder stays.
fn divide(dividend: &Dim, divisor: &Dim) -> Option<Dim> {
    let divisor_terms = divisor.terms();
    let lead = divisor_terms.first()?;
    let mut rest = dividend.clone();
    let mut quotient = Vec::new();
    for _ in 0..=dividend.terms().len() {
        let Some(term) = rest.terms().into_iter().next() else { return Some(Dim::from_terms(quotient)) };
        let part = divide_term(&term, lead)?;
        rest = rest.minus(&Dim::from_terms(vec![part.clone()]).times(divisor));
        quotient.push(part);
    }
    None
}

fn divide_term(term: &Term, divisor: &Term) -> Option<Term> {
    if term.coefficient.checked_rem(divisor.coefficient)? != 0 {
        return None;
    }
    let mut atoms = term.atoms.clone();
    for atom in &divisor.atoms {
        let at = atoms.iter().position(|a| a == atom)?;
        atoms.remove(at);
    }
    Some(Term { atoms, coefficient: term.coefficient.checked_div(divisor.coefficient)? })
}

/// `batch`, `12`, `past + seq`, `2*h*w - 1`, `floordiv(h - 1, 2) + 1`
impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Repr::Sum(sum) = &self.0 else { return write!(f, "{}", self.known().unwrap_or(0)) };
        for (i, term) in sum.terms.iter().enumerate() {
            match (i, term.coefficient < 0) {
                (0, true) => f.write_str("-")?,
                (0, false) => {}
                (_, true) => f.write_str(" - ")?,
                (_, false) => f.write_str(" + ")?,
            }
            let magnitude = term.coefficient.unsigned_abs();
            let mut separator = "";
            if magnitude != 1 || term.atoms.is_empty() {
                write!(f, "{magnitude}")?;
                separator = "*";
            }
            for atom in &term.atoms {
                match atom {
                    Atom::Symbol(symbol) => write!(f, "{separator}{symbol}")?,
                    Atom::Call(function, a, b) => write!(f, "{separator}{}({a}, {b})", function.name())?,
                }
                separator = "*";
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests;
