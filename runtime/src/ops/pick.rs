//! Ops whose result depends on which elements hold: compress, non_zero, one_hot, trilu.

use super::index::{counted, take};
use super::lanes::for_rows;
use super::layout::{Odometer, around, axis, operands, size, volume};
use super::strided::{by_width, words, words_mut};
use super::{OpContext, OpError, cast};
use crate::tensor::{Dims, Tensor};
use bytemuck::Pod;
use mokume_ir::op::{Compress, OneHot, Trilu};
use mokume_ir::types::Elem;

/// Runs a compress.
pub fn compress(op: &Compress, inputs: &[&Tensor], cx: &OpContext<'_>) -> Result<Vec<Tensor>, OpError> {
    let [x, condition] = operands(inputs)?;
    if condition.elem() != Elem::Bool || condition.rank() != 1 {
        return Err(OpError::operands(format!("compress by {condition:?}")));
    }
    let flat = x.reshaped(&[x.len()]);
    let (x, axis) = match op.axis {
        Some(along) => (x, axis(along, x.rank())?),
        None => (&flat, 0),
    };
    let kept: Vec<usize> = (0..condition.len()).filter(|&i| condition.slice::<u8>()[i] != 0).collect();
    if kept.last().is_some_and(|&last| last >= x.dims()[axis]) {
        return Err(OpError::operands(format!("compress of {:?} by {} conditions", x.dims(), condition.len())));
    }
    Ok(vec![take(x, axis, &kept, &[kept.len()], cx)?])
}

/// Runs a non_zero.
pub fn non_zero(inputs: &[&Tensor], cx: &OpContext<'_>) -> Result<Vec<Tensor>, OpError> {
    let [x] = operands(inputs)?;
    let holds = cast::convert(x, Elem::Bool, false, cx)?;
    let holds = holds.slice::<u8>();
    let count = holds.iter().filter(|&&x| x != 0).count();
    let mut out = cx.alloc(&[x.rank(), count], Elem::I64)?;
    let values = out.slice_mut::<i64>();
    let mut odometer = Odometer::new(x.dims(), 0);
    let mut found = 0;
    for &holds in holds {
        if holds != 0 {
            odometer.at().iter().enumerate().for_each(|(axis, &index)| values[axis * count + found] = index as i64);
            found += 1;
        }
        odometer.step();
    }
    Ok(vec![out])
}

/// Runs a one_hot. Indices outside `-depth..depth` give a row without the on value.
pub fn one_hot(op: &OneHot, inputs: &[&Tensor], cx: &OpContext<'_>) -> Result<Vec<Tensor>, OpError> {
    let [indices, depth, values] = operands(inputs)?;
    if depth.len() != 1 || values.len() != 2 {
        return Err(OpError::operands(format!("one_hot of depth {depth:?} and values {values:?}")));
    }
    let depth = size(cast::convert(depth, Elem::I64, false, cx)?.slice::<i64>()[0])?;
    let axis = axis(op.axis, indices.rank() + 1)?;
    let mut dims = Dims::from_slice(indices.dims());
    dims.insert(axis, depth);
    volume(&dims)?;
    let inner: usize = indices.dims()[axis..].iter().product();
    let indices = cast::convert(indices, Elem::I64, false, cx)?;
    let hot = indices.slice::<i64>().iter().enumerate().filter_map(|(i, &index)| {
        let position = counted(index, depth)?;
        Some((i / inner * depth + position) * inner + i % inner)
    });
    let hot: Vec<usize> = hot.collect();
    let mut out = cx.alloc(&dims, values.elem())?;
    by_width!(values.elem(), T => mark::<T>(words_mut(&mut out), words(values), &hot));
    Ok(vec![out])
}

fn mark<T: Pod>(out: &mut [T], values: &[T], hot: &[usize]) {
    out.fill(values[0]);
    hot.iter().for_each(|&place| out[place] = values[1]);
}

