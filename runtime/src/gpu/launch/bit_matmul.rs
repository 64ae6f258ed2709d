//! Quantized products: rows are quantized and packed, multiplied, and what the kernel's ending does not do follows elementwise.

use super::{Cx, Result, map, misfit, operand};
use crate::bit_product::{BitProduct, ByteCode};
use crate::gpu::abi::MatmulArgs;
use crate::gpu::arch::Arch;
use crate::gpu::choose::{CLASSES, Choice, choose, class, ending};
use crate::gpu::kernel::Kernel;
use crate::gpu::map::{Map, Term};
use crate::gpu::memory::DeviceTensor;
use crate::gpu::quantize::{QuantizeArgs, QuantizeSpec, RangeSpec, Source};
use crate::gpu::spec::{FinishSpec, Layout, MatmulSpec};
use crate::gpu::tuning::Tuning;
use crate::ops::OpError;
use crate::ops::bit::{conv_activation, matmul_activation};
use crate::ops::quantize::Activation;
use mokume_ir::graph::{Graph, Module, Node};
use mokume_ir::op::{ActScale, ActivationKind, BinaryKind, Epilogue, Op, UnaryKind};
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

/// Where the rows of a product come from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Rows {
    pub(crate) source: Source,
    /// Of a norm.
    pub(crate) epsilon: f32,
}

impl Rows {
    /// They are the operand.
    pub(crate) const PLAIN: Rows = Rows { source: Source::Plain, epsilon: 0.0 };
    /// They are the patches of the operand.
    pub(crate) const PATCHES: Rows = Rows { source: Source::Patches, epsilon: 0.0 };
    /// Operands of the source.
    fn operands(&self) -> usize {
        match self.source {
            Source::Plain | Source::Patches => 1,
            Source::RmsNorm | Source::SiluMul => 2,
            Source::LayerNorm => 3,
        }
    }
}

/// The kernels chosen for a product, one per class of rows.
pub(crate) type Choices = [Choice; CLASSES.len()];

/// The kernels of a product on an architecture.
///
/// Errors  why no kernel computes it.
pub(crate) fn choices(module: &Module, graph: &Graph, node: &Node, arch: Arch, tuning: &Tuning) -> std::result::Result<Choices, String> {
    let quantized = Quantized::of(&node.op).ok_or("it is no product")?;
    let weights = node.inputs.get(1).and_then(|&value| graph.constant(value)).ok_or("its weights are no constant")?;
    let constant = module.constants.get(weights).ok_or("its weights are no constant")?;
    let (Some(quant), &[n, k]) = (constant.ty.elem.quant(), &constant.dims()[..]) else {
        return Err("its weights are no quantized matrix".into());
    };
    let product =
        BitProduct::of(&quant, quantized.activation.bits, quantized.activation.levels).ok_or("no kernel has weights with such scales")?;
    let product = grouped(product, quantized.activation.group)?;
    Ok(CLASSES.map(|class| choose(arch, &product, (n, k), class, ending(quantized.epilogue).0, tuning)))
}

/// The product with groups of activations, where the weights have scales for blocks of them: weights lie in blocks of their own.
fn grouped(product: BitProduct, group: Option<u32>) -> std::result::Result<BitProduct, String> {
    let found = product.with_groups(group).filter(|grouped| grouped.block == product.block);
    found.ok_or_else(|| {
        let (size, own) = (group.unwrap_or_default(), product.block.map_or("row".to_string(), |size| size.to_string()));
        format!("its activations have a scale per {size} channels, its weights one per {own}: quantize with group={size}, or a_group=0")
    })
}

/// How a product quantizes what it multiplies, and what follows.
#[derive(Clone, Copy)]
pub(crate) struct Quantized<'o> {
    pub(crate) activation: Activation,
    pub(crate) epilogue: &'o [Epilogue],
}

impl<'o> Quantized<'o> {
    /// What the op says; none when it is no product.
    pub(crate) fn of(op: &'o Op) -> Option<Self> {
        match op {
            Op::BitMatmul(op) => Some(Quantized { activation: matmul_activation(op), epilogue: &op.epilogue }),
            Op::BitConv(op) => Some(Quantized { activation: conv_activation(op).ok()?, epilogue: &op.epilogue }),
            _ => None,
        }
    }
    /// The kernel that quantizes rows for a product.
    fn packer(&self, matmul: &MatmulSpec, rows: &Rows) -> QuantizeSpec {
        let Activation { levels, scale, group, .. } = self.activation;
        QuantizeSpec::of(matmul, rows.source, levels, scale != ActScale::Row).with_group(group)
    }
}

