//! Every family of device kernels in the emulator against the scalar reference, bit for bit.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, missing_docs, reason = "tests")]

#[allow(dead_code, reason = "shared with other tests")]
mod reference;

mod planted;
mod recording;

use inkwell::context::Context;
use inkwell::module::Module;
use mokume_codegen::gpu::emulate::{Emulator, Fault};
use mokume_codegen::gpu::{Build, bit_matmul, pack};
use mokume_codegen::kernel::pack::Weights;
use mokume_ir::quant::Levels;
use mokume_runtime::bit_product::{BitProduct, ByteCode};
use mokume_runtime::gpu::abi::MatmulArgs;
use mokume_runtime::gpu::arch::Arch;
use mokume_runtime::gpu::check::{CheckError, check, step_of};
use mokume_runtime::gpu::choose::{self, Choice};
use mokume_runtime::gpu::device::Launch;
use mokume_runtime::gpu::rows;
use mokume_runtime::gpu::spec::{Activation, Ending, FinishSpec, Layout, Lowering, MatmulSpec, Store, Tile};
use mokume_runtime::gpu::tuning::Tuning;
use rayon::prelude::*;
use reference::{Case, Random};
use std::collections::BTreeSet;

/// Random shapes per family.
const SHAPES: usize = 208;
const BLOCKS: [Option<u32>; 8] = [None, Some(128), Some(64), None, Some(32), Some(256), Some(10), Some(100)];

fn levels(random: &mut Random, bits: u8) -> Levels {
    let mut levels = vec![Levels::Signed, Levels::Unsigned, Levels::Odd];
    levels.extend((bits == 3).then_some(Levels::Five));
    levels.extend((bits == 2).then_some(Levels::Ternary));
    levels[random.below(levels.len())]
}

/// A case whose widths go through all pairs with `turn`.
fn case(random: &mut Random, turn: usize) -> Case {
    let (w_bits, a_bits) = ((turn % 8) as u8 + 1, (turn / 8 % 8) as u8 + 1);
    let sizes = (random.below(20) + 1, random.below(70) + 1, random.below(600) + 1);
    let (w, a) = ((w_bits, levels(random, w_bits), random.below(2) == 0), (a_bits, levels(random, a_bits)));
    let block = BLOCKS[random.below(BLOCKS.len())];
    let group = [None, None, block, block.map(|size| size * 2), Some(64).filter(|_| block.is_none())][random.below(5)];
    Case::random(random, w, a, sizes, block, group)
}

fn product(case: &Case) -> BitProduct {
    let code = ByteCode::of(case.a_levels, case.a_bits);
    BitProduct {
        w_bits: case.w_bits,
        a_bits: case.a_bits,
        a_signed: code.signed,
        shift: ((code.step * case.w_levels.affine(case.w_bits).0) as u32).trailing_zeros() as u8,
        w_zero: !case.w_zeros.is_empty(),
        a_center: code.center != 0 || case.a_zeros.iter().any(|&zero| zero != 0),
        a_blocks: case.a_group.is_some(),
        block: case.block.into_iter().chain(case.a_group).min(),
    }
}

/// A random tile that is possible.
fn tile(random: &mut Random, product: &BitProduct, lowering: Lowering) -> Tile {
    let mut pick = |of: &[u8]| of[random.below(of.len())];
    loop {
        let (tokens, columns) = match lowering {
            Lowering::Integer | Lowering::IntegerGroup => (8, pick(&[2, 4])),
            _ => (pick(&[1, 2, 4, 8]), pick(&[1, 2, 3])),
        };
        let (warps_m, warps_n) = match lowering {
            Lowering::BinaryGroup | Lowering::IntegerGroup => (1, 4),
            _ => (pick(&[1, 1, 2]), pick(&[1, 1, 2])),
        };
        let warps_k = if warps_m * warps_n == 1 { pick(&[1, 2, 3]) } else { 1 };
        let tile = Tile { tokens, groups: pick(&[1, 2]), columns, warps_m, warps_n, warps_k, stages: pick(&[2, 3, 4]) };
        if choose::fits(Arch::Sm90a, product, lowering, tile) {
            return tile;
        }
    }
}

