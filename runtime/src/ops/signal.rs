//! Discrete and short-time Fourier transforms.

use super::fft::{Complex, transform};
use super::operands::{axis_of, operand, operand_of, positive};
use super::real::{Real, for_reals};
use super::{OpContext, OpError};
use crate::tensor::{Dims, Tensor};
use mokume_ir::op::{Dft, Stft};
use mokume_ir::types::Elem;
use rayon::prelude::*;

/// Discrete Fourier transform; the last axis holds 1 (real) or 2 (complex) components.
///
/// Errors  when axis, components or length do not fit.
/// Source  ONNX DFT-20; `inverse` with `onesided` takes half a spectrum and gives real values.
pub fn dft(op: &Dft, inputs: &[&Tensor], cx: &OpContext<'_>) -> Result<Vec<Tensor>, OpError> {
    let x = operand(inputs, 0)?;
    let (axis, components) = (axis_of(op.axis, x.rank())?, components(x)?);
    if axis + 1 == x.rank() {
        return Err(OpError::operands(format!("axis {axis} of {x:?} holds the components")));
    }
    let packed = op.inverse && op.onesided;
    let length = match &op.length {
        Some(length) => match cx.ints(length, inputs)?[..] {
            [length] => positive(length, "the transform length")?,
            _ => return Err(OpError::operands("one transform length expected")),
        },
        None if packed => 2 * x.dims()[axis].saturating_sub(1),
        None => x.dims()[axis],
    };
    let bins = if op.onesided && !op.inverse { length / 2 + 1 } else { length };
    let mut dims: Dims = x.dims().into();
    (dims[axis], dims[x.rank() - 1]) = (bins, if packed { 1 } else { 2 });
    let lines = Lines { size: x.dims()[axis], components, inner: x.dims()[axis + 1..x.rank() - 1].iter().product(), length, packed };
    let mut y = cx.alloc(&dims, x.elem())?;
    for_reals!("dft", x.elem(), T => {
        if !y.is_empty() {
            lines.run::<T>(x.slice(), op.inverse, bins, y.slice_mut());
        }
        Ok(vec![y])
    })
}

/// Short-time Fourier transform of frames `frame_step` apart.
///
/// Errors  when the sizes do not fit.
/// Source  ONNX STFT-17.
pub fn stft(op: &Stft, inputs: &[&Tensor], cx: &OpContext<'_>) -> Result<Vec<Tensor>, OpError> {
    let x = operand(inputs, 0)?;
    let window = operand_of(inputs, 2, x.elem())?;
    let (step, frame) = (scalar(inputs, 1, "the frame step")?, scalar(inputs, 3, "the frame length")?);
    let components = components(x)?;
    let &[batch, samples, _] = x.dims() else {
        return Err(OpError::operands(format!("a signal [batch, samples, components] expected, not {:?}", x.dims())));
    };
    if window.dims() != [frame] || frame > samples {
        return Err(OpError::operands(format!("frames of {frame} of {samples} samples under a window {:?}", window.dims())));
    }
    let (frames, bins) = ((samples - frame) / step + 1, if op.onesided { frame / 2 + 1 } else { frame });
    let mut y = cx.alloc(&[batch, frames, bins, 2], x.elem())?;
    for_reals!("stft", x.elem(), T => {
        let (x, window) = (x.slice::<T>(), window.slice::<T>());
        y.slice_mut::<T>().par_chunks_mut(bins * 2).enumerate().for_each(|(i, y)| {
            let first = (i / frames * samples + i % frames * step) * components;
            let samples = x[first..first + frame * components].chunks(components);
            let weighted = samples.zip(window).map(|(sample, weight)| complex(sample, weight.to_f64()));
            let mut line: Vec<Complex> = weighted.collect();
            transform(&mut line, false);
            write(&line[..bins], y);
        });
        Ok(vec![y])
    })
}

fn components(x: &Tensor) -> Result<usize, OpError> {
    match x.dims().last() {
        Some(&components @ 1..=2) if x.rank() >= 2 => Ok(components),
        _ => Err(OpError::operands(format!("the last axis of {:?} must hold 1 or 2 components", x.dims()))),
    }
}

