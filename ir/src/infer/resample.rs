//! Resampling of images, and boxes and regions of interest.

use super::cx::{Cx, Result};
use crate::dim::Dim;
use crate::op::{AspectPolicy, CoordinateMode, Resize, RoiAlign};
use crate::types::{Elem, Shape, Type};

pub(super) fn resize(cx: &Cx<'_>, op: &Resize) -> Result<Type> {
    let roi = usize::from(op.roi);
    cx.count(1 + roi..=3 + roi)?;
    let x = cx.tensor(0)?;
    let Some(dims) = x.shape.dims() else { return Ok(x.clone().into()) };
    let axes = cx.axes(&op.axes, dims.len())?;
    let sizes = match &op.sizes {
        Some(sizes) => by_sizes(cx, op, dims, &axes, cx.ints(sizes)?)?,
        None if op.scales.is_empty() => axes.iter().map(|_| cx.fresh()).collect(),
        None => by_scales(cx, op, dims, &axes)?,
    };
    let mut dims = dims.to_vec();
    for (&axis, size) in axes.iter().zip(sizes) {
        dims[axis] = size;
    }
    Ok(Type::tensor(Shape::Ranked(dims), x.elem))
}

fn by_sizes(cx: &Cx<'_>, op: &Resize, dims: &[Dim], axes: &[usize], sizes: Option<Vec<Dim>>) -> Result<Vec<Dim>> {
    let unknown = || axes.iter().map(|_| cx.fresh()).collect();
    let Some(sizes) = sizes else { return Ok(unknown()) };
    if sizes.len() != axes.len() {
        return cx.fail(format!("{} axes, but sizes {sizes:?}", axes.len()));
    }
    if op.aspect == AspectPolicy::Stretch {
        return Ok(sizes);
    }
    let known = |dims: Vec<Dim>| dims.iter().map(Dim::known).collect::<Option<Vec<i64>>>();
    let from = known(axes.iter().map(|&axis| dims[axis].clone()).collect());
    Ok(from.zip(known(sizes)).map_or_else(unknown, |(from, to)| keep_aspect(op.aspect, &from, &to)))
}

/// Sizes by one scale for all axes, rounded half up.
fn keep_aspect(policy: AspectPolicy, from: &[i64], to: &[i64]) -> Vec<Dim> {
    let scales = from.iter().zip(to).map(|(&from, &to)| to as f32 / from as f32);
    let scale = match policy {
        AspectPolicy::NotLarger => scales.fold(f32::INFINITY, f32::min),
        _ => scales.fold(0.0, f32::max),
    };
    from.iter().map(|&from| Dim::from((scale * from as f32 + 0.5).floor() as i64)).collect()
}

fn by_scales(cx: &Cx<'_>, op: &Resize, dims: &[Dim], axes: &[usize]) -> Result<Vec<Dim>> {
    if op.scales.len() != axes.len() {
        return cx.fail(format!("{} axes, but {} scales", axes.len(), op.scales.len()));
    }
    if let Some(scale) = op.scales.iter().find(|scale| !(**scale > 0.0 && scale.is_finite())) {
        return cx.fail(format!("scale {scale} is not positive"));
    }
    let cropped = op.coordinates == CoordinateMode::TfCropAndResize;
    let sizes = axes.iter().zip(&op.scales);
    Ok(sizes.map(|(&axis, &scale)| if cropped { None } else { scaled(&dims[axis], scale) }.unwrap_or_else(|| cx.fresh())).collect())
}

/// `floor(dim * scale)`. For symbols only where f32 rounding cannot show: scales of at most 8 significant bits.
fn scaled(dim: &Dim, scale: f32) -> Option<Dim> {
    if let Some(size) = dim.known() {
        return Some(Dim::from((size as f32 * scale).floor() as i64));
    }
    let denominator = (0..=8).map(|shift| 1i64 << shift).find(|&q| (scale * q as f32).fract() == 0.0)?;
    let numerator = scale * denominator as f32;
    (numerator < 256.0).then(|| dim.times(&Dim::from(numerator as i64)).floor_div(&Dim::from(denominator)))
}

pub(super) fn grid_sample(cx: &Cx<'_>) -> Result<Type> {
    cx.count(2..=2)?;
    let x = cx.tensor(0)?;
    cx.float(1)?;
    let (Some(dims), Some(grid)) = (cx.rank_in(0, 3..=usize::MAX)?, cx.rank_in(1, 3..=usize::MAX)?) else {
        return Ok(Type::tensor(Shape::Unranked, x.elem));
    };
    if dims.len() != grid.len() {
        return cx.fail(format!("{x} and the grid {} differ in rank", cx.types[1]));
    }
    let batch = cx.equal(&dims[0], &grid[0], "batch sizes")?;
    cx.size_is(1, grid.len() - 1, &Dim::from(dims.len() - 2))?;
    let spatial = grid[1..grid.len() - 1].iter().cloned();
    Ok(Type::tensor([batch, dims[1].clone()].into_iter().chain(spatial).collect(), x.elem))
}

pub(super) fn non_max_suppression(cx: &Cx<'_>) -> Result<Type> {
    cx.count(5..=5)?;
    cx.float(0)?;
    cx.float(1)?;
    cx.rank_is(0, 3)?;
    cx.rank_is(1, 3)?;
    cx.size_is(0, 2, &Dim::from(4i64))?;
    Ok(Type::tensor([cx.fresh(), Dim::from(3i64)].into_iter().collect(), Elem::I64))
}

pub(super) fn roi_align(cx: &Cx<'_>, op: &RoiAlign) -> Result<Type> {
    cx.count(3..=3)?;
    let x = cx.float(0)?;
    let (dims, rois, batch) = (cx.rank_is(0, 4)?, cx.rank_is(1, 2)?, cx.rank_is(2, 1)?);
    cx.indices(2)?;
    cx.size_is(1, 1, &Dim::from(4i64))?;
    if op.height < 1 || op.width < 1 {
        return cx.fail(format!("output of {} by {}", op.height, op.width));
    }
    let count = match (rois, batch) {
        (Some(rois), Some(batch)) => cx.equal(&rois[0], &batch[0], "the numbers of regions and of batch indices")?,
        (Some(dims), None) | (None, Some(dims)) => dims[0].clone(),
        (None, None) => cx.fresh(),
    };
    let channels = dims.map_or_else(|| cx.fresh(), |dims| dims[1].clone());
    Ok(Type::tensor([count, channels, op.height.into(), op.width.into()].into_iter().collect(), x.elem))
}
