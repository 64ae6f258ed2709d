//! Fourier transforms.

use super::cx::{Cx, Result};
use crate::dim::Dim;
use crate::op::{Dft, Stft};
use crate::types::{Shape, Type};

pub(super) fn dft(cx: &Cx<'_>, op: &Dft) -> Result<Type> {
    let named = op.length.as_ref().map_or(0, |length| cx.named(&[length]));
    cx.count(1..=1 + named)?;
    let x = cx.float(0)?;
    let length = match &op.length {
        Some(length) => Some(cx.ints(length)?),
        None => None,
    };
    let Some(dims) = cx.rank_in(0, 2..=usize::MAX)? else { return Ok(x.clone().into()) };
    let axis = cx.axis(op.axis, dims.len())?;
    if axis + 1 == dims.len() {
        return cx.fail(format!("axis {axis} of {x} holds the components"));
    }
    let packed = op.inverse && op.onesided;
    let length = match length {
        None if packed => dims[axis].minus(&Dim::from(1i64)).times(&Dim::from(2i64)),
        None => dims[axis].clone(),
        Some(None) => cx.fresh(),
        Some(Some(length)) => match &length[..] {
            [length] => length.clone(),
            more => return cx.fail(format!("takes one length, not {}", more.len())),
        },
    };
    let mut dims = dims.to_vec();
    dims[axis] = if op.onesided && !op.inverse { half(&length) } else { length };
    if let Some(components) = dims.last_mut() {
        *components = Dim::from(if packed { 1i64 } else { 2 });
    }
    Ok(Type::tensor(Shape::Ranked(dims), x.elem))
}

/// Size of a one-sided spectrum: `floor(length / 2) + 1`.
fn half(length: &Dim) -> Dim {
    length.floor_div(&Dim::from(2i64)).plus(&Dim::from(1i64))
}

pub(super) fn stft(cx: &Cx<'_>, op: &Stft) -> Result<Type> {
    cx.count(4..=4)?;
    let x = cx.float(0)?;
    cx.float(2)?;
    let scalar = |index: usize| (cx.contents)(index).and_then(|contents| contents.dims.into_iter().next());
    let window = cx.rank_is(2, 1)?.map(|dims| dims[0].clone());
    let dims = cx.rank_in(0, 2..=3)?;
    let step = scalar(1).filter(|step| step.known() != Some(0));
    let length = scalar(3).or(window);
    let frames = match (dims, &step, &length) {
        (Some(dims), Some(step), Some(length)) => dims[1].minus(length).floor_div(step).plus(&Dim::from(1i64)),
        _ => cx.fresh(),
    };
    let bins = length.map(|length| if op.onesided { half(&length) } else { length });
    let batch = dims.map_or_else(|| cx.fresh(), |dims| dims[0].clone());
    let dims = [batch, frames, bins.unwrap_or_else(|| cx.fresh()), Dim::from(2i64)];
    Ok(Type::tensor(dims.into_iter().collect(), x.elem))
}