fn ending(random: &mut Random) -> Ending {
    let activation = [None, None, Some(Activation::Relu), Some(Activation::Silu), Some(Activation::HardSwish)][random.below(5)];
    Ending { bias: random.below(2) == 0, activation }
}

/// A case on a device.
struct Run {
    device: Emulator,
    args: MatmulArgs,
    layout: Layout,
}

impl Run {
    fn new(case: &Case, spec: &MatmulSpec, emit: impl Fn(&Build<'_>)) -> Self {
        Run::edited(case, spec, emit, &|_| {})
    }
    /// With a module that was changed after it was built.
    fn edited(case: &Case, spec: &MatmulSpec, emit: impl Fn(&Build<'_>), edit: &dyn Fn(&Module<'_>)) -> Self {
        let context = Context::create();
        let build = Build::new(&context, "kernels");
        emit(&build);
        let module = build.finish();
        edit(&module);
        let mut device = Emulator::new(&module).unwrap();
        let layout = spec.layout(case.n, case.k);
        let codes = case.packed_weights();
        let (scales, zero_points) = (&case.w_scales[..], &case.w_zeros[..]);
        let weights = Weights {
            levels: case.w_levels,
            n: case.n,
            k: case.k,
            block: case.block.map(|size| size as usize),
            codes: &codes,
            scales,
            zero_points,
        };
        let weights = pack::pack(&spec.product, &weights);
        let (code, w_offset) = (ByteCode::of(case.a_levels, case.a_bits), case.w_levels.affine(case.w_bits).1);
        let rows =
            rows::pack(spec, &layout, code, w_offset, &case.a_codes, &of_blocks(case, &case.a_scales), &of_blocks(case, &case.a_zeros));
        let mut upload = |bytes: &[u8]| device.upload(bytes).unwrap();
        let args = MatmulArgs {
            activations: upload(&rows.activations),
            corrections: upload(bytemuck::cast_slice(&rows.corrections)),
            centers: upload(bytemuck::cast_slice(&rows.centers)),
            scales: upload(bytemuck::cast_slice(&rows.scales)),
            weights: upload(&weights.planes),
            w_scales: upload(bytemuck::cast_slice(&weights.scales)),
            w_zeros: upload(bytemuck::cast_slice(&weights.zeros)),
            w_sums: upload(bytemuck::cast_slice(&weights.sums)),
            bias: upload(bytemuck::cast_slice(&bias(case.n))),
            out: 0,
            m: case.m as u32,
            n: case.n as u32,
            chunks: layout.chunks as u32,
            blocks: layout.blocks as u32,
        };
        Run { device, args, layout }
    }
    /// Launches; gives `count` words of results.
    fn launch(&mut self, kernel: &str, args: MatmulArgs, grid: [u32; 3], threads: u32, shared_bytes: u32, count: usize) -> (u64, Vec<u32>) {
        self.try_launch(kernel, args, grid, threads, shared_bytes, count).unwrap_or_else(|fault| panic!("{fault}"))
    }
    fn try_launch(
        &mut self,
        kernel: &str,
        args: MatmulArgs,
        grid: [u32; 3],
        threads: u32,
        shared_bytes: u32,
        count: usize,
    ) -> Result<(u64, Vec<u32>), Fault> {
        let out = self.device.alloc(count * 4);
        let words = MatmulArgs { out, ..args }.words();
        let launch = Launch { kernel, grid, block: [threads, 1, 1], shared_bytes, args: &words };
        self.device.launch(&launch)?;
        let mut results = vec![0u32; count];
        self.device.read(out, bytemuck::cast_slice_mut(&mut results))?;
        Ok((out, results))
    }
}

/// Numbers of rows as kernels read them: those of groups for every block.
fn of_blocks<T: Copy>(case: &Case, numbers: &[T]) -> Vec<T> {
    if case.a_group.is_none() {
        return numbers.to_vec();
    }
    let places = (0..case.m).flat_map(|m| (0..case.blocks()).map(move |g| case.of_activations(m, g)));
    places.map(|at| numbers[at]).collect()
}

fn bias(n: usize) -> Vec<f32> {
    (0..n).map(|i| i as f32 * 0.25 - 3.0).collect()
}

/// The results that a kernel should give: blocks are summed per team, between one of `bounds` and the next, then teams.
fn expected(case: &Case, sums: &[i32], bounds: &[usize], ending: Ending) -> Vec<u32> {
    let blocks = case.blocks();
    let mut results = Vec::new();
    for (m, n) in (0..case.m).flat_map(|m| (0..case.n).map(move |n| (m, n))) {
        let term = |g: usize| {
            let own = sums[(m * blocks + g) * case.n + n] as f32 * case.w_scales[case.of_weights(n, g)];
            if case.a_group.is_some() { own * case.a_scales[case.of_activations(m, g)] } else { own }
        };
        let team = |bounds: &[usize]| (bounds[0]..bounds[1]).fold(-0f32, |sum, g| sum + term(g));
        let total = bounds.windows(2).map(team).reduce(|sum, next| sum + next).unwrap();
        let scaled = if case.a_group.is_some() { total } else { total * case.a_scales[m] };
        results.push(end(scaled, ending, bias(case.n)[n]).to_bits());
    }
    results
}

fn end(y: f32, ending: Ending, bias: f32) -> f32 {
    let mut y = [if ending.bias { y + bias } else { y }];
    let step = ending.activation.map(step_of);
    step.into_iter().for_each(|step| mokume_runtime::ops::epilogue::activate(step, &mut y));
    y[0]
}

/// Results of one launch.
fn check_scaled(turn: usize, case: &Case, spec: &MatmulSpec, ending: Ending, sums: &[i32]) {
    let mut run = Run::new(case, spec, |build| bit_matmul::emit(build, spec).unwrap());
    recording::attach(&mut run.device, turn, archs(spec));
    let (grid, threads) = (spec.grid(&run.layout, case.m, 1), spec.tile.threads());
    let (_, results) = run.launch(&spec.symbol(), run.args, grid, threads, spec.shared_bytes(), case.m * case.n);
    compare(case, spec, &results, &expected(case, sums, &spec.team_bounds(&run.layout), ending));
}

/// Raw sums of several blocks of threads along k, finished by another kernel.
fn check_split(turn: usize, case: &Case, spec: &MatmulSpec, ending: Ending, splits: usize, sums: &[i32]) {
    let finish = FinishSpec { product: spec.product, ending };
    let mut run = Run::new(case, spec, |build| {
        bit_matmul::emit(build, spec).unwrap();
        bit_matmul::emit_finish(build, &finish).unwrap();
    });
    recording::attach(&mut run.device, turn, archs(spec));
    let (raw_parts, size) = (spec.raw_parts(&run.layout, splits), case.m * case.n);
    let (grid, threads) = (spec.grid(&run.layout, case.m, splits), spec.tile.threads());
    let (raw, _) = run.launch(&spec.symbol(), run.args, grid, threads, spec.shared_bytes(), raw_parts * size);
    let args = MatmulArgs { activations: raw, chunks: raw_parts as u32, ..run.args };
    let (_, results) = run.launch(&finish.symbol(), args, finish.grid(case.m, case.n), FinishSpec::THREADS, 0, size);
    compare(case, spec, &results, &expected(case, sums, &[0, case.blocks()], ending));
}

fn compare(case: &Case, spec: &MatmulSpec, results: &[u32], expected: &[u32]) {
    let wrong = results.iter().zip(expected).position(|(a, b)| a != b);
    let value = |words: &[u32], at: usize| f32::from_bits(words[at]);
    let place = wrong.map(|at| (at / case.n, at % case.n, value(results, at), value(expected, at)));
    assert!(wrong.is_none(), "(row, column, is, should be) {place:?} of {case} by {spec}");
}

/// Where a kernel runs, oldest and newest.
fn archs(spec: &MatmulSpec) -> &'static [Arch] {
    if matches!(spec.lowering, Lowering::BinaryGroup | Lowering::IntegerGroup) { &[Arch::Sm90a] } else { &[Arch::Sm80, Arch::Sm90a] }
}

