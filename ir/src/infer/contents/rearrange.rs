//! Ops that choose, repeat and join elements.

use super::Elements;
use super::eval::Site;
use crate::dim::Dim;
use crate::op::{
    Concat, Cumulative, Gather, GatherElements, Pad, PadMode, ScatterElements, ScatterKind, ScatterNd, Slice, Split, Transpose,
};

impl Elements {
    /// The element at `index`.
    pub(super) fn at(&self, index: &[usize]) -> Option<&Dim> {
        self.items.get(offset(&self.shape, index)?)
    }
    fn axis(&self, axis: i64) -> Option<usize> {
        normalized(axis, self.shape.len())
    }
}

fn offset(shape: &[usize], index: &[usize]) -> Option<usize> {
    let inside = shape.len() == index.len() && shape.iter().zip(index).all(|(&size, &i)| i < size);
    inside.then(|| shape.iter().zip(index).fold(0, |offset, (&size, &i)| offset * size + i))
}

/// `index` with negative values counted from the end of `size`.
fn normalized(index: i64, size: usize) -> Option<usize> {
    let index = if index < 0 { index.checked_add(size as i64)? } else { index };
    usize::try_from(index).ok().filter(|&index| index < size)
}

/// All indices of a shape in row-major order.
pub(super) fn indices(shape: &[usize]) -> impl Iterator<Item = Vec<usize>> {
    let count: usize = shape.iter().product();
    (0..count).map(move |flat| {
        let mut rest = flat;
        let mut index = vec![0; shape.len()];
        for (i, &size) in index.iter_mut().zip(shape).rev() {
            *i = rest % size;
            rest /= size;
        }
        index
    })
}

/// The output whose element at every index is that of `x` where `from` says.
fn pick(site: &Site<'_>, x: &Elements, from: impl Fn(&[usize]) -> Option<Vec<usize>>) -> Option<Elements> {
    let items = indices(site.shape).map(|index| x.at(&from(&index)?).cloned());
    Some(site.output(items.collect::<Option<_>>()?))
}

fn with(index: &[usize], axis: usize, value: usize) -> Vec<usize> {
    let mut index = index.to_vec();
    if let Some(place) = index.get_mut(axis) {
        *place = value;
    }
    index
}

pub(super) fn transpose(op: &Transpose, site: &Site<'_>) -> Option<Elements> {
    let x = site.operand(0)?;
    let rank = x.shape.len();
    pick(site, x, |index| {
        let mut source = vec![0; rank];
        for (&i, &axis) in index.iter().zip(&op.perm) {
            *source.get_mut(normalized(axis, rank)?)? = i;
        }
        Some(source)
    })
}

pub(super) fn slice(op: &Slice, site: &Site<'_>) -> Option<Elements> {
    let x = site.operand(0)?;
    let (starts, steps, axes) = (site.numbers(&op.starts)?, site.numbers(&op.steps)?, site.numbers(&op.axes)?);
    let mut first: Vec<(i64, i64)> = vec![(0, 1); x.shape.len()];
    for ((&start, &step), &axis) in starts.iter().zip(&steps).zip(&axes) {
        let axis = x.axis(axis)?;
        let size = x.shape[axis] as i64;
        let start = if start < 0 { start.saturating_add(size) } else { start };
        first[axis] = (start.clamp(0, if step < 0 { size - 1 } else { size }), step);
    }
    pick(site, x, |index| {
        let source =
            index.iter().zip(&first).map(|(&i, &(start, step))| usize::try_from(step.checked_mul(i as i64)?.checked_add(start)?).ok());
        source.collect()
    })
}

pub(super) fn split(op: &Split, site: &Site<'_>) -> Option<Elements> {
    let x = site.operand(0)?;
    let axis = x.axis(op.axis)?;
    let sizes = site.numbers(&op.sizes)?;
    let before: i64 = sizes.get(..site.output)?.iter().try_fold(0i64, |sum, &size| sum.checked_add(size))?;
    let before = usize::try_from(before).ok()?;
    pick(site, x, |index| Some(with(index, axis, index[axis].checked_add(before)?)))
}

pub(super) fn concat(op: &Concat, site: &Site<'_>) -> Option<Elements> {
    let axis = normalized(op.axis, site.shape.len())?;
    let mut parts = Vec::new();
    while (site.ty)(parts.len()).is_some() {
        parts.push(site.operand(parts.len())?);
    }
    let items = indices(site.shape).map(|index| {
        let mut at = index[axis];
        for part in &parts {
            let size = *part.shape.get(axis)?;
            if at < size {
                return part.at(&with(&index, axis, at)).cloned();
            }
            at -= size;
        }
        None
    });
    Some(site.output(items.collect::<Option<_>>()?))
}

pub(super) fn pad(op: &Pad, site: &Site<'_>) -> Option<Elements> {
    let x = site.operand(0)?;
    let (pads, axes) = (site.numbers(&op.pads)?, site.numbers(&op.axes)?);
    let value = if op.value { site.operand(1)?.items.first()?.clone() } else { Dim::from(0i64) };
    if op.mode != PadMode::Constant {
        return None;
    }
    let mut begin = vec![0i64; x.shape.len()];
    for (&axis, &pad) in axes.iter().zip(&pads) {
        begin[x.axis(axis)?] = pad;
    }
    let items = indices(site.shape).map(|index| {
        let source: Option<Vec<usize>> =
            index.iter().zip(&begin).map(|(&i, &pad)| usize::try_from((i as i64).checked_sub(pad)?).ok()).collect();
        source.and_then(|source| x.at(&source).cloned()).unwrap_or_else(|| value.clone())
    });
    Some(site.output(items.collect()))
}

