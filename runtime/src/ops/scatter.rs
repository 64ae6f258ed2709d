//! Ops that write elements at given indices: scatter_elements, scatter_nd. Updates are applied in order.

use super::index::{ElementPlaces, tuple_places};
use super::layout::operands;
use super::number::{Number, by_number};
use super::strided::{by_width, words, words_mut};
use super::{OpContext, OpError};
use crate::tensor::{Scalar, Tensor};
use bytemuck::Pod;
use mokume_ir::op::{ScatterElements, ScatterKind, ScatterNd};
use mokume_ir::types::Elem;

/// Runs a scatter_elements. Combined operands of f16 and bf16 arrive as f32.
pub fn scatter_elements(op: &ScatterElements, inputs: &[&Tensor], cx: &OpContext<'_>) -> Result<Vec<Tensor>, OpError> {
    let [x, indices, updates] = operands(inputs)?;
    let places = ElementPlaces::new(x, indices, op.axis)?.all()?;
    if updates.dims() != indices.dims() {
        return Err(misfit(x, indices, updates));
    }
    scatter(op.kind, x, &places, 1, updates, cx)
}

/// Runs a scatter_nd. Combined operands of f16 and bf16 arrive as f32.
pub fn scatter_nd(op: &ScatterNd, inputs: &[&Tensor], cx: &OpContext<'_>) -> Result<Vec<Tensor>, OpError> {
    let [x, indices, updates] = operands(inputs)?;
    let (places, depth) = tuple_places(x.dims(), indices)?;
    let run = &x.dims()[depth..];
    if *updates.dims() != [&indices.dims()[..indices.rank() - 1], run].concat() {
        return Err(misfit(x, indices, updates));
    }
    scatter(op.kind, x, &places, run.iter().product(), updates, cx)
}

fn misfit(x: &Tensor, indices: &Tensor, updates: &Tensor) -> OpError {
    OpError::operands(format!("scatter of {updates:?} at {indices:?} into {x:?}"))
}

/// `x` with run `places[i]` of `run` elements combined with run `i` of the updates.
fn scatter(
    kind: ScatterKind,
    x: &Tensor,
    places: &[usize],
    run: usize,
    updates: &Tensor,
    cx: &OpContext<'_>,
) -> Result<Vec<Tensor>, OpError> {
    if x.elem() != updates.elem() {
        return Err(OpError::operands(format!("scatter of {} into {}", updates.elem(), x.elem())));
    }
    let mut out = cx.alloc(x.dims(), x.elem())?;
    out.bytes_mut().copy_from_slice(x.bytes());
    match (kind, x.elem()) {
        (ScatterKind::None, _) => by_width!(x.elem(), T => replace::<T>(words_mut(&mut out), places, run, words(updates))),
        (ScatterKind::Max, Elem::Bool) => combine(out.slice_mut(), places, run, updates.slice::<u8>(), |a, b| a | b),
        (ScatterKind::Min, Elem::Bool) => combine(out.slice_mut(), places, run, updates.slice::<u8>(), |a, b| a & b),
        (kind, elem) => by_number!(elem, T => {
            combine(out.slice_mut(), places, run, updates.slice::<T>(), function(kind));
        }, _ => return Err(OpError::unsupported(format!("scatter {} of {elem}", kind.name())))),
    }
    Ok(vec![out])
}

fn replace<T: Pod>(out: &mut [T], places: &[usize], run: usize, updates: &[T]) {
    if run == 1 {
        return places.iter().zip(updates).for_each(|(&place, &update)| out[place] = update);
    }
    for (i, place) in places.iter().enumerate() {
        out[place * run..][..run].copy_from_slice(&updates[i * run..][..run]);
    }
}

fn function<T: Number>(kind: ScatterKind) -> fn(T, T) -> T {
    match kind {
        ScatterKind::None => |_, b| b,
        ScatterKind::Add => T::add,
        ScatterKind::Mul => T::mul,
        ScatterKind::Min => T::min,
        ScatterKind::Max => T::max,
    }
}

fn combine<T: Scalar>(out: &mut [T], places: &[usize], run: usize, updates: &[T], of: fn(T, T) -> T) {
    if run == 1 {
        return places.iter().zip(updates).for_each(|(&place, &update)| out[place] = of(out[place], update));
    }
    for (i, place) in places.iter().enumerate() {
        let targets = out[place * run..][..run].iter_mut();
        targets.zip(&updates[i * run..][..run]).for_each(|(out, &update)| *out = of(*out, update));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::tests::{fails, run_op as run};

    #[test]
    fn duplicates_combine_in_order() {
        let x = Tensor::f32s(&[4], &[1.0, 2.0, 3.0, 4.0]);
        let indices = Tensor::i64s(&[3], &[1, -3, 0]);
        let updates = Tensor::f32s(&[3], &[10.0, 20.0, -5.0]);
        let result = |kind| run(ScatterElements { axis: 0, kind }, &[&x, &indices, &updates])[0].slice::<f32>().to_vec();
        assert_eq!(result(ScatterKind::None), [-5.0, 20.0, 3.0, 4.0]);
        assert_eq!(result(ScatterKind::Add), [-4.0, 32.0, 3.0, 4.0]);
        assert_eq!(result(ScatterKind::Mul), [-5.0, 400.0, 3.0, 4.0]);
        assert_eq!((result(ScatterKind::Max)[1], result(ScatterKind::Min)[0]), (20.0, -5.0));
        assert!(fails(ScatterElements { axis: 0, kind: ScatterKind::None }, &[&x, &Tensor::i64s(&[3], &[0, 4, 0]), &updates]));
    }

    #[test]
    fn scatters_slices() {
        let x = Tensor::i64s(&[3, 2], &[0; 6]);
        let updates = Tensor::i64s(&[2, 2], &[1, 2, 3, 4]);
        let out = run(ScatterNd { kind: ScatterKind::None }, &[&x, &Tensor::i64s(&[2, 1], &[2, 0]), &updates]);
        assert_eq!(out[0].slice::<i64>(), [3, 4, 0, 0, 1, 2]);
        assert!(fails(ScatterNd { kind: ScatterKind::None }, &[&x, &Tensor::i64s(&[1, 1], &[0]), &updates]));
    }
}
