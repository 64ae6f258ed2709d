//! Compiled programs against interpreted ones, bit for bit, through the bytes of the artifact.

use crate::reference::Random;
use bytes::Bytes;
use mokume_codegen::kernel::Strategy;
use mokume_codegen::{Target, compile};
use mokume_ir::constant::{Constant, QuantData, packed_bytes};
use mokume_ir::edit::Editor;
use mokume_ir::graph::Module;
use mokume_ir::ids::ValueId;
use mokume_ir::loc::Loc;
use mokume_ir::op::{ActScale, AutoPad, BitConv, BitGather, BitMatmul, Epilogue, Hadamard, LayerNorm, Op, RmsNorm};
use mokume_ir::quant::{Granularity, Levels, QuantType};
use mokume_ir::types::{Elem, Shape, Type};
use mokume_runtime::artifact::{ReadOptions, from_bytes, to_bytes};
use mokume_runtime::cpu::isa::IsaLevel;
use mokume_runtime::program::Program;
use mokume_runtime::session::{Session, SessionOptions};
use mokume_runtime::tensor::Tensor;
use std::sync::Arc;

fn weights(random: &mut Random, n: usize, k: usize, ty: QuantType) -> Constant {
    let top = ty.levels.count(ty.bits) as usize;
    let mut data = vec![0u8; packed_bytes(&[n, k], Elem::Quant(ty)).unwrap()];
    let row = data.len() / n;
    for (i, bit) in (0..n * k).map(|i| (i, i % k * ty.bits as usize)) {
        let code = random.below(top) << (bit % 8);
        let at = i / k * row + bit / 8;
        data[at] |= code as u8;
        if code > 255 {
            data[at + 1] |= (code >> 8) as u8;
        }
    }
    let groups = match ty.granularity {
        Granularity::Tensor => 1,
        Granularity::Block { size, .. } => n * k.div_ceil(size as usize),
        _ => n,
    };
    let scales: Vec<f32> = (0..groups).map(|_| random.unit() * 0.1).collect();
    let zeros: Vec<i32> = (0..if ty.zero_point { groups } else { 0 }).map(|_| random.below(top) as i32).collect();
    let bytes = |words: &[u8]| Bytes::from(words.to_vec());
    let quant = QuantData { scales: bytes(bytemuck::cast_slice(&scales)), zero_points: bytes(bytemuck::cast_slice(&zeros)) };
    Constant::with_quant(&[n, k], Elem::Quant(ty), data.into(), Some(quant))
}

/// A module that applies `op` to an input of these sizes, weights `[n, k]` and a bias.
fn module(op: impl Into<Op>, x: &[usize], w: Constant) -> Module {
    let mut module = Module::new("product");
    let n = w.dims()[0];
    let entry = module.entry;
    let mut editor = Editor::new(&mut module, entry);
    let input = editor.add_input("x", Type::tensor(Shape::known(x), Elem::F32));
    let (w, bias) =
        (editor.constant_value(w), editor.constant_value(Constant::f32s(&[n], &(0..n).map(|i| i as f32 - 3.0).collect::<Vec<_>>())));
    let node = editor.insert(op, &[input, w, bias], Loc::default()).unwrap();
    let y = editor[node].outputs[0];
    editor.add_output("y", y);
    module
}

fn run(program: Program, x: &Tensor, threads: usize) -> Vec<u32> {
    let options = SessionOptions { threads, ..SessionOptions::default() };
    let mut session = Session::new(Arc::new(program), options).unwrap();
    let outputs = session.run(&[("x".into(), x.clone())]).unwrap();
    outputs.iter().flat_map(|(_, y)| y.slice::<f32>()).map(|y| y.to_bits()).collect()
}

/// Compiles with every strategy; compares with the interpreter before and after a trip through bytes.
fn check(module: &Module, x: &[usize], random: &mut Random, packed: bool) {
    let len: usize = x.iter().product();
    let x = Tensor::f32s(x, &(0..len).map(|_| random.unit() * 3.0).collect::<Vec<_>>());
    let expected = run(Program::interpret(module.clone()), &x, 2);
    let every = std::iter::once(None).chain(Strategy::ALL.map(Some)).map(|strategy| (strategy, IsaLevel::Avx512));
    for (strategy, newest) in every.chain([(Some(Strategy::Lookup), IsaLevel::Avx2)]) {
        let levels = IsaLevel::ALL.into_iter().filter(|level| *level <= newest).collect();
        let target = Target { levels, strategy, ..Target::default() };
        let (program, choices) = compile(module.clone(), &target).unwrap();
        assert_eq!(choices.kernels.len(), usize::from(packed), "{choices:?}");
        let bytes = to_bytes(&program);
        assert!(run(program, &x, 1) == expected, "{choices:?}");
        let read = from_bytes(bytes.clone(), &ReadOptions::default()).unwrap();
        assert!(to_bytes(&read) == bytes, "written again");
        assert!(run(read, &x, 2) == expected, "after a trip through bytes: {choices:?}");
    }
}