/// What the chosen kernels and those around them are.
pub(crate) fn kernels(op: &Quantized<'_>, rows: &Rows, choices: &Choices) -> Vec<Kernel> {
    let mut kernels = Vec::new();
    for choice in choices {
        kernels.push(Kernel::BitMatmul(choice.spec));
        kernels.extend(choice.finish().map(Kernel::Finish));
        kernels.push(Kernel::Quantize(op.packer(&choice.spec, rows)));
    }
    if op.activation.scale == ActScale::Tensor {
        kernels.push(Kernel::Range(RangeSpec { bits: op.activation.bits, levels: op.activation.levels }));
    }
    if let Some(rest) = rest(op.epilogue) {
        kernels.extend([true, false].map(|flat| Kernel::Map(rest.with_form(flat))));
    }
    kernels
}

/// What follows the ending: operand 0 is the product.
pub(super) fn rest(epilogue: &[Epilogue]) -> Option<Map> {
    let steps = &epilogue[ending(epilogue).1..];
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

/// A product as a plan has it.
#[derive(Clone, Copy)]
pub(crate) struct Planned<'p> {
    pub(crate) op: Quantized<'p>,
    pub(crate) weights: &'p Weights,
    pub(crate) rows: &'p Rows,
    pub(crate) choices: &'p Choices,
}

/// The product; `inputs` are the operands of the source of its rows, then the others without the weights.
pub(crate) fn bit_matmul(planned: Planned<'_>, inputs: &[DeviceTensor], cx: &mut Cx<'_>) -> Result<DeviceTensor> {
    let Planned { op, weights, rows: how, choices } = planned;
    let x = operand(inputs, 0, Elem::F32)?;
    let mut dims = x.dims.to_vec();
    match dims.last_mut() {
        Some(last) if *last == weights.k => *last = weights.n,
        _ => return misfit(format!("rows of {} weights and activations {:?}", weights.k, x.dims)),
    }
    let m = dims[..dims.len() - 1].iter().product::<usize>();
    let choice = choice_for(choices, m);
    let layout = choice.spec.layout(weights.n, weights.k);
    let y = cx.alloc(&dims, Elem::F32)?;
    if m == 0 {
        return Ok(y);
    }
    let (source, others) = inputs.split_at_checked(how.operands()).ok_or_else(|| OpError::operands("operands are missing"))?;
    check_rows(source, m, layout.k)?;
    let rows = quantized(&op, &choice.spec, &layout, weights, how, (source, m), cx)?;
    let bias = bias(choice, others, weights.n)?;
    multiply(choice, &layout, weights, (&rows, m), bias, &y, cx)?;
    match rest(op.epilogue) {
        None => Ok(y),
        Some(map) => {
            let others = others[usize::from(bias.is_some())..].iter().cloned();
            map::run(&map, &std::iter::once(y).chain(others).collect::<Vec<_>>(), &dims, cx)
        }
    }
}

/// Every operand of the source of `m` rows of `k` elements has its size.
fn check_rows(source: &[DeviceTensor], m: usize, k: usize) -> Result<()> {
    for (index, x) in source.iter().enumerate() {
        let len = if index == 0 { m * k } else { k };
        if operand(source, index, Elem::F32)?.len() != len {
            return misfit(format!("an operand {:?} for rows of {k}", x.dims));
        }
    }
    Ok(())
}

/// The kernel for `m` rows.
pub(super) fn choice_for(choices: &Choices, m: usize) -> &Choice {
    &choices[CLASSES.iter().position(|&most| most == class(m)).unwrap_or_default()]
}

/// The operand that the kernel adds to every row.
pub(super) fn bias<'t>(choice: &Choice, operands: &'t [DeviceTensor], columns: usize) -> Result<Option<&'t DeviceTensor>> {
    let bias = if choice.ending.bias { Some(operand(operands, 0, Elem::F32)?) } else { None };
    match bias {
        Some(bias) if bias.len() != columns => misfit("a bias of another length than there are columns"),
        bias => Ok(bias),
    }
}

/// Multiplies packed rows, in one launch or by parts along k and what finishes them.
pub(super) fn multiply(
    choice: &Choice,
    layout: &Layout,
    weights: &Weights,
    (rows, m): (&Packed, usize),
    bias: Option<&DeviceTensor>,
    y: &DeviceTensor,
    cx: &mut Cx<'_>,
) -> Result<()> {
    let spec = &choice.spec;
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
    let (grid, threads, shared) = (spec.grid(layout, m, choice.parts), spec.tile.threads(), spec.shared_bytes());
    let Some(finish) = choice.finish() else { return cx.launch_shared(Kernel::BitMatmul(*spec), grid, threads, shared, &args.words()) };
    let parts = spec.raw_parts(layout, choice.parts);
    let sums = cx.alloc(&[parts, m, weights.n], Elem::I32)?;
    cx.launch_shared(Kernel::BitMatmul(*spec), grid, threads, shared, &MatmulArgs { out: sums.address(), ..args }.words())?;
    let args = MatmulArgs { activations: sums.address(), chunks: parts as u32, ..args };
    cx.launch_shared(Kernel::Finish(finish), finish.grid(m, weights.n), FinishSpec::THREADS, 0, &args.words())
}

