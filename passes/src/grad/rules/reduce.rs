//! Sums and what is like them.

use super::{Parts, Seen, sign};
use crate::grad::expr::{Expr, apply};
use mokume_ir::attr::Ints;
use mokume_ir::dim::Dim;
use mokume_ir::op::{BinaryKind, Cumulative, DimsOf, Reduce, ReduceKind, UnaryKind};
use mokume_ir::types::Elem;

/// Every element gets what its result got, times its own slope.
pub fn reduce(node: &Seen<'_>, op: &Reduce) -> Result<Parts, String> {
    let dims = node.dims(0)?;
    let axes = axes(op, dims.len())?;
    let mut kept = dims.clone();
    axes.iter().for_each(|&axis| kept[axis] = 1i64.into());
    let (x, y, g) = (node.x(0), node.y().reshape(&kept), node.g()?.reshape(&kept));
    let part = match op.kind {
        ReduceKind::Sum => g.broadcast(&dims),
        ReduceKind::Mean => (g / count(node, axes.iter().map(|&axis| &dims[axis]))?).broadcast(&dims),
        ReduceKind::Max | ReduceKind::Min => {
            let first = x.binary(BinaryKind::Eq, y).cast(float(node)?);
            g * first.clone() / first.sum(axes)
        }
        ReduceKind::SumSquare => g * x * 2.0,
        ReduceKind::L1 => g * sign(&x),
        ReduceKind::L2 => g * x / y,
        ReduceKind::LogSum => (g / y.unary(UnaryKind::Exp)).broadcast(&dims),
        ReduceKind::LogSumExp => g * (x - y).unary(UnaryKind::Exp),
        ReduceKind::Prod => match axes[..] {
            [axis] => g * all_others(&x, axis),
            _ => return Err("it is a product over several axes".into()),
        },
    };
    Ok(node.first(part))
}

/// The reduced axes.
fn axes(op: &Reduce, rank: usize) -> Result<Vec<usize>, String> {
    if op.all {
        return Ok((0..rank).collect());
    }
    let axes = op.axes.numbers().ok_or("its axes are known at run time only")?;
    Ok(axes.into_iter().map(|axis| axis as usize).collect())
}

/// How many elements axes of these sizes have, as a number of the type of the operand.
fn count<'d>(node: &Seen<'_>, sizes: impl Iterator<Item = &'d Dim>) -> Result<Expr, String> {
    let count = sizes.fold(Dim::from(1i64), |product, dim| product.times(dim));
    Ok(match count.known() {
        Some(count) => (count as f64).into(),
        None => apply(DimsOf { dims: vec![count], scalar: true }, []).cast(float(node)?),
    })
}

fn float(node: &Seen<'_>) -> Result<Elem, String> {
    node.elem(0).filter(|elem| elem.is_float()).ok_or_else(|| "its operand is not float".to_string())
}

/// The product of all other elements along `axis`: of those before, times of those behind.
fn all_others(x: &Expr, axis: usize) -> Expr {
    let running = |reverse| Cumulative { axis: Ints::of([axis as i64]), product: true, exclusive: true, reverse };
    apply(running(false), [x.clone()]) * apply(running(true), [x.clone()])
}

/// A running sum from the other end.
pub fn cumulative(node: &Seen<'_>, op: &Cumulative) -> Result<Parts, String> {
    if op.product {
        return Err("it is a running product".into());
    }
    let back = Cumulative { reverse: !op.reverse, ..op.clone() };
    let axis = node.node.inputs[1..].iter().map(|&axis| axis.into());
    Ok(node.first(apply(back, [node.g()?].into_iter().chain(axis))))
}

/// `y (g - Σ g y)`
pub fn softmax(node: &Seen<'_>, axis: i64) -> Result<Parts, String> {
    let (y, g) = (node.y(), node.g()?);
    let mean = (g.clone() * y.clone()).sum([axis as usize]);
    Ok(node.first(y * (g - mean)))
}

/// `g - e^y Σ g`
pub fn log_softmax(node: &Seen<'_>, axis: i64) -> Result<Parts, String> {
    let g = node.g()?;
    Ok(node.first(g.clone() - node.y().unary(UnaryKind::Exp) * g.sum([axis as usize])))
}
