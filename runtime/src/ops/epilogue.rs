//! Steps after an integer product, in f32 without fused multiply-add: the same bits on every machine.

use super::OpError;
use super::operands::{operand_as, operand_of};
use super::simd::{exp, vectorized};
use crate::tensor::Tensor;
use mokume_ir::op::Epilogue;
use mokume_ir::types::Elem;
use rayon::prelude::*;

/// Applies `steps` to `y [..., channels]` of shape `dims`; `operands` are those of the steps, in order.
///
/// Errors  when an operand is missing or does not fit.
pub fn apply(steps: &[Epilogue], operands: &[&Tensor], dims: &[usize], y: &mut [f32]) -> Result<(), OpError> {
    let channels = dims.len() - 1;
    let steps = Steps::new(steps, operands, dims, channels)?;
    let part = (BLOCK / dims[channels].max(1)).max(1) * dims[channels];
    if !steps.0.is_empty() && part > 0 {
        y.par_chunks_mut(part).enumerate().for_each(|(i, y)| steps.rows(i * part, y));
    }
    Ok(())
}

/// Elements per task.
const BLOCK: usize = 1 << 13;

/// Steps with their operands.
pub struct Steps<'a>(Vec<(Epilogue, &'a [f32])>);

impl<'a> Steps<'a> {
    /// The steps after a result of shape `dims` with channels on axis `channels`.
    ///
    /// Errors  when an operand is missing or does not fit.
    pub fn new(steps: &[Epilogue], operands: &[&'a Tensor], dims: &[usize], channels: usize) -> Result<Self, OpError> {
        let mut taken = 0;
        let mut operand = |step: &Epilogue| -> Result<&'a [f32], OpError> {
            taken += usize::from(step.takes_operand());
            match step {
                Epilogue::Bias => Ok(operand_as(operands, taken - 1, Elem::F32, &[dims[channels]])?.slice()),
                Epilogue::Add | Epilogue::Mul => full(operands, taken - 1, dims),
                _ => Ok(&[]),
            }
        };
        Ok(Steps(steps.iter().map(|step| Ok((*step, operand(step)?))).collect::<Result<_, OpError>>()?))
    }
    /// Applies them to whole rows of channels that begin at element `start` of the result.
    fn rows(&self, start: usize, y: &mut [f32]) {
        for &(step, operand) in &self.0 {
            match step {
                Epilogue::Bias => y.chunks_mut(operand.len()).for_each(|row| add(row, operand)),
                _ => self::step(step, operand, start, y),
            }
        }
    }
    /// Applies them to elements of one channel that begin at element `start` of the result.
    pub fn line(&self, channel: usize, start: usize, y: &mut [f32]) {
        for &(step, operand) in &self.0 {
            match step {
                Epilogue::Bias => add_one(y, operand[channel]),
                _ => self::step(step, operand, start, y),
            }
        }
    }
}

fn full<'a>(operands: &[&'a Tensor], index: usize, dims: &[usize]) -> Result<&'a [f32], OpError> {
    let operand = operand_of(operands, index, Elem::F32)?;
    match operand.dims() == dims {
        true => Ok(operand.slice()),
        false => Err(OpError::operands(format!("epilogue operand {:?} for a result {dims:?}", operand.dims()))),
    }
}

fn step(step: Epilogue, operand: &[f32], start: usize, y: &mut [f32]) {
    match step {
        Epilogue::Add => add(y, &operand[start..]),
        Epilogue::Mul => multiply(y, &operand[start..]),
        _ => activate(step, y),
    }
}

vectorized! {
    fn add<const FMA: bool>(y: &mut [f32], x: &[f32]) -> () {
        for (y, x) in y.iter_mut().zip(x) {
            *y += x;
        }
    }
}

vectorized! {
    fn add_one<const FMA: bool>(y: &mut [f32], x: f32) -> () {
        for y in y {
            *y += x;
        }
    }
}

vectorized! {
    fn multiply<const FMA: bool>(y: &mut [f32], x: &[f32]) -> () {
        for (y, x) in y.iter_mut().zip(x) {
            *y *= x;
        }
    }
}