/// Checks random shapes; every fourth is split along k.
fn check_family(lowering: Lowering, seed: u64) {
    let cases: Vec<usize> = (0..SHAPES).collect();
    cases.par_iter().for_each(|&turn| {
        let mut random = Random::new(seed * 1000 + turn as u64);
        let case = case(&mut random, turn);
        let (product, sums) = (product(&case), case.accumulators());
        let (tile, ending) = (tile(&mut random, &product, lowering), ending(&mut random));
        let spec = |store| MatmulSpec { product, lowering, tile, store };
        match turn % 4 {
            3 => check_split(turn, &case, &spec(Store::Raw), ending, random.below(3) + 1, &sums),
            _ => check_scaled(turn, &case, &spec(Store::Scaled(ending)), ending, &sums),
        }
    });
    println!("{SHAPES} products by {} kernels equal the reference bit for bit", lowering.name());
}

#[test]
fn products_of_bits_equal_the_reference() {
    check_family(Lowering::Binary, 1);
}

#[test]
fn products_of_bytes_equal_the_reference() {
    check_family(Lowering::Integer, 2);
}

#[test]
fn products_of_bits_by_groups_of_warps_equal_the_reference() {
    check_family(Lowering::BinaryGroup, 3);
}

#[test]
fn products_of_bytes_by_groups_of_warps_equal_the_reference() {
    check_family(Lowering::IntegerGroup, 4);
}

