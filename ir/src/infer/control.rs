//! Control flow: types of calls follow from the types of the called functions.
//!
//! The symbols of a function are its own. A dimension of an argument binds the symbol at that place of the parameter;
//! what stays unbound is data dependent for the caller.

use super::cx::{Cx, Result};
use crate::dim::{Atom, Dim, Symbol};
use crate::graph::{Def, Graph};
use crate::ids::FuncId;
use crate::op::{Call, If, Loop};
use crate::types::{Elem, Shape, TensorType, Type};
use std::cell::RefCell;
use std::collections::HashMap;

pub(super) fn call(cx: &Cx<'_>, op: &Call) -> Result<Vec<Type>> {
    let function = function(cx, op.function)?;
    let arguments: Vec<Option<&Type>> = cx.types.iter().map(|ty| Some(*ty)).collect();
    let bindings = bind(cx, function, &arguments)?;
    Ok(result_types(cx, function, &bindings))
}

fn function<'a>(cx: &Cx<'a>, id: FuncId) -> Result<&'a Graph> {
    match cx.module.functions.get(id) {
        Some(function) => Ok(function),
        None => cx.fail(format!("there is no function {id}")),
    }
}

type Bindings = HashMap<Symbol, Dim>;

/// Binds the symbols of the parameters to the dimensions of the arguments; an argument may be absent.
fn bind(cx: &Cx<'_>, function: &Graph, arguments: &[Option<&Type>]) -> Result<Bindings> {
    if function.inputs().len() != arguments.len() {
        return cx.fail(format!("\"{}\" takes {} arguments, not {}", function.name, function.inputs().len(), arguments.len()));
    }
    let mut bindings = Bindings::new();
    for (port, argument) in function.inputs().iter().zip(arguments) {
        let Some(argument) = argument else { continue };
        if !bind_type(function.ty(port.value), argument, &mut bindings) {
            let parameter = function.ty(port.value);
            return cx.fail(format!("\"{}\" of \"{}\" is {parameter}, the argument is {argument}", port.name, function.name));
        }
    }
    Ok(bindings)
}

/// False when the argument cannot have the parameter's type.
fn bind_type(parameter: &Type, argument: &Type, bindings: &mut Bindings) -> bool {
    match (parameter, argument) {
        (Type::Tensor(parameter), Type::Tensor(argument)) => {
            parameter.elem == argument.elem && bind_shape(&parameter.shape, &argument.shape, bindings)
        }
        (Type::Seq(parameter), Type::Seq(argument)) | (Type::Opt(parameter), Type::Opt(argument)) => {
            bind_type(parameter, argument, bindings)
        }
        _ => false,
    }
}

fn bind_shape(parameter: &Shape, argument: &Shape, bindings: &mut Bindings) -> bool {
    let (Some(parameter), Some(argument)) = (parameter.dims(), argument.dims()) else { return true };
    let fits = |(a, b): (&Dim, &Dim)| a.known().zip(b.known()).is_none_or(|(a, b)| a == b);
    for (dim, bound) in parameter.iter().zip(argument) {
        if let Some((symbol, size)) = solve(dim, bound) {
            bindings.entry(symbol).or_insert(size);
        }
    }
    parameter.len() == argument.len() && parameter.iter().zip(argument).all(fits)
}

/// The symbol of `c*symbol + d` and its value where that is `bound`.
fn solve(dim: &Dim, bound: &Dim) -> Option<(Symbol, Dim)> {
    let terms = dim.terms();
    let (term, rest) = terms.split_first()?;
    let [Atom::Symbol(symbol)] = &term.atoms[..] else { return None };
    if rest.iter().any(|term| !term.atoms.is_empty()) {
        return None;
    }
    let size = bound.minus(&Dim::from_terms(rest.to_vec())).exact_div(&Dim::from(term.coefficient))?;
    Some((symbol.clone(), size))
}

/// The types of a function's outputs in the caller's symbols.
fn result_types(cx: &Cx<'_>, function: &Graph, bindings: &Bindings) -> Vec<Type> {
    let bindings = RefCell::new(bindings.clone());
    let by = |symbol: &Symbol| bindings.borrow_mut().entry(symbol.clone()).or_insert_with(|| cx.fresh()).clone();
    function.outputs().iter().map(|port| substitute(function.ty(port.value), &by)).collect()
}

fn substitute(ty: &Type, by: &dyn Fn(&Symbol) -> Dim) -> Type {
    match ty {
        Type::Tensor(TensorType { shape: Shape::Ranked(dims), elem }) => {
            Type::tensor(dims.iter().map(|dim| dim.substitute(by)).collect(), *elem)
        }
        Type::Tensor(_) => ty.clone(),
        Type::Seq(inner) => Type::Seq(Box::new(substitute(inner, by))),
        Type::Opt(inner) => Type::Opt(Box::new(substitute(inner, by))),
    }
}

