//! The elements of one node's output from those of its operands.

use super::{Elements, arithmetic, rearrange};
use crate::attr::Ints;
use crate::dim::{Dim, DimFn};
use crate::infer::shape::bounds;
use crate::op::{Iota, Op, ReduceKind, ShapeOf};
use crate::types::Type;

/// A node: its operands, where their elements are known, their types, which output is asked for, and that one's shape.
pub(super) struct Site<'a> {
    pub operand: &'a dyn Fn(usize) -> Option<&'a Elements>,
    pub ty: &'a dyn Fn(usize) -> Option<&'a Type>,
    pub output: usize,
    pub shape: &'a [usize],
}

impl<'a> Site<'a> {
    /// The elements of operand `index`.
    pub fn operand(&self, index: usize) -> Option<&'a Elements> {
        (self.operand)(index)
    }
    /// The numbers of an `Ints` attribute.
    pub fn numbers(&self, ints: &Ints) -> Option<Vec<i64>> {
        match ints {
            Ints::Known(_) => ints.numbers(),
            Ints::Operand(index) => self.operand(*index as usize)?.items.iter().map(Dim::known).collect(),
        }
    }
    /// The output with these elements.
    pub fn output(&self, items: Vec<Dim>) -> Elements {
        Elements { shape: self.shape.to_vec(), items }
    }
}

/// Whether elements of the outputs may be known from those of the operands.
pub(super) fn follows(op: &Op) -> bool {
    use Op::*;
    let moves = matches!(op, Reshape(_) | Squeeze(_) | Unsqueeze(_) | Transpose(_) | Broadcast(_) | Slice(_) | Split(_) | Concat(_));
    let chooses = matches!(op, Pad(_) | Tile(_) | Gather(_) | GatherElements(_) | ScatterElements(_) | ScatterNd(_));
    moves || chooses || matches!(op, Unary(_) | Binary(_) | Select(_) | Cast(_) | Reduce(_) | Cumulative(_) | Range(_))
}

pub(super) fn evaluate(op: &Op, site: &Site<'_>) -> Option<Elements> {
    match op {
        Op::Unary(kind) => arithmetic::unary(*kind, site),
        Op::Binary(kind) => arithmetic::binary(*kind, site),
        Op::Select(_) => arithmetic::select(site),
        Op::Cast(op) => arithmetic::cast(op, site),
        Op::Reduce(op) => reduce(op, site),
        Op::Cumulative(op) => rearrange::cumulative(op, site),
        Op::Reshape(_) | Op::Squeeze(_) | Op::Unsqueeze(_) => Some(site.output(site.operand(0)?.items.clone())),
        Op::Transpose(op) => rearrange::transpose(op, site),
        Op::Broadcast(_) => Some(site.output(site.operand(0)?.broadcast_to(site.shape)?)),
        Op::Slice(op) => rearrange::slice(op, site),
        Op::Split(op) => rearrange::split(op, site),
        Op::Concat(op) => rearrange::concat(op, site),
        Op::Pad(op) => rearrange::pad(op, site),
        Op::Tile(_) => rearrange::tile(site),
        Op::Gather(op) => rearrange::gather(op, site),
        Op::GatherElements(op) => rearrange::gather_elements(op, site),
        Op::ScatterElements(op) => rearrange::scatter_elements(op, site),
        Op::ScatterNd(op) => rearrange::scatter_nd(op, site),
        Op::Range(_) => range(site),
        Op::Iota(op) => iota(op, site),
        Op::ShapeOf(op) => shape_of(op, site),
        Op::SizeOf(_) => size_of(site),
        Op::DimsOf(op) => Some(site.output(op.dims.clone())),
        _ => None,
    }
}

fn reduce(op: &crate::op::Reduce, site: &Site<'_>) -> Option<Elements> {
    let x = site.operand(0)?;
    let rank = x.shape.len();
    let axes = if op.all { (0..rank as i64).collect() } else { site.numbers(&op.axes)? };
    let (start, step): (_, fn(&Dim, &Dim) -> Option<Dim>) = match op.kind {
        ReduceKind::Sum => (Some(Dim::from(0i64)), |a, b| Some(a.plus(b))),
        ReduceKind::Prod => (Some(Dim::from(1i64)), |a, b| a.try_times(b, super::MAX_WEIGHT)),
        ReduceKind::Min => (None, |a, b| Some(a.call(DimFn::Min, b))),
        ReduceKind::Max => (None, |a, b| Some(a.call(DimFn::Max, b))),
        _ => return None,
    };
    rearrange::fold(x, &axes, start, step).map(|items| site.output(items))
}

fn range(site: &Site<'_>) -> Option<Elements> {
    let first = |index: usize| site.operand(index)?.items.first().cloned();
    let (start, delta) = (first(0)?, first(2)?);
    let count = *site.shape.first()?;
    let items = (0..count).map(|i| start.plus(&delta.times(&Dim::from(i))));
    Some(site.output(items.collect()))
}

fn iota(op: &Iota, site: &Site<'_>) -> Option<Elements> {
    let count = usize::try_from(op.len.known()?).ok().filter(|&count| site.shape == [count])?;
    Some(site.output((0..count).map(Dim::from).collect()))
}

fn shape_of(op: &ShapeOf, site: &Site<'_>) -> Option<Elements> {
    let dims = (site.ty)(0)?.dims()?;
    Some(site.output(dims[bounds(op, dims.len())].to_vec()))
}

fn size_of(site: &Site<'_>) -> Option<Elements> {
    let dims = (site.ty)(0)?.dims()?;
    let count = dims.iter().try_fold(Dim::from(1i64), |product, dim| product.try_times(dim, super::MAX_WEIGHT))?;
    Some(site.output(vec![count]))
}
