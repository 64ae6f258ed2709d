//! Kernels that quantize and pack rows, in the emulator, against the ops of the CPU and packing on the host, bit for bit.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, missing_docs, reason = "tests")]

#[allow(dead_code, reason = "shared with other tests")]
mod reference;

mod recording;

use inkwell::context::Context;
use mokume_codegen::gpu::emulate::Emulator;
use mokume_codegen::gpu::{Build, quantize};
use mokume_ir::op::{ActScale, Epilogue, LayerNorm, Op, RmsNorm};
use mokume_ir::quant::Levels;
use mokume_ir::types::Elem;
use mokume_runtime::bit_product::{BitProduct, ByteCode};
use mokume_runtime::gpu::arch::Arch;
use mokume_runtime::gpu::check::{CheckError, check_range, check_rows, places};
use mokume_runtime::gpu::device::Launch;
use mokume_runtime::gpu::quantize::{Form, QuantizeArgs, QuantizeSpec, RangeSpec, Source};
use mokume_runtime::gpu::rows::{self, DeviceRows};
use mokume_runtime::gpu::spec::{Layout, Lowering, MatmulSpec, Store, Tile};
use mokume_runtime::ops::quantize::{Activation, quantize_rows};
use mokume_runtime::ops::{OpContext, epilogue, run};
use mokume_runtime::tensor::Tensor;
use rayon::prelude::*;
use reference::Random;

const SHAPES: usize = 240;
const BLOCKS: [Option<u32>; 7] = [None, Some(32), Some(128), Some(10), None, Some(64), Some(100)];
const EPSILON: f32 = 1e-5;
/// Part of the range of a row that its scale spans.
const CLIP: f32 = 0.85;

/// Rows to be quantized, and with what.
struct Case {
    matmul: MatmulSpec,
    spec: QuantizeSpec,
    scale: ActScale,
    m: usize,
    k: usize,
    x: Vec<f32>,
    second: Vec<f32>,
    third: Vec<f32>,
}

impl Case {
    fn random(turn: usize) -> Self {
        let mut random = Random::new(turn as u64 + 77);
        let source = Source::ALL[turn % 4];
        let bits = (turn / 4 % 8) as u8 + 1;
        let mut levels = vec![Levels::Signed, Levels::Unsigned, Levels::Odd];
        levels.extend((bits == 3).then_some(Levels::Five));
        levels.extend((bits == 2).then_some(Levels::Ternary));
        let levels = levels[random.below(levels.len())];
        let scale = [ActScale::Row, ActScale::Row, ActScale::Tensor, ActScale::Static][random.below(4)];
        let (m, k) = (random.below(6) + 1, random.below(if turn.is_multiple_of(10) { 3000 } else { 500 }) + 1);
        let block = BLOCKS[random.below(BLOCKS.len())];
        let per_row = block.filter(|_| scale == ActScale::Row);
        let group = [None, per_row, per_row.map(|size| size * 3)][random.below(3)];
        let product = BitProduct {
            w_bits: 4,
            a_bits: bits,
            a_signed: ByteCode::of(levels, bits).signed,
            shift: 0,
            w_zero: random.below(2) == 0,
            a_center: true,
            a_blocks: group.is_some(),
            block,
        };
        let lowering = [Lowering::Binary, Lowering::Binary, Lowering::Integer, Lowering::IntegerGroup][random.below(4)];
        let tokens = if lowering.takes_bytes() { 8 } else { 1 << random.below(4) };
        let tile = Tile { tokens, groups: 1, columns: 2, warps_m: 1, warps_n: 1, warps_k: 1, stages: 2 };
        let matmul = MatmulSpec { product, lowering, tile, store: Store::Raw };
        let spec = QuantizeSpec::of(&matmul, source, levels, scale != ActScale::Row).with_group(group);
        let mut numbers = |count: usize| (0..count).map(|_| random.unit() * 4.0).collect::<Vec<f32>>();
        let (mut x, mut second, third) = (numbers(m * k), numbers(m * k), numbers(k));
        if source == Source::Plain {
            strange(&mut random, &mut x, k);
        }
        if source != Source::SiluMul {
            second.truncate(k);
        }
        Case { matmul, spec, scale, m, k, x, second, third }
    }
    /// The values that the ops of the CPU make.
    fn values(&self) -> Vec<f32> {
        let (x, second) = (Tensor::f32s(&[self.m, self.k], &self.x), || Tensor::f32s(&[self.k], &self.second));
        match self.spec.source {
            Source::Patches => unreachable!("the rows of a case lie one after the other"),
            Source::Plain => self.x.clone(),
            Source::RmsNorm => op(RmsNorm { axis: -1, epsilon: EPSILON }, &[x, second()]),
            Source::LayerNorm => op(LayerNorm { axis: -1, epsilon: EPSILON }, &[x, second(), Tensor::f32s(&[self.k], &self.third)]),
            Source::SiluMul => {
                let mut values = self.x.clone();
                epilogue::activate(Epilogue::Silu, &mut values);
                values.iter().zip(&self.second).map(|(silu, other)| silu * other).collect()
            }
        }
    }
    /// What the kernel should write.
    fn expected(&self, layout: &Layout) -> DeviceRows {
        let how = Activation {
            bits: self.spec.bits,
            levels: self.spec.levels,
            scale: self.scale,
            group: self.spec.group,
            clip: if self.scale == ActScale::Row { CLIP } else { 1.0 },
            static_scale: 0.037,
            static_zero: i64::from(self.spec.levels == Levels::Unsigned),
        };
        let rows = quantize_rows(&self.values(), self.k, &how).unwrap();
        let places = || places(&rows, self.spec.group, (self.m, self.k), layout);
        let scales: Vec<f32> = places().map(|at| rows.scales[at]).collect();
        let zeros: Vec<i32> = places().map(|at| rows.zeros[at]).collect();
        rows::pack(&self.matmul, layout, ByteCode::of(self.spec.levels, self.spec.bits), -8, &rows.codes, &scales, &zeros)
    }
}

