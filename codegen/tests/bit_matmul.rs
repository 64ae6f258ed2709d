//! Every kernel against a scalar reference, bit for bit, at every instruction set level of this machine.

#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs, reason = "tests")]

mod aarch64;
mod programs;
mod reference;

use bytes::Bytes;
use mokume_codegen::cpu::compile;
use mokume_codegen::kernel::pack::{Weights, pack};
use mokume_codegen::kernel::{BitProduct, ByteCode, KernelSpec, LANES, ScaleFormat, Store, Strategy};
use mokume_ir::quant::Levels;
use mokume_runtime::cpu::call::{Product, multiply};
use mokume_runtime::cpu::isa::IsaLevel;
use mokume_runtime::cpu::loader::Code;
use mokume_runtime::cpu::rows::{RowPacker, Rows};
use rayon::prelude::*;
use reference::{Case, Random};
use std::collections::BTreeSet;

const KS: [usize; 8] = [1, 63, 64, 127, 128, 576, 1000, 4096];
const BLOCKS: [Option<u32>; 8] = [None, None, Some(32), Some(64), None, Some(128), Some(10), Some(100)];
const ROWS: [usize; 6] = [1, 9, 2, 13, 4, 3];
const COLUMNS: [usize; 5] = [1, 17, 16, 31, 20];

/// Levels that codes of this width may have.
fn levels(bits: u8) -> Vec<Levels> {
    let mut levels = vec![Levels::Signed, Levels::Unsigned, Levels::Odd];
    levels.extend((bits == 3).then_some(Levels::Five));
    levels.extend((bits == 2).then_some(Levels::Ternary));
    levels
}

/// Cases for one pair of widths: every combination of levels, with and without zero points, with sizes in turn. Block sizes
/// depend on the widths and zero points only, so that cases share kernels.
fn cases(w_bits: u8, a_bits: u8, random: &mut Random) -> Vec<Case> {
    let mut cases = Vec::new();
    for w_levels in levels(w_bits) {
        for a_levels in levels(a_bits) {
            for (zero, _) in [false, true].into_iter().flat_map(|zero| (0..2).map(move |turn| (zero, turn))) {
                let turn = cases.len();
                let sizes = (ROWS[turn % ROWS.len()], COLUMNS[turn % COLUMNS.len()], KS[turn % KS.len()]);
                let block = BLOCKS[(w_bits as usize + 3 * a_bits as usize + 5 * usize::from(zero)) % BLOCKS.len()];
                cases.push(Case::random(random, (w_bits, w_levels, zero), (a_bits, a_levels), sizes, block, None));
            }
        }
    }
    cases
}

fn spec(case: &Case, strategy: Strategy, store: Store) -> KernelSpec {
    let code = ByteCode::of(case.a_levels, case.a_bits);
    let product = BitProduct {
        w_bits: case.w_bits,
        a_bits: case.a_bits,
        a_signed: code.signed,
        shift: ((code.step * case.w_levels.affine(case.w_bits).0) as u32).trailing_zeros() as u8,
        w_zero: !case.w_zeros.is_empty(),
        a_center: code.center != 0 || case.a_zeros.iter().any(|&zero| zero != 0),
        a_blocks: case.a_group.is_some(),
        block: case.block.into_iter().chain(case.a_group).min(),
    };
    KernelSpec { product, strategy, scales: ScaleFormat::of(&case.w_scales), store }
}

/// Packed operands of a case for one kernel, the same at every level.
struct Operands {
    spec: KernelSpec,
    weights: Bytes,
    rows: Rows,
}

impl Operands {
    fn of(case: &Case, spec: KernelSpec) -> Self {
        let weights = Weights {
            levels: case.w_levels,
            n: case.n,
            k: case.k,
            block: case.block.map(|size| size as usize),
            codes: &case.packed_weights(),
            scales: &case.w_scales,
            zero_points: &case.w_zeros,
        };
        Operands { spec, weights: Bytes::from(pack(&spec, &weights)), rows: rows(case, spec) }
    }
    fn product(&self, case: &Case, code: &Code) -> Product {
        let function = code.kernel(&self.spec.symbol()).unwrap();
        // SAFETY: the code was compiled from this description and outlives the product.
        unsafe { Product::new(function, self.spec, (case.n, case.k), self.weights.clone()).unwrap() }
    }
}

fn rows(case: &Case, spec: KernelSpec) -> Rows {
    let code = ByteCode::of(case.a_levels, case.a_bits);
    let packer = RowPacker::new(spec, spec.layout(case.n, case.k), code, case.w_levels.affine(case.w_bits).1);
    let mut rows = packer.rows(case.m);
    for (m, mut row) in packer.split(&mut rows).enumerate() {
        let bytes: Vec<i8> = case.a_codes[m * case.k..][..case.k].iter().map(|&u| (i32::from(u) - code.bias) as i8).collect();
        for g in 0..if case.a_group.is_some() { case.blocks() } else { 1 } {
            let at = case.of_activations(m, g);
            packer.scale(g..g + 1, case.a_scales[at], case.a_zeros[at], &mut row);
        }
        packer.pack(&bytes, &mut row);
    }
    rows
}

fn check(case: &Case, operands: &Operands, code: &Code, sums: &[i32]) {
    let product = operands.product(case, code);
    match operands.spec.store {
        Store::Raw => {
            let out = product.accumulators(&operands.rows);
            compare(case, &operands.spec, out.chunks(case.n.next_multiple_of(LANES)), sums);
        }
        Store::Scaled => {
            let mut out = vec![0f32; case.m * case.n];
            multiply([(&product, &mut out[..])], &operands.rows);
            compare(case, &operands.spec, bytemuck::cast_slice(&out).chunks(case.n), bytemuck::cast_slice(&case.outputs(sums)));
        }
    }
}