/// What is true of both types; none when no type is.
fn merge(cx: &Cx<'_>, a: &Type, b: &Type) -> Option<Type> {
    match (a, b) {
        (Type::Tensor(a), Type::Tensor(b)) if a.elem == b.elem => {
            let shape = match (a.shape.dims(), b.shape.dims()) {
                (Some(x), Some(y)) if x.len() == y.len() => {
                    x.iter().zip(y).map(|(x, y)| if x == y { x.clone() } else { cx.fresh() }).collect()
                }
                _ => Shape::Unranked,
            };
            Some(Type::tensor(shape, a.elem))
        }
        (Type::Seq(a), Type::Seq(b)) => merge(cx, a, b).map(|inner| Type::Seq(Box::new(inner))),
        (Type::Opt(a), Type::Opt(b)) => merge(cx, a, b).map(|inner| Type::Opt(Box::new(inner))),
        _ => None,
    }
}

pub(super) fn branch(cx: &Cx<'_>, op: &If) -> Result<Vec<Type>> {
    cx.count(1..=usize::MAX)?;
    cx.tensor_of(0, "bool", |elem| elem == Elem::Bool)?;
    let captures: Vec<Option<&Type>> = cx.types[1..].iter().map(|ty| Some(*ty)).collect();
    let results = [op.then_branch, op.else_branch].map(|id| {
        let function = function(cx, id)?;
        Ok(result_types(cx, function, &bind(cx, function, &captures)?))
    });
    let [then, otherwise] = results;
    let (then, otherwise) = (then?, otherwise?);
    if then.len() != otherwise.len() {
        return cx.fail(format!("the branches have {} and {} outputs", then.len(), otherwise.len()));
    }
    let pairs = then.iter().zip(&otherwise);
    pairs.map(|(a, b)| merge(cx, a, b).ok_or_else(|| cx.error(format!("the branches give {a} and {b}")))).collect()
}

pub(super) fn repeat(cx: &Cx<'_>, op: &Loop) -> Result<Vec<Type>> {
    let body = function(cx, op.body)?;
    let carried = op.carried as usize;
    let first = usize::from(op.trip_count) + usize::from(op.condition);
    cx.count(first.saturating_add(carried)..=usize::MAX)?;
    if body.outputs().len() <= carried {
        return cx.fail(format!("\"{}\" has {} outputs for {carried} carried values", body.name, body.outputs().len()));
    }
    let own = [None, None].into_iter();
    let arguments: Vec<Option<&Type>> = own.chain(cx.types[first..].iter().map(|ty| Some(*ty))).collect();
    let mut bindings = bind(cx, body, &arguments)?;
    release_changing(body, carried, &mut bindings);
    let results = result_types(cx, body, &bindings);
    let initial = &cx.types[first..first + carried];
    let last = initial
        .iter()
        .zip(&results[1..])
        .map(|(a, b)| merge(cx, a, b).ok_or_else(|| cx.error(format!("a carried value starts as {a} and becomes {b}"))));
    let trips = trips(cx, op, body);
    let scanned = results[1 + carried..].iter().map(|ty| stacked(cx, ty, &trips));
    last.chain(scanned).collect()
}

/// Unbinds the symbols of carried values whose sizes another round may change.
fn release_changing(body: &Graph, carried: usize, bindings: &mut Bindings) {
    for i in 0..carried {
        let (Some(before), Some(after)) = (body.inputs().get(2 + i), body.outputs().get(1 + i)) else { continue };
        let Some(dims) = body.ty(before.value).dims() else { continue };
        let later = body.ty(after.value).dims().filter(|later| later.len() == dims.len());
        for (axis, dim) in dims.iter().enumerate() {
            if let Some(symbol) = dim.as_symbol()
                && later.is_none_or(|later| later[axis] != *dim)
            {
                bindings.remove(symbol);
            }
        }
    }
}

/// The number of rounds: the trip count, if the condition cannot end the loop.
fn trips(cx: &Cx<'_>, op: &Loop, body: &Graph) -> Dim {
    let count = op.trip_count.then(|| (cx.contents)(0)).flatten().and_then(|contents| contents.dims.into_iter().next());
    let starts = !op.condition || {
        let condition = (cx.contents)(usize::from(op.trip_count));
        condition.is_some_and(|contents| contents.dims.first().and_then(Dim::known) == Some(1))
    };
    match count {
        Some(count) if starts && always(cx, body) && count.is_non_negative() => count,
        _ => cx.fresh(),
    }
}

/// Whether the body's condition is its own condition input, or true.
fn always(cx: &Cx<'_>, body: &Graph) -> bool {
    match body.outputs().first().map(|port| body[port.value].def) {
        Some(Def::Input(1)) => true,
        Some(Def::Const(id)) => cx.module.constants.get(id).and_then(|constant| constant.to_i64s()) == Some(vec![1]),
        _ => false,
    }
}

fn stacked(cx: &Cx<'_>, ty: &Type, trips: &Dim) -> Result<Type> {
    match ty {
        Type::Tensor(tensor) => {
            let shape = match tensor.shape.dims() {
                Some(dims) => [trips].into_iter().chain(dims).cloned().collect(),
                None => Shape::Unranked,
            };
            Ok(Type::tensor(shape, tensor.elem))
        }
        other => cx.fail(format!("{other} cannot be stacked")),
    }
}
