//! Artifacts: what is written comes back; what is damaged is refused by name, without panic or large allocation.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use bytes::Bytes;
use mokume_ir::attr::Ints;
use mokume_ir::constant::{Constant, QuantData};
use mokume_ir::dim::{Dim, DimFn};
use mokume_ir::edit::Editor;
use mokume_ir::graph::{Graph, Module, State};
use mokume_ir::loc::Loc;
use mokume_ir::op::{ActScale, Attention};
use mokume_ir::op::{BinaryKind, BitMatmul, Call, Concat, Dequantize, Epilogue, Op, Reshape, UnaryKind};
use mokume_ir::quant::{Granularity, Levels, QuantType};
use mokume_ir::types::{Elem, Shape, Type};
use mokume_runtime::artifact::{self, ReadOptions};
use mokume_runtime::cpu::kernels::Kernels;
use mokume_runtime::gpu::arch::Arch;
use mokume_runtime::gpu::code::DeviceWeights;
use mokume_runtime::program::Program;

fn dim(name: &str) -> Dim {
    Dim::symbol(name)
}

fn f32s(dims: &[Dim]) -> Type {
    Type::tensor(dims.iter().cloned().collect::<Shape>(), Elem::F32)
}

fn weights() -> Constant {
    let quant =
        QuantType { bits: 4, levels: Levels::Signed, granularity: Granularity::Block { axis: 0, along: 1, size: 32 }, zero_point: true };
    let data = Bytes::from((0..32 * 50).map(|i| i as u8).collect::<Vec<_>>());
    let scales = Bytes::from(bytemuck::cast_slice(&[0.5f32; 32 * 4]).to_vec());
    let zero_points = Bytes::from(bytemuck::cast_slice(&[1i32; 32 * 4]).to_vec());
    Constant::with_quant(&[32, 100], Elem::Quant(quant), data, Some(QuantData { scales, zero_points }))
}

/// A program with every kind of thing that a manifest can hold.
fn program() -> Program {
    let mut module = Module::new("sample");
    let entry = module.entry;
    let block = module.functions.push(Graph::new("block"));
    let mut editor = Editor::new(&mut module, block);
    let x = editor.add_input("x", f32s(&[dim("b"), dim("s"), 32i64.into()]));
    let exp = editor.insert_typed(Op::Unary(UnaryKind::Exp), &[x], vec![editor.ty(x).clone()], Loc::name("exp"));
    let exp = editor[exp].outputs[0];
    editor.add_output("y", exp);

    let (batch, seq, past) = (dim("batch"), dim("seq"), dim("past"));
    let total = past.plus(&seq);
    let odd = seq.times(&seq).plus(&seq.floor_div(&2i64.into())).plus(&total.call(DimFn::Broadcast, &batch));
    let mut editor = Editor::new(&mut module, entry);
    let x = editor.add_input("x", f32s(&[batch.clone(), seq.clone(), 100i64.into()]));
    let kv = editor.add_input("past", f32s(&[batch.clone(), 1i64.into(), past, 32i64.into()]));
    let names = editor.add_input("names", Type::Opt(Box::new(Type::Seq(Box::new(Type::tensor(Shape::Unranked, Elem::String))))));
    let odd = editor.add_input("odd", f32s(&[odd]));
    let bit = BitMatmul {
        a_bits: 8,
        a_levels: Levels::Signed,
        a_scale: ActScale::Row,
        a_group: None,
        a_clip: None,
        static_scale: f32::NAN,
        static_zero: 0,
        epilogue: vec![Epilogue::Bias, Epilogue::Silu],
    };
    let w = editor.constant_value(weights());
    let bias = editor.constant_value(Constant::f32s(&[32], &[0.25; 32]));
    let text = editor.constant_value(Constant::new(&[1], Elem::String, Bytes::from_static(b"\x02\0\0\0ok")));
    let loc = Loc::merge(&[Loc::name("proj"), Loc::name("proj/bias")]);
    let rows = f32s(&[batch.clone(), seq.clone(), 32i64.into()]);
    let y = editor.insert_typed(bit.into(), &[x, w, bias], vec![rows.clone()], loc);
    let y = editor[y].outputs[0];
    let y = editor.insert_typed(Call { function: block }.into(), &[y], vec![rows], Loc::default());
    let y = editor[y].outputs[0];
    let heads = [batch.clone(), 1i64.into(), seq.clone(), 32i64.into()];
    let reshape = Reshape { shape: Ints::Known(heads.to_vec()), allow_zero: false };
    let y = editor.insert_typed(reshape.into(), &[y], vec![f32s(&heads)], Loc::name("heads"));
    let y = editor[y].outputs[0];
    let joined = f32s(&[batch.clone(), 1i64.into(), total, 32i64.into()]);
    let present = editor.insert_typed(Concat { axis: 2 }.into(), &[kv, y], vec![joined], Loc::name("cache"));
    let present = editor[present].outputs[0];
    let attention = Attention { scale: None, causal: true, softcap: 0.0, mask: false, join_heads: false };
    let out = editor.insert_typed(attention.into(), &[y, present, present], vec![f32s(&heads)], Loc::name("attention"));
    let out = editor[out].outputs[0];
    let real = editor.insert_typed(Dequantize {}.into(), &[w], vec![f32s(&[32i64.into(), 100i64.into()])], Loc::name("w"));
    let real = editor[real].outputs[0];
    let sum = editor.insert_typed(Op::Binary(BinaryKind::Add), &[out, out], vec![f32s(&heads)], Loc::name("sum"));
    let sum = editor[sum].outputs[0];
    for (name, value) in [("out", sum), ("present", present), ("real", real), ("text", text), ("names", names), ("odd", odd)] {
        editor.add_output(name, value);
    }
    editor.declare_state(State { input: 1, output: 1, axis: Some(2) });
    Program::interpret(module)
}

