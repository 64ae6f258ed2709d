//! Ops that choose elements by index or by condition.

use super::cx::{Cx, Result, product};
use crate::dim::Dim;
use crate::op::{Compress, Gather, GatherElements, GatherNd, OneHot, ScatterElements, TopK, Unique};
use crate::types::{Elem, Shape, Type};

pub(super) fn gather(cx: &Cx<'_>, op: &Gather) -> Result<Type> {
    cx.count(2..=2)?;
    let (x, indices) = (cx.tensor(0)?, cx.indices(1)?);
    let (Some(dims), Some(at)) = (x.shape.dims(), indices.shape.dims()) else { return Ok(Type::tensor(Shape::Unranked, x.elem)) };
    let axis = cx.axis(op.axis, dims.len())?;
    Ok(Type::tensor(dims[..axis].iter().chain(at).chain(&dims[axis + 1..]).cloned().collect(), x.elem))
}

/// Axis and equal ranks of `x` and the index operand.
fn elements(cx: &Cx<'_>, axis: i64) -> Result<()> {
    let (x, indices) = (cx.tensor(0)?, cx.indices(1)?);
    let (Some(rank), Some(index_rank)) = (x.shape.rank(), indices.shape.rank()) else { return Ok(()) };
    cx.axis(axis, rank)?;
    if rank == index_rank { Ok(()) } else { cx.fail(format!("{x} and indices {indices} differ in rank")) }
}

pub(super) fn gather_elements(cx: &Cx<'_>, op: &GatherElements) -> Result<Type> {
    cx.count(2..=2)?;
    elements(cx, op.axis)?;
    Ok(Type::tensor(cx.tensor(1)?.shape.clone(), cx.tensor(0)?.elem))
}

pub(super) fn gather_nd(cx: &Cx<'_>, op: &GatherNd) -> Result<Type> {
    cx.count(2..=2)?;
    let (x, indices) = (cx.tensor(0)?, cx.indices(1)?);
    let (Some(dims), Some(at)) = (x.shape.dims(), indices.shape.dims()) else { return Ok(Type::tensor(Shape::Unranked, x.elem)) };
    let Ok(batch) = usize::try_from(op.batch_dims) else { return cx.fail(format!("batch_dims {} is negative", op.batch_dims)) };
    let Some((tuple, leading)) = at.split_last() else { return cx.fail("indices must have rank 1 or more") };
    let Some(len) = tuple.known() else { return Ok(Type::tensor(Shape::Unranked, x.elem)) };
    let first = usize::try_from(len).ok().and_then(|len| len.checked_add(batch));
    match first {
        Some(first) if first <= dims.len() && batch <= leading.len() => {
            Ok(Type::tensor(leading.iter().chain(&dims[first..]).cloned().collect(), x.elem))
        }
        _ => cx.fail(format!("indices {indices} with {batch} batch axes do not fit {x}")),
    }
}

pub(super) fn scatter_elements(cx: &Cx<'_>, op: &ScatterElements) -> Result<Type> {
    cx.count(3..=3)?;
    elements(cx, op.axis)?;
    cx.same_elem(0, 2)?;
    same_shape(cx, 1, 2)?;
    Ok(cx.tensor(0)?.clone().into())
}

fn same_shape(cx: &Cx<'_>, a: usize, b: usize) -> Result<()> {
    let (Some(x), Some(y)) = (cx.tensor(a)?.shape.dims(), cx.tensor(b)?.shape.dims()) else { return Ok(()) };
    if x.len() != y.len() {
        return cx.fail(format!("operands {a} and {b} have shapes {x:?} and {y:?}"));
    }
    x.iter().zip(y).try_for_each(|(p, q)| cx.equal(p, q, &format!("sizes of operands {a} and {b}")).map(|_| ()))
}

pub(super) fn scatter_nd(cx: &Cx<'_>) -> Result<Type> {
    cx.count(3..=3)?;
    let (x, indices) = (cx.tensor(0)?, cx.indices(1)?);
    cx.same_elem(0, 2)?;
    if let (Some(dims), Some(at)) = (x.shape.dims(), indices.shape.dims()) {
        let Some(tuple) = at.last() else { return cx.fail("indices must have rank 1 or more") };
        if tuple.known().is_some_and(|len| len < 0 || len > dims.len() as i64) {
            return cx.fail(format!("index tuples of {indices} are longer than the rank of {x}"));
        }
    }
    Ok(x.clone().into())
}

