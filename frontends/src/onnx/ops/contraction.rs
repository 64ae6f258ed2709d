//! Matrix products.
//!
//! Specs <https://onnx.ai/onnx/operators/onnx__MatMul.html>, Gemm, Einsum.
//! Opsets  Gemm broadcasts C by a flag up to 6 and always from 7; C is optional from 11.

use super::Row;
use super::shape::product;
use crate::onnx::cx::{Cx, Fault, Outcome, one};
use mokume_ir::dim::Dim;
use mokume_ir::ids::ValueId;
use mokume_ir::op::{self, BinaryKind, ReduceKind};

/// The family's table.
pub const ROWS: &[Row] = &[("MatMul", matmul), ("Gemm", gemm), ("Einsum", einsum)];

fn matmul(cx: &mut Cx<'_, '_, '_>) -> Outcome {
    let (a, b) = (cx.input(0)?, cx.input(1)?);
    one(product_of(cx, a, b)?)
}

/// The numpy matrix product: a vector is a row on the left, a column on the right.
pub fn product_of(cx: &mut Cx<'_, '_, '_>, a: ValueId, b: ValueId) -> Result<ValueId, Fault> {
    let (row, column) = (cx.rank(a) == Some(1), cx.rank(b) == Some(1));
    let a = if row { cx.unsqueeze(a, &[0])? } else { a };
    let b = if column { cx.unsqueeze(b, &[1])? } else { b };
    let y = cx.matmul(a, b)?;
    match (row, column) {
        (false, false) => Ok(y),
        (true, true) => {
            let rank = cx.need_rank(y)? as i64;
            cx.squeeze(y, &[rank - 2, rank - 1])
        }
        (row, _) => {
            let rank = cx.need_rank(y)? as i64;
            cx.squeeze(y, &[rank - if row { 2 } else { 1 }])
        }
    }
}

fn gemm(cx: &mut Cx<'_, '_, '_>) -> Outcome {
    cx.attrs.ignore(&["broadcast"]);
    let (a, b, c) = (cx.input(0)?, cx.input(1)?, cx.optional(2)?);
    let (alpha, beta) = (cx.attrs.float_or("alpha", 1.0)?, cx.attrs.float_or("beta", 1.0)?);
    let (transpose_a, transpose_b) = (cx.attrs.flag("transA")?, cx.attrs.flag("transB")?);
    let y = cx.apply(op::Matmul { transpose_a, transpose_b }, &[a, b])?;
    let y = scaled(cx, y, alpha)?;
    match c {
        Some(c) => {
            let c = scaled(cx, c, beta)?;
            one(cx.binary(BinaryKind::Add, y, c)?)
        }
        None => one(y),
    }
}

fn scaled(cx: &mut Cx<'_, '_, '_>, x: ValueId, factor: f32) -> Result<ValueId, Fault> {
    if factor == 1.0 { Ok(x) } else { cx.with_number(BinaryKind::Mul, x, factor.into()) }
}

/// One operand of an einsum, each axis named; axes of the ellipsis are named by digits from the right.
#[derive(Clone)]
struct Term {
    value: ValueId,
    axes: Vec<char>,
}

fn einsum(cx: &mut Cx<'_, '_, '_>) -> Outcome {
    let equation = cx.attrs.string_or("equation", "")?;
    let inputs = cx.all_inputs()?;
    let (terms, output) = parse(cx, &equation.replace(' ', ""), &inputs)?;
    let mut terms = terms.into_iter().map(|term| without_repeats(cx, term)).collect::<Result<Vec<_>, _>>()?;
    let mut sum = terms.remove(0);
    if terms.is_empty() {
        sum = summed(cx, sum, &|axis| output.contains(&axis))?;
    }
    while !terms.is_empty() {
        let next = terms.remove(0);
        let kept = |axis: char| output.contains(&axis) || terms.iter().any(|term| term.axes.contains(&axis));
        sum = pair(cx, sum, next, &kept)?;
    }
    let perm = output.iter().map(|axis| sum.axes.iter().position(|a| a == axis)).collect::<Option<Vec<usize>>>();
    let perm = perm.ok_or_else(|| Fault::input(format!("the equation \"{equation}\" names an output axis that no operand has")))?;
    one(cx.transpose(sum.value, &perm)?)
}