fn matmul(a_bits: u8, a_levels: Levels, a_scale: ActScale) -> BitMatmul {
    let epilogue = vec![Epilogue::Bias, Epilogue::Silu];
    BitMatmul { a_bits, a_levels, a_scale, a_group: None, a_clip: None, static_scale: 0.02, static_zero: 0, epilogue }
}

#[test]
fn compiled_matmuls_equal_interpreted_ones() {
    let mut random = Random::new(5);
    let block = Granularity::Block { axis: 0, along: 1, size: 32 };
    for (w_bits, w_levels, granularity, zero_point) in [
        (4, Levels::Signed, block, false),
        (8, Levels::Signed, Granularity::Axis(0), false),
        (2, Levels::Odd, block, false),
        (4, Levels::Unsigned, block, true),
        (3, Levels::Five, Granularity::Tensor, false),
    ] {
        let w = weights(&mut random, 70, 200, QuantType { bits: w_bits, levels: w_levels, granularity, zero_point });
        for (a_bits, a_levels, a_scale) in [
            (8, Levels::Signed, ActScale::Row),
            (8, Levels::Unsigned, ActScale::Tensor),
            (4, Levels::Odd, ActScale::Row),
            (8, Levels::Signed, ActScale::Static),
        ] {
            let x = [3, random.below(50) + 1, 200];
            check(&module(matmul(a_bits, a_levels, a_scale), &x, w.clone()), &x, &mut random, true);
        }
        for (a_levels, group) in [(Levels::Unsigned, 64), (Levels::Signed, 32)] {
            let (op, x) =
                (BitMatmul { a_group: Some(group), a_clip: Some(0.875), ..matmul(4, a_levels, ActScale::Row) }, [random.below(9) + 1, 200]);
            check(&module(op, &x, w.clone()), &x, &mut random, true);
        }
    }
}

/// Every row of a matrix.
fn add_rows(editor: &mut Editor<'_>, w: ValueId) {
    let n = editor.ty(w).dims().unwrap()[0].known().unwrap();
    let indices: Vec<i64> = (0..n).rev().chain([-1, -n, 3]).collect();
    let indices = editor.constant_value(Constant::i64s(&[indices.len()], &indices));
    let rows = editor.apply(BitGather {}, &[w, indices], Loc::default()).unwrap();
    editor.add_output("rows", rows);
}

/// A product, and every row of its weights.
fn tied(op: BitMatmul, x: &[usize], w: Constant) -> Module {
    let mut module = module(Op::from(op), x, w);
    let entry = module.entry;
    let mut editor = Editor::new(&mut module, entry);
    let w = editor.producer(editor.outputs()[0].value).unwrap().1.inputs[1];
    add_rows(&mut editor, w);
    module
}

#[test]
fn rows_of_packed_weights_equal_dequantized_ones() {
    let mut random = Random::new(9);
    let block = |size| Granularity::Block { axis: 0, along: 1, size };
    let signed = (1..=8).map(|bits| (bits, Levels::Signed, block(32), false));
    let others = [
        (8, Levels::Signed, Granularity::Axis(0), false),
        (6, Levels::Signed, block(24), false),
        (2, Levels::Odd, block(64), false),
        (5, Levels::Unsigned, block(32), true),
        (3, Levels::Five, Granularity::Tensor, false),
        (2, Levels::Ternary, block(128), false),
    ];
    for (bits, levels, granularity, zero_point) in signed.chain(others) {
        let w = weights(&mut random, 70, 200, QuantType { bits, levels, granularity, zero_point });
        let a_levels = if bits % 2 == 0 { Levels::Signed } else { Levels::Unsigned };
        let module = tied(matmul(8, a_levels, ActScale::Row), &[3, 200], w);
        check(&module, &[3, 200], &mut random, true);
        let (program, _) = compile(module, &Target { levels: vec![IsaLevel::X86_64], ..Target::default() }).unwrap();
        assert!(program.module.constants.iter().any(|(_, constant)| constant.is_released()), "codes are stored twice");
    }
}

