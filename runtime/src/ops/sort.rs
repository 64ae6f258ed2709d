//! Ops that order elements: top_k and unique. NaN is larger than every number, and equal to itself.

use super::index::take;
use super::layout::{around, axis, operands, size};
use super::number::by_number;
use super::{OpContext, OpError, strided};
use crate::tensor::{Dims, Scalar, Tensor};
use mokume_ir::op::{TopK, Unique};
use mokume_ir::types::Elem;
use rayon::prelude::*;
use std::cmp::Ordering;

/// Runs a top_k. Operands of f16 and bf16 arrive as f32.
pub fn top_k(op: &TopK, inputs: &[&Tensor], cx: &OpContext<'_>) -> Result<Vec<Tensor>, OpError> {
    let [x] = operands(inputs)?;
    let axis = axis(op.axis, x.rank())?;
    let [k] = cx.ints(&op.k, inputs)?[..] else { return Err(OpError::operands("top_k needs one k")) };
    let k = size(k)?;
    let (outer, count, inner) = around(x.dims(), axis);
    if k > count {
        return Err(OpError::operands(format!("top {k} of {count} elements")));
    }
    let mut dims = Dims::from_slice(x.dims());
    dims[axis] = k;
    let (mut values, mut indices) = (cx.alloc(&dims, x.elem())?, cx.alloc(&dims, Elem::I64)?);
    if values.is_empty() {
        return Ok(vec![values, indices]);
    }
    by_number!(x.elem(), T => {
        let x = x.slice::<T>();
        let lane = |i: usize| best(&x[i / inner * count * inner + i % inner..], inner, count, k, op.largest);
        let lanes: Vec<Vec<usize>> = (0..outer * inner).into_par_iter().map(lane).collect();
        for (i, lane) in lanes.iter().enumerate() {
            for (rank, &index) in lane.iter().enumerate() {
                let to = (i / inner * k + rank) * inner + i % inner;
                values.slice_mut::<T>()[to] = x[(i / inner * count + index) * inner + i % inner];
                indices.slice_mut::<i64>()[to] = index as i64;
            }
        }
    }, _ => return Err(OpError::unsupported(format!("top_k of {}", x.elem()))));
    Ok(vec![values, indices])
}

/// The indices of the best `k` of `count` elements, best first, lower index first among equals.
///
/// Candidates gather in a buffer that is cut to the best `k` when full; the worst of them is then the bar for the next.
fn best<T: Scalar>(x: &[T], step: usize, count: usize, k: usize, largest: bool) -> Vec<usize> {
    let order = |a: T, b: T| if largest { compare(b, a) } else { compare(a, b) };
    let better = |a: &(T, usize), b: &(T, usize)| order(a.0, b.0).then(a.1.cmp(&b.1));
    let room = (2 * k).max(k + 64).min(count);
    let mut kept: Vec<(T, usize)> = Vec::with_capacity(room);
    let mut bar = None;
    for i in 0..count {
        let value = x[i * step];
        if bar.is_some_and(|bar| order(value, bar).is_ge()) {
            continue;
        }
        kept.push((value, i));
        if kept.len() == room && room > k {
            kept.select_nth_unstable_by(k - 1, better);
            kept.truncate(k);
            bar = Some(kept[k - 1].0);
        }
    }
    kept.sort_unstable_by(better);
    kept.truncate(k);
    kept.into_iter().map(|candidate| candidate.1).collect()
}

#[allow(clippy::eq_op, reason = "only NaN differs from itself")]
fn compare<T: Scalar>(a: T, b: T) -> Ordering {
    a.partial_cmp(&b).unwrap_or_else(|| (a != a).cmp(&(b != b)))
}

