//! Axes, sizes and strides: the arithmetic that ops share before they touch an element.

use super::OpError;
use crate::tensor::{Dims, Tensor};

/// The first `N` operands.
///
/// Errors  when there are fewer.
pub fn operands<'a, const N: usize>(inputs: &[&'a Tensor]) -> Result<[&'a Tensor; N], OpError> {
    let given = inputs.get(..N).and_then(|inputs| inputs.try_into().ok());
    given.ok_or_else(|| OpError::operands(format!("{N} operands are needed, {} given", inputs.len())))
}

/// `axis` counted from the front.
///
/// Errors  when there is no such axis.
pub fn axis(axis: i64, rank: usize) -> Result<usize, OpError> {
    let counted = if axis < 0 { axis.checked_add(rank as i64) } else { Some(axis) };
    let found = counted.and_then(|axis| usize::try_from(axis).ok()).filter(|&axis| axis < rank);
    found.ok_or_else(|| OpError::operands(format!("axis {axis} of a tensor of rank {rank}")))
}

/// `axes` counted from the front.
///
/// Errors  when there is no such axis, or one is named twice.
pub fn axes(list: &[i64], rank: usize) -> Result<Vec<usize>, OpError> {
    let mut seen = vec![false; rank];
    list.iter()
        .map(|&item| {
            let axis = axis(item, rank)?;
            if std::mem::replace(&mut seen[axis], true) {
                return Err(OpError::operands(format!("axis {item} is named twice")));
            }
            Ok(axis)
        })
        .collect()
}

/// A size.
///
/// Errors  when it is negative.
pub fn size(value: i64) -> Result<usize, OpError> {
    usize::try_from(value).map_err(|_| OpError::operands(format!("a size is {value}")))
}

/// The number of elements of `dims`.
///
/// Errors  when it overflows.
pub fn volume(dims: &[usize]) -> Result<usize, OpError> {
    let product = dims.iter().try_fold(1usize, |product, &dim| product.checked_mul(dim));
    product.ok_or_else(|| OpError::operands(format!("a tensor of {dims:?} is too large")))
}

/// Elements between neighbors along every axis.
pub fn strides(dims: &[usize]) -> Dims {
    let mut strides = Dims::from_elem(1, dims.len());
    for i in (1..dims.len()).rev() {
        strides[i - 1] = strides[i] * dims[i];
    }
    strides
}

/// Sizes before `axis`, of `axis`, and behind it.
pub fn around(dims: &[usize], axis: usize) -> (usize, usize, usize) {
    (dims[..axis].iter().product(), dims[axis], dims[axis + 1..].iter().product())
}

/// The common shape of `shapes` under numpy broadcasting.
///
/// Errors  when two sizes of an axis differ and neither is 1.
pub fn broadcast(shapes: &[&[usize]]) -> Result<Dims, OpError> {
    let rank = shapes.iter().map(|shape| shape.len()).max().unwrap_or(0);
    let mut dims = Dims::from_elem(1, rank);
    for shape in shapes {
        for (dim, &size) in dims[rank - shape.len()..].iter_mut().zip(*shape) {
            match (*dim, size) {
                (1, _) => *dim = size,
                (a, b) if a == b || b == 1 => {}
                _ => return Err(OpError::operands(format!("shapes {shapes:?} do not broadcast"))),
            }
        }
    }
    volume(&dims)?;
    Ok(dims)
}

/// Strides of `dims` when read as `target`; 0 along broadcast axes.
///
/// Panics  when `dims` does not broadcast to `target`.
pub fn broadcast_strides(dims: &[usize], target: &[usize]) -> Dims {
    let lead = target.len() - dims.len();
    let own = strides(dims);
    (0..target.len()).map(|i| if i < lead || dims[i - lead] == 1 { 0 } else { own[i - lead] }).collect()
}

/// Counts through the coordinates of some axes, last axis fastest.
pub struct Odometer<'a> {
    dims: &'a [usize],
    at: Dims,
}

impl<'a> Odometer<'a> {
    /// Coordinates of `dims`, beginning at the `start`-th.
    pub fn new(dims: &'a [usize], mut start: usize) -> Self {
        let mut at = Dims::from_elem(0, dims.len());
        for (index, &dim) in at.iter_mut().zip(dims).rev() {
            *index = start % dim.max(1);
            start /= dim.max(1);
        }
        Odometer { dims, at }
    }
    /// The coordinates.
    pub fn at(&self) -> &[usize] {
        &self.at
    }
    /// The next coordinates; from the last ones it returns to the first.
    pub fn step(&mut self) {
        for (index, &dim) in self.at.iter_mut().zip(self.dims).rev() {
            *index += 1;
            if *index < dim {
                return;
            }
            *index = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_count_from_both_ends() {
        assert_eq!(axis(-1, 3), Ok(2));
        assert!(axis(3, 3).is_err() && axis(-4, 3).is_err() && axis(i64::MIN, 3).is_err());
        assert!(axes(&[0, -3], 3).is_err());
    }

    #[test]
    fn shapes_broadcast_as_in_numpy() {
        assert_eq!(broadcast(&[&[2, 1, 3], &[4, 1]]).unwrap().as_slice(), [2, 4, 3]);
        assert_eq!(broadcast(&[&[0], &[1]]).unwrap().as_slice(), [0]);
        assert!(broadcast(&[&[2], &[3]]).is_err());
        assert_eq!(broadcast_strides(&[4, 1], &[2, 4, 3]).as_slice(), [0, 1, 0]);
    }

    #[test]
    fn an_odometer_counts() {
        let mut odometer = Odometer::new(&[2, 3], 2);
        assert_eq!(odometer.at(), [0, 2]);
        odometer.step();
        assert_eq!(odometer.at(), [1, 0]);
    }
}
