//! Writes the kernels that `tools/gpu/bench` measures: products at the shapes of a 7B model by several ways to divide the work, and
//! the quantizing kernel that each needs.
//!
//! `gpu_bench_kernels FOLDER ARCH`: PTX per pair of widths, and `bench.json` with what to launch.

#![allow(clippy::print_stderr, reason = "a tool for developers")]

use inkwell::context::Context;
use mokume_codegen::error::CodegenError;
use mokume_codegen::gpu::{Build, bit_matmul, ptx, quantize};
use mokume_ir::quant::Levels;
use mokume_runtime::bit_product::{BitProduct, ByteCode};
use mokume_runtime::gpu::arch::Arch;
use mokume_runtime::gpu::choose::{self, Choice, Origin};
use mokume_runtime::gpu::quantize::{QuantizeSpec, Source};
use mokume_runtime::gpu::spec::{Ending, FinishSpec, Layout, Lowering, MatmulSpec, Tile};
use mokume_runtime::gpu::tuning::{Measured, Tuning};
use std::collections::BTreeSet;
use std::path::Path;

/// Columns and elements along k.
const SHAPES: [(usize, usize); 3] = [(4096, 4096), (11008, 4096), (4096, 11008)];
const ROWS: [usize; 3] = [1, 16, 512];
/// Bits of weights and activations, and the block of scales.
const PAIRS: [(u8, u8, Option<u32>); 7] =
    [(1, 8, None), (2, 8, None), (3, 8, None), (4, 8, None), (8, 8, None), (4, 4, None), (4, 8, Some(128))];