/// Values that have no code of their own, and a row of zeros.
fn strange(random: &mut Random, x: &mut [f32], k: usize) {
    let count = x.len();
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        x[random.below(count)] = value;
    }
    if random.below(3) == 0 {
        x[..k].fill(0.0);
    }
}

fn op(op: impl Into<Op>, inputs: &[Tensor]) -> Vec<f32> {
    let cx = OpContext { alloc: &|dims, elem: Elem| Tensor::zeros(dims, elem), size_of: &|_| None };
    run(&op.into(), &inputs.iter().collect::<Vec<_>>(), &cx).unwrap()[0].slice::<f32>().to_vec()
}

/// What the kernels write in the emulator.
fn emulated(turn: usize, case: &Case, layout: &Layout, like: &DeviceRows) -> DeviceRows {
    let context = Context::create();
    let build = Build::new(&context, "kernels");
    let range = RangeSpec { bits: case.spec.bits, levels: case.spec.levels };
    quantize::emit(&build, &case.spec).unwrap();
    quantize::emit_range(&build, &range).unwrap();
    let mut device = Emulator::new(&build.finish()).unwrap();
    recording::attach(&mut device, turn, &[Arch::Sm80, Arch::Sm90a]);
    let launch = |device: &mut Emulator, kernel: &str, grid, threads, shared_bytes, args: &[u64]| {
        let launch = Launch { kernel, grid, block: [threads, 1, 1], shared_bytes, args };
        device.launch(&launch).unwrap_or_else(|fault| panic!("{fault}"));
    };
    let x = device.upload(bytemuck::cast_slice(&case.x)).unwrap();
    let given = match case.scale {
        ActScale::Row => 0,
        ActScale::Static => {
            let zero = i32::from(case.spec.levels == Levels::Unsigned);
            device.upload(&[0.037f32.to_le_bytes(), zero.to_le_bytes()].concat()).unwrap()
        }
        ActScale::Tensor => {
            let values = device.upload(bytemuck::cast_slice(&case.values())).unwrap();
            let given = device.alloc(8);
            let words = RangeSpec::words(values, given, case.x.len());
            launch(&mut device, &range.symbol(), [1; 3], RangeSpec::THREADS, 0, &words);
            given
        }
    };
    let factor = if case.matmul.w_zero { 1 } else { -8 } * ByteCode::of(case.spec.levels, case.spec.bits).step;
    let args = QuantizeArgs {
        x,
        second: device.upload(bytemuck::cast_slice(&case.second)).unwrap(),
        third: device.upload(bytemuck::cast_slice(&case.third)).unwrap(),
        given,
        activations: device.alloc(like.activations.len()),
        corrections: device.alloc(like.corrections.len() * 4),
        centers: device.alloc(like.centers.len() * 4),
        scales: device.alloc(like.scales.len() * 4),
        factor,
        epsilon: EPSILON,
        clip: CLIP,
        ..QuantizeArgs::default()
    };
    let args = args.sized(layout, case.m);
    let shared = case.spec.shared_bytes(case.k);
    launch(&mut device, &case.spec.symbol(), case.spec.grid(case.m), QuantizeSpec::THREADS, shared, &args.words());
    let mut rows = DeviceRows {
        activations: vec![0; like.activations.len()],
        corrections: vec![0; like.corrections.len()],
        centers: vec![0; like.centers.len()],
        scales: vec![0.0; like.scales.len()],
    };
    device.read(args.activations, &mut rows.activations).unwrap();
    device.read(args.corrections, bytemuck::cast_slice_mut(&mut rows.corrections)).unwrap();
    device.read(args.centers, bytemuck::cast_slice_mut(&mut rows.centers)).unwrap();
    device.read(args.scales, bytemuck::cast_slice_mut(&mut rows.scales)).unwrap();
    rows
}