/// Operands with named axes, and the names of the output's axes.
fn parse(cx: &Cx<'_, '_, '_>, equation: &str, inputs: &[ValueId]) -> Result<(Vec<Term>, Vec<char>), Fault> {
    let (left, right) = equation.split_once("->").map_or((equation, None), |(left, right)| (left, Some(right)));
    let parts: Vec<&str> = left.split(',').collect();
    if parts.len() != inputs.len() || inputs.is_empty() {
        return Err(Fault::input(format!("the equation \"{equation}\" has {} operands, the node {}", parts.len(), inputs.len())));
    }
    let mut terms = Vec::new();
    for (part, &value) in parts.iter().zip(inputs) {
        let rank = cx.need_rank(value)?;
        let letters = part.replace("...", "").chars().count();
        let axes = named_axes(part, rank.saturating_sub(letters))?;
        if axes.len() != rank {
            return Err(Fault::input(format!("\"{part}\" of the equation \"{equation}\" does not name {rank} axes")));
        }
        terms.push(Term { value, axes });
    }
    let widest = terms.iter().map(|term| term.axes.iter().filter(|c| c.is_ascii_digit()).count()).max().unwrap_or(0);
    let output = match right {
        Some(right) => named_axes(right, widest)?,
        None => implicit_output(&terms, widest)?,
    };
    Ok((terms, output))
}

/// The axes of one part; `...` stands for `hidden` axes.
fn named_axes(part: &str, hidden: usize) -> Result<Vec<char>, Fault> {
    let ellipsis = || (0..hidden as u32).rev().map(|i| char::from_digit(i, 10));
    let (before, after) = part.split_once("...").map_or((part, None), |(before, after)| (before, Some(after)));
    let mut axes: Vec<char> = before.chars().collect();
    if let Some(after) = after {
        axes.extend(ellipsis().collect::<Option<Vec<_>>>().ok_or_else(|| Fault::input("the ellipsis stands for too many axes"))?);
        axes.extend(after.chars());
    }
    match axes.iter().all(|c| c.is_ascii_alphanumeric()) {
        true => Ok(axes),
        false => Err(Fault::input(format!("\"{part}\" is not a list of axis letters"))),
    }
}

/// Without an arrow: the ellipsis, then the letters that occur once, sorted.
fn implicit_output(terms: &[Term], widest: usize) -> Result<Vec<char>, Fault> {
    let mut output = named_axes("...", widest)?;
    let letters: Vec<char> = terms.iter().flat_map(|t| t.axes.iter().copied()).filter(char::is_ascii_alphabetic).collect();
    let mut once: Vec<char> = letters.iter().copied().filter(|c| letters.iter().filter(|d| *d == c).count() == 1).collect();
    once.sort();
    output.extend(once);
    Ok(output)
}

/// `ii` to `i`: the diagonal, by a mask and a sum.
fn without_repeats(cx: &mut Cx<'_, '_, '_>, mut term: Term) -> Result<Term, Fault> {
    while let Some((first, second)) = repeated(&term.axes) {
        let size = cx.need_dims(term.value)?[first].clone();
        let index = super::constant::iota(cx, size)?;
        let rank = term.axes.len() as i64;
        let row: Vec<i64> = (0..rank).filter(|&axis| axis != first as i64).collect();
        let column: Vec<i64> = (0..rank).filter(|&axis| axis != second as i64).collect();
        let (row, column) = (cx.unsqueeze(index, &row)?, cx.unsqueeze(index, &column)?);
        let on = cx.binary(BinaryKind::Eq, row, column)?;
        let zero = cx.number_like(term.value, 0.0)?;
        let diagonal = cx.select(on, term.value, zero)?;
        term.value = cx.reduce(ReduceKind::Sum, diagonal, &[second as i64], false)?;
        term.axes.remove(second);
    }
    Ok(term)
}

fn repeated(axes: &[char]) -> Option<(usize, usize)> {
    (0..axes.len()).find_map(|second| axes[..second].iter().position(|a| *a == axes[second]).map(|first| (first, second)))
}

