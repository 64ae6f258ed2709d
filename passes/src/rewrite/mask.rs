//! What an attention mask means: symbolic evaluation of its element at a generic index.
//!
//! Exporters build causal and padding masks from ranges, comparisons, triangles and gathers. Instead of matching each shape of
//! subgraph, [`meaning`] computes the element at index `(b, h, i, j)` as an expression in the index variables and the symbols of
//! the graph, and compares that with the definitions: `j <= i + t - s` is causal, `m[b, j] != 0` is padding.

use crate::query;
use mokume_ir::dim::{Atom, Dim, Symbol, Term};
use mokume_ir::edit::Editor;
use mokume_ir::graph::Node;
use mokume_ir::ids::ValueId;
use mokume_ir::op::{BinaryKind, Op, UnaryKind};
use mokume_ir::types::Elem;

/// Scores this low vanish in a softmax beside any other.
const MASKED: f64 = -1e4;
/// Masks are small graphs; deeper ones are left alone.
const MAX_DEPTH: usize = 64;

/// A mask as attention understands it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meaning {
    /// Query `i` sees only keys `j <= i + t - s`.
    pub causal: bool,
    /// Keys where this `[b, t]` tensor is zero are not seen.
    pub padding: Option<ValueId>,
}

/// A condition on the index.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Test {
    /// The expression is at least 0.
    NonNegative(Dim),
    /// The element of a tensor is not 0.
    NonZero(ValueId, Vec<Dim>),
}

/// The element of a tensor at a generic index.
#[derive(Debug, Clone, PartialEq)]
enum Element {
    Number(f64),
    Index(Dim),
    /// All of these hold.
    All(Vec<Test>),
    /// `All(.0) ? .1 : .2`
    Choice(Vec<Test>, f64, f64),
    Load(ValueId, Vec<Dim>),
}

/// Index variable of axis `axis`; no symbol of a model starts like this.
fn variable(axis: usize) -> Dim {
    Dim::symbol(format!("\u{1}{axis}"))
}