fn read(bytes: impl Into<Bytes>) -> Result<Program, String> {
    artifact::from_bytes(bytes.into(), &ReadOptions::default()).map_err(|report| report.to_string())
}

fn error(bytes: impl Into<Bytes>) -> String {
    read(bytes).err().unwrap()
}

#[test]
fn a_program_comes_back_and_writes_the_same_bytes() {
    let bytes = artifact::to_bytes(&program());
    let back = read(bytes.clone()).unwrap();
    assert_eq!(artifact::to_bytes(&back), bytes);
    let (before, after) = (program(), back);
    assert_eq!(after.module.functions.len(), before.module.functions.len());
    for ((_, a), (_, b)) in before.module.constants.iter().zip(after.module.constants.iter()) {
        assert_eq!((a.hash, &a.data, &a.ty), (b.hash, &b.data, &b.ty));
    }
    assert_eq!(before.module.main().states, after.module.main().states);
}

#[test]
fn large_constants_are_mapped_and_aligned() {
    let bytes = artifact::to_bytes(&program());
    let back = read(bytes.clone()).unwrap();
    let (_, weights) = back.module.constants.iter().find(|(_, constant)| constant.quant.is_some()).unwrap();
    assert!(bytes.as_ptr_range().contains(&weights.data.as_ptr()));
    assert_eq!((weights.data.as_ptr() as usize - bytes.as_ptr() as usize) % 64, 0);
}

#[test]
fn files_are_written_whole_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.mok");
    artifact::write(&program(), &path).unwrap();
    let back = artifact::read(&path, &ReadOptions::default()).unwrap();
    assert_eq!(artifact::to_bytes(&back), std::fs::read(&path).unwrap());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    let missing = folder.path().join("no/such/m.mok");
    assert!(artifact::write(&program(), &missing).unwrap_err().to_string().starts_with("error[file::unwritable]"));
    assert!(!missing.exists());
    let unopened = artifact::read(&missing, &ReadOptions::default()).err().unwrap().to_string();
    assert!(unopened.starts_with("error[file::missing]"), "{unopened}");
}

#[test]
fn errors_name_what_is_wrong() {
    let good = artifact::to_bytes(&program()).to_vec();
    let with = |at: usize, value: u8| {
        let mut bytes = good.clone();
        bytes[at] = value;
        error(bytes)
    };
    assert_eq!(
        error(&b"PK\x03\x04"[..]),
        "error[artifact::magic]: this is not a mokume artifact: the first 8 bytes are wrong\n  \
         help: compile a model with: mokume compile model.onnx -o model.mok"
    );
    assert_eq!(
        with(8, 9),
        "error[artifact::version]: the artifact has version 9, newer than 4, which this program reads\n  \
         help: compile the model again, or update mokume"
    );
    let cut = error(good[..good.len() - 1].to_vec());
    let counts = format!("it has {} of {} bytes\n  help: copy or download the file again", good.len() - 1, good.len());
    assert!(cut.starts_with(&format!("error[artifact::truncated]: the file is cut off: {counts}")), "{cut}");
    assert!(with(70, 1).starts_with("error[artifact::header]"));
    let last = good.len() - 1;
    let flipped = with(last, !good[last]);
    assert!(flipped.starts_with("error[artifact::section::checksum]: the checksum of section"), "{flipped}");
}

#[test]
fn unchecked_data_is_read_all_the_same() {
    let mut bytes = artifact::to_bytes(&program()).to_vec();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    assert!(artifact::from_bytes(bytes.into(), &ReadOptions { check_data: false, ..Default::default() }).is_ok());
}