/// Packed rows on the device, and what they were packed from: products that read the same rows share them.
#[derive(Clone)]
pub(crate) struct Packed {
    /// Kept alive, so that its memory is nobody else's.
    source: Vec<DeviceTensor>,
    spec: QuantizeSpec,
    factor: i32,
    /// Epsilon and clip.
    floats: [f32; 2],
    activations: DeviceTensor,
    corrections: DeviceTensor,
    centers: DeviceTensor,
    scales: DeviceTensor,
}

impl Packed {
    fn is_of(&self, spec: &QuantizeSpec, factor: i32, floats: [f32; 2], source: &[DeviceTensor]) -> bool {
        let same = |(a, b): (&DeviceTensor, &DeviceTensor)| a.address() == b.address() && a.dims == b.dims;
        let sources = self.source.len() == source.len() && self.source.iter().zip(source).all(same);
        self.spec == *spec && self.factor == factor && self.floats == floats && !spec.given && sources
    }
}

pub(super) fn quantized(
    op: &Quantized<'_>,
    matmul: &MatmulSpec,
    layout: &Layout,
    weights: &Weights,
    how: &Rows,
    (source, m): (&[DeviceTensor], usize),
    cx: &mut Cx<'_>,
) -> Result<Packed> {
    let spec = op.packer(matmul, how);
    let (step, offset) = (ByteCode::of(op.activation.levels, op.activation.bits).step, weights.quant.levels.affine(weights.quant.bits).1);
    let factor = if matmul.w_zero { step } else { step.wrapping_mul(offset) };
    let floats @ [epsilon, clip] = [how.epsilon, op.activation.clip];
    if let Some(packed) = cx.packed.as_ref().filter(|packed| packed.is_of(&spec, factor, floats, source)) {
        return Ok(packed.clone());
    }
    let address = |index: usize| source.get(index).map_or(0, DeviceTensor::address);
    let rows = Packed {
        source: source.to_vec(),
        spec,
        factor,
        floats,
        activations: cx.alloc(&[matmul.row_bytes(layout, m)], Elem::U8)?,
        corrections: cx.alloc(&[m, layout.blocks], Elem::I32)?,
        centers: cx.alloc(&[m, layout.row_scales], Elem::I32)?,
        scales: cx.alloc(&[m, layout.row_scales], Elem::F32)?,
    };
    let given = given(op, &source[0], cx)?;
    let args = QuantizeArgs {
        x: address(0),
        second: address(1),
        third: address(2),
        epsilon,
        given: given.as_ref().map_or(0, DeviceTensor::address),
        activations: rows.activations.address(),
        corrections: rows.corrections.address(),
        centers: rows.centers.address(),
        scales: rows.scales.address(),
        factor,
        clip,
        ..QuantizeArgs::default()
    };
    let shared = spec.shared_bytes(layout.k);
    cx.launch_shared(Kernel::Quantize(spec), spec.grid(m), QuantizeSpec::THREADS, shared, &args.sized(layout, m).words())?;
    *cx.packed = Some(rows.clone());
    Ok(rows)
}

/// Scale and zero point, where they are not found row by row.
fn given(op: &Quantized<'_>, x: &DeviceTensor, cx: &mut Cx<'_>) -> Result<Option<DeviceTensor>> {
    if op.activation.scale == ActScale::Row {
        return Ok(None);
    }
    let given = cx.alloc(&[8], Elem::U8)?;
    if op.activation.scale == ActScale::Static {
        let zero = i32::try_from(op.activation.static_zero)
            .map_err(|_| OpError::operands(format!("a zero point of {}", op.activation.static_zero)))?;
        cx.device.write(given.address(), &[op.activation.static_scale.to_le_bytes(), zero.to_le_bytes()].concat())?;
    } else {
        let spec = RangeSpec { bits: op.activation.bits, levels: op.activation.levels };
        cx.launch_shared(Kernel::Range(spec), [1, 1, 1], RangeSpec::THREADS, 0, &RangeSpec::words(x.address(), given.address(), x.len()))?;
    }
    Ok(Some(given))
}