#[test]
fn rows_of_weights_that_no_product_reads_are_read_as_they_are() {
    let mut random = Random::new(10);
    let w =
        weights(&mut random, 70, 200, QuantType { bits: 4, levels: Levels::Signed, granularity: Granularity::Axis(0), zero_point: false });
    let mut module = Module::new("rows");
    let entry = module.entry;
    let mut editor = Editor::new(&mut module, entry);
    let (x, w) = (editor.add_input("x", Type::tensor(Shape::known(&[3]), Elem::F32)), editor.constant_value(w));
    editor.add_output("x", x);
    add_rows(&mut editor, w);
    check(&module, &[3], &mut random, false);
}

/// Gate, up (times the gate), and two more products of one input, of which the last takes other codes.
fn four_products(random: &mut Random, k: usize) -> Module {
    let mut module = Module::new("products");
    let ty =
        QuantType { bits: 4, levels: Levels::Signed, granularity: Granularity::Block { axis: 0, along: 1, size: 32 }, zero_point: false };
    let sizes = [40, 40, 17, 33];
    let constants = sizes.map(|n| weights(random, n, k, ty));
    let entry = module.entry;
    let mut editor = Editor::new(&mut module, entry);
    let x = editor.add_input("x", Type::tensor(Shape::known(&[3, k]), Elem::F32));
    let mut gate = None;
    for (i, constant) in constants.into_iter().enumerate() {
        let w = editor.constant_value(constant);
        let epilogue = [vec![Epilogue::Silu], vec![Epilogue::Mul], vec![], vec![]][i].clone();
        let op = BitMatmul { epilogue, ..matmul(if i == 3 { 6 } else { 8 }, Levels::Signed, ActScale::Row) };
        let operands: Vec<_> = [x, w].into_iter().chain(gate.filter(|_| i == 1)).collect();
        let y = editor.apply(op, &operands, Loc::default()).unwrap();
        gate.get_or_insert(y);
        editor.add_output(format!("y{i}"), y);
    }
    module
}

#[test]
fn products_of_the_same_activations_run_together_and_equal_interpreted_ones() {
    let mut random = Random::new(11);
    let module = four_products(&mut random, 70);
    let x = Tensor::f32s(&[3, 70], &(0..210).map(|_| random.unit() * 3.0).collect::<Vec<_>>());
    let expected = run(Program::interpret(module.clone()), &x, 2);
    for threads in [1, 2, 5] {
        let program = compile(module.clone(), &Target::default()).unwrap().0;
        assert!(run(program, &x, threads) == expected, "{threads} threads");
    }
    let program = Arc::new(compile(module, &Target::default()).unwrap().0);
    let mut session = Session::new(program, SessionOptions::default()).unwrap();
    let events = session.run_profiled(&[("x".into(), x)]).unwrap().1;
    assert_eq!(events.len(), 2, "three products with one set of codes, and one with its own");
}

/// A norm or rotation whose rows three products read; the last takes codes of `a_bits`.
fn normalized_products(random: &mut Random, norm: Op, m: usize, k: usize, a_bits: u8) -> Module {
    let mut module = Module::new("normalized");
    let ty = QuantType { bits: 4, levels: Levels::Signed, granularity: Granularity::Axis(0), zero_point: false };
    let constants = [40, 17, 33].map(|n| weights(random, n, k, ty));
    let entry = module.entry;
    let mut editor = Editor::new(&mut module, entry);
    let x = editor.add_input("x", Type::tensor(Shape::known(&[m, k]), Elem::F32));
    let parameters = match norm {
        Op::LayerNorm(_) => 2,
        Op::RmsNorm(_) => 1,
        _ => 0,
    };
    let mut operands = vec![x];
    for _ in 0..parameters {
        let values: Vec<f32> = (0..k).map(|_| random.unit() + 0.5).collect();
        operands.push(editor.constant_value(Constant::f32s(&[k], &values)));
    }
    let normal = editor.apply(norm, &operands, Loc::default()).unwrap();
    for (i, constant) in constants.into_iter().enumerate() {
        let w = editor.constant_value(constant);
        let op = BitMatmul { epilogue: vec![], ..matmul(if i == 2 { a_bits } else { 8 }, Levels::Unsigned, ActScale::Row) };
        let y = editor.apply(op, &[normal, w], Loc::default()).unwrap();
        editor.add_output(format!("y{i}"), y);
    }
    module
}