/// Runs a unique. Operands of f16 and bf16 arrive as f32.
pub fn unique(op: &Unique, inputs: &[&Tensor], cx: &OpContext<'_>) -> Result<Vec<Tensor>, OpError> {
    let [x] = operands(inputs)?;
    if x.elem() == Elem::Bool {
        let mut outputs = unique(op, &[&x.bitcast(Elem::U8)], cx)?;
        outputs[0] = outputs[0].bitcast(Elem::Bool);
        return Ok(outputs);
    }
    let flat = x.reshaped(&[x.len()]);
    let (x, axis) = match op.axis {
        Some(along) => (x, axis(along, x.rank())?),
        None => (&flat, 0),
    };
    let groups = by_number!(x.elem(), T => groups::<T>(x, axis, op.sorted, cx)?,
        _ => return Err(OpError::unsupported(format!("unique of {}", x.elem()))));
    let firsts: Vec<usize> = groups.iter().map(|group| group[0]).collect();
    let mut inverse = vec![0; x.dims()[axis]];
    groups.iter().zip(0..).for_each(|(group, number)| group.iter().for_each(|&i| inverse[i] = number));
    let numbers = |values: Vec<i64>| Tensor::i64s(&[values.len()], &values);
    Ok(vec![
        take(x, axis, &firsts, &[firsts.len()], cx)?,
        numbers(firsts.iter().map(|&first| first as i64).collect()),
        numbers(inverse),
        numbers(groups.iter().map(|group| group.len() as i64).collect()),
    ])
}

/// The indices of equal slices along `axis`, each group in ascending order.
fn groups<T: Scalar>(x: &Tensor, axis: usize, sorted: bool, cx: &OpContext<'_>) -> Result<Vec<Vec<usize>>, OpError> {
    let (outer, count, inner) = around(x.dims(), axis);
    let order = [(count, inner as isize), (outer, (count * inner) as isize), (inner, 1)];
    let slices = strided::gather(x, &[count, outer * inner], 0, &order, cx)?;
    let (slices, width) = (slices.slice::<T>(), outer * inner);
    let slice = |i: usize| &slices[i * width..(i + 1) * width];
    let lexical = |&a: &usize, &b: &usize| {
        let unequal = slice(a).iter().zip(slice(b)).map(|(&a, &b)| compare(a, b)).find(|order| order.is_ne());
        unequal.unwrap_or(Ordering::Equal)
    };
    let mut order: Vec<usize> = (0..count).collect();
    order.sort_by(lexical);
    let mut groups: Vec<Vec<usize>> = order.chunk_by(|a, b| lexical(a, b).is_eq()).map(<[usize]>::to_vec).collect();
    if !sorted {
        groups.sort_by_key(|group| group[0]);
    }
    Ok(groups)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::tests::{fails, run_op as run};
    use mokume_ir::attr::Ints;

    #[test]
    fn top_along_either_axis() {
        let x = Tensor::f32s(&[2, 3], &[1.0, 3.0, 3.0, f32::NAN, 5.0, 4.0]);
        let top = |k, axis, largest| {
            let out = run(TopK { k: Ints::of([k]), axis, largest, sorted: true }, &[&x]);
            (out[0].slice::<f32>().to_vec(), out[1].slice::<i64>().to_vec())
        };
        assert_eq!(top(2, 1, false), (vec![1.0, 3.0, 4.0, 5.0], vec![0, 1, 2, 1]));
        assert_eq!(top(2, 1, true).1, [1, 2, 0, 1]);
        assert_eq!(top(1, 0, true).1, [1, 1, 1]);
        assert!(fails(TopK { k: Ints::of([4]), axis: 1, largest: true, sorted: true }, &[&x]));
    }

    #[test]
    fn unique_elements() {
        let x = Tensor::i64s(&[6], &[2, 1, 1, 3, 4, 3]);
        let numbers = |sorted| run(Unique { axis: None, sorted }, &[&x]).iter().map(|x| x.slice::<i64>().to_vec()).collect::<Vec<_>>();
        assert_eq!(numbers(true), [vec![1, 2, 3, 4], vec![1, 0, 3, 4], vec![1, 0, 0, 2, 3, 2], vec![2, 1, 2, 1]]);
        assert_eq!(numbers(false), [vec![2, 1, 3, 4], vec![0, 1, 3, 4], vec![0, 1, 1, 2, 3, 2], vec![1, 2, 2, 1]]);
    }

    #[test]
    fn unique_slices() {
        let x = Tensor::i64s(&[2, 3], &[5, 1, 5, 6, 2, 6]);
        let out = run(Unique { axis: Some(1), sorted: true }, &[&x]);
        assert_eq!((out[0].dims(), out[0].slice::<i64>()), (&[2, 2][..], &[1, 5, 2, 6][..]));
    }
}
