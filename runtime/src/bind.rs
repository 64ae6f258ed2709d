//! Inputs against their declared types: names, element types, ranks, and the sizes that symbols stand for.

use crate::tensor::{Dims, Tensor};
use mokume_ir::diag::{Diagnostic, Report, nearest};
use mokume_ir::dim::{Atom, Dim, Symbol};
use mokume_ir::types::{Elem, Shape, TensorType, Type};
use smallvec::SmallVec;
use std::fmt;

/// Sizes of symbols in a function, and behind them those of its caller.
#[derive(Debug, Default)]
pub(crate) struct Scope<'o> {
    /// A handful: comparing them all is faster than hashing one.
    sizes: SmallVec<[(Symbol, i64); 8]>,
    outer: Option<&'o Scope<'o>>,
}

impl<'o> Scope<'o> {
    /// The scope of a function called from `outer` with `arguments` of types `types`.
    pub(crate) fn of_call<'a>(outer: &'o Scope<'o>, types: impl Iterator<Item = &'a Type>, arguments: &[Tensor]) -> Self {
        let mut scope = Scope { sizes: SmallVec::new(), outer: Some(outer) };
        for (ty, argument) in types.zip(arguments) {
            for (dim, &size) in ty.dims().unwrap_or(&[]).iter().zip(argument.dims()) {
                if let Some(symbol) = dim.as_symbol() {
                    scope.bind(symbol, size as i64);
                }
            }
        }
        scope
    }
    /// The size that `symbol` stands for.
    pub(crate) fn size_of(&self, symbol: &Symbol) -> Option<i64> {
        let here = self.sizes.iter().find(|(other, _)| other == symbol);
        here.map(|(_, size)| *size).or_else(|| self.outer?.size_of(symbol))
    }
    /// Lets `symbol` stand for `size`; an earlier size in this scope is forgotten.
    pub(crate) fn bind(&mut self, symbol: &Symbol, size: i64) {
        match self.sizes.iter_mut().find(|(other, _)| other == symbol) {
            Some((_, old)) => *old = size,
            None => self.sizes.push((symbol.clone(), size)),
        }
    }
    /// The size that `dim` is.
    pub(crate) fn size(&self, dim: &Dim) -> Option<usize> {
        self.eval(dim).and_then(|size| usize::try_from(size).ok())
    }
    fn eval(&self, dim: &Dim) -> Option<i64> {
        dim.eval(&|symbol| self.size_of(symbol))
    }
}

/// A declared input: name and type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declared {
    /// The user's name.
    pub name: String,
    /// Its type.
    pub ty: Type,
}

/// The given tensors in the order of `declared`.
///
/// Errors  all unknown, repeated and missing names, element types and ranks that differ. Names that are missing are not listed
///         beside unknown ones, which were probably meant to be them.
pub(crate) fn arrange(declared: &[Declared], hidden: &[&str], given: &[(String, Tensor)]) -> Result<Vec<Tensor>, Report> {
    let mut findings: Vec<Diagnostic> = given.iter().filter_map(|(name, _)| unknown(name, declared, hidden)).collect();
    let all_known = findings.is_empty();
    let mut tensors = Vec::with_capacity(declared.len());
    for input in declared {
        let mut found = given.iter().filter(|(name, _)| *name == input.name);
        match (found.next(), found.next()) {
            (Some((_, tensor)), None) => {
                findings.extend(misfit(input, tensor));
                tensors.push(tensor.clone());
            }
            (None, _) if all_known => findings.push(missing(input)),
            (None, _) => {}
            (_, Some(_)) => findings.push(Diagnostic::input("run::input::twice", format!("input \"{}\" is given twice", input.name))),
        }
    }
    Report::from_findings(findings).map_or(Ok(tensors), Err)
}

fn unknown(name: &str, declared: &[Declared], hidden: &[&str]) -> Option<Diagnostic> {
    if declared.iter().any(|input| input.name == name) {
        return None;
    }
    if hidden.contains(&name) {
        let finding = Diagnostic::input("run::input::state", format!("input \"{name}\" is state, which the session keeps"));
        return Some(finding.help("leave it out; a new session starts without state"));
    }
    let finding = Diagnostic::input("run::input::unknown", format!("there is no input \"{name}\""));
    let near = nearest(name, declared.iter().map(|input| input.name.as_str()));
    let near = near.map_or(String::new(), |near| format!("did you mean \"{near}\"? "));
    Some(finding.help(format!("{near}the inputs are {}", listed(declared))))
}

fn listed(declared: &[Declared]) -> String {
    let names: Vec<_> = declared.iter().map(|input| format!("\"{}\": {}", input.name, input.ty)).collect();
    if names.is_empty() { "none".into() } else { names.join(", ") }
}

fn missing(input: &Declared) -> Diagnostic {
    let finding = Diagnostic::input("run::input::missing", format!("input \"{}\" is missing: it expects {}", input.name, input.ty));
    finding.help(format!("give it with -i {}=@FILE.npy, or let --random make it up", input.name))
}

fn misfit(input: &Declared, tensor: &Tensor) -> Option<Diagnostic> {
    let got = format!("input \"{}\" expects {}, got {}", input.name, input.ty, described(tensor));
    let Type::Tensor(ty) = &input.ty else {
        return Some(Diagnostic::unsupported("run::input::type", got));
    };
    if ty.elem != tensor.elem() {
        return Some(Diagnostic::input("run::input::dtype", got));
    }
    let rank = ty.shape.rank().unwrap_or(tensor.rank());
    (rank != tensor.rank()).then(|| Diagnostic::input("run::input::rank", got))
}

