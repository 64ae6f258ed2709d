//! Padding: what is written around a tensor, or cut from it where pads are negative.

use super::lanes::for_rows;
use super::layout::{Odometer, axes, operands, strides, volume};
use super::strided::{by_width, words, words_mut};
use super::{OpContext, OpError};
use crate::tensor::{Dims, Tensor};
use bytemuck::Pod;
use mokume_ir::op::{Pad, PadMode};

/// Runs a pad.
pub fn pad(op: &Pad, inputs: &[&Tensor], cx: &OpContext<'_>) -> Result<Vec<Tensor>, OpError> {
    let [x] = operands(inputs)?;
    let value = if op.value { Some(operands::<2>(inputs)?[1]) } else { None };
    if let Some(value) = value.filter(|value| value.elem() != x.elem() || value.len() != 1) {
        return Err(OpError::operands(format!("padding of {x:?} with {value:?}")));
    }
    let axes = axes(&cx.ints(&op.axes, inputs)?, x.rank())?;
    let pads = cx.ints(&op.pads, inputs)?;
    if pads.len() != 2 * axes.len() {
        return Err(OpError::operands(format!("{} pads of {} axes", pads.len(), axes.len())));
    }
    let mut sources: Vec<Sources> = x.dims().iter().map(|&size| Sources { size, begin: 0, end: 0 }).collect();
    for (i, &axis) in axes.iter().enumerate() {
        (sources[axis].begin, sources[axis].end) = (pads[i], pads[axes.len() + i]);
    }
    let dims = sources.iter().map(|source| source.padded(op.mode)).collect::<Result<Dims, _>>()?;
    volume(&dims)?;
    let mut out = cx.alloc(&dims, x.elem())?;
    if !out.is_empty() {
        by_width!(x.elem(), T => {
            let fill = value.map_or(T::default(), |value| words::<T>(value)[0]);
            Plan::new(&sources, op.mode).copy(words::<T>(x), fill, words_mut(&mut out));
        });
    }
    Ok(vec![out])
}

/// One axis and its pads.
#[derive(Clone, Copy)]
struct Sources {
    size: usize,
    begin: i64,
    end: i64,
}

impl Sources {
    /// The size of the result.
    fn padded(self, mode: PadMode) -> Result<usize, OpError> {
        let sane = [self.begin, self.end].iter().all(|pad| pad.unsigned_abs() < 1 << 48);
        let padded = if sane { usize::try_from(self.size as i64 + self.begin + self.end).ok() } else { None };
        let kept = (self.size as i64).saturating_add(self.begin.min(0)).saturating_add(self.end.min(0));
        match padded {
            Some(padded) if padded == 0 || mode == PadMode::Constant || kept > 0 => Ok(padded),
            _ => Err(OpError::operands(format!("pads {} and {} of {} elements", self.begin, self.end, self.size))),
        }
    }
    fn is_plain(self) -> bool {
        self.begin == 0 && self.end == 0
    }
    /// Where every element of the result comes from; none outside of constant padding.
    fn map(self, mode: PadMode) -> Vec<Option<usize>> {
        let (low, high) = (self.begin.min(0).saturating_neg(), self.size as i64 - self.end.min(0).saturating_neg());
        let source = |i: i64| {
            let from = i - self.begin;
            let within = match mode {
                _ if (low..high).contains(&from) => Some(from - low),
                PadMode::Constant => None,
                PadMode::Edge => Some((from - low).clamp(0, high - low - 1)),
                PadMode::Reflect => Some(mirrored(from - low, high - low)),
                PadMode::Wrap => Some((from - low).rem_euclid(high - low)),
            };
            within.map(|within| (within + low) as usize)
        };
        (0..self.size as i64 + self.begin + self.end).map(source).collect()
    }
}

/// `i` reflected at the first and last of `size` elements.
fn mirrored(i: i64, size: i64) -> i64 {
    if size == 1 {
        return 0;
    }
    let period = 2 * (size - 1);
    let at = i.rem_euclid(period);
    at.min(period - at)
}

/// Where rows come from. Rows end with the last padded axis; the axes behind it are copied whole.
struct Plan {
    outer: Vec<Vec<Option<usize>>>,
    strides: Dims,
    /// Runs of neighbors: source of the first (none: the fill value) and length, in elements.
    runs: Vec<(Option<usize>, usize)>,
    /// Elements of a row of the result.
    width: usize,
}

