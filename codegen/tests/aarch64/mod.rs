//! Kernels for aarch64 against the scalar reference, bit for bit, in an emulated process.
//!
//! Objects are linked with a driver that needs no library, and run by qemu on a CPU with dot products and nothing newer.

use crate::reference::{Case, Random};
use crate::{Operands, cases, compare, spec, stores};
use mokume_codegen::cpu::compile;
use mokume_codegen::kernel::{KernelSpec, LANES, Store};
use mokume_runtime::cpu::abi::{Field, KernelArgs};
use mokume_runtime::cpu::isa::IsaLevel;
use rayon::prelude::*;
use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// The oldest CPU of the emulator with dot products.
const CPU: &str = "neoverse-n1";
/// Of so many cases of a pair of widths one is run.
const STEP: usize = 3;
/// Operands begin at multiples of this.
const ALIGN: usize = 64;
/// Fields of the arguments.
const FIELDS: usize = size_of::<KernelArgs>() / 8;

#[test]
fn every_kernel_equals_the_reference_on_aarch64() {
    let Some(tools) = Tools::find() else { return };
    let driver = tools.driver();
    let pairs: Vec<(u8, u8)> = (1..=8).flat_map(|w| (1..=8).map(move |a| (w, a))).collect();
    let checked: usize = pairs.par_iter().map(|&pair| check_pair(&tools, &driver, pair)).sum();
    assert!(checked >= 1000, "only {checked} products");
    println!("{checked} products equal the reference bit for bit at {} on {CPU}", IsaLevel::Neon);
}

/// Some cases of a pair; gives how many products were compared.
fn check_pair(tools: &Tools, driver: &Path, (w_bits, a_bits): (u8, u8)) -> usize {
    let mut random = Random::new(u64::from(w_bits) * 8 + u64::from(a_bits));
    let all = cases(w_bits, a_bits, &mut random);
    let some = all.iter().skip(usize::from(w_bits + a_bits) % STEP).step_by(STEP);
    let calls: Vec<(&Case, KernelSpec)> =
        some.flat_map(|case| stores(case).map(move |(strategy, store)| (case, spec(case, strategy, store)))).collect();
    let specs: BTreeSet<KernelSpec> = calls.iter().map(|call| call.1).collect();
    let program = tools.link(driver, &specs, &format!("w{w_bits}a{a_bits}"));
    let requests = calls.iter().map(|(case, spec)| {
        let kernel = specs.iter().position(|other| other == spec).unwrap();
        Request::new(kernel, case, &Operands::of(case, *spec))
    });
    let requests: Vec<Request> = requests.collect();
    let mut results = tools.run(&program, &requests).into_iter();
    for ((case, spec), request) in calls.iter().zip(&requests) {
        let words: Vec<i32> = results.by_ref().take(request.results).collect();
        check(case, spec, &words);
    }
    assert_eq!(results.count(), 0, "results that nobody asked for");
    calls.len()
}

fn check(case: &Case, spec: &KernelSpec, words: &[i32]) {
    let (sums, lines) = (case.accumulators(), words.chunks(case.n.next_multiple_of(LANES)));
    match spec.store {
        Store::Raw => compare(case, spec, lines, &sums),
        Store::Scaled => compare(case, spec, lines, bytemuck::cast_slice(&case.outputs(&sums))),
    }
}

/// A call as the driver reads it.
struct Request {
    bytes: Vec<u8>,
    /// Words of results.
    results: usize,
}

impl Request {
    fn new(kernel: usize, case: &Case, operands: &Operands) -> Self {
        let layout = operands.spec.layout(case.n, case.k);
        let stride = layout.tiles() * LANES;
        let lines = if operands.spec.store == Store::Raw { case.m * layout.blocks } else { case.m };
        let mut args = Arguments::default();
        args.place(Field::Activations, &operands.rows.bytes);
        args.place(Field::Corrections, bytemuck::cast_slice(&operands.rows.corrections));
        args.place(Field::Centers, bytemuck::cast_slice(&operands.rows.centers));
        args.place(Field::Scales, bytemuck::cast_slice(&operands.rows.scales));
        args.place(Field::Weights, &operands.weights);
        args.place(Field::Tables, bytemuck::cast_slice(&operands.rows.tables));
        args.place(Field::Out, &[]);
        let words = [
            (Field::RowBytes, layout.row_bytes),
            (Field::TileBytes, layout.tile_bytes),
            (Field::Codes, layout.codes),
            (Field::OutStride, stride),
            (Field::Blocks, layout.blocks),
            (Field::Chunks, layout.chunks),
        ];
        words.into_iter().for_each(|(field, value)| args.words[field as usize] = value as u64);
        let (memory, results) = (args.memory(), lines * stride);
        let head = [kernel as u64, args.addresses, case.m as u64, layout.tiles() as u64, memory.len() as u64, 4 * results as u64];
        Request { bytes: [bytemuck::cast_slice(&head), &memory].concat(), results }
    }
}

