//! Ops that make tensors of sizes and sequences.

use super::layout::{operands, size};
use super::number::{Number, by_number};
use super::{OpContext, OpError, cast};
use crate::tensor::Tensor;
use mokume_ir::op::{DimsOf, Iota, ShapeOf};
use mokume_ir::types::Elem;

/// Runs a shape_of.
pub fn shape_of(op: &ShapeOf, inputs: &[&Tensor], _cx: &OpContext<'_>) -> Result<Vec<Tensor>, OpError> {
    let [x] = operands(inputs)?;
    let rank = x.rank() as i64;
    let clamp = |axis: i64| (if axis < 0 { axis.saturating_add(rank) } else { axis }).clamp(0, rank) as usize;
    let (start, end) = (clamp(op.start), clamp(op.end.unwrap_or(rank)));
    let sizes: Vec<i64> = x.dims().get(start..end).unwrap_or(&[]).iter().map(|&dim| dim as i64).collect();
    Ok(vec![Tensor::i64s(&[sizes.len()], &sizes)])
}

/// Runs a size_of.
pub fn size_of(inputs: &[&Tensor]) -> Result<Vec<Tensor>, OpError> {
    let [x] = operands(inputs)?;
    Ok(vec![Tensor::i64s(&[], &[x.len() as i64])])
}

/// Runs a dims_of.
pub fn dims_of(op: &DimsOf, cx: &OpContext<'_>) -> Result<Vec<Tensor>, OpError> {
    let values = op.dims.iter().map(|dim| cx.dim(dim)).collect::<Result<Vec<_>, _>>()?;
    match (op.scalar, &values[..]) {
        (false, values) => Ok(vec![Tensor::i64s(&[values.len()], values)]),
        (true, [value]) => Ok(vec![Tensor::i64s(&[], &[*value])]),
        (true, _) => Err(OpError::operands(format!("a scalar of {} dimensions", values.len()))),
    }
}

/// Runs an iota.
pub fn iota(op: &Iota, cx: &OpContext<'_>) -> Result<Vec<Tensor>, OpError> {
    let len = size(cx.dim(&op.len)?)?;
    let mut out = cx.alloc(&[len], Elem::I64)?;
    out.slice_mut::<i64>().iter_mut().zip(0..).for_each(|(out, i)| *out = i);
    Ok(vec![cast::convert(&out, op.elem, false, cx)?])
}

/// Runs a range. Operands of f16 and bf16 arrive as f32.
pub fn range(inputs: &[&Tensor], cx: &OpContext<'_>) -> Result<Vec<Tensor>, OpError> {
    let [start, limit, delta] = operands(inputs)?;
    let elem = start.elem();
    if [limit.elem(), delta.elem()] != [elem; 2] || [start.len(), limit.len(), delta.len()] != [1; 3] {
        return Err(OpError::operands(format!("range of {start:?}, {limit:?} and {delta:?}")));
    }
    let out = by_number!(elem, T => count_up::<T>(start, limit, delta, cx), _ => Err(OpError::unsupported(format!("range of {elem}"))));
    Ok(vec![out?])
}

fn count_up<T: Number>(start: &Tensor, limit: &Tensor, delta: &Tensor, cx: &OpContext<'_>) -> Result<Tensor, OpError> {
    let exact = |x: &Tensor| cast::convert(x, Elem::F64, false, cx).map(|x| x.slice::<f64>()[0]);
    let count = ((exact(limit)? - exact(start)?) / exact(delta)?).ceil();
    if count.is_nan() || count.is_infinite() {
        return Err(OpError::operands("range with step 0 or without end"));
    }
    let mut out = cx.alloc(&[count.max(0.0) as usize], start.elem())?;
    let (first, step) = (start.slice::<T>()[0], delta.slice::<T>()[0]);
    let whole = !start.elem().is_float();
    let mut index = T::ZERO;
    let mut value = first;
    for out in out.slice_mut::<T>() {
        *out = if whole { value } else { first.add(index.mul(step)) };
        index = index.add(T::ONE);
        value = value.add(step);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::tests::{fails, run_op as run};
    use mokume_ir::op::{Range, SizeOf};

    #[test]
    fn shapes() {
        let x = Tensor::f32s(&[2, 3, 1], &[0.0; 6]);
        let shape = |start, end| run(ShapeOf { start, end }, &[&x])[0].slice::<i64>().to_vec();
        assert_eq!((shape(0, None), shape(1, Some(2)), shape(2, Some(1))), (vec![2, 3, 1], vec![3], vec![]));
        assert_eq!(run(SizeOf {}, &[&x])[0].slice::<i64>(), [6]);
    }

    #[test]
    fn ranges() {
        let range = |values: [i64; 3]| run(Range {}, &values.map(|v| Tensor::i64s(&[], &[v])).each_ref())[0].slice::<i64>().to_vec();
        assert_eq!((range([10, 4, -2]), range([0, 5, 2]), range([3, 3, 1])), (vec![10, 8, 6], vec![0, 2, 4], vec![]));
        let zero = Tensor::i64s(&[], &[0]);
        assert!(fails(Range {}, &[&zero, &zero, &zero]));
        let float = |v: f32| Tensor::f32s(&[], &[v]);
        assert_eq!(run(Range {}, &[&float(1.0), &float(2.0), &float(0.5)])[0].slice::<f32>(), [1.0, 1.5]);
    }
}