pub(super) fn tile(site: &Site<'_>) -> Option<Elements> {
    let x = site.operand(0)?;
    pick(site, x, |index| index.iter().zip(&x.shape).map(|(&i, &size)| i.checked_rem(size)).collect())
}

/// The number at `index`, counted along an axis of `size`.
fn chosen(indices: &Elements, index: &[usize], size: usize) -> Option<usize> {
    normalized(indices.at(index)?.known()?, size)
}

pub(super) fn gather(op: &Gather, site: &Site<'_>) -> Option<Elements> {
    let (x, at) = (site.operand(0)?, site.operand(1)?);
    let axis = x.axis(op.axis)?;
    let rank = at.shape.len();
    pick(site, x, |index| {
        let choice = chosen(at, index.get(axis..axis + rank)?, x.shape[axis])?;
        Some([&index[..axis], &[choice], index.get(axis + rank..)?].concat())
    })
}

pub(super) fn gather_elements(op: &GatherElements, site: &Site<'_>) -> Option<Elements> {
    let (x, at) = (site.operand(0)?, site.operand(1)?);
    let axis = x.axis(op.axis)?;
    pick(site, x, |index| Some(with(index, axis, chosen(at, index, x.shape[axis])?)))
}

pub(super) fn scatter_elements(op: &ScatterElements, site: &Site<'_>) -> Option<Elements> {
    let (x, at, updates) = (site.operand(0)?, site.operand(1)?, site.operand(2)?);
    let axis = x.axis(op.axis)?;
    let mut items = x.items.clone();
    for index in indices(&at.shape) {
        let place = offset(&x.shape, &with(&index, axis, chosen(at, &index, x.shape[axis])?))?;
        write(op.kind, &mut items[place], updates.at(&index)?)?;
    }
    Some(site.output(items))
}

pub(super) fn scatter_nd(op: &ScatterNd, site: &Site<'_>) -> Option<Elements> {
    let (x, at, updates) = (site.operand(0)?, site.operand(1)?, site.operand(2)?);
    let (&tuple, leading) = at.shape.split_last()?;
    let mut items = x.items.clone();
    let slice: Vec<usize> = x.shape.get(tuple..)?.to_vec();
    for index in indices(leading) {
        let target = (0..tuple).map(|i| chosen(at, &[&index[..], &[i]].concat(), x.shape[i]));
        let target = target.collect::<Option<Vec<_>>>()?;
        for inner in indices(&slice) {
            let place = offset(&x.shape, &[&target[..], &inner[..]].concat())?;
            write(op.kind, &mut items[place], updates.at(&[&index[..], &inner[..]].concat())?)?;
        }
    }
    Some(site.output(items))
}

fn write(kind: ScatterKind, place: &mut Dim, update: &Dim) -> Option<()> {
    *place = match kind {
        ScatterKind::None => update.clone(),
        ScatterKind::Add => place.plus(update),
        _ => return None,
    };
    Some(())
}

pub(super) fn cumulative(op: &Cumulative, site: &Site<'_>) -> Option<Elements> {
    let x = site.operand(0)?;
    let [axis] = site.numbers(&op.axis)?[..] else { return None };
    let axis = x.axis(axis)?;
    let items = indices(site.shape).map(|index| {
        let at = index[axis];
        let range = match (op.reverse, op.exclusive) {
            (false, false) => 0..at + 1,
            (false, true) => 0..at,
            (true, false) => at..x.shape[axis],
            (true, true) => at + 1..x.shape[axis],
        };
        let start = Dim::from(i64::from(op.product));
        range.map(|i| x.at(&with(&index, axis, i))).try_fold(start, |sum, item| match op.product {
            true => sum.try_times(item?, super::MAX_WEIGHT),
            false => Some(sum.plus(item?)),
        })
    });
    Some(site.output(items.collect::<Option<_>>()?))
}

/// The elements folded along `axes`; without `start` the first one starts.
pub(super) fn fold(x: &Elements, axes: &[i64], start: Option<Dim>, step: fn(&Dim, &Dim) -> Option<Dim>) -> Option<Vec<Dim>> {
    let axes = axes.iter().map(|&axis| x.axis(axis)).collect::<Option<Vec<_>>>()?;
    let kept: Vec<usize> = x.shape.iter().enumerate().map(|(axis, &size)| if axes.contains(&axis) { 1 } else { size }).collect();
    let mut sums: Vec<Option<Dim>> = vec![start; kept.iter().product()];
    for index in indices(&x.shape) {
        let target: Vec<usize> = index.iter().zip(&kept).map(|(&i, &size)| i.min(size - 1)).collect();
        let sum = sums.get_mut(offset(&kept, &target)?)?;
        *sum = Some(match sum {
            Some(sum) => step(sum, x.at(&index)?)?,
            None => x.at(&index)?.clone(),
        });
    }
    sums.into_iter().collect()
}