#[test]
fn packed_rows_equal_those_of_the_host() {
    (0..SHAPES).into_par_iter().for_each(|turn| {
        let case = Case::random(turn);
        let layout = case.matmul.layout(8, case.k);
        let expected = case.expected(&layout);
        let rows = emulated(turn, &case, &layout, &expected);
        let what = format!("turn {turn}: {} rows of {} by {} ({:?}, {:?})", case.m, case.k, case.spec, case.scale, case.spec.block);
        assert_eq!(rows.scales, expected.scales, "scales of {what}");
        assert_eq!(rows.centers, expected.centers, "centers of {what}");
        assert_eq!(rows.corrections, expected.corrections, "corrections of {what}");
        assert!(rows.activations == expected.activations, "activations of {what}");
    });
    println!("{SHAPES} sets of rows are packed as on the host");
}

/// Every kernel passes its own check; one of other levels under its name does not.
#[test]
fn kernels_check_themselves() {
    let forms = [Form::Bytes, Form::Groups, Form::Planes(1), Form::Planes(2), Form::Planes(8)];
    let specs: Vec<QuantizeSpec> = (0..20)
        .map(|i| QuantizeSpec {
            source: [Source::Plain, Source::RmsNorm, Source::LayerNorm, Source::SiluMul, Source::Patches][i % 5],
            bits: [8, 4, 3, 2, 6][i / 4],
            levels: [Levels::Signed, Levels::Unsigned, Levels::Odd][i % 3],
            given: i % 7 == 3,
            form: forms[(i + i / 5) % 5],
            block: BLOCKS[i % BLOCKS.len()],
            group: BLOCKS[i % BLOCKS.len()].filter(|_| i % 7 != 3 && i % 2 == 0),
        })
        .collect();
    specs.par_iter().for_each(|spec| {
        check_rows(&mut device_of(spec, &spec.symbol()), spec).unwrap_or_else(|error| panic!("{error}"));
        let levels = if spec.levels == Levels::Signed { Levels::Odd } else { Levels::Signed };
        let wrong = QuantizeSpec { levels, ..*spec };
        assert!(matches!(check_rows(&mut device_of(&wrong, &spec.symbol()), spec), Err(CheckError::WrongRows { .. })), "{spec}");
        let range = RangeSpec { bits: spec.bits, levels: spec.levels };
        check_range(&mut device_of(spec, &spec.symbol()), &range).unwrap_or_else(|error| panic!("{error}"));
    });
}

/// A device with the kernel of `spec` under a name, and the one that finds ranges for it.
fn device_of(spec: &QuantizeSpec, name: &str) -> Emulator {
    let context = Context::create();
    let build = Build::new(&context, "kernels");
    quantize::emit(&build, spec).unwrap();
    quantize::emit_range(&build, &RangeSpec { bits: spec.bits, levels: spec.levels }).unwrap();
    let module = build.finish();
    module.get_function(&spec.symbol()).unwrap().as_global_value().set_name(name);
    Emulator::new(&module).unwrap()
}
