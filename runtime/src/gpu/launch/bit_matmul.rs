//! Quantized products: rows are quantized and packed, multiplied, and what the kernel's ending does not do follows elementwise.

use super::{Cx, Result, Types, map, misfit, operand};
use crate::bit_product::{BitProduct, ByteCode};
use crate::gpu::abi::MatmulArgs;
use crate::gpu::arch::Arch;
use crate::gpu::choose::{CLASSES, choose, ending};
use crate::gpu::kernel::Kernel;
use crate::gpu::map::{Map, Term};
use crate::gpu::memory::DeviceTensor;
use crate::gpu::quantize::{QuantizeArgs, QuantizeSpec, RangeSpec, Source};
use crate::gpu::spec::{Layout, MatmulSpec};
use crate::gpu::tuning::Tuning;
use crate::ops::OpError;
use mokume_ir::op::{ActScale, ActivationKind, BinaryKind, BitMatmul, Epilogue, UnaryKind};
use mokume_ir::quant::QuantType;
use mokume_ir::types::Elem;

/// Weights on the device.
#[derive(Clone)]
pub(crate) struct Weights {
    pub(crate) quant: QuantType,
    pub(crate) n: usize,
    pub(crate) k: usize,
    pub(crate) planes: DeviceTensor,
    pub(crate) scales: DeviceTensor,
    pub(crate) zeros: DeviceTensor,
    pub(crate) sums: DeviceTensor,
}

/// The kernels of a product on an architecture, for every count of rows.
pub(crate) fn kernels(op: &BitMatmul, types: &Types<'_>, arch: Arch) -> std::result::Result<Vec<Kernel>, String> {
    let weights = types.node.inputs.get(1).and_then(|&value| types.graph.constant(value)).ok_or("its weights are no constant")?;
    let constant = types.module.constants.get(weights).ok_or("its weights are no constant")?;
    let (Some(quant), &[n, k]) = (constant.ty.elem.quant(), &constant.dims()[..]) else {
        return Err("its weights are no quantized matrix".into());
    };
    let mut kernels = Vec::new();
    for class in CLASSES {
        let spec = spec(op, &quant, (n, k), class, arch)?;
        let given = op.a_scale != ActScale::Row;
        kernels.push(Kernel::BitMatmul(spec));
        kernels.push(Kernel::Quantize(QuantizeSpec::of(&spec, Source::Plain, op.a_levels, given)));
    }
    if op.a_scale == ActScale::Tensor {
        kernels.push(Kernel::Range(RangeSpec { bits: op.a_bits, levels: op.a_levels }));
    }
    if let Some(rest) = rest(op) {
        kernels.extend([true, false].map(|flat| Kernel::Map(rest.with_form(flat))));
    }
    Ok(kernels)
}

/// The kernel for `m` rows.
fn spec(op: &BitMatmul, quant: &QuantType, size: (usize, usize), m: usize, arch: Arch) -> std::result::Result<MatmulSpec, String> {
    let product = BitProduct::of(quant, op.a_bits, op.a_levels).ok_or("no kernel has weights with such scales")?;
    Ok(choose(arch, &product, size, m, ending(&op.epilogue).0, &Tuning::default()))
}

/// What follows the ending: operand 0 is the product.
fn rest(op: &BitMatmul) -> Option<Map> {
    let steps = &op.epilogue[ending(&op.epilogue).1..];
    let mut map = Map { inputs: vec![Elem::F32], terms: vec![Term::Input(0)], flat: false };
    for step in steps {
        let last = map.terms.len() as u32 - 1;
        let term = match step {
            Epilogue::Bias | Epilogue::Add | Epilogue::Mul => {
                map.terms.push(Term::Input(map.inputs.len() as u32));
                map.inputs.push(Elem::F32);
                let kind = if *step == Epilogue::Mul { BinaryKind::Mul } else { BinaryKind::Add };
                Term::Binary(kind, last, last + 1)
            }
            Epilogue::Relu => Term::Unary(UnaryKind::Relu, last),
            Epilogue::Sigmoid => Term::Unary(UnaryKind::Sigmoid, last),
            Epilogue::Silu => Term::Activation(ActivationKind::Silu, last, 1f32.to_bits(), 0),
            Epilogue::Gelu => Term::Activation(ActivationKind::Gelu, last, 0, 0),
            Epilogue::GeluTanh => Term::Activation(ActivationKind::GeluTanh, last, 0, 0),
            Epilogue::HardSwish => Term::Activation(ActivationKind::HardSwish, last, 0, 0),
        };
        map.terms.push(term);
    }
    (!steps.is_empty()).then_some(map)
}

