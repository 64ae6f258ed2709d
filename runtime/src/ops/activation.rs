//! Activation functions with parameters, and SwiGLU.

use super::cast::convert;
use super::elementwise::{Kernel2, map, zip};
use super::lanes::map1;
use super::layout::{broadcast, operands};
use super::simd::vectorized;
use super::{OpContext, OpError, math};
use crate::tensor::Tensor;
use mokume_ir::op::{Activation, ActivationKind};
use mokume_ir::types::Elem;

/// Runs an activation. Operands of f16 and bf16 arrive as f32; f64 and integers are computed in f64.
pub fn activation(op: &Activation, inputs: &[&Tensor], cx: &OpContext<'_>) -> Result<Vec<Tensor>, OpError> {
    let [x] = operands(inputs)?;
    let (alpha, beta) = (op.alpha, op.beta);
    let out = match x.elem() {
        Elem::F32 => map(x, Elem::F32, |x: &[f32], out: &mut [f32]| single(op.kind, alpha, beta, x, out), cx),
        Elem::F64 => {
            let (alpha, beta) = (f64::from(alpha), f64::from(beta));
            map(x, Elem::F64, |x: &[f64], out: &mut [f64]| map1(x, out, |x| double(op.kind, alpha, beta, x)), cx)
        }
        elem if elem.is_int() => {
            let exact = activation(op, &[&convert(x, Elem::F64, false, cx)?], cx)?;
            convert(&exact[0], elem, false, cx)
        }
        elem => Err(OpError::unsupported(format!("{} of {elem}", op.kind.name()))),
    };
    Ok(vec![out?])
}

/// Runs `silu(gate) * up`.
pub fn swiglu(inputs: &[&Tensor], cx: &OpContext<'_>) -> Result<Vec<Tensor>, OpError> {
    let [gate, up] = operands(inputs)?;
    let dims = broadcast(&[gate.dims(), up.dims()])?;
    let out = match (gate.elem(), up.elem()) {
        (Elem::F32, Elem::F32) => zip((gate, up), &dims, Elem::F32, gated_single as Kernel2<f32, f32, f32>, cx),
        (Elem::F64, Elem::F64) => zip((gate, up), &dims, Elem::F64, gated_double as Kernel2<f64, f64, f64>, cx),
        (gate, up) => Err(OpError::unsupported(format!("swiglu of {gate} and {up}"))),
    };
    Ok(vec![out?])
}

fn gated_double(gate: &[f64], up: &[f64], out: &mut [f64]) {
    super::lanes::map2(gate, up, out, |gate, up| gate / (1.0 + (-gate).exp()) * up);
}

fn single(kind: ActivationKind, alpha: f32, beta: f32, x: &[f32], out: &mut [f32]) {
    match kind {
        ActivationKind::LeakyRelu => map1(x, out, |x| if x < 0.0 { alpha * x } else { x }),
        ActivationKind::Elu => elu(alpha, 1.0, 1.0, x, out),
        ActivationKind::Celu => elu(alpha, 1.0 / alpha, 1.0, x, out),
        ActivationKind::Selu => elu(alpha, 1.0, beta, x, out),
        ActivationKind::HardSigmoid => map1(x, out, |x| clamp_unit(alpha * x + beta)),
        ActivationKind::HardSwish => map1(x, out, |x| x * clamp_unit(x * (1.0 / 6.0) + 0.5)),
        ActivationKind::ThresholdedRelu => map1(x, out, |x| if x > alpha { x } else { 0.0 }),
        ActivationKind::Shrink => map1(x, out, |x| shrink(alpha, beta, x)),
        ActivationKind::Silu if alpha == 1.0 => silu(x, out),
        ActivationKind::Silu => scaled_silu(alpha, x, out),
        ActivationKind::Mish => mish(x, out),
        ActivationKind::Gelu => gelu(x, out),
        ActivationKind::GeluTanh => gelu_tanh(x, out),
    }
}

/// NaN stays.
#[inline(always)]
fn clamp_unit(x: f32) -> f32 {
    let x = if x < 0.0 { 0.0 } else { x };
    if x > 1.0 { 1.0 } else { x }
}

#[inline(always)]
fn shrink(alpha: f32, beta: f32, x: f32) -> f32 {
    let low = if x < -alpha { x + beta } else { 0.0 };
    if x > alpha { x - beta } else { low }
}

vectorized! {
    /// `gain (x > 0 ? x : alpha (e^(slope x) - 1))`
    fn elu<const FMA: bool>(alpha: f32, slope: f32, gain: f32, x: &[f32], out: &mut [f32]) {
        x.iter().zip(out).for_each(|(&x, out)| {
            let low = alpha * math::exp_m1::<FMA>(x * slope);
            *out = gain * if x > 0.0 { x } else { low };
        });
    }
}

vectorized! {
    fn silu<const FMA: bool>(x: &[f32], out: &mut [f32]) {
        x.iter().zip(out).for_each(|(&x, out)| *out = math::silu::<FMA>(x));
    }
}