pub(super) fn compress(cx: &Cx<'_>, op: &Compress) -> Result<Type> {
    cx.count(2..=2)?;
    let x = cx.tensor(0)?;
    cx.tensor_of(1, "bool", |elem| elem == Elem::Bool)?;
    cx.rank_is(1, 1)?;
    let (Some(axis), dims) = (op.axis, x.shape.dims()) else { return Ok(Type::tensor(cx.fresh_shape(1), x.elem)) };
    let Some(dims) = dims else { return Ok(x.clone().into()) };
    let axis = cx.axis(axis, dims.len())?;
    let sizes = dims.iter().enumerate().map(|(i, dim)| if i == axis { cx.fresh() } else { dim.clone() });
    Ok(Type::tensor(sizes.collect(), x.elem))
}

pub(super) fn one_hot(cx: &Cx<'_>, op: &OneHot) -> Result<Type> {
    cx.count(3..=3)?;
    let (indices, values) = (cx.tensor(0)?, cx.tensor(2)?);
    cx.tensor_of(1, "a number", |elem| elem.is_int() || elem.is_float())?;
    let depth = (cx.contents)(1).and_then(|contents| contents.dims.into_iter().next());
    let Some(dims) = indices.shape.dims() else { return Ok(Type::tensor(Shape::Unranked, values.elem)) };
    let axis = cx.axis(op.axis, dims.len() + 1)?;
    let mut dims = dims.to_vec();
    dims.insert(axis, depth.unwrap_or_else(|| cx.fresh()));
    Ok(Type::tensor(Shape::Ranked(dims), values.elem))
}

pub(super) fn non_zero(cx: &Cx<'_>) -> Result<Type> {
    cx.count(1..=1)?;
    let rank = cx.tensor(0)?.shape.rank().map_or_else(|| cx.fresh(), Dim::from);
    Ok(Type::tensor([rank, cx.fresh()].into_iter().collect(), Elem::I64))
}

pub(super) fn unique(cx: &Cx<'_>, op: &Unique) -> Result<Vec<Type>> {
    cx.count(1..=1)?;
    let x = cx.tensor(0)?;
    let count = cx.fresh();
    let (values, len) = match (op.axis, x.shape.dims()) {
        (None, dims) => (Shape::Ranked(vec![count.clone()]), dims.and_then(product)),
        (Some(_), None) => (Shape::Unranked, None),
        (Some(axis), Some(dims)) => {
            let axis = cx.axis(axis, dims.len())?;
            let mut sizes = dims.to_vec();
            sizes[axis] = count.clone();
            (Shape::Ranked(sizes), Some(dims[axis].clone()))
        }
    };
    let list = |len: Dim| Type::tensor(Shape::Ranked(vec![len]), Elem::I64);
    let inverse = list(len.unwrap_or_else(|| cx.fresh()));
    Ok(vec![Type::tensor(values, x.elem), list(count.clone()), inverse, list(count)])
}

pub(super) fn top_k(cx: &Cx<'_>, op: &TopK) -> Result<Vec<Type>> {
    cx.count(1..=1 + cx.named(&[&op.k]))?;
    let x = cx.tensor_of(0, "a number", |elem| elem.is_int() || elem.is_float())?;
    let k = cx.ints(&op.k)?;
    let shape = match x.shape.dims() {
        Some(dims) => {
            let axis = cx.axis(op.axis, dims.len())?;
            let mut sizes = dims.to_vec();
            sizes[axis] = best(cx, k, &dims[axis])?;
            Shape::Ranked(sizes)
        }
        None => Shape::Unranked,
    };
    Ok(vec![Type::tensor(shape.clone(), x.elem), Type::tensor(shape, Elem::I64)])
}

fn best(cx: &Cx<'_>, k: Option<Vec<Dim>>, dim: &Dim) -> Result<Dim> {
    match k.as_deref() {
        None => Ok(cx.fresh()),
        Some([k]) if k.known().is_some_and(|k| k < 0 || dim.known().is_some_and(|dim| k > dim)) => {
            cx.fail(format!("the best {k} of {dim} elements"))
        }
        Some([k]) => Ok(k.clone()),
        Some(more) => cx.fail(format!("takes one k, not {}", more.len())),
    }
}