#[test]
fn rows_computed_while_they_are_quantized_equal_interpreted_ones() {
    let mut random = Random::new(12);
    let norms = [Op::from(RmsNorm { axis: -1, epsilon: 1e-5 }), LayerNorm { axis: 1, epsilon: 1e-3 }.into(), Hadamard { block: 24 }.into()];
    for norm in norms {
        for (m, a_bits, steps) in [(1, 8, 1), (40, 8, 1), (3, 4, 3)] {
            let module = normalized_products(&mut random, norm.clone(), m, 72, a_bits);
            let x = Tensor::f32s(&[m, 72], &(0..m * 72).map(|_| random.unit() * 3.0 + 0.3).collect::<Vec<_>>());
            let expected = run(Program::interpret(module.clone()), &x, 2);
            for threads in [1, 2, 5] {
                let program = compile(module.clone(), &Target::default()).unwrap().0;
                assert!(run(program, &x, threads) == expected, "{} of {m} rows, {threads} threads", norm.name());
            }
            let program = Arc::new(compile(module, &Target::default()).unwrap().0);
            let mut session = Session::new(program, SessionOptions::default()).unwrap();
            let events = session.run_profiled(&[("x".into(), x.clone())]).unwrap().1;
            assert_eq!(events.len(), steps, "it is a step of its own when its rows are quantized twice");
            let mut seen = vec![];
            session.run_observed(&[("x".into(), x)], &mut |_, node, _| seen.push(node)).unwrap();
            assert_eq!(seen.len(), 4, "it is shown to observers");
        }
    }
}

#[test]
fn compiled_convolutions_equal_interpreted_ones() {
    let mut random = Random::new(6);
    for (groups, filters, packed) in [(1, 20, true), (2, 24, true), (6, 6, false)] {
        for levels in [Levels::Signed, Levels::Unsigned] {
            let ty = QuantType { bits: 5, levels: Levels::Signed, granularity: Granularity::Axis(0), zero_point: false };
            let w = weights(&mut random, filters, 6 / groups * 9, ty);
            let op = BitConv {
                kernel: vec![3, 3],
                strides: vec![1, 2],
                dilations: vec![1, 1],
                pads: vec![1, 1, 1, 0],
                auto_pad: AutoPad::Explicit,
                groups: groups as i64,
                a_bits: 8,
                a_levels: levels,
                a_scale: ActScale::Tensor,
                static_scale: 1.0,
                static_zero: 0,
                epilogue: vec![Epilogue::Bias, Epilogue::HardSwish],
            };
            let x = [2, 6, 13, 17];
            check(&module(op, &x, w), &x, &mut random, packed);
        }
    }
}

#[test]
fn patches_of_one_pixel_are_read_in_place() {
    let mut random = Random::new(8);
    let block = |size| Granularity::Block { axis: 0, along: 1, size };
    for (channels, granularity) in [(40, Granularity::Axis(0)), (64, block(32)), (96, block(64)), (50, block(20))] {
        let w = weights(&mut random, 20, channels, QuantType { bits: 4, levels: Levels::Signed, granularity, zero_point: false });
        let op = BitConv {
            kernel: vec![1, 1],
            strides: vec![1, 1],
            dilations: vec![1, 1],
            pads: vec![0; 4],
            auto_pad: AutoPad::Explicit,
            groups: 1,
            a_bits: 8,
            a_levels: Levels::Unsigned,
            a_scale: ActScale::Tensor,
            static_scale: 1.0,
            static_zero: 0,
            epilogue: vec![Epilogue::Bias, Epilogue::Relu],
        };
        let x = [2, channels, 7, 11];
        check(&module(op, &x, w), &x, &mut random, true);
    }
}

#[test]
fn sums_beyond_i32_are_left_to_the_interpreter() {
    let mut random = Random::new(7);
    let ty = QuantType { bits: 8, levels: Levels::Odd, granularity: Granularity::Axis(0), zero_point: false };
    for (k, kernels) in [(33_025, 1), (33_026, 0)] {
        let module = module(matmul(8, Levels::Odd, ActScale::Row), &[1, k], weights(&mut random, 1, k, ty));
        assert_eq!(compile(module, &Target::default()).unwrap().1.kernels.len(), kernels);
    }
}
