//! Ops along one axis that keep a running state: arg_reduce and cumulative.

use super::lanes::{CHUNK, for_chunks, for_rows};
use super::layout::{around, axis, operands};
use super::number::{Number, by_number};
use super::{OpContext, OpError, reduce};
use crate::tensor::{Dims, Scalar, Tensor};
use mokume_ir::op::{ArgReduce, Cumulative};
use mokume_ir::types::Elem;

/// Runs an arg_reduce. The first NaN is both largest and smallest. Operands of f16 and bf16 arrive as f32.
pub fn arg_reduce(op: &ArgReduce, inputs: &[&Tensor], cx: &OpContext<'_>) -> Result<Vec<Tensor>, OpError> {
    let [x] = operands(inputs)?;
    let axis = axis(op.axis, x.rank())?;
    if x.dims()[axis] == 0 {
        return Err(OpError::operands(format!("arg_reduce of {:?} along axis {axis}", x.dims())));
    }
    let extremes = reduce::extremes(x, axis, op.largest, cx)?;
    let mut dims = Dims::from_slice(x.dims());
    dims[axis] = 1;
    if !op.keep_dims {
        dims.remove(axis);
    }
    let mut out = cx.alloc(&dims, Elem::I64)?;
    let found = out.slice_mut::<i64>();
    match x.elem() {
        Elem::Bool => find(x.slice::<u8>(), extremes.slice(), around(x.dims(), axis), op.last, found),
        elem => by_number!(elem, T => find(x.slice::<T>(), extremes.slice(), around(x.dims(), axis), op.last, found),
            _ => return Err(OpError::unsupported(format!("arg_reduce of {elem}")))),
    }
    Ok(vec![out])
}

/// Where along the axis each extreme stands.
#[allow(clippy::eq_op, reason = "only NaN differs from itself")]
fn find<T: Scalar>(x: &[T], extremes: &[T], (_, count, inner): (usize, usize, usize), last: bool, out: &mut [i64]) {
    for_chunks(out, (CHUNK / count).max(1), |offset, part| {
        for (i, out) in part.iter_mut().enumerate() {
            let extreme = extremes[offset + i];
            let start = (offset + i) / inner * count * inner + (offset + i) % inner;
            let mut axis = x[start..].iter().step_by(inner).take(count);
            let is_it = |&x: &T| x == extreme || (x != x && extreme != extreme);
            let found = if last { axis.rposition(is_it) } else { axis.position(is_it) };
            *out = found.unwrap_or(0) as i64;
        }
    });
}

/// Runs a cumulative sum or product. Operands of f16 and bf16 arrive as f32.
pub fn cumulative(op: &Cumulative, inputs: &[&Tensor], cx: &OpContext<'_>) -> Result<Vec<Tensor>, OpError> {
    let [x] = operands(inputs)?;
    let [along] = cx.ints(&op.axis, inputs)?[..] else { return Err(OpError::operands("cumulative needs one axis")) };
    let axis = axis(along, x.rank())?;
    let mut out = cx.alloc(x.dims(), x.elem())?;
    by_number!(x.elem(), T => {
        let (_, count, inner) = around(x.dims(), axis);
        let x = x.slice::<T>();
        for_rows(out.slice_mut::<T>(), count * inner, |row, out| {
            let x = &x[row * count * inner..][..count * inner];
            match op.product {
                true => accumulate(op, x, inner, T::ONE, T::mul, out),
                false => accumulate(op, x, inner, T::ZERO, T::add, out),
            }
        });
    }, _ => return Err(OpError::unsupported(format!("cumulative of {}", x.elem()))));
    Ok(vec![out])
}

/// Running values of `inner` columns.
fn accumulate<T: Scalar>(op: &Cumulative, x: &[T], inner: usize, start: T, combine: impl Fn(T, T) -> T, out: &mut [T]) {
    let count = x.len() / inner;
    let at = |i: usize| if op.reverse { count - 1 - i } else { i } * inner;
    if inner == 1 {
        let mut running = start;
        for i in (0..count).map(at) {
            let next = combine(running, x[i]);
            out[i] = if op.exclusive { running } else { next };
            running = next;
        }
        return;
    }
    for i in 0..count {
        // Each row continues the one before; an exclusive sum lags one row behind.
        let term = if op.exclusive { i.checked_sub(1).map(at) } else { Some(at(i)) };
        for column in 0..inner {
            let before = if i == 0 { start } else { out[at(i - 1) + column] };
            out[at(i) + column] = term.map_or(before, |term| combine(before, x[term + column]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::tests::{fails, run_op as run};
    use mokume_ir::attr::Ints;

    #[test]
    fn positions_of_extremes() {
        let x = Tensor::f32s(&[2, 3], &[1.0, 5.0, 5.0, 9.0, -2.0, 0.0]);
        let arg = |axis, largest, last| run(ArgReduce { largest, axis, keep_dims: false, last }, &[&x])[0].slice::<i64>().to_vec();
        assert_eq!((arg(1, true, false), arg(1, true, true), arg(1, false, false)), (vec![1, 0], vec![2, 0], vec![0, 1]));
        assert_eq!(arg(0, true, false), [1, 0, 0]);
        let nan = Tensor::f32s(&[3], &[1.0, f32::NAN, 2.0]);
        assert_eq!(run(ArgReduce { largest: true, axis: 0, keep_dims: true, last: false }, &[&nan])[0].slice::<i64>(), [1]);
        assert!(fails(ArgReduce { largest: true, axis: 0, keep_dims: true, last: false }, &[&Tensor::f32s(&[0], &[])]));
    }

    #[test]
    fn running_sums() {
        let x = Tensor::i64s(&[2, 3], &[1, 2, 3, 4, 5, 6]);
        let sums = |axis, exclusive, reverse| {
            run(Cumulative { axis: Ints::of([axis]), product: false, exclusive, reverse }, &[&x])[0].slice::<i64>().to_vec()
        };
        assert_eq!(sums(1, false, false), [1, 3, 6, 4, 9, 15]);
        assert_eq!(sums(1, true, false), [0, 1, 3, 0, 4, 9]);
        assert_eq!(sums(1, true, true), [5, 3, 0, 11, 6, 0]);
        assert_eq!(sums(0, false, true), [5, 7, 9, 4, 5, 6]);
    }
}
