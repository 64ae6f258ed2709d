//! The self-check of kernels that quantize and pack rows, or find the range of a tensor.

use super::{CheckError, Memory, Random, with_memory};
use crate::bit_product::{BitProduct, ByteCode};
use crate::gpu::device::{Device, DeviceError, Launch};
use crate::gpu::quantize::{Form, Patches, QuantizeArgs, QuantizeSpec, RangeSpec, Source};
use crate::gpu::rows::{DeviceRows, pack};
use crate::gpu::spec::{Layout, Lowering, MatmulSpec, Store, Tile};
use crate::ops::epilogue::activate;
use crate::ops::quantize::{Activation, Rows, quantize_rows};
use crate::ops::{OpContext, OpError, run};
use crate::tensor::Tensor;
use mokume_ir::op::{ActScale, Epilogue, LayerNorm, Op, RmsNorm};
use mokume_ir::quant::Levels;

/// Rows, and elements of a row: more than one block of a sum, and no multiple of anything.
const SIZE: (usize, usize) = (5, 1100);
/// Patches of that size: 5 windows of 5 by 5 over 44 channels of 4 by 7, with padding around.
const PATCHES: Patches = Patches { channels: 44, places: [4, 7, 1, 5, 5, 5, 1, 1, 1, 1, 1, 1] };
/// Elements whose range is found.
const RANGE: usize = 5000;
const EPSILON: f32 = 1e-5;
/// Part of the range that scales span.
const CLIP: f32 = 0.9;
/// A scale that is given.
const SCALE: f32 = 0.037;

/// Runs a kernel that quantizes and packs rows.
///
/// Errors  when the device fails, or any byte is not what the ops of the CPU and packing on the host make.
pub fn check_rows(device: &mut dyn Device, spec: &QuantizeSpec) -> Result<(), CheckError> {
    let operands = Operands::random(spec);
    let matmul = reader(spec);
    let layout = matmul.layout(1, SIZE.1);
    let expected = operands.expected(spec, &matmul, &layout).map_err(|error| DeviceError::Driver(format!("{spec}: {error}")))?;
    let mut is = DeviceRows {
        activations: vec![0; expected.activations.len()],
        corrections: vec![0; expected.corrections.len()],
        centers: vec![0; expected.centers.len()],
        scales: vec![0.0; expected.scales.len()],
    };
    with_memory(device, |device, memory| operands.run(device, spec, &layout, &mut is, memory))?;
    same(spec, "activations", &is.activations, &expected.activations)?;
    same(spec, "corrections", bytemuck::cast_slice(&is.corrections), bytemuck::cast_slice(&expected.corrections))?;
    same(spec, "centers", bytemuck::cast_slice(&is.centers), bytemuck::cast_slice(&expected.centers))?;
    same(spec, "scales", bytemuck::cast_slice(&is.scales), bytemuck::cast_slice(&expected.scales))
}

/// Runs a kernel that finds the range of a tensor.
///
/// Errors  when the device fails, or scale or zero point is not what the ops of the CPU find.
pub fn check_range(device: &mut dyn Device, spec: &RangeSpec) -> Result<(), CheckError> {
    let x = Random::new().floats(RANGE);
    let how = Activation { clip: 1.0, ..activation(spec.bits, spec.levels, ActScale::Tensor) };
    let found = quantize_rows(&x, RANGE, &how).map_err(|error| DeviceError::Driver(format!("{}: {error}", spec.symbol())))?;
    let expected = [found.scales[0].to_le_bytes(), found.zeros[0].to_le_bytes()].concat();
    let is = with_memory(device, |device, memory| {
        let (x, given) = (memory.upload(device, bytemuck::cast_slice(&x))?, memory.upload(device, &[0; 8])?);
        let args = RangeSpec::words(x, given, RANGE);
        device.launch(&Launch { kernel: &spec.symbol(), grid: [1; 3], block: [RangeSpec::THREADS, 1, 1], shared_bytes: 0, args: &args })?;
        let mut bytes = [0; 8];
        device.read(given, &mut bytes)?;
        Ok(bytes)
    })?;
    same(&spec.symbol(), "range", &is, &expected)
}

fn same(kernel: &impl ToString, part: &'static str, is: &[u8], expected: &[u8]) -> Result<(), CheckError> {
    match is.iter().zip(expected).position(|(is, expected)| is != expected) {
        None => Ok(()),
        Some(byte) => Err(CheckError::WrongRows { kernel: kernel.to_string(), part, byte, is: is[byte], expected: expected[byte] }),
    }
}

fn activation(bits: u8, levels: Levels, scale: ActScale) -> Activation {
    Activation { bits, levels, scale, group: None, clip: CLIP, static_scale: SCALE, static_zero: i64::from(levels == Levels::Unsigned) }
}

/// A product that reads such rows.
fn reader(spec: &QuantizeSpec) -> MatmulSpec {
    let (lowering, tokens) = match spec.form {
        Form::Bytes => (Lowering::Integer, 8),
        Form::Groups => (Lowering::IntegerGroup, 8),
        Form::Planes(tokens) => (Lowering::Binary, tokens),
    };
    let a_signed = ByteCode::of(spec.levels, spec.bits).signed;
    let (a_blocks, block) = (spec.group.is_some(), spec.block);
    let product = BitProduct { w_bits: 1, a_bits: spec.bits, a_signed, shift: 0, w_zero: true, a_center: true, a_blocks, block };
    let tile = Tile { tokens, groups: 1, columns: 2, warps_m: 1, warps_n: 1, warps_k: 1, stages: 2 };
    MatmulSpec { product, lowering, tile, store: Store::Raw }
}