impl Plan {
    fn new(sources: &[Sources], mode: PadMode) -> Self {
        let last = sources.iter().rposition(|source| !source.is_plain()).unwrap_or(0);
        let (outer, rest) = sources.split_at(last);
        let row = rest.first().map_or_else(|| vec![Some(0)], |source| source.map(mode));
        let sizes: Vec<usize> = sources.iter().map(|source| source.size).collect();
        let inner: usize = rest.iter().skip(1).map(|source| source.size).product();
        Plan {
            outer: outer.iter().map(|source| source.map(mode)).collect(),
            strides: strides(&sizes).into_iter().take(last).collect(),
            runs: row.chunk_by(are_neighbors).map(|run| (run[0].map(|from| from * inner), run.len() * inner)).collect(),
            width: row.len() * inner,
        }
    }
    fn copy<T: Pod + Send + Sync>(&self, x: &[T], fill: T, out: &mut [T]) {
        let sizes: Vec<usize> = self.outer.iter().map(Vec::len).collect();
        for_rows(out, self.width, |row, out| {
            let odometer = Odometer::new(&sizes, row);
            let starts = odometer.at().iter().zip(&self.outer).zip(&self.strides).map(|((&i, map), stride)| Some(map[i]? * stride));
            match starts.sum::<Option<usize>>() {
                Some(start) => self.copy_row(&x[start..], fill, out),
                None => out.fill(fill),
            }
        });
    }
    fn copy_row<T: Pod>(&self, x: &[T], fill: T, mut out: &mut [T]) {
        for &(from, length) in &self.runs {
            let (run, rest) = out.split_at_mut(length);
            match from {
                Some(from) => run.copy_from_slice(&x[from..from + length]),
                None => run.fill(fill),
            }
            out = rest;
        }
    }
}

fn are_neighbors(a: &Option<usize>, b: &Option<usize>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => a + 1 == *b,
        (None, None) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::tests::{fails, run_op as run};
    use mokume_ir::attr::Ints;

    fn padded(mode: PadMode, pads: &[i64], axes: &[i64], x: &Tensor) -> Vec<f32> {
        let op = Pad { mode, pads: Ints::of(pads.iter().copied()), axes: Ints::of(axes.iter().copied()), value: false };
        run(op, &[x])[0].slice::<f32>().to_vec()
    }

    #[test]
    fn modes_along_one_axis() {
        let x = Tensor::f32s(&[3], &[1.0, 2.0, 3.0]);
        assert_eq!(padded(PadMode::Constant, &[1, 2], &[0], &x), [0.0, 1.0, 2.0, 3.0, 0.0, 0.0]);
        assert_eq!(padded(PadMode::Edge, &[1, 2], &[0], &x), [1.0, 1.0, 2.0, 3.0, 3.0, 3.0]);
        assert_eq!(padded(PadMode::Reflect, &[2, 3], &[-1], &x), [3.0, 2.0, 1.0, 2.0, 3.0, 2.0, 1.0, 2.0]);
        assert_eq!(padded(PadMode::Wrap, &[2, 1], &[0], &x), [2.0, 3.0, 1.0, 2.0, 3.0, 1.0]);
        assert_eq!(padded(PadMode::Constant, &[-1, 1], &[0], &x), [2.0, 3.0, 0.0]);
        assert!(padded(PadMode::Constant, &[-3, 0], &[0], &x).is_empty());
    }

    #[test]
    fn pads_of_several_axes_and_a_value() {
        let x = Tensor::f32s(&[1, 2, 1], &[1.0, 2.0]);
        let op = Pad { mode: PadMode::Constant, pads: Ints::of([1, 0, 0, 1]), axes: Ints::of([0, 1]), value: true };
        let out = run(op, &[&x, &Tensor::f32s(&[], &[9.0])]).remove(0);
        assert_eq!((out.dims(), out.slice::<f32>()), (&[2, 3, 1][..], &[9.0, 9.0, 9.0, 1.0, 2.0, 9.0][..]));
    }

    #[test]
    fn impossible_pads_are_refused() {
        let op = |mode, pads: [i64; 2]| Pad { mode, pads: Ints::of(pads), axes: Ints::of([0]), value: false };
        let x = Tensor::f32s(&[2], &[1.0, 2.0]);
        assert!(fails(op(PadMode::Constant, [-3, 0]), &[&x]));
        assert!(fails(op(PadMode::Constant, [i64::MAX, 1]), &[&x]));
        assert!(fails(op(PadMode::Edge, [1, 0]), &[&Tensor::f32s(&[0], &[])]));
    }
}
