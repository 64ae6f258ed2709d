//! PTX of every kernel, for every architecture and pair of widths: it assembles, without spills, to the instruction meant.

#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs, reason = "tests")]

mod toolkit;

use inkwell::context::Context;
use mokume_codegen::gpu::{Build, bit_matmul, ptx, quantize};
use mokume_ir::quant::Levels;
use mokume_runtime::bit_product::{BitProduct, ByteCode};
use mokume_runtime::gpu::arch::Arch;
use mokume_runtime::gpu::choose;
use mokume_runtime::gpu::quantize::{Form, QuantizeSpec, RangeSpec, Source};
use mokume_runtime::gpu::spec::{Activation, Ending, FinishSpec, Layout, Lowering, MatmulSpec, Store};
use mokume_runtime::gpu::tuning::Tuning;
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use toolkit::Toolkit;

const BLOCKS: [Option<u32>; 6] = [None, Some(128), Some(64), None, Some(32), Some(256)];
const ROWS: [usize; 4] = [1, 8, 2, 4];
const ENDINGS: [Option<Activation>; 3] = [None, Some(Activation::Silu), Some(Activation::Relu)];

/// The instruction that a lowering must become.
fn instruction(lowering: Lowering) -> &'static str {
    match lowering {
        Lowering::Binary => "BMMA.",
        Lowering::BinaryGroup => "BGMMA.",
        Lowering::Integer => "IMMA.",
        Lowering::IntegerGroup => "IGMMA.",
    }
}

fn has(arch: Arch, lowering: Lowering) -> bool {
    match lowering {
        Lowering::Binary => arch.has_binary_mma(),
        Lowering::BinaryGroup | Lowering::IntegerGroup => arch.has_group_mma(),
        Lowering::Integer => true,
    }
}

/// One kernel for a pair of widths; what does not depend on them varies from pair to pair.
fn spec(arch: Arch, lowering: Lowering, (w_bits, a_bits): (u8, u8)) -> MatmulSpec {
    let turn = (w_bits * 8 + a_bits) as usize + w_bits as usize;
    let unsigned = turn.is_multiple_of(3);
    let code = ByteCode::of(if unsigned { Levels::Unsigned } else { Levels::Signed }, a_bits);
    let block = BLOCKS[turn % BLOCKS.len()];
    let product = BitProduct {
        w_bits,
        a_bits,
        a_signed: code.signed,
        shift: 0,
        w_zero: turn.is_multiple_of(2),
        a_center: unsigned,
        a_blocks: block.is_some() && turn % 4 == 1,
        block,
    };
    let m = match lowering {
        Lowering::Integer => [1, 32, 512][turn % 3],
        Lowering::IntegerGroup => 512,
        _ => ROWS[turn % ROWS.len()],
    };
    let tile = choose::tile(arch, &product, &Layout::of(&product, 4096, 4096), lowering, m);
    let ending = Ending { bias: turn.is_multiple_of(4), activation: ENDINGS[turn % ENDINGS.len()] };
    MatmulSpec { product, lowering, tile, store: Store::Scaled(ending) }
}

fn emit(arch: Arch, specs: &[MatmulSpec]) -> String {
    let context = Context::create();
    let build = Build::new(&context, "kernels");
    specs.iter().for_each(|spec| bit_matmul::emit(&build, spec).unwrap());
    ptx::emit(&build.finish(), arch).unwrap()
}

/// Assembles kernels and looks at each.
fn check(toolkit: &Toolkit, arch: Arch, lowering: Lowering, specs: &[MatmulSpec]) -> usize {
    let name = format!("{arch}_{}_w{}", lowering.name(), specs[0].w_bits);
    let assembled = toolkit.assemble(&name, &emit(arch, specs), arch).unwrap();
    let serialized: Vec<_> = assembled.log.lines().filter(|line| line.contains("serialized")).collect();
    assert!(serialized.is_empty(), "{arch}: {serialized:#?}");
    for spec in specs {
        let kernel = &assembled.kernels[&spec.symbol()];
        assert_eq!(kernel.spilled, 0, "{arch}: bytes spilled by {spec}");
        assert!(kernel.code.contains(instruction(lowering)), "{arch}: no {} in {spec}", instruction(lowering));
    }
    specs.len()
}

/// All pairs of widths, for every architecture that has the lowering.
fn check_all(lowering: Lowering) {
    let Some(toolkit) = Toolkit::find() else { return };
    let archs = Arch::ALL.into_iter().filter(|&arch| has(arch, lowering));
    let work: Vec<_> = archs.flat_map(|arch| (1..=8).map(move |w| (arch, w))).collect();
    let counts = work.par_iter().map(|&(arch, w)| {
        let specs: Vec<MatmulSpec> = (1..=8).map(|a| spec(arch, lowering, (w, a))).collect();
        (arch, check(&toolkit, arch, lowering, &specs))
    });
    let mut table: BTreeMap<Arch, usize> = BTreeMap::new();
    counts.collect::<Vec<_>>().into_iter().for_each(|(arch, count)| *table.entry(arch).or_default() += count);
    let name = lowering.name();
    table.iter().for_each(|(arch, count)| println!("{arch}: {count} {name} kernels with {} and no spills", instruction(lowering)));
    assert!(table.values().all(|&count| count == 64));
}