/// splitmix64: small, seeded, good enough to choose mutations.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}

fn mutate(bytes: &mut Vec<u8>, random: &mut Random, within: std::ops::Range<usize>) {
    let at = within.start + random.below(within.len());
    match random.below(5) {
        0 => bytes.truncate(at),
        1 => bytes[at] ^= 1 << random.below(8),
        2 => bytes[at] = random.next() as u8,
        3 => {
            let value = [0, 1, u64::MAX, u64::MAX / 2, random.next(), random.next() >> 40][random.below(6)];
            let at = at / 8 * 8;
            let end = bytes.len().min(at + 8);
            bytes[at..end].copy_from_slice(&value.to_le_bytes()[..end - at]);
        }
        _ => {
            let (from, len) = (random.below(bytes.len()), random.below(64));
            let piece = bytes[from..bytes.len().min(from + len)].to_vec();
            bytes.splice(at..at, piece);
        }
    }
}

#[test]
fn two_thousand_mutations_are_refused_or_harmless() {
    let good = artifact::to_bytes(&program());
    let mut random = Random(1);
    for round in 0..2000 {
        let mut bytes = good.to_vec();
        let end = if round % 2 == 0 { bytes.len() } else { 64 * 8 };
        mutate(&mut bytes, &mut random, 0..end);
        match read(bytes) {
            Ok(program) => assert_eq!(artifact::to_bytes(&program), good, "round {round}"),
            Err(message) => assert!(message.starts_with("error[artifact::"), "round {round}: {message}"),
        }
    }
}

/// Sets the checksums right, as a hostile writer would.
fn seal(bytes: &mut [u8]) {
    let u = |bytes: &[u8], at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) as usize;
    let sections = u32::from_le_bytes(bytes[12..16].try_into().unwrap()) as usize;
    for entry in (0..sections).map(|i| 64 + i * 64) {
        let (offset, length) = (u(bytes, entry + 8), u(bytes, entry + 16));
        let sum = blake3::hash(&bytes[offset..offset + length]);
        bytes[entry + 32..entry + 64].copy_from_slice(sum.as_bytes());
    }
    let sum = blake3::Hasher::new().update(&bytes[..32]).update(&bytes[64..64 + sections * 64]).finalize();
    bytes[32..64].copy_from_slice(sum.as_bytes());
}

#[test]
fn hostile_manifests_do_not_panic() {
    let good = artifact::to_bytes(&program()).to_vec();
    let sections = u32::from_le_bytes(good[12..16].try_into().unwrap()) as usize;
    let manifest = (64 + sections * 64).next_multiple_of(64);
    let length = u64::from_le_bytes(good[64 + 16..64 + 24].try_into().unwrap()) as usize;
    let mut random = Random(2);
    let mut refused = 0;
    for _ in 0..4000 {
        let mut bytes = good.clone();
        for _ in 0..1 + random.below(3) {
            let at = manifest + random.below(length);
            bytes[at] = if random.below(2) == 0 { bytes[at] ^ 1 << random.below(8) } else { random.next() as u8 };
        }
        seal(&mut bytes);
        match read(bytes) {
            Ok(program) => drop(artifact::to_bytes(&program)),
            Err(_) => refused += 1,
        }
    }
    assert!(refused > 1000, "{refused}");
}

#[test]
fn device_code_comes_back() {
    let mut kernels = Kernels::default();
    let program = program();
    let quantized = |constant: &Constant| constant.ty.elem.quant().is_some();
    let (id, _) = program.module.constants.iter().find(|(_, constant)| quantized(constant)).unwrap();
    let part = |seed: u8, len: usize| Bytes::from((0..len).map(|i| i as u8 ^ seed).collect::<Vec<_>>());
    let weights = DeviceWeights { planes: part(1, 4096), scales: part(2, 640), zeros: part(3, 4), sums: Bytes::new() };
    kernels.device.ptx = vec![(Arch::Sm80, Bytes::from_static(b".version 7.1")), (Arch::Sm90a, Bytes::from_static(b".version 8.0"))];
    kernels.device.weights.insert(id, weights);
    let written = artifact::to_bytes(&Program::unloaded(program.module, kernels.clone()));
    let back = artifact::from_bytes(written.clone(), &ReadOptions::default()).unwrap_or_else(|report| panic!("{report}"));
    let (_, weights) = back.kernels().device.weights.iter().next().unwrap();
    assert_eq!((&back.kernels().device.ptx, weights), (&kernels.device.ptx, &kernels.device.weights[&id]));
    assert_eq!(artifact::to_bytes(&back), written);
}