/// Applies a step without operand to every element.
pub fn activate(step: Epilogue, y: &mut [f32]) {
    match step {
        Epilogue::Relu => relu(y),
        Epilogue::Silu => silu(y),
        Epilogue::Sigmoid => sigmoid(y),
        Epilogue::Gelu => y.iter_mut().for_each(|x| *x = 0.5 * *x * (1.0 + libm::erff(*x * std::f32::consts::FRAC_1_SQRT_2))),
        Epilogue::GeluTanh => gelu_tanh(y),
        Epilogue::HardSwish => hard_swish(y),
        Epilogue::Bias | Epilogue::Add | Epilogue::Mul => {}
    }
}

vectorized! {
    fn relu<const FMA: bool>(y: &mut [f32]) -> () {
        for x in y {
            *x = if *x < 0.0 { 0.0 } else { *x };
        }
    }
}

vectorized! {
    fn silu<const FMA: bool>(y: &mut [f32]) -> () {
        for x in y {
            *x /= 1.0 + exp::<false>(-*x);
        }
    }
}

vectorized! {
    fn sigmoid<const FMA: bool>(y: &mut [f32]) -> () {
        for x in y {
            *x = 1.0 / (1.0 + exp::<false>(-*x));
        }
    }
}

vectorized! {
    /// With tanh(u) = 1 - 2/(e^2u + 1).
    fn gelu_tanh<const FMA: bool>(y: &mut [f32]) -> () {
        for x in y {
            let inner = 0.797_884_6 * (*x + 0.044_715 * *x * *x * *x);
            *x *= 1.0 - 1.0 / (exp::<false>(2.0 * inner) + 1.0);
        }
    }
}

vectorized! {
    fn hard_swish<const FMA: bool>(y: &mut [f32]) -> () {
        for x in y {
            let gate = *x * (1.0 / 6.0) + 0.5;
            let gate = if gate < 0.0 { 0.0 } else { gate };
            *x *= if gate > 1.0 { 1.0 } else { gate };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn activations_equal_their_formulas() {
        type Formula = fn(f64) -> f64;
        let formulas: [(Epilogue, Formula); 6] = [
            (Epilogue::Relu, |x| x.max(0.0)),
            (Epilogue::Silu, |x| x / (1.0 + (-x).exp())),
            (Epilogue::Sigmoid, |x| 1.0 / (1.0 + (-x).exp())),
            (Epilogue::Gelu, |x| 0.5 * x * (1.0 + libm::erf(x / 2f64.sqrt()))),
            (Epilogue::GeluTanh, |x| 0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3))).tanh())),
            (Epilogue::HardSwish, |x| x * (x / 6.0 + 0.5).clamp(0.0, 1.0)),
        ];
        for (step, formula) in formulas {
            let x: Vec<f32> = (-100..100).map(|i| i as f32 * 0.37).collect();
            let mut y = x.clone();
            activate(step, &mut y);
            for (x, y) in x.iter().zip(y) {
                let want = formula(*x as f64);
                assert!((y as f64 - want).abs() <= 1e-6 * want.abs().max(1.0), "{step:?}({x}) is {want}, not {y}");
            }
        }
    }

    #[test]
    fn steps_take_their_operands_in_order() {
        let (bias, factor) = (Tensor::f32s(&[2], &[1.0, -9.0]), Tensor::f32s(&[2, 2], &[1.0, 2.0, 3.0, 4.0]));
        let mut y = [1.0, 2.0, 3.0, 4.0];
        let steps = [Epilogue::Bias, Epilogue::Relu, Epilogue::Mul];
        apply(&steps, &[&bias, &factor], &[2, 2], &mut y).unwrap();
        assert_eq!(y, [2.0, 0.0, 12.0, 0.0]);
        assert!(apply(&steps, &[&bias], &[2, 2], &mut y).is_err());
        let planes = Steps::new(&steps, &[&bias, &factor], &[2, 2], 0).unwrap();
        let mut y = [1.0, 2.0];
        planes.line(1, 2, &mut y);
        assert_eq!(y, [0.0; 2]);
        planes.line(0, 0, &mut y);
        assert_eq!(y, [1.0, 2.0]);
    }
}