/// Runs a trilu.
pub fn trilu(op: &Trilu, inputs: &[&Tensor], cx: &OpContext<'_>) -> Result<Vec<Tensor>, OpError> {
    let [x] = operands(inputs)?;
    if x.rank() < 2 {
        return Err(OpError::operands(format!("trilu of {:?}", x.dims())));
    }
    let k = match inputs.get(1) {
        Some(k) if k.elem() == Elem::I64 && k.len() == 1 => k.slice::<i64>()[0],
        Some(k) => return Err(OpError::operands(format!("diagonal {k:?}"))),
        None => 0,
    };
    let mut out = cx.alloc(x.dims(), x.elem())?;
    by_width!(x.elem(), T => triangle::<T>(words(x), x.dims(), op.upper, k, words_mut(&mut out)));
    Ok(vec![out])
}

/// Row `r` of a matrix splits at column `r + k` (upper) or `r + k + 1` (lower); one side is kept.
fn triangle<T: Pod + Send + Sync>(x: &[T], dims: &[usize], upper: bool, k: i64, out: &mut [T]) {
    let (_, height, width) = around(dims, dims.len() - 2);
    for_rows(out, width, |row, out| {
        let diagonal = ((row % height) as i64).saturating_add(k).saturating_add(i64::from(!upper));
        let split = diagonal.clamp(0, width as i64) as usize;
        let x = &x[row * width..][..width];
        let (kept, cleared) = if upper { (split..width, 0..split) } else { (0..split, split..width) };
        out[kept.clone()].copy_from_slice(&x[kept]);
        out[cleared].fill(T::zeroed());
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::tests::{fails, run_op as run};
    use mokume_ir::op::NonZero;

    fn grid() -> Tensor {
        Tensor::i64s(&[2, 3], &[1, 2, 0, 4, 0, 6])
    }

    #[test]
    fn compresses() {
        let condition = Tensor::of(&[2], Elem::Bool, &[0u8, 1]);
        assert_eq!(run(Compress { axis: Some(0) }, &[&grid(), &condition])[0].slice::<i64>(), [4, 0, 6]);
        assert_eq!(run(Compress { axis: None }, &[&grid(), &condition])[0].slice::<i64>(), [2]);
        assert!(fails(Compress { axis: Some(0) }, &[&grid(), &Tensor::of(&[3], Elem::Bool, &[0u8, 0, 1])]));
    }

    #[test]
    fn finds_non_zero() {
        let out = run(NonZero {}, &[&grid()]).remove(0);
        assert_eq!((out.dims(), out.slice::<i64>()), (&[2, 4][..], &[0, 0, 1, 1, 0, 1, 0, 2][..]));
        assert_eq!(run(NonZero {}, &[&Tensor::f32s(&[2], &[-0.0, 1.0])])[0].slice::<i64>(), [1]);
    }

    #[test]
    fn one_hot_rows() {
        let (depth, values) = (Tensor::i64s(&[], &[3]), Tensor::f32s(&[2], &[-1.0, 1.0]));
        let indices = Tensor::i64s(&[3], &[1, -1, 7]);
        let rows = run(OneHot { axis: -1 }, &[&indices, &depth, &values]).remove(0);
        assert_eq!(rows.slice::<f32>(), [-1.0, 1.0, -1.0, -1.0, -1.0, 1.0, -1.0, -1.0, -1.0]);
        let columns = run(OneHot { axis: 0 }, &[&indices, &depth, &values]).remove(0);
        assert_eq!(columns.slice::<f32>(), [-1.0, -1.0, -1.0, 1.0, -1.0, -1.0, -1.0, 1.0, -1.0]);
    }

    #[test]
    fn triangles() {
        let upper = |k: i64| run(Trilu { upper: true }, &[&grid(), &Tensor::i64s(&[], &[k])])[0].slice::<i64>().to_vec();
        assert_eq!((upper(0), upper(1), upper(-9)), (vec![1, 2, 0, 0, 0, 6], vec![0, 2, 0, 0, 0, 6], grid().slice().to_vec()));
        assert_eq!(run(Trilu { upper: false }, &[&grid()])[0].slice::<i64>(), [1, 0, 0, 4, 0, 0]);
    }
}