/// Rows, and what a source does with them.
struct Operands {
    x: Vec<f32>,
    second: Vec<f32>,
    third: Vec<f32>,
}

impl Operands {
    fn random(spec: &QuantizeSpec) -> Self {
        let (mut random, (m, k)) = (Random::new(), SIZE);
        let second = if spec.source == Source::SiluMul { m * k } else { k };
        let second = match spec.source {
            Source::Patches => PATCHES.words().map(|word| f32::from_bits(word as u32)).to_vec(),
            _ => random.floats(second),
        };
        Operands { x: random.floats(m * k), second, third: random.floats(k) }
    }
    fn expected(&self, spec: &QuantizeSpec, matmul: &MatmulSpec, layout: &Layout) -> Result<DeviceRows, OpError> {
        let scale = if spec.given { ActScale::Static } else { ActScale::Row };
        let rows = quantize_rows(
            &self.values(spec.source)?,
            SIZE.1,
            &Activation { group: spec.group, ..activation(spec.bits, spec.levels, scale) },
        )?;
        let scales: Vec<f32> = places(&rows, spec.group, (SIZE.0, SIZE.1), layout).map(|at| rows.scales[at]).collect();
        let zeros: Vec<i32> = places(&rows, spec.group, (SIZE.0, SIZE.1), layout).map(|at| rows.zeros[at]).collect();
        Ok(pack(matmul, layout, ByteCode::of(spec.levels, spec.bits), 0, &rows.codes, &scales, &zeros))
    }
    /// What is quantized, by the ops of the CPU.
    fn values(&self, source: Source) -> Result<Vec<f32>, OpError> {
        let (m, k) = SIZE;
        let x = Tensor::f32s(&[m, k], &self.x);
        let row = |values: &[f32]| Tensor::f32s(&[k], values);
        match source {
            Source::Plain => Ok(self.x.clone()),
            Source::RmsNorm => computed(RmsNorm { axis: -1, epsilon: EPSILON }, &[&x, &row(&self.second)]),
            Source::LayerNorm => computed(LayerNorm { axis: -1, epsilon: EPSILON }, &[&x, &row(&self.second), &row(&self.third)]),
            Source::Patches => {
                let places = (0..m * k).map(|at| PATCHES.place(at / k, at % k));
                Ok(places.map(|place| place.map_or(0.0, |place| self.x[place])).collect())
            }
            Source::SiluMul => {
                let mut values = self.x.clone();
                activate(Epilogue::Silu, &mut values);
                Ok(values.iter().zip(&self.second).map(|(silu, other)| silu * other).collect())
            }
        }
    }
    fn run(
        &self,
        device: &mut dyn Device,
        spec: &QuantizeSpec,
        layout: &Layout,
        out: &mut DeviceRows,
        memory: &mut Memory,
    ) -> Result<(), DeviceError> {
        let given = [SCALE.to_le_bytes(), i32::from(spec.levels == Levels::Unsigned).to_le_bytes()].concat();
        let mut upload = |bytes: &[u8]| memory.upload(device, bytes);
        let args = QuantizeArgs {
            x: upload(bytemuck::cast_slice(&self.x))?,
            second: upload(bytemuck::cast_slice(&self.second))?,
            third: upload(bytemuck::cast_slice(&self.third))?,
            given: upload(&given)?,
            activations: upload(&out.activations)?,
            corrections: upload(bytemuck::cast_slice(&out.corrections))?,
            centers: upload(bytemuck::cast_slice(&out.centers))?,
            scales: upload(bytemuck::cast_slice(&out.scales))?,
            factor: ByteCode::of(spec.levels, spec.bits).step,
            epsilon: EPSILON,
            clip: CLIP,
            ..QuantizeArgs::default()
        };
        let words = args.sized(layout, SIZE.0).words();
        let (grid, shared_bytes) = (spec.grid(SIZE.0), spec.shared_bytes(SIZE.1));
        let block = [QuantizeSpec::THREADS, 1, 1];
        device.launch(&Launch { kernel: &spec.symbol(), grid, block, shared_bytes, args: &words })?;
        device.read(args.activations, &mut out.activations)?;
        device.read(args.corrections, bytemuck::cast_slice_mut(&mut out.corrections))?;
        device.read(args.centers, bytemuck::cast_slice_mut(&mut out.centers))?;
        device.read(args.scales, bytemuck::cast_slice_mut(&mut out.scales))
    }
}

/// Where in quantized rows the scales are that packed rows have.
pub fn places(rows: &Rows, group: Option<u32>, (m, k): (usize, usize), layout: &Layout) -> impl Iterator<Item = usize> {
    let (alone, blocks, block) = (rows.scales.len() == 1, layout.row_scales, layout.block);
    let (size, per_row) = group.map_or((k.max(1), 1), |size| (size as usize, k.div_ceil(size as usize)));
    let of_row = move |row: usize| (0..blocks).map(move |g| row * per_row + g * block / size);
    (0..m).flat_map(of_row).map(move |at| if alone { 0 } else { at })
}

fn computed(op: impl Into<Op>, operands: &[&Tensor]) -> Result<Vec<f32>, OpError> {
    let cx = OpContext { alloc: &Tensor::zeros, size_of: &|_| None };
    let results = run(&op.into(), operands, &cx)?;
    Ok(results.first().map_or(vec![], |y| y.slice::<f32>().to_vec()))
}
