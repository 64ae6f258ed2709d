//! Pooling.
//!
//! Specs <https://onnx.ai/onnx/operators/onnx__MaxPool.html>, AveragePool, LpPool, GlobalAveragePool, GlobalMaxPool,
//! GlobalLpPool.
//! Opsets  MaxPool gives indices from 8, dilations and `ceil_mode` from 10. AveragePool has `count_include_pad` from 7,
//!         `ceil_mode` from 10, dilations from 19. LpPool's `p` is a float in 1; `ceil_mode` and dilations from 18.

use super::Row;
use super::conv::{Window, window};
use crate::onnx::cx::{Cx, Fault, Outcome, many, one};
use mokume_ir::op::{self, PoolKind, ReduceKind, UnaryKind};

/// The family's table.
pub const ROWS: &[Row] = &[
    ("MaxPool", |cx| pool(cx, PoolKind::Max)),
    ("AveragePool", |cx| pool(cx, PoolKind::Average)),
    ("LpPool", |cx| pool(cx, PoolKind::Lp)),
    ("GlobalAveragePool", |cx| global(cx, ReduceKind::Mean)),
    ("GlobalMaxPool", |cx| global(cx, ReduceKind::Max)),
    ("GlobalLpPool", global_lp),
];

fn pool(cx: &mut Cx<'_, '_, '_>, kind: PoolKind) -> Outcome {
    let x = cx.input(0)?;
    let kernel = cx.attrs.need_ints("kernel_shape")?;
    let Window { strides, dilations, pads, auto_pad } = window(cx, kernel.len())?;
    let op = op::Pool {
        kind,
        kernel,
        strides,
        dilations,
        pads,
        auto_pad,
        ceil: cx.attrs.flag("ceil_mode")?,
        count_include_pad: cx.attrs.flag("count_include_pad")?,
        p: if kind == PoolKind::Lp { cx.attrs.int_or("p", 2)? } else { 2 },
        indices: kind == PoolKind::Max && cx.wants(1),
        column_major: cx.attrs.flag("storage_order")?,
    };
    many(cx.insert(op, &[x])?)
}

/// Axes after batch and channels.
fn spatial_axes(cx: &mut Cx<'_, '_, '_>) -> Result<Vec<i64>, Fault> {
    let x = cx.input(0)?;
    Ok((2..cx.need_rank(x)? as i64).collect())
}

fn global(cx: &mut Cx<'_, '_, '_>, kind: ReduceKind) -> Outcome {
    let (x, axes) = (cx.input(0)?, spatial_axes(cx)?);
    one(cx.reduce(kind, x, &axes, true)?)
}

fn global_lp(cx: &mut Cx<'_, '_, '_>) -> Outcome {
    let (x, axes) = (cx.input(0)?, spatial_axes(cx)?);
    match cx.attrs.int_or("p", 2)? {
        1 => one(cx.reduce(ReduceKind::L1, x, &axes, true)?),
        2 => one(cx.reduce(ReduceKind::L2, x, &axes, true)?),
        p => {
            let magnitude = cx.unary(UnaryKind::Abs, x)?;
            let power = cx.with_number(op::BinaryKind::Pow, magnitude, p as f64)?;
            let sum = cx.reduce(ReduceKind::Sum, power, &axes, true)?;
            one(cx.with_number(op::BinaryKind::Pow, sum, 1.0 / p as f64)?)
        }
    }
}