/// Arguments and what they point at.
#[derive(Default)]
struct Arguments {
    words: [u64; FIELDS],
    /// A bit for every field that is an address.
    addresses: u64,
    data: Vec<u8>,
}

impl Arguments {
    fn place(&mut self, field: Field, data: &[u8]) {
        self.words[field as usize] = (size_of_val(&self.words).next_multiple_of(ALIGN) + self.data.len()) as u64;
        self.addresses |= 1 << field as u64;
        self.data.extend(data);
        self.data.resize(self.data.len().next_multiple_of(ALIGN), 0);
    }
    fn memory(&self) -> Vec<u8> {
        let mut memory = bytemuck::cast_slice(&self.words).to_vec();
        memory.resize(memory.len().next_multiple_of(ALIGN), 0);
        [memory, self.data.clone()].concat()
    }
}

/// A compiler and a linker for aarch64, and an emulator.
struct Tools {
    llvm: PathBuf,
    qemu: PathBuf,
    folder: TempDir,
}

impl Tools {
    /// `$MOKUME_QEMU_AARCH64`, or what `tools/setup aarch64` installs; says so when it is not there.
    fn find() -> Option<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent()?;
        let home = std::env::var_os("MOKUME_HOME").map_or_else(|| root.join(".mokume"), PathBuf::from);
        let installed = home.join("qemu/qemu-aarch64-static");
        let qemu = std::env::var_os("MOKUME_QEMU_AARCH64").map_or(installed, PathBuf::from);
        let llvm = Path::new(&std::env::var_os("LLVM_SYS_221_PREFIX")?).join("bin");
        let missing = [qemu.clone(), llvm.join("clang"), llvm.join("ld.lld")].into_iter().find(|tool| !tool.is_file());
        if let Some(tool) = missing {
            println!("skipped: {} is not there; tools/setup aarch64 installs it", tool.display());
            return None;
        }
        Some(Tools { llvm, qemu, folder: tempfile::tempdir().ok()? })
    }
    fn driver(&self) -> PathBuf {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/aarch64/driver.c");
        self.clang(&source, "driver")
    }
    fn clang(&self, source: &Path, name: &str) -> PathBuf {
        let object = self.folder.path().join(format!("{name}.o"));
        let flags = ["--target=aarch64-linux-gnu", "-O1", "-ffreestanding", "-fno-builtin", "-fno-pic", "-c"];
        succeeds(Command::new(self.llvm.join("clang")).args(flags).arg(source).arg("-o").arg(&object));
        object
    }
    /// The driver with kernels, numbered in their order.
    fn link(&self, driver: &Path, specs: &BTreeSet<KernelSpec>, name: &str) -> PathBuf {
        let path = |end: &str| self.folder.path().join(format!("{name}{end}"));
        let (object, table, program) = (path("_kernels.o"), path("_table.c"), path(""));
        std::fs::write(&object, compile(specs, IsaLevel::Neon).unwrap()).unwrap();
        let symbols: Vec<String> = specs.iter().map(KernelSpec::symbol).collect();
        let source = format!("void {}();\nvoid (*const kernels[])() = {{{}}};\n", symbols.join("(), "), symbols.join(", "));
        std::fs::write(&table, source).unwrap();
        let table = self.clang(&table, &format!("{name}_table"));
        succeeds(Command::new(self.llvm.join("ld.lld")).arg("-static").args([driver, &table, &object]).arg("-o").arg(&program));
        program
    }
    /// The results of all requests.
    fn run(&self, program: &Path, requests: &[Request]) -> Vec<i32> {
        let input = program.with_extension("in");
        std::fs::write(&input, requests.iter().flat_map(|request| &request.bytes).copied().collect::<Vec<u8>>()).unwrap();
        let mut command = Command::new(&self.qemu);
        succeeds(command.args(["-cpu", CPU]).arg(program).stdin(Stdio::from(File::open(input).unwrap())))
            .as_chunks::<4>()
            .0
            .iter()
            .map(|&word| i32::from_le_bytes(word))
            .collect()
    }
}

/// What a command prints.
fn succeeds(command: &mut Command) -> Vec<u8> {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {} {}", output.status, String::from_utf8_lossy(&output.stderr));
    output.stdout
}