/// Every kernel that is chosen for these products passes its own check; another one under its name does not.
#[test]
fn chosen_kernels_check_themselves() {
    for (i, block) in BLOCKS.into_iter().enumerate() {
        let product = |a_signed| BitProduct {
            w_bits: i as u8 + 1,
            a_bits: 8,
            a_signed,
            shift: 0,
            w_zero: true,
            a_center: true,
            a_blocks: false,
            block,
        };
        let arch = [Arch::Sm90a, Arch::Sm80, Arch::Sm120][i % 3];
        let ending = Ending { bias: true, activation: Some(Activation::Silu) };
        let chosen = |a_signed, m| choose::choose(arch, &product(a_signed), (576, 1536), m, ending, &Tuning::default());
        for m in [1, 3, 40] {
            let (right, wrong) = (chosen(true, m), chosen(false, m));
            check(&mut device_of(&right, &right.spec.symbol()), &right).unwrap();
            if !right.spec.lowering.takes_bytes() {
                let mut device = device_of(&wrong, &right.spec.symbol());
                assert!(matches!(check(&mut device, &right), Err(CheckError::Wrong { .. })));
            }
        }
    }
}

/// What the cost model chooses for a 7B model, and where blocks share k, computes what the reference does.
#[test]
fn kernels_of_a_7b_model_check_themselves() {
    let mut choices = BTreeSet::new();
    for arch in [Arch::Sm80, Arch::Sm90a, Arch::Sm120] {
        for size in [(4096, 4096), (4096, 11008), (11008, 4096), (256, 65536)] {
            for (w, a, block) in [(2, 8, None), (4, 8, Some(128)), (8, 8, None), (2, 2, None), (3, 4, Some(64))] {
                let chosen = |m| choose::choose(arch, &BitProduct::signed(w, a, block), size, m, Ending::default(), &Tuning::default());
                choices.extend([1, 8, 32, 512].map(chosen));
            }
        }
    }
    let choices: Vec<Choice> = choices.into_iter().collect();
    choices.par_iter().for_each(|choice| {
        check(&mut device_of(choice, &choice.spec.symbol()), choice).unwrap_or_else(|error| panic!("{choice}: {error}"));
    });
    let count = |of: &dyn Fn(&Choice) -> bool| choices.iter().filter(|choice| of(choice)).count();
    let (split, groups) = (count(&|choice| choice.parts > 1), count(&|choice| choice.spec.lowering == Lowering::BinaryGroup));
    println!("{} chosen kernels equal the reference, {split} that share k, {groups} with groups of warps for bits", choices.len());
    assert!(split > 0 && groups > 0);
}

/// A device with the kernels of `choice`, the first under a name.
fn device_of(choice: &Choice, name: &str) -> Emulator {
    let context = Context::create();
    let build = Build::new(&context, "kernels");
    bit_matmul::emit(&build, &choice.spec).unwrap();
    choice.finish().into_iter().for_each(|finish| bit_matmul::emit_finish(&build, &finish).unwrap());
    let module = build.finish();
    module.get_function(&choice.spec.symbol()).unwrap().as_global_value().set_name(name);
    Emulator::new(&module).unwrap()
}