/// Kernels that quantize, of every source and form, and those around raw sums and whole tensors.
fn emit_others(arch: Arch) -> String {
    let context = Context::create();
    let build = Build::new(&context, "others");
    let forms = [Form::Bytes, Form::Groups, Form::Planes(1), Form::Planes(2), Form::Planes(4), Form::Planes(8)];
    let mut bits = (1..=8).cycle();
    for (i, (source, form)) in Source::ALL.into_iter().flat_map(|source| forms.map(|form| (source, form))).enumerate() {
        let levels = [Levels::Signed, Levels::Unsigned, Levels::Odd][i % 3];
        let spec = QuantizeSpec {
            source,
            bits: bits.next().unwrap(),
            levels,
            given: i % 4 == 3,
            form,
            block: BLOCKS[i % BLOCKS.len()],
            group: BLOCKS[i % BLOCKS.len()].filter(|_| i % 4 == 1),
        };
        quantize::emit(&build, &spec).unwrap();
    }
    for (i, form) in forms.into_iter().enumerate() {
        let spec =
            QuantizeSpec { source: Source::Patches, bits: 8, levels: Levels::Signed, given: true, form, block: BLOCKS[i], group: None };
        quantize::emit(&build, &spec).unwrap();
    }
    for (i, block) in BLOCKS.into_iter().enumerate() {
        let w_bits = i as u8 + 1;
        let product = BitProduct { w_zero: i % 2 == 0, a_center: i % 3 == 0, ..BitProduct::signed(w_bits, 8, block) };
        bit_matmul::emit_finish(&build, &FinishSpec { product, ending: Ending { bias: true, activation: ENDINGS[i % 3] } }).unwrap();
        quantize::emit_range(&build, &RangeSpec { bits: w_bits, levels: [Levels::Signed, Levels::Unsigned][i % 2] }).unwrap();
    }
    ptx::emit(&build.finish(), arch).unwrap()
}

#[test]
fn what_quantizes_and_what_finishes_assembles() {
    let Some(toolkit) = Toolkit::find() else { return };
    Arch::ALL.par_iter().for_each(|&arch| {
        let assembled = toolkit.assemble(&format!("{arch}_others"), &emit_others(arch), arch).unwrap();
        let spilled: Vec<_> = assembled.kernels.iter().filter(|(_, kernel)| kernel.spilled > 0).map(|(name, _)| name).collect();
        assert!(assembled.kernels.len() == 42 && spilled.is_empty(), "{arch}: {spilled:?}");
    });
}

#[test]
fn bits_assemble_for_every_pair() {
    check_all(Lowering::Binary);
}

#[test]
fn bits_by_groups_of_warps_assemble_for_every_pair() {
    check_all(Lowering::BinaryGroup);
}

#[test]
fn bytes_assemble_for_every_pair() {
    check_all(Lowering::Integer);
}

#[test]
fn bytes_by_groups_of_warps_assemble_for_every_pair() {
    check_all(Lowering::IntegerGroup);
}

/// What the cost model chooses for a 7B model, for every class of rows.
#[test]
fn chosen_kernels_assemble() {
    let Some(toolkit) = Toolkit::find() else { return };
    let pairs = [(1, 1), (1, 4), (2, 2), (2, 8), (3, 4), (4, 4), (4, 8), (5, 3), (6, 6), (8, 8)];
    let work: Vec<_> = [Arch::Sm80, Arch::Sm90a, Arch::Sm120].into_iter().flat_map(|arch| pairs.map(|pair| (arch, pair))).collect();
    let counts = work.par_iter().map(|&(arch, (w, a))| {
        let product = spec(arch, Lowering::Integer, (w, a)).product;
        let chosen = |size, m| choose::choose(arch, &product, size, m, Ending::default(), &Tuning::default()).spec;
        let sizes = [(4096, 4096), (4096, 11008), (11008, 4096), (256, 65536)];
        let specs: BTreeSet<MatmulSpec> = sizes.into_iter().flat_map(|size| choose::CLASSES.map(|m| chosen(size, m))).collect();
        let assembled =
            toolkit.assemble(&format!("{arch}_chosen_w{w}a{a}"), &emit(arch, &specs.iter().copied().collect::<Vec<_>>()), arch).unwrap();
        for spec in &specs {
            let kernel = &assembled.kernels[&spec.symbol()];
            assert_eq!(kernel.spilled, 0, "{arch}: bytes spilled by {spec}");
            assert!(kernel.code.contains(instruction(spec.lowering)), "{arch}: no {} in {spec}", instruction(spec.lowering));
        }
        specs.len()
    });
    println!("{} chosen kernels without spills", counts.sum::<usize>());
}