/// Compares lines of results, of which the first `n` count, with the expected ones.
fn compare<'a>(case: &Case, spec: &KernelSpec, lines: impl Iterator<Item = &'a [i32]>, expected: &[i32]) {
    for (i, (line, expected)) in lines.zip(expected.chunks(case.n)).enumerate() {
        assert_eq!(&line[..case.n], expected, "line {i} of {case} by {spec}");
    }
}

#[test]
fn every_kernel_equals_the_reference() {
    let levels: Vec<IsaLevel> = IsaLevel::ALL.into_iter().filter(|level| level.is_supported()).collect();
    let pairs: Vec<(u8, u8)> = (1..=8).flat_map(|w| (1..=8).map(move |a| (w, a))).collect();
    let checked: usize = pairs.par_iter().map(|&(w_bits, a_bits)| check_pair(w_bits, a_bits, &levels)).sum();
    assert!(checked >= 5000, "only {checked} cases");
    let names: Vec<_> = levels.iter().map(|level| level.name()).collect();
    println!("{checked} products equal the reference bit for bit at {}", names.join(", "));
}

/// Groups of activations with those of weights.
const GROUPS: [(u32, Option<u32>); 7] =
    [(64, Some(64)), (64, None), (64, Some(32)), (64, Some(128)), (32, Some(64)), (10, Some(10)), (100, Some(50))];

#[test]
fn kernels_with_groups_of_activations_equal_the_reference() {
    let levels: Vec<IsaLevel> = IsaLevel::ALL.into_iter().filter(|level| level.is_supported()).collect();
    let checked: usize = (0..GROUPS.len() * 2).into_par_iter().map(|turn| check_groups(turn, &levels)).sum();
    assert!(checked >= 200, "only {checked} cases");
    println!("{checked} products with groups of activations equal the reference bit for bit");
}

/// Cases of some groups, by every strategy; gives how many products were compared.
fn check_groups(turn: usize, levels: &[IsaLevel]) -> usize {
    let ((group, block), mut random) = (GROUPS[turn % GROUPS.len()], Random::new(turn as u64 + 900));
    let (w_bits, a_bits) = [(4, 4), (2, 8), (4, 8), (3, 3), (8, 8), (1, 1)][random.below(6)];
    let (w_levels, zero) = ([Levels::Signed, Levels::Unsigned, Levels::Odd][turn % 3], turn % 2 == 1);
    let cases = (0..6).map(|i| {
        let a_levels = [Levels::Signed, Levels::Unsigned][i % 2];
        let sizes = (ROWS[(turn + i) % ROWS.len()], COLUMNS[random.below(COLUMNS.len())], KS[random.below(KS.len())]);
        Case::random(&mut random, (w_bits, w_levels, zero), (a_bits, a_levels), sizes, block, Some(group))
    });
    let cases: Vec<Case> = cases.collect();
    let specs = |case| {
        let stores = Strategy::ALL.into_iter().flat_map(|strategy| [Store::Raw, Store::Scaled].map(|store| (strategy, store)));
        stores.map(move |(strategy, store)| spec(case, strategy, store))
    };
    check_cases(&cases, specs, levels)
}

/// All cases of a pair; gives how many products were compared.
fn check_pair(w_bits: u8, a_bits: u8, levels: &[IsaLevel]) -> usize {
    let mut random = Random::new(u64::from(w_bits) * 8 + u64::from(a_bits));
    let cases = cases(w_bits, a_bits, &mut random);
    let specs = |case| stores(case).map(move |(strategy, store)| spec(case, strategy, store));
    check_cases(&cases, specs, levels)
}

/// Cases by the kernels that `specs` gives for each; gives how many products were compared.
fn check_cases<'c, S: Iterator<Item = KernelSpec>>(cases: &'c [Case], specs: impl Fn(&'c Case) -> S, levels: &[IsaLevel]) -> usize {
    let distinct: BTreeSet<KernelSpec> = cases.iter().flat_map(&specs).collect();
    let codes: Vec<Code> = levels.iter().map(|&level| Code::load(&compile(&distinct, level).unwrap()).unwrap()).collect();
    let checks = cases.iter().map(|case| {
        let sums = case.accumulators();
        let operands = specs(case).map(|spec| Operands::of(case, spec));
        operands.map(|operands| codes.iter().map(|code| check(case, &operands, code, &sums)).count()).sum::<usize>()
    });
    checks.sum()
}

/// Accumulators of every case: by two strategies in turn without weight zero points, by the third with them; f32 results of some.
/// Cases whose products are alike share the turn, so that they share kernels.
fn stores(case: &Case) -> impl Iterator<Item = (Strategy, Store)> {
    let turn = case.w_bits + case.a_bits;
    let alike = case.w_levels.affine(case.w_bits).0 + case.a_levels as i32;
    let third = Strategy::ALL[(i32::from(turn) + alike) as usize % Strategy::ALL.len()];
    let strategies: Vec<Strategy> = Strategy::ALL.into_iter().filter(|&one| (one == third) != case.w_zeros.is_empty()).collect();
    let scaled = case.w_zeros.is_empty() && case.w_levels == Levels::Signed && turn.is_multiple_of(3);
    let stores = if scaled { vec![Store::Raw, Store::Scaled] } else { vec![Store::Raw] };
    stores.into_iter().flat_map(move |store| strategies.clone().into_iter().map(move |strategy| (strategy, store)))
}