/// The product; `inputs` are the operands without the weights.
pub(crate) fn bit_matmul(op: &BitMatmul, weights: &Weights, inputs: &[DeviceTensor], cx: &mut Cx<'_>) -> Result<DeviceTensor> {
    let x = operand(inputs, 0, Elem::F32)?;
    let mut dims = x.dims.to_vec();
    match dims.last_mut() {
        Some(last) if *last == weights.k => *last = weights.n,
        _ => return misfit(format!("rows of {} weights and activations {:?}", weights.k, x.dims)),
    }
    let m = dims[..dims.len() - 1].iter().product::<usize>();
    let spec = spec(op, &weights.quant, (weights.n, weights.k), m, cx.arch).map_err(OpError::unsupported)?;
    let layout = spec.layout(weights.n, weights.k);
    let y = cx.alloc(&dims, Elem::F32)?;
    if m == 0 {
        return Ok(y);
    }
    let rows = quantized(op, &spec, &layout, weights, (x, m), cx)?;
    let bias = ending(&op.epilogue).0.bias;
    let bias = if bias { Some(operand(inputs, 1, Elem::F32)?) } else { None };
    if bias.is_some_and(|bias| bias.len() != weights.n) {
        return misfit("a bias of another length than there are columns");
    }
    let args = MatmulArgs {
        activations: rows.activations.address(),
        corrections: rows.corrections.address(),
        centers: rows.centers.address(),
        scales: rows.scales.address(),
        weights: weights.planes.address(),
        w_scales: weights.scales.address(),
        w_zeros: weights.zeros.address(),
        w_sums: weights.sums.address(),
        bias: bias.map_or(0, DeviceTensor::address),
        out: y.address(),
        m: m as u32,
        n: weights.n as u32,
        chunks: layout.chunks as u32,
        blocks: layout.blocks as u32,
    };
    cx.launch_shared(Kernel::BitMatmul(spec), spec.grid(&layout, m, 1), spec.tile.threads(), spec.shared_bytes(), &args.words())?;
    match rest(op) {
        None => Ok(y),
        Some(map) => {
            let others = inputs[1 + usize::from(bias.is_some())..].iter().cloned();
            map::run(&map, &std::iter::once(y).chain(others).collect::<Vec<_>>(), &dims, cx)
        }
    }
}

/// Packed rows on the device.
struct Rows {
    activations: DeviceTensor,
    corrections: DeviceTensor,
    centers: DeviceTensor,
    scales: DeviceTensor,
}

fn quantized(
    op: &BitMatmul,
    matmul: &MatmulSpec,
    layout: &Layout,
    weights: &Weights,
    (x, m): (&DeviceTensor, usize),
    cx: &mut Cx<'_>,
) -> Result<Rows> {
    let spec = QuantizeSpec::of(matmul, Source::Plain, op.a_levels, op.a_scale != ActScale::Row);
    let rows = Rows {
        activations: cx.alloc(&[matmul.row_bytes(layout, m)], Elem::U8)?,
        corrections: cx.alloc(&[m, layout.blocks], Elem::I32)?,
        centers: cx.alloc(&[m], Elem::I32)?,
        scales: cx.alloc(&[m], Elem::F32)?,
    };
    let given = given(op, x, cx)?;
    let (step, offset) = (ByteCode::of(op.a_levels, op.a_bits).step, weights.quant.levels.affine(weights.quant.bits).1);
    let args = QuantizeArgs {
        x: x.address(),
        given: given.as_ref().map_or(0, DeviceTensor::address),
        activations: rows.activations.address(),
        corrections: rows.corrections.address(),
        centers: rows.centers.address(),
        scales: rows.scales.address(),
        factor: if matmul.w_zero { step } else { step.wrapping_mul(offset) },
        ..QuantizeArgs::default()
    };
    let shared = spec.shared_bytes(layout.k);
    cx.launch_shared(Kernel::Quantize(spec), spec.grid(m), QuantizeSpec::THREADS, shared, &args.sized(layout, m).words())?;
    Ok(rows)
}

/// Scale and zero point, where they are not found row by row.
fn given(op: &BitMatmul, x: &DeviceTensor, cx: &mut Cx<'_>) -> Result<Option<DeviceTensor>> {
    if op.a_scale == ActScale::Row {
        return Ok(None);
    }
    let given = cx.alloc(&[8], Elem::U8)?;
    if op.a_scale == ActScale::Static {
        let zero = i32::try_from(op.static_zero).map_err(|_| OpError::operands(format!("a zero point of {}", op.static_zero)))?;
        cx.device.write(given.address(), &[op.static_scale.to_le_bytes(), zero.to_le_bytes()].concat())?;
    } else {
        let spec = RangeSpec { bits: op.a_bits, levels: op.a_levels };
        cx.launch_shared(Kernel::Range(spec), [1, 1, 1], RangeSpec::THREADS, 0, &RangeSpec::words(x.address(), given.address(), x.len()))?;
    }
    Ok(Some(given))
}