/// What `mask` (bool: true attends; float: added) means for queries `s` and keys `t`, or why that is not clear.
///
/// Shape   `mask` has 4 axes or fewer, aligned at the end to `[b, h, s, t]`.
pub fn meaning(editor: &Editor<'_>, mask: ValueId, s: &Dim, t: &Dim) -> Result<Meaning, &'static str> {
    let rank = editor.ty(mask).dims().ok_or("the mask has no known rank")?.len();
    let offset = 4usize.checked_sub(rank).ok_or("the mask has more than 4 axes")?;
    let index = broadcast_index(editor, mask, &(0..4).map(variable).collect::<Vec<_>>()[offset..])?;
    let element = element(editor, mask, &index, MAX_DEPTH).ok_or("the mask is not made of ranges, comparisons and triangles")?;
    let tests = attended(element).ok_or("the mask is neither 0 nor very low")?;
    classify(editor, tests, s, t)
}

/// The index with 0 on axes of size 1.
fn broadcast_index(editor: &Editor<'_>, value: ValueId, index: &[Dim]) -> Result<Vec<Dim>, &'static str> {
    let dims = editor.ty(value).dims().ok_or("the mask has no known rank")?;
    Ok(dims.iter().zip(index).map(|(dim, at)| if dim.known() == Some(1) { Dim::from(0i64) } else { at.clone() }).collect())
}

/// The tests that hold exactly where the mask lets attention through.
fn attended(element: Element) -> Option<Vec<Test>> {
    match element {
        Element::All(tests) => Some(tests),
        Element::Choice(tests, 0.0, low) if low <= MASKED => Some(tests),
        Element::Choice(tests, low, 0.0) if low <= MASKED => negation(&tests),
        Element::Number(0.0) => Some(vec![]),
        _ => None,
    }
}

fn negation(tests: &[Test]) -> Option<Vec<Test>> {
    match tests {
        [Test::NonNegative(dim)] => Some(vec![Test::NonNegative(Dim::from(-1i64).minus(dim))]),
        _ => None,
    }
}

fn classify(editor: &Editor<'_>, tests: Vec<Test>, s: &Dim, t: &Dim) -> Result<Meaning, &'static str> {
    let causal = variable(2).plus(t).minus(s).minus(&variable(3));
    let mut meaning = Meaning { causal: false, padding: None };
    for test in tests {
        match test {
            Test::NonNegative(dim) if dim == causal => meaning.causal = true,
            Test::NonZero(value, index) if is_padding(editor, value, &index, t) && meaning.padding.is_none_or(|p| p == value) => {
                meaning.padding = Some(value);
            }
            _ => return Err("the mask is neither causal nor a padding mask"),
        }
    }
    Ok(meaning)
}

/// `m[b, j]` of `m [batch, t]`; a batch of size 1 has index 0.
fn is_padding(editor: &Editor<'_>, value: ValueId, index: &[Dim], t: &Dim) -> bool {
    let Some([batch, keys]) = editor.ty(value).dims() else { return false };
    let row = if batch.known() == Some(1) { Dim::from(0i64) } else { variable(0) };
    keys == t && index == [row, variable(3)]
}

fn element(editor: &Editor<'_>, value: ValueId, index: &[Dim], depth: usize) -> Option<Element> {
    if let Some(known) = known_element(editor, value, index) {
        return Some(known);
    }
    let Some((_, node)) = editor.producer(value) else {
        return Some(Element::Load(value, index.to_vec()));
    };
    let depth = depth.checked_sub(1)?;
    let operand = |i: usize, index: &[Dim]| element(editor, *node.inputs.get(i)?, index, depth);
    // An elementwise operand sees the index aligned at the end.
    let aligned = |i: usize| {
        let rank = editor.ty(*node.inputs.get(i)?).dims()?.len();
        let index = broadcast_index(editor, node.inputs[i], &index[index.len().checked_sub(rank)?..]).ok()?;
        operand(i, &index)
    };
    match &node.op {
        Op::Binary(kind) => combine(*kind, aligned(0)?, aligned(1)?),
        Op::Unary(UnaryKind::Not) => invert(aligned(0)?),
        Op::Select(_) => select(aligned(0)?, aligned(1)?, aligned(2)?),
        Op::Cast(cast) => convert(editor.ty(node.inputs[0]).elem()?, cast.to, aligned(0)?),
        Op::Broadcast(_) => aligned(0),
        Op::Iota(_) => Some(Element::Index(index.first()?.clone())),
        Op::Range(_) => range(operand(0, &[])?, operand(2, &[])?, index.first()?),
        Op::Trilu(trilu) => triangle(trilu.upper, operand(0, index)?, node.inputs.get(1).map(|_| operand(1, &[])), index),
        Op::Transpose(transpose) => operand(0, &untransposed(&transpose.perm, index)?),
        Op::Slice(_) => operand(0, &unsliced(editor, node, index)?),
        Op::Reshape(_) | Op::Squeeze(_) | Op::Unsqueeze(_) => operand(0, &unreshaped(editor, node, index)?),
        Op::Gather(gather) => gathered(editor, node, gather.axis, index, depth),
        _ => None,
    }
}

/// An element that needs no producer: a constant of one value, or shape arithmetic.
fn known_element(editor: &Editor<'_>, value: ValueId, index: &[Dim]) -> Option<Element> {
    let elem = editor.ty(value).elem()?;
    if let Some(number) = query::splat(editor, value) {
        return match elem {
            Elem::Bool if number != 0.0 => Some(Element::All(vec![])),
            Elem::Bool => None,
            _ if elem.is_int() => Some(Element::Index(Dim::from(number as i64))),
            _ => Some(Element::Number(number)),
        };
    }
    let contents = editor.contents(value).filter(|_| elem.is_int())?;
    let at = if index.is_empty() { 0 } else { usize::try_from(index[0].known()?).ok()? };
    contents.dims.get(at).cloned().map(Element::Index)
}

fn combine(kind: BinaryKind, a: Element, b: Element) -> Option<Element> {
    use BinaryKind::*;
    match (kind, a, b) {
        (And | BitAnd | Mul, Element::All(mut a), Element::All(b)) => {
            a.extend(b);
            Some(Element::All(a))
        }
        (_, Element::Index(a), Element::Index(b)) => integers(kind, &a, &b),
        (Add, Element::Number(0.0), other) | (Add, other, Element::Number(0.0)) => Some(other),
        (Mul, Element::Choice(tests, x, y), Element::Number(n)) | (Mul, Element::Number(n), Element::Choice(tests, x, y)) => {
            Some(Element::Choice(tests, finite_product(x, n), finite_product(y, n)))
        }
        (Sub, Element::Number(n), Element::Choice(tests, x, y)) => Some(Element::Choice(tests, n - x, n - y)),
        _ => None,
    }
}

/// A product in which 0 stays 0 beside infinity, as it does for the finite numbers that masks hold.
fn finite_product(a: f64, b: f64) -> f64 {
    if a == 0.0 || b == 0.0 { 0.0 } else { a * b }
}

fn integers(kind: BinaryKind, a: &Dim, b: &Dim) -> Option<Element> {
    let at_least = |x: &Dim, y: &Dim| Element::All(vec![Test::NonNegative(x.minus(y))]);
    let one = Dim::from(1i64);
    Some(match kind {
        BinaryKind::Add => Element::Index(a.plus(b)),
        BinaryKind::Sub => Element::Index(a.minus(b)),
        BinaryKind::Mul => Element::Index(a.times(b)),
        BinaryKind::Le => at_least(b, a),
        BinaryKind::Lt => at_least(b, &a.plus(&one)),
        BinaryKind::Ge => at_least(a, b),
        BinaryKind::Gt => at_least(a, &b.plus(&one)),
        _ => return None,
    })
}

fn invert(element: Element) -> Option<Element> {
    match element {
        Element::All(tests) => negation(&tests).map(Element::All),
        _ => None,
    }
}

fn select(condition: Element, a: Element, b: Element) -> Option<Element> {
    match (condition, a, b) {
        (Element::All(tests), Element::Number(a), Element::Number(b)) => Some(Element::Choice(tests, a, b)),
        (Element::All(tests), a, _) if tests.is_empty() => Some(a),
        _ => None,
    }
}

fn convert(from: Elem, to: Elem, element: Element) -> Option<Element> {
    match element {
        Element::Load(value, index) if to == Elem::Bool => Some(Element::All(vec![Test::NonZero(value, index)])),
        Element::All(tests) if to == Elem::Bool => Some(Element::All(tests)),
        Element::All(tests) if to.is_float() => Some(Element::Choice(tests, 1.0, 0.0)),
        Element::Index(dim) if to.is_int() => Some(Element::Index(dim)),
        Element::Number(number) if from.is_float() && to.is_float() => Some(Element::Number(number)),
        Element::Choice(tests, a, b) if to.is_float() => Some(Element::Choice(tests, a, b)),
        _ => None,
    }
}

fn range(start: Element, step: Element, at: &Dim) -> Option<Element> {
    match (start, step) {
        (Element::Index(start), Element::Index(step)) => Some(Element::Index(start.plus(&step.times(at)))),
        _ => None,
    }
}

/// Upper: kept where `j - i >= k`; lower: kept where `j - i <= k`; 0 elsewhere.
fn triangle(upper: bool, element: Element, k: Option<Option<Element>>, index: &[Dim]) -> Option<Element> {
    let k = match k {
        None => Dim::from(0i64),
        Some(Some(Element::Index(k))) => k,
        Some(_) => return None,
    };
    let [.., i, j] = index else { return None };
    let distance = j.minus(i).minus(&k);
    let kept = if upper { distance } else { Dim::from(0i64).minus(&distance) };
    match element {
        Element::Number(number) => Some(Element::Choice(vec![Test::NonNegative(kept)], number, 0.0)),
        Element::All(mut tests) => {
            tests.push(Test::NonNegative(kept));
            Some(Element::All(tests))
        }
        _ => None,
    }
}

fn untransposed(perm: &[i64], index: &[Dim]) -> Option<Vec<Dim>> {
    let mut source = vec![Dim::from(0i64); index.len()];
    for (at, &axis) in index.iter().zip(perm) {
        *source.get_mut(usize::try_from(axis).ok()?)? = at.clone();
    }
    Some(source)
}

/// Slices with step 1 that start at a known, non-negative place.
fn unsliced(editor: &Editor<'_>, node: &Node, index: &[Dim]) -> Option<Vec<Dim>> {
    let Op::Slice(slice) = &node.op else { return None };
    let rank = editor.ty(node.inputs[0]).dims()?.len() as i64;
    let (axes, steps) = (slice.axes.numbers()?, slice.steps.numbers()?);
    let mut source = index.to_vec();
    for ((&axis, &step), start) in axes.iter().zip(&steps).zip(slice.starts.known()?) {
        let at = source.get_mut(usize::try_from(if axis < 0 { axis + rank } else { axis }).ok()?)?;
        let start = start.known().filter(|&start| start >= 0 && step == 1)?;
        *at = at.plus(&Dim::from(start));
    }
    Some(source)
}

/// The index before a reshape: axes of size 1 come and go; otherwise the linear index is taken apart again.
fn unreshaped(editor: &Editor<'_>, node: &Node, index: &[Dim]) -> Option<Vec<Dim>> {
    let source = editor.ty(node.inputs[0]).dims()?;
    let target = editor.ty(node.outputs[0]).dims()?;
    let long = |dims: &[Dim]| dims.iter().filter(|dim| dim.known() != Some(1)).cloned().collect::<Vec<_>>();
    if long(source) == long(target) {
        let mut rest = target.iter().zip(index).filter(|(dim, _)| dim.known() != Some(1)).map(|(_, at)| at.clone());
        let at = |dim: &Dim| if dim.known() == Some(1) { Some(Dim::from(0i64)) } else { rest.next() };
        return source.iter().map(at).collect();
    }
    let linear = target.iter().zip(index).fold(Dim::from(0i64), |linear, (dim, at)| linear.times(dim).plus(at));
    delinearized(linear, source)
}

/// Index of every axis from a linear index, where every remainder is a single index variable or a number in range.
fn delinearized(mut linear: Dim, dims: &[Dim]) -> Option<Vec<Dim>> {
    let mut index = Vec::with_capacity(dims.len());
    for (axis, dim) in dims.iter().enumerate().rev() {
        if axis == 0 {
            index.push(linear.clone());
            break;
        }
        let (quotient, remainder) = divide(&linear, dim)?;
        index.push(remainder);
        linear = quotient;
    }
    index.reverse();
    Some(index)
}

/// `linear = quotient * dim + remainder`, the remainder being what `dim` does not divide: nothing, or one index variable. Index
/// variables are smaller than the axis they run over, which is the innermost one here.
fn divide(linear: &Dim, dim: &Dim) -> Option<(Dim, Dim)> {
    let (mut quotient, mut remainder) = (vec![], vec![]);
    for term in linear.terms() {
        match Dim::from_terms(vec![term.clone()]).exact_div(dim) {
            Some(whole) => quotient.extend(whole.terms()),
            None => remainder.push(term),
        }
    }
    // `dim` may be a sum; then the terms that belong together are multiples of it as a whole.
    if quotient.is_empty() && remainder.len() > 1 {
        return divide_by_sum(linear, dim);
    }
    is_variable(&remainder).then(|| (Dim::from_terms(quotient), Dim::from_terms(remainder)))
}

fn divide_by_sum(linear: &Dim, dim: &Dim) -> Option<(Dim, Dim)> {
    (0..4).map(variable).find_map(|factor| {
        let rest = linear.minus(&factor.times(dim));
        is_variable(&rest.terms()).then_some((factor, rest))
    })
}

/// Nothing, or one index variable with coefficient 1.
fn is_variable(terms: &[Term]) -> bool {
    match terms {
        [] => true,
        [Term { atoms, coefficient: 1 }] => matches!(&atoms[..], [Atom::Symbol(symbol)] if is_index(symbol)),
        _ => false,
    }
}

fn is_index(symbol: &Symbol) -> bool {
    symbol.name().starts_with('\u{1}')
}

fn gathered(editor: &Editor<'_>, node: &Node, axis: i64, index: &[Dim], depth: usize) -> Option<Element> {
    let rank = editor.ty(node.inputs[0]).dims()?.len() as i64;
    let axis = usize::try_from(if axis < 0 { axis + rank } else { axis }).ok()?;
    let count = editor.ty(node.inputs[1]).dims()?.len();
    let chosen = broadcast_index(editor, node.inputs[1], index.get(axis..axis + count)?).ok()?;
    let Element::Index(at) = element(editor, node.inputs[1], &chosen, depth)? else { return None };
    let mut source = index[..axis].to_vec();
    source.push(at);
    source.extend_from_slice(&index[axis + count..]);
    element(editor, node.inputs[0], &source, depth)
}