/// Summed over the axes that are not kept.
fn summed(cx: &mut Cx<'_, '_, '_>, term: Term, kept: &dyn Fn(char) -> bool) -> Result<Term, Fault> {
    let dropped: Vec<i64> = (0..term.axes.len()).filter(|&i| !kept(term.axes[i])).map(|i| i as i64).collect();
    if dropped.is_empty() {
        return Ok(term);
    }
    let value = cx.reduce(ReduceKind::Sum, term.value, &dropped, false)?;
    Ok(Term { value, axes: term.axes.into_iter().filter(|&axis| kept(axis)).collect() })
}

/// The product of two operands, summed over axes that nothing later reads: one batched matrix product.
fn pair(cx: &mut Cx<'_, '_, '_>, a: Term, b: Term, kept: &dyn Fn(char) -> bool) -> Result<Term, Fault> {
    let a_axes = a.axes.clone();
    let b_axes = b.axes.clone();
    let a = summed(cx, a, &|axis| kept(axis) || b_axes.contains(&axis))?;
    let b = summed(cx, b, &|axis| kept(axis) || a_axes.contains(&axis))?;
    let shared = |axis: &&char| a.axes.contains(axis) && b.axes.contains(axis);
    let batch: Vec<char> = a.axes.iter().filter(shared).copied().filter(|&axis| kept(axis)).collect();
    let inner: Vec<char> = a.axes.iter().filter(shared).copied().filter(|&axis| !kept(axis)).collect();
    let rows: Vec<char> = a.axes.iter().copied().filter(|axis| !b.axes.contains(axis)).collect();
    let columns: Vec<char> = b.axes.iter().copied().filter(|axis| !a.axes.contains(axis)).collect();
    if inner.is_empty() {
        return outer(cx, a, b, &batch, &rows, &columns);
    }
    let (left, right) = (matrix(cx, &a, &batch, &rows, &inner)?, matrix(cx, &b, &batch, &columns, &inner)?);
    let y = cx.apply(op::Matmul { transpose_a: false, transpose_b: true }, &[left, right])?;
    let mut dims = cx.need_dims(y)?[..batch.len()].to_vec();
    dims.extend(sizes(cx, &a, &rows)?);
    dims.extend(sizes(cx, &b, &columns)?);
    Ok(Term { value: cx.reshape(y, dims)?, axes: [batch, rows, columns].concat() })
}

/// No sums: a broadcast product.
fn outer(cx: &mut Cx<'_, '_, '_>, a: Term, b: Term, batch: &[char], rows: &[char], columns: &[char]) -> Result<Term, Fault> {
    let axes = [batch, rows, columns].concat();
    let (a, b) = (spread(cx, &a, &axes)?, spread(cx, &b, &axes)?);
    Ok(Term { value: cx.binary(BinaryKind::Mul, a, b)?, axes })
}

/// With the axes `axes`, absent ones of size 1.
fn spread(cx: &mut Cx<'_, '_, '_>, term: &Term, axes: &[char]) -> Result<ValueId, Fault> {
    let perm: Vec<usize> = axes.iter().filter_map(|axis| term.axes.iter().position(|a| a == axis)).collect();
    let value = cx.transpose(term.value, &perm)?;
    let absent: Vec<i64> = (0..axes.len()).filter(|&i| !term.axes.contains(&axes[i])).map(|i| i as i64).collect();
    cx.unsqueeze(value, &absent)
}

/// `[batch..., product of free, product of inner]`
fn matrix(cx: &mut Cx<'_, '_, '_>, term: &Term, batch: &[char], free: &[char], inner: &[char]) -> Result<ValueId, Fault> {
    let order = [batch, free, inner].concat();
    let perm: Vec<usize> = order.iter().filter_map(|axis| term.axes.iter().position(|a| a == axis)).collect();
    let value = cx.transpose(term.value, &perm)?;
    let mut dims = sizes(cx, term, batch)?;
    dims.push(product(&sizes(cx, term, free)?));
    dims.push(product(&sizes(cx, term, inner)?));
    cx.reshape(value, dims)
}

fn sizes(cx: &Cx<'_, '_, '_>, term: &Term, axes: &[char]) -> Result<Vec<Dim>, Fault> {
    let dims = cx.need_dims(term.value)?;
    Ok(axes.iter().filter_map(|axis| Some(dims[term.axes.iter().position(|a| a == axis)?].clone())).collect())
}
