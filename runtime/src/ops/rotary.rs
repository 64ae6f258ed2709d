//! Rotary position embedding.

use super::matmul::starts;
use super::operands::{operand, operand_of};
use super::real::{Real, for_reals};
use super::{OpContext, OpError};
use crate::tensor::Tensor;
use mokume_ir::op::Rotary;
use rayon::prelude::*;

/// Rotates pairs of the last axis by angles whose cosines and sines are given.
///
/// Errors  when the sizes do not fit.
pub fn rotary(op: &Rotary, inputs: &[&Tensor], cx: &OpContext<'_>) -> Result<Vec<Tensor>, OpError> {
    let x = operand(inputs, 0)?;
    let (cos, sin) = (operand_of(inputs, 1, x.elem())?, operand_of(inputs, 2, x.elem())?);
    let plan = Plan::new(op, x, cos, sin)?;
    let mut y = cx.alloc(x.dims(), x.elem())?;
    for_reals!("rotary", x.elem(), T => {
        if !x.is_empty() {
            plan.run::<T>([x.slice(), cos.slice(), sin.slice()], y.slice_mut());
        }
        Ok(vec![y])
    })
}

struct Plan {
    /// Elements per row, of which `2 * half` rotate.
    row: usize,
    half: usize,
    interleaved: bool,
    /// Angles per row: one per pair, or one per element.
    angles: usize,
    /// Where the angles of every row begin.
    starts: Vec<usize>,
}

impl Plan {
    fn new(op: &Rotary, x: &Tensor, cos: &Tensor, sin: &Tensor) -> Result<Self, OpError> {
        let misfit = || OpError::operands(format!("rotation of {:?} by angles {:?} and {:?}", x.dims(), cos.dims(), sin.dims()));
        let (Some((&row, lead)), Some((&angles, angle_lead))) = (x.dims().split_last(), cos.dims().split_last()) else {
            return Err(misfit());
        };
        let rotated = if op.dims == 0 { row } else { usize::try_from(op.dims).map_err(|_| misfit())? };
        let broadcasts = super::matmul::broadcast(lead, angle_lead).is_some_and(|dims| dims[..] == *lead);
        let per = rotated / 2 == angles || rotated == angles;
        if rotated > row || rotated % 2 != 0 || !per || cos.dims() != sin.dims() || !broadcasts {
            return Err(misfit());
        }
        Ok(Plan { row, half: rotated / 2, interleaved: op.interleaved, angles, starts: starts(lead, angle_lead, angles) })
    }
    fn run<T: Real>(&self, [x, cos, sin]: [&[T]; 3], y: &mut [T]) {
        let rows = y.par_chunks_mut(self.row).zip(x.par_chunks(self.row)).zip(&self.starts);
        rows.with_min_len((1usize << 13).div_ceil(self.row)).for_each(|((y, x), &start)| {
            self.rotate(x, &cos[start..start + self.angles], &sin[start..start + self.angles], y);
        });
    }
    fn rotate<T: Real>(&self, x: &[T], cos: &[T], sin: &[T], y: &mut [T]) {
        for i in 0..self.half {
            let (a, b) = if self.interleaved { (2 * i, 2 * i + 1) } else { (i, i + self.half) };
            let (at_a, at_b) = if self.angles == self.half { (i, i) } else { (a, b) };
            y[a] = x[a] * cos[at_a] - x[b] * sin[at_a];
            y[b] = x[b] * cos[at_b] + x[a] * sin[at_b];
        }
        y[2 * self.half..].copy_from_slice(&x[2 * self.half..]);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_close, numbers, refuses, run};
    use super::*;

    #[test]
    fn pairs_turn_by_their_angle() {
        let x = Tensor::f32s(&[1, 1, 2, 4], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]);
        let (cos, sin) = (Tensor::f32s(&[2, 2], &[0.0, 1.0, 0.0, 1.0]), Tensor::f32s(&[2, 2], &[1.0, 0.0, -1.0, 0.0]));
        let halves = run(Rotary { interleaved: false, dims: 0 }, &[x.clone(), cos.clone(), sin.clone()]);
        assert_eq!(halves[0].slice::<f32>(), &[-3.0, 2.0, 1.0, 4.0, 7.0, 6.0, -5.0, 8.0]);
        let neighbors = run(Rotary { interleaved: true, dims: 0 }, &[x.clone(), cos.clone(), sin.clone()]);
        assert_eq!(neighbors[0].slice::<f32>(), &[-2.0, 1.0, 3.0, 4.0, 6.0, -5.0, 7.0, 8.0]);
        assert!(refuses(Rotary { interleaved: true, dims: 6 }, &[x, cos, sin]));
    }

    #[test]
    fn angles_per_element_and_partial_rotation() {
        let (x, angles) = (numbers(&[2, 3, 4, 8], 1), numbers(&[2, 1, 4, 3], 2));
        let twice: Vec<f32> = angles.slice::<f32>().chunks(3).flat_map(|row| [row, row].concat()).collect();
        let twice = Tensor::f32s(&[2, 1, 4, 6], &twice);
        let op = || Rotary { interleaved: false, dims: 6 };
        let short = run(op(), &[x.clone(), angles.clone(), angles]);
        let long = run(op(), &[x.clone(), twice.clone(), twice]);
        assert_close(long[0].slice(), short[0].slice(), 0.0);
        assert_eq!(short[0].slice::<f32>()[6..8], x.slice::<f32>()[6..8]);
    }
}