fn main() -> std::process::ExitCode {
    let args: Vec<String> = std::env::args().collect();
    let [_, folder, arch] = &args[..] else { return fail("usage: gpu_bench_kernels FOLDER ARCH") };
    let Some(arch) = Arch::from_name(arch) else { return fail("no such architecture") };
    match write(Path::new(folder), arch) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

fn fail(why: &str) -> std::process::ExitCode {
    eprintln!("gpu_bench_kernels: {why}");
    std::process::ExitCode::FAILURE
}

fn write(folder: &Path, arch: Arch) -> Result<(), String> {
    std::fs::create_dir_all(folder).map_err(|error| error.to_string())?;
    let mut items = Vec::new();
    for (w_bits, a_bits, block) in PAIRS {
        let product = product(w_bits, a_bits, block);
        let mut choices = BTreeSet::new();
        for ((n, k), m) in SHAPES.into_iter().flat_map(|shape| ROWS.map(|m| (shape, m))) {
            for choice in candidates(arch, &product, (n, k), m) {
                items.push(item(&choice, (n, k), m, arch));
                choices.insert(choice);
            }
        }
        let specs: BTreeSet<MatmulSpec> = choices.iter().map(|choice| choice.spec).collect();
        let text =
            code(&specs, choices.iter().filter_map(Choice::finish).collect(), arch).map_err(|error| format!("{product}: {error}"))?;
        std::fs::write(folder.join(format!("{}.{arch}.ptx", product.symbol())), text).map_err(|error| error.to_string())?;
        eprintln!("{product}: {} kernels", specs.len());
    }
    let json = format!("{{\"arch\": \"{arch}\", \"items\": [\n{}\n]}}\n", items.join(",\n"));
    std::fs::write(folder.join("bench.json"), json).map_err(|error| error.to_string())
}

fn product(w_bits: u8, a_bits: u8, block: Option<u32>) -> BitProduct {
    let code = ByteCode::of(Levels::Signed, a_bits);
    BitProduct { w_bits, a_bits, a_signed: code.signed, shift: 0, w_zero: false, a_center: false, a_blocks: false, block }
}

/// What the cost model chooses, and what else may be faster.
fn candidates(arch: Arch, product: &BitProduct, (n, k): (usize, usize), m: usize) -> BTreeSet<Choice> {
    let layout = Layout::of(product, n, k);
    let class = choose::class(m);
    let mut found: BTreeSet<Choice> = [chosen(arch, product, (n, k), m)].into_iter().collect();
    for lowering in Lowering::ALL {
        if matches!(lowering, Lowering::Binary | Lowering::BinaryGroup) && m > 64 {
            continue;
        }
        let base = choose::tile(arch, product, &layout, lowering, class);
        for (tile, parts) in variants(base, m).into_iter().filter(|&(tile, _)| choose::fits(arch, product, lowering, tile)) {
            found.insert(Choice::new(product, Measured { lowering, tile, parts }, Ending::default(), Origin::CostModel));
        }
    }
    found
}

fn chosen(arch: Arch, product: &BitProduct, size: (usize, usize), m: usize) -> Choice {
    choose::choose(arch, product, size, m, Ending::default(), &Default::default())
}

/// Tiles near one, each with the blocks of threads that share k.
fn variants(base: Tile, m: usize) -> Vec<(Tile, usize)> {
    let whole = tiles(base, m).into_iter().map(|tile| (tile, 1));
    whole.chain([2, 4, 8].map(|parts| (base, parts))).collect()
}

/// Tiles near one.
fn tiles(base: Tile, m: usize) -> Vec<Tile> {
    let mut tiles = vec![base];
    if base.team() == 1 {
        let shapes = [1, 2, 4].into_iter().flat_map(|columns| [2, 4, 8].map(|warps_k| (columns, warps_k)));
        tiles.extend(shapes.map(|(columns, warps_k)| Tile { columns, warps_k, ..base }));
        tiles.extend([3, 8].map(|stages| Tile { stages, ..base }));
    } else if m > 64 {
        let shapes = [(8, 4, 2, 4), (4, 4, 2, 4), (8, 2, 2, 4), (4, 4, 4, 2), (8, 4, 2, 2), (4, 8, 2, 2)];
        let tile = |(groups, columns, warps_m, warps_n)| Tile { groups, columns, warps_m, warps_n, ..base };
        tiles.extend(shapes.map(tile));
        tiles.extend([2, 4].map(|stages| Tile { stages, ..base }));
    } else {
        tiles.extend([2, 3, 6].map(|stages| Tile { stages, ..base }));
        tiles.extend([(2, 2), (4, 1), (2, 4)].map(|(columns, groups)| Tile { columns, groups, ..base }));
    }
    tiles
}

fn code(specs: &BTreeSet<MatmulSpec>, finishes: BTreeSet<FinishSpec>, arch: Arch) -> Result<String, CodegenError> {
    let context = Context::create();
    let build = Build::new(&context, "kernels");
    let packers: BTreeSet<QuantizeSpec> = specs.iter().map(packer).collect();
    specs.iter().try_for_each(|spec| bit_matmul::emit(&build, spec))?;
    finishes.iter().try_for_each(|spec| bit_matmul::emit_finish(&build, spec))?;
    packers.iter().try_for_each(|spec| quantize::emit(&build, spec))?;
    ptx::emit(&build.finish(), arch)
}

fn packer(spec: &MatmulSpec) -> QuantizeSpec {
    QuantizeSpec::of(spec, Source::Plain, Levels::Signed, false)
}

/// One measurement: sizes of the buffers, then the launches with the names of their arguments.
fn item(choice: &Choice, (n, k): (usize, usize), m: usize, arch: Arch) -> String {
    let spec = &choice.spec;
    let (layout, packer) = (spec.layout(n, k), packer(spec));
    let parts = spec.raw_parts(&layout, choice.parts);
    let buffers = [
        ("x", m * k * 4),
        ("activations", spec.row_bytes(&layout, m)),
        ("corrections", m * layout.blocks * 4),
        ("centers", m * 4),
        ("scales", m * 4),
        ("weights", layout.weight_bytes()),
        ("w_scales", layout.blocks * layout.padded_n() * 4),
        ("sums", if choice.parts > 1 { parts * m * n * 4 } else { 0 }),
        ("out", m * n * 4),
    ];
    let buffers = buffers.map(|(name, bytes)| format!("\"{name}\": {bytes}")).join(", ");
    let (chunks, blocks) = (layout.chunks, layout.blocks);
    let operands = "\"corrections\", \"centers\", \"scales\", \"weights\", \"w_scales\", 0, 0, 0";
    let pack = format!("[\"x\", 0, 0, 0, \"activations\", \"corrections\", \"centers\", \"scales\", {m}, {k}, {chunks}, {blocks}, 1, 0]");
    let out = if choice.parts > 1 { "sums" } else { "out" };
    let multiply = format!("[\"activations\", {operands}, \"{out}\", {m}, {n}, {chunks}, {blocks}]");
    let (grid, threads) = (spec.grid(&layout, m, choice.parts), spec.tile.threads());
    let mut launches = vec![
        launch("pack", &packer.symbol(), packer.grid(m), QuantizeSpec::THREADS, packer.shared_bytes(k), &pack),
        launch("multiply", &spec.symbol(), grid, threads, spec.shared_bytes(), &multiply),
    ];
    launches.extend(choice.finish().map(|finish| {
        let args = format!("[\"sums\", {operands}, \"out\", {m}, {n}, {parts}, {blocks}]");
        launch("finish", &finish.symbol(), finish.grid(m, n), FinishSpec::THREADS, 0, &args)
    }));
    format!(
        "{{\"product\": \"{}\", \"w\": {}, \"a\": {}, \"group\": {}, \"m\": {m}, \"n\": {n}, \"k\": {k}, \"lowering\": \"{}\", \"parts\": {}, \
         \"chosen\": {}, \"tuning\": \"{}\", \"buffers\": {{{buffers}}}, {}}}",
        spec.product.symbol(),
        spec.w_bits,
        spec.a_bits,
        spec.block.unwrap_or(0),
        spec.lowering.name(),
        choice.parts,
        chosen(arch, &spec.product, (n, k), m) == *choice,
        tuning(choice, (n, k), m, arch),
        launches.join(", "),
    )
}

fn launch(name: &str, kernel: &str, grid: [u32; 3], threads: u32, shared: u32, args: &str) -> String {
    format!(
        "\"{name}\": {{\"kernel\": \"{kernel}\", \"grid\": {grid:?}, \"block\": [{threads}, 1, 1], \"shared\": {shared}, \"args\": {args}}}"
    )
}

/// The line of a table that says that this kernel is the fastest.
fn tuning(choice: &Choice, size: (usize, usize), m: usize, arch: Arch) -> String {
    let mut table = Tuning::default();
    table.insert(arch, &choice.spec.product, size, choose::class(m), choice.kernel());
    table.to_string().trim_end().to_string()
}
