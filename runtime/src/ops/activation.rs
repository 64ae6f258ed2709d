//! Activation functions with parameters, and SwiGLU.

use super::cast::convert;
use super::elementwise::{Kernel2, map, zip};
use super::lanes::{map1, vectorized};
use super::layout::{broadcast, operands};
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
    fn elu(alpha: f32, slope: f32, gain: f32, x: &[f32], out: &mut [f32]) {
        x.iter().zip(out).for_each(|(&x, out)| {
            let low = alpha * math::exp_m1::<FMA>(x * slope);
            *out = gain * if x > 0.0 { x } else { low };
        });
    }
    fn silu(x: &[f32], out: &mut [f32]) {
        x.iter().zip(out).for_each(|(&x, out)| *out = math::silu::<FMA>(x));
    }
    fn scaled_silu(alpha: f32, x: &[f32], out: &mut [f32]) {
        x.iter().zip(out).for_each(|(&x, out)| *out = x * math::sigmoid::<FMA>(alpha * x));
    }
    fn mish(x: &[f32], out: &mut [f32]) {
        x.iter().zip(out).for_each(|(&x, out)| *out = math::mish::<FMA>(x));
    }
    fn gelu(x: &[f32], out: &mut [f32]) {
        x.iter().zip(out).for_each(|(&x, out)| *out = math::gelu::<FMA>(x));
    }
    fn gelu_tanh(x: &[f32], out: &mut [f32]) {
        x.iter().zip(out).for_each(|(&x, out)| *out = math::gelu_tanh::<FMA>(x));
    }
    fn gated_single(gate: &[f32], up: &[f32], out: &mut [f32]) {
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
