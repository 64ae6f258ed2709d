//! Reductions and running sums.
//!
//! Specs <https://onnx.ai/onnx/operators/onnx__ReduceSum.html> and its neighbors, ArgMax, ArgMin, CumSum, CumProd, TopK.
//! Opsets  Axes are an attribute up to 12 for ReduceSum and up to 17 for the others, an operand afterwards, then with
//!         `noop_with_empty_axes`. ArgMax and ArgMin have `select_last_index` from 12. TopK takes `k` as an attribute up to
//!         9, and has `largest` and `sorted` from 11.

use super::Row;
use crate::onnx::cx::{Cx, Fault, Outcome, many, one};
use mokume_ir::attr::Ints;
use mokume_ir::dim::Dim;
use mokume_ir::ids::ValueId;
use mokume_ir::op::{self, ReduceKind as R};

/// The family's table.
pub const ROWS: &[Row] = &[
    ("ReduceSum", |cx| reduce(cx, R::Sum, 13)),
    ("ReduceMean", |cx| reduce(cx, R::Mean, 18)),
    ("ReduceProd", |cx| reduce(cx, R::Prod, 18)),
    ("ReduceMax", |cx| reduce(cx, R::Max, 18)),
    ("ReduceMin", |cx| reduce(cx, R::Min, 18)),
    ("ReduceSumSquare", |cx| reduce(cx, R::SumSquare, 18)),
    ("ReduceL1", |cx| reduce(cx, R::L1, 18)),
    ("ReduceL2", |cx| reduce(cx, R::L2, 18)),
    ("ReduceLogSum", |cx| reduce(cx, R::LogSum, 18)),
    ("ReduceLogSumExp", |cx| reduce(cx, R::LogSumExp, 18)),
    ("ArgMax", |cx| arg(cx, true)),
    ("ArgMin", |cx| arg(cx, false)),
    ("CumSum", |cx| cumulative(cx, false)),
    ("CumProd", |cx| cumulative(cx, true)),
    ("TopK", top_k),
];

/// `operand_since`: the opset from which on the axes are an operand.
fn reduce(cx: &mut Cx<'_, '_, '_>, kind: R, operand_since: i64) -> Outcome {
    let x = cx.input(0)?;
    let keep_dims = cx.attrs.int_or("keepdims", 1)? != 0;
    let mut operands = vec![x];
    let axes = match cx.opset < operand_since {
        true => cx.attrs.ints("axes")?.map(Ints::of),
        false => axes_operand(cx, &mut operands)?,
    };
    let noop = cx.attrs.flag("noop_with_empty_axes")?;
    match axes.filter(|axes| axes.known() != Some(&[])) {
        Some(axes) => {
            let axes = front_axes(cx, x, axes)?;
            one(cx.apply(op::Reduce { kind, axes, all: false, keep_dims }, &operands)?)
        }
        None if noop => no_axes(cx, kind, x),
        None => one(cx.apply(op::Reduce { kind, axes: Ints::of([]), all: true, keep_dims }, &operands)?),
    }
}

/// Reduction over no axes: the elementwise part alone.
fn no_axes(cx: &mut Cx<'_, '_, '_>, kind: R, x: ValueId) -> Outcome {
    match kind {
        R::Sum | R::Mean | R::Prod | R::Max | R::Min => one(x),
        _ => one(cx.reduce(kind, x, &[], true)?),
    }
}

/// The axes that operand 1 holds, if it is given; a tensor of no elements is no axes.
fn axes_operand(cx: &mut Cx<'_, '_, '_>, operands: &mut Vec<ValueId>) -> Result<Option<Ints>, Fault> {
    let Some(axes) = cx.optional(1)? else { return Ok(None) };
    match cx.dims(axes).as_deref() {
        Some([length]) if length.known() == Some(0) => Ok(Some(Ints::of([]))),
        _ => Ok(Some(cx.ints(axes, operands))),
    }
}

/// Known axes counted from the front where the rank is known.
pub fn front_axes(cx: &Cx<'_, '_, '_>, x: ValueId, axes: Ints) -> Result<Ints, Fault> {
    match axes.numbers() {
        Some(axes) => Ok(Ints::of(axes.into_iter().map(|axis| cx.axis(x, axis)).collect::<Result<Vec<_>, _>>()?)),
        None => Ok(axes),
    }
}

fn arg(cx: &mut Cx<'_, '_, '_>, largest: bool) -> Outcome {
    let x = cx.input(0)?;
    let axis = cx.attrs.int_or("axis", 0)?;
    let (keep_dims, last) = (cx.attrs.int_or("keepdims", 1)? != 0, cx.attrs.flag("select_last_index")?);
    let axis = cx.axis(x, axis)?;
    one(cx.apply(op::ArgReduce { largest, axis, keep_dims, last }, &[x])?)
}

fn cumulative(cx: &mut Cx<'_, '_, '_>, product: bool) -> Outcome {
    let (x, axis) = (cx.input(0)?, cx.input(1)?);
    let (exclusive, reverse) = (cx.attrs.flag("exclusive")?, cx.attrs.flag("reverse")?);
    let mut operands = vec![x];
    let axis = cx.ints(axis, &mut operands);
    let axis = front_axes(cx, x, axis)?;
    one(cx.apply(op::Cumulative { axis, product, exclusive, reverse }, &operands)?)
}

fn top_k(cx: &mut Cx<'_, '_, '_>) -> Outcome {
    let x = cx.input(0)?;
    let axis = cx.attrs.int_or("axis", -1)?;
    let (largest, sorted) = (cx.attrs.int_or("largest", 1)? != 0, cx.attrs.int_or("sorted", 1)? != 0);
    let mut operands = vec![x];
    let k = match cx.opset {
        ..10 => Ints::Known(vec![Dim::from(cx.attrs.need_int("k")?)]),
        _ => {
            let k = cx.input(1)?;
            cx.ints(k, &mut operands)
        }
    };
    let axis = cx.axis(x, axis)?;
    many(cx.insert(op::TopK { k, axis, largest, sorted }, &operands)?)
}