fn scalar(inputs: &[&Tensor], index: usize, what: &str) -> Result<usize, OpError> {
    match operand_of(inputs, index, Elem::I64)?.slice::<i64>() {
        [value] => positive(*value, what),
        _ => Err(OpError::operands(format!("{what} must be one number"))),
    }
}

fn complex<T: Real>(sample: &[T], weight: f64) -> Complex {
    Complex { re: sample[0].to_f64() * weight, im: sample.get(1).map_or(0.0, |im| im.to_f64()) * weight }
}

fn write<T: Real>(line: &[Complex], y: &mut [T]) {
    for (y, value) in y.chunks_mut(2).zip(line) {
        (y[0], y[1]) = (T::of(value.re), T::of(value.im));
    }
}

/// The lines along the transformed axis.
struct Lines {
    size: usize,
    components: usize,
    /// Lines side by side.
    inner: usize,
    length: usize,
    /// Half spectra become real values.
    packed: bool,
}

impl Lines {
    fn run<T: Real>(&self, x: &[T], inverse: bool, bins: usize, y: &mut [T]) {
        let parts = if self.packed { 1 } else { 2 };
        y.par_chunks_mut(bins * self.inner * parts).enumerate().for_each(|(outer, y)| {
            for line in 0..self.inner {
                let mut values = self.read(x, outer, line);
                transform(&mut values, inverse);
                for (bin, value) in values.iter().take(bins).enumerate() {
                    let y = &mut y[(bin * self.inner + line) * parts..][..parts];
                    y.iter_mut().zip([value.re, value.im]).for_each(|(y, part)| *y = T::of(part));
                }
            }
        });
    }
    /// A line cut or extended with zeros to the transform length; half a spectrum is mirrored.
    fn read<T: Real>(&self, x: &[T], outer: usize, line: usize) -> Vec<Complex> {
        let at = |i: usize| complex(&x[((outer * self.size + i) * self.inner + line) * self.components..][..self.components], 1.0);
        let value = |i: usize| match i < self.size {
            true => at(i),
            false => Complex::default(),
        };
        let mirrored = |i: usize| {
            let twin = value(self.length - i);
            Complex { re: twin.re, im: -twin.im }
        };
        (0..self.length).map(|i| if self.packed && i > self.length / 2 { mirrored(i) } else { value(i) }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_close, numbers, refuses, run};
    use super::*;

    fn op(axis: i64, inverse: bool, onesided: bool) -> Dft {
        Dft { axis, length: None, inverse, onesided }
    }

    #[test]
    fn the_inverse_brings_back() {
        let x = numbers(&[2, 6, 3, 2], 1);
        for axis in [0, 1, 2] {
            let back = run(op(axis, true, false), &run(op(axis, false, false), std::slice::from_ref(&x)));
            assert_close(back[0].slice(), x.slice(), 1e-6);
        }
        let real = numbers(&[2, 10, 1], 2);
        let half = run(op(1, false, true), std::slice::from_ref(&real));
        assert_eq!(half[0].dims(), &[2, 6, 2]);
        let back = run(op(1, true, true), &half);
        assert_eq!(back[0].dims(), &[2, 10, 1]);
        assert_close(back[0].slice(), real.slice(), 1e-6);
        assert!(refuses(op(2, false, false), &[real]));
    }

    #[test]
    fn frames_are_weighted_and_transformed() {
        let (x, window) = (numbers(&[1, 9, 1], 1), numbers(&[4], 2));
        let number = |n| Tensor::i64s(&[], &[n]);
        let y = run(Stft { onesided: true }, &[x.clone(), number(2), window.clone(), number(4)]);
        assert_eq!(y[0].dims(), &[1, 3, 3, 2]);
        let frame: Vec<f32> = x.slice::<f32>()[2..6].iter().zip(window.slice::<f32>()).map(|(x, w)| x * w).collect();
        let want = run(op(1, false, true), &[Tensor::f32s(&[1, 4, 1], &frame)]);
        assert_close(&y[0].slice::<f32>()[6..12], want[0].slice(), 1e-6);
        assert!(refuses(Stft { onesided: true }, &[x, number(0), window, number(4)]));
    }
}