/// `tensor<1 x 3 x f32>`, as types are written.
fn described(tensor: &Tensor) -> String {
    Got::Tensor(tensor.dims().into(), tensor.elem()).to_string()
}

/// One size of an input: `dim` of the declared type must be `size`.
pub(crate) struct Constraint<'a> {
    pub(crate) input: &'a Declared,
    pub(crate) axis: usize,
    pub(crate) dim: &'a Dim,
    pub(crate) size: i64,
    pub(crate) got: Got,
}

/// What an input came with.
#[derive(Debug, Clone)]
pub(crate) enum Got {
    /// A tensor.
    Tensor(Dims, Elem),
    /// A state with this size along an axis: (axis, size). Growing ones have none before the first run.
    State(usize, i64),
}

impl fmt::Display for Got {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Got::Tensor(dims, elem) => TensorType::new(Shape::known(dims), *elem).fmt(f),
            Got::State(axis, 0) => write!(f, "size 0 along axis {axis} before the first run"),
            Got::State(axis, size) => write!(f, "size {size} along axis {axis}"),
        }
    }
}

/// What the sizes of `tensor` say about the symbols of `input`.
pub(crate) fn constraints<'a>(input: &'a Declared, tensor: &Tensor) -> Vec<Constraint<'a>> {
    let pairs = input.ty.dims().unwrap_or(&[]).iter().zip(tensor.dims()).enumerate();
    let got = || Got::Tensor(tensor.dims().into(), tensor.elem());
    pairs.map(|(axis, (dim, &size))| Constraint { input, axis, dim, size: size as i64, got: got() }).collect()
}

/// Gives every symbol that the constraints determine its size, then checks them all. Expressions that stay undetermined
/// are left to the ops that need them.
///
/// Errors  every size that contradicts a number or another size.
pub(crate) fn solve(scope: &mut Scope<'_>, constraints: &[Constraint<'_>]) -> Result<(), Report> {
    // Plain symbols first, so that a wrong size is reported where it is an expression.
    let (plain, mut open): (Vec<_>, Vec<_>) = constraints.iter().partition(|constraint| constraint.dim.as_symbol().is_some());
    for constraint in plain {
        if scope.eval(constraint.dim).is_none() {
            determine(scope, constraint);
        }
    }
    loop {
        let before = open.len();
        open.retain(|constraint| scope.eval(constraint.dim).is_none() && !determine(scope, constraint));
        if open.len() == before {
            break;
        }
    }
    let findings = constraints.iter().filter_map(|constraint| contradiction(scope, constraint)).collect();
    Report::from_findings(findings).map_or(Ok(()), Err)
}

/// Binds the only unbound symbol of a linear expression; true when it did.
fn determine(scope: &mut Scope<'_>, constraint: &Constraint<'_>) -> bool {
    let Some((symbol, size)) = solution(scope, constraint) else { return false };
    scope.bind(&symbol, size);
    true
}

fn solution(scope: &Scope<'_>, constraint: &Constraint<'_>) -> Option<(Symbol, i64)> {
    let mut unbound = Vec::new();
    constraint.dim.symbols(&mut |symbol| {
        if scope.size_of(symbol).is_none() && !unbound.contains(symbol) {
            unbound.push(symbol.clone());
        }
    });
    let [symbol] = &unbound[..] else { return None };
    let atom = [Atom::Symbol(symbol.clone())];
    let (own, rest): (Vec<_>, Vec<_>) = constraint.dim.terms().into_iter().partition(|term| term.atoms == atom);
    let [own] = &own[..] else { return None };
    let rest = scope.eval(&Dim::from_terms(rest))?;
    let size = constraint.size.checked_sub(rest)?;
    (size % own.coefficient == 0 && size / own.coefficient >= 0).then(|| (symbol.clone(), size / own.coefficient))
}

fn contradiction(scope: &Scope<'_>, constraint: &Constraint<'_>) -> Option<Diagnostic> {
    let expected = match scope.eval(constraint.dim) {
        Some(value) if value == constraint.size => return None,
        Some(value) => value.to_string(),
        None if solvable(constraint.dim) => format!("{} for some size", constraint.dim),
        None => return None,
    };
    let Constraint { input, axis, dim, got, .. } = constraint;
    let mut message = format!("input \"{}\" expects {}, got {got}: axis {axis} must be {expected}", input.name, input.ty);
    let bound = bound_symbols(scope, dim);
    if !bound.is_empty() {
        message.push_str(&format!(", as {}", bound.join(" and ")));
    }
    Some(Diagnostic::input("run::input::shape", message))
}

/// Whether a size contradicts the expression when no solution was found: it has one symbol, once and linear.
fn solvable(dim: &Dim) -> bool {
    let mut symbols = 0;
    dim.symbols(&mut |_| symbols += 1);
    symbols == 1 && dim.terms().iter().any(|term| matches!(term.atoms[..], [Atom::Symbol(_)]))
}

fn bound_symbols(scope: &Scope<'_>, dim: &Dim) -> Vec<String> {
    let mut bound = Vec::new();
    dim.symbols(&mut |symbol| {
        if let Some(size) = scope.size_of(symbol) {
            bound.push(format!("{symbol} = {size}"));
        }
    });
    bound.sort();
    bound.dedup();
    bound
}