vectorized! {
    fn scaled_silu<const FMA: bool>(alpha: f32, x: &[f32], out: &mut [f32]) {
        x.iter().zip(out).for_each(|(&x, out)| *out = x * math::sigmoid::<FMA>(alpha * x));
    }
}

vectorized! {
    fn mish<const FMA: bool>(x: &[f32], out: &mut [f32]) {
        x.iter().zip(out).for_each(|(&x, out)| *out = math::mish::<FMA>(x));
    }
}

vectorized! {
    fn gelu<const FMA: bool>(x: &[f32], out: &mut [f32]) {
        x.iter().zip(out).for_each(|(&x, out)| *out = math::gelu::<FMA>(x));
    }
}

vectorized! {
    fn gelu_tanh<const FMA: bool>(x: &[f32], out: &mut [f32]) {
        x.iter().zip(out).for_each(|(&x, out)| *out = math::gelu_tanh::<FMA>(x));
    }
}

vectorized! {
    fn gated_single<const FMA: bool>(gate: &[f32], up: &[f32], out: &mut [f32]) {
        for ((out, &gate), &up) in out.iter_mut().zip(gate).zip(up) {
            *out = math::silu::<FMA>(gate) * up;
        }
    }
}

fn double(kind: ActivationKind, alpha: f64, beta: f64, x: f64) -> f64 {
    let elu = |slope: f64| if x > 0.0 { x } else { alpha * (slope * x).exp_m1() };
    match kind {
        ActivationKind::LeakyRelu => {
            if x < 0.0 {
                alpha * x
            } else {
                x
            }
        }
        ActivationKind::Elu => elu(1.0),
        ActivationKind::Celu => elu(1.0 / alpha),
        ActivationKind::Selu => beta * elu(1.0),
        ActivationKind::HardSigmoid => (alpha * x + beta).clamp(0.0, 1.0),
        ActivationKind::HardSwish => x * (x / 6.0 + 0.5).clamp(0.0, 1.0),
        ActivationKind::ThresholdedRelu => {
            if x > alpha {
                x
            } else {
                0.0
            }
        }
        ActivationKind::Shrink if x < -alpha => x + beta,
        ActivationKind::Shrink => {
            if x > alpha {
                x - beta
            } else {
                0.0
            }
        }
        ActivationKind::Silu => x / (1.0 + (-alpha * x).exp()),
        ActivationKind::Mish => x * (x.max(0.0) + (-x.abs()).exp().ln_1p()).tanh(),
        ActivationKind::Gelu => 0.5 * x * (1.0 + libm::erf(x * std::f64::consts::FRAC_1_SQRT_2)),
        ActivationKind::GeluTanh => 0.5 * x * (1.0 + (0.797_884_560_802_865_4 * (x + 0.044715 * x * x * x)).tanh()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::tests::run_op as run;
    use mokume_ir::op::Swiglu;

    #[test]
    fn every_kind_agrees_in_f32_and_f64() {
        let values: Vec<f32> = (-40..=40).map(|i| i as f32 * 0.21).collect();
        let single = Tensor::f32s(&[81], &values);
        let double = convert_to_f64(&values);
        for &kind in ActivationKind::ALL {
            let op = || Activation { kind, alpha: 0.75, beta: 0.25 };
            let (a, b) = (run(op(), &[&single]).remove(0), run(op(), &[&double]).remove(0));
            for (&a, &b) in a.slice::<f32>().iter().zip(b.slice::<f64>()) {
                assert!((f64::from(a) - b).abs() <= 2e-6 * b.abs().max(1.0), "{}: {a} {b}", kind.name());
            }
        }
    }

    fn convert_to_f64(values: &[f32]) -> Tensor {
        Tensor::of(&[values.len()], Elem::F64, &values.iter().map(|&x| f64::from(x)).collect::<Vec<_>>())
    }

    #[test]
    fn values_by_hand() {
        let x = Tensor::f32s(&[3], &[-2.0, 0.0, 2.0]);
        let apply = |kind, alpha, beta| run(Activation { kind, alpha, beta }, &[&x])[0].slice::<f32>().to_vec();
        assert_eq!(apply(ActivationKind::LeakyRelu, 0.5, 0.0), [-1.0, 0.0, 2.0]);
        assert_eq!(apply(ActivationKind::Shrink, 1.0, 0.5), [-1.5, 0.0, 1.5]);
        assert_eq!(apply(ActivationKind::HardSigmoid, 0.25, 0.5), [0.0, 0.5, 1.0]);
        assert_eq!(apply(ActivationKind::ThresholdedRelu, 1.0, 0.0), [0.0, 0.0, 2.0]);
        let gated = run(Swiglu {}, &[&x, &x])[0].slice::<f32>().to_vec();
        assert!((gated[0] - 4.0 * 0.119_202_92).abs() < 1e-6 && gated[1] == 0.0);
    }
}
