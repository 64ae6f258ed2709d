//! Sessions: state kept in place, control flow, observation, plans that change nothing.

#![allow(clippy::unwrap_used, reason = "a test")]

use mokume_ir::constant::Constant;
use mokume_ir::dim::Dim;
use mokume_ir::edit::Editor;
use mokume_ir::graph::{Graph, Module, State};
use mokume_ir::ids::ValueId;
use mokume_ir::loc::Loc;
use mokume_ir::op::{Attention, BinaryKind, Concat, Dequantize, If, Loop, Op, Quantize, UnaryKind};
use mokume_ir::quant::{Granularity, Levels, QuantType};
use mokume_ir::types::{Elem, Shape, Type};
use mokume_runtime::program::Program;
use mokume_runtime::session::{Session, SessionOptions};
use mokume_runtime::tensor::{Tensor, row_bytes};
use std::sync::Arc;

fn session(module: Module, threads: usize) -> Session {
    mokume_ir::verify::verify(&module).unwrap();
    Session::new(Arc::new(Program::interpret(module)), SessionOptions { threads, ..Default::default() }).unwrap()
}

fn run(session: &mut Session, inputs: &[(&str, Tensor)]) -> Vec<Tensor> {
    let inputs: Vec<_> = inputs.iter().map(|(name, tensor)| (name.to_string(), tensor.clone())).collect();
    session.run(&inputs).unwrap().into_iter().map(|(_, tensor)| tensor).collect()
}

fn f32s(dims: &[Dim]) -> Type {
    Type::tensor(dims.iter().cloned().collect::<Shape>(), Elem::F32)
}

fn scalar(elem: Elem) -> Type {
    Type::tensor(Shape::scalar(), elem)
}

fn apply(editor: &mut Editor<'_>, op: impl Into<Op>, inputs: &[ValueId]) -> ValueId {
    editor.apply(op, inputs, Loc::name("node")).unwrap()
}

/// Causal attention of `x` over all `x` so far.
fn decoder() -> Module {
    let mut module = Module::new("decoder");
    let entry = module.entry;
    let mut editor = Editor::new(&mut module, entry);
    let (seq, past) = (Dim::symbol("seq"), Dim::symbol("past"));
    let x = editor.add_input("x", f32s(&[1i64.into(), 2i64.into(), seq, 4i64.into()]));
    let past = editor.add_input("past", f32s(&[1i64.into(), 2i64.into(), past, 4i64.into()]));
    let present = apply(&mut editor, Concat { axis: 2 }, &[past, x]);
    let y =
        apply(&mut editor, Attention { scale: None, causal: true, softcap: 0.0, mask: false, join_heads: false }, &[x, present, present]);
    editor.add_output("y", y);
    editor.add_output("present", present);
    editor.declare_state(State { input: 1, output: 1, axis: Some(2) });
    module
}

/// Times `times` of a sequence of 200: `[1, 2, times, 4]`.
fn sequence(times: std::ops::Range<usize>) -> Tensor {
    let value = |h: usize, t: usize, d: usize| ((h * 800 + t * 4 + d) as f32 * 0.37).sin();
    let values: Vec<f32> =
        (0..2).flat_map(|h| times.clone().flat_map(move |t| (0..4).map(move |d| value(h, t, d)).collect::<Vec<_>>())).collect();
    Tensor::f32s(&[1, 2, times.len(), 4], &values)
}

#[test]
fn step_by_step_equals_all_at_once() {
    let whole = run(&mut session(decoder(), 1), &[("x", sequence(0..200))]).remove(0);
    let mut session = session(decoder(), 2);
    for round in 0..2 {
        let mut at = 0;
        for length in [5, 1, 1].into_iter().chain(std::iter::repeat_n(1, 193)) {
            let y = run(&mut session, &[("x", sequence(at..at + length))]).remove(0);
            for h in 0..2 {
                let got = y.block::<f32>(2, h);
                let want = &whole.block::<f32>(2, h)[at * 4..(at + length) * 4];
                assert!(got.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-5), "round {round}, time {at}");
            }
            at += length;
        }
        session.reset();
    }
}

/// As [`decoder`], with codes of `bits` bits as state; with `shown` another op than attention reads the state, too.
fn coded_decoder(bits: u8, shown: bool) -> Module {
    let mut module = Module::new("coded");
    let entry = module.entry;
    let mut editor = Editor::new(&mut module, entry);
    let to = QuantType { bits, levels: Levels::Unsigned, granularity: Granularity::Row, zero_point: true };
    let dims = |length: &str| [1i64.into(), 2i64.into(), Dim::symbol(length), 4i64.into()];
    let x = editor.add_input("x", f32s(&dims("seq")));
    let past = editor.add_input("past", Type::tensor(dims("past").into_iter().collect::<Shape>(), Elem::Quant(to)));
    let codes = apply(&mut editor, Quantize { to, clip: None }, &[x]);
    let present = apply(&mut editor, Concat { axis: 2 }, &[past, codes]);
    let attention = Attention { scale: None, causal: true, softcap: 0.0, mask: false, join_heads: false };
    let y = apply(&mut editor, attention, &[x, present, present]);
    editor.add_output("y", y);
    editor.add_output("present", present);
    if shown {
        let real = apply(&mut editor, Dequantize {}, &[present]);
        editor.add_output("real", real);
    }
    editor.declare_state(State { input: 1, output: 1, axis: Some(2) });
    module
}

#[test]
fn state_in_codes_is_the_same_in_place_and_on_any_number_of_threads() {
    for bits in [8, 4, 3] {
        let mut shown = session(coded_decoder(bits, true), 1);
        let mut in_place = [1, 2, 5].map(|threads| session(coded_decoder(bits, false), threads));
        let mut at = 0;
        for length in [5, 1, 1, 60, 1, 100, 1] {
            let x = [("x", sequence(at..at + length))];
            let want = run(&mut shown, &x);
            for session in &mut in_place {
                assert_eq!(run(session, &x)[0].slice::<f32>(), want[0].slice::<f32>(), "{bits} bits, time {at}");
            }
            at += length;
            let whole = sequence(0..at);
            let error = want[1].slice::<f32>().iter().zip(whole.slice::<f32>()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(error <= 2.01 / ((1 << bits) - 1) as f32, "{bits} bits are off by {error}");
        }
        assert_eq!(in_place[0].state_bytes(), 2 * at * (row_bytes(bits, 4) + 5), "codes, a scale and a zero point");
    }
}

#[test]
fn runs_repeat_exactly_whatever_the_plan_and_the_threads() {
    let mut module = Module::new("chain");
    let entry = module.entry;
    let mut editor = Editor::new(&mut module, entry);
    let x = editor.add_input("x", f32s(&[Dim::symbol("n")]));
    let mut y = x;
    for kind in [UnaryKind::Exp, UnaryKind::Neg, UnaryKind::Sigmoid, UnaryKind::Tanh, UnaryKind::Abs] {
        let z = apply(&mut editor, Op::Unary(kind), &[y]);
        y = apply(&mut editor, Op::Binary(BinaryKind::Add), &[z, x]);
    }
    editor.add_output("y", y);
    let values: Vec<f32> = (0..5000).map(|i| (i as f32 * 0.01).cos()).collect();
    let input = Tensor::f32s(&[5000], &values);
    let (mut one, mut two) = (session(module.clone(), 1), session(module, 2));
    let first = run(&mut one, &[("x", input.clone())]).remove(0);
    for _ in 0..4 {
        for session in [&mut one, &mut two] {
            assert_eq!(run(session, &[("x", input.clone())])[0].slice::<f32>(), first.slice::<f32>());
        }
    }
    assert!((20_000..=3 * 20_032).contains(&one.peak_bytes()), "{}", one.peak_bytes());
}

/// body: (i, cond, x) -> (cond, x + x, x)
fn doubling() -> (Module, mokume_ir::ids::FuncId) {
    let mut module = Module::new("control");
    let body = module.functions.push(Graph::new("body"));
    let mut editor = Editor::new(&mut module, body);
    editor.add_input("i", scalar(Elem::I64));
    let condition = editor.add_input("condition", scalar(Elem::Bool));
    let x = editor.add_input("x", f32s(&[2i64.into()]));
    let twice = apply(&mut editor, Op::Binary(BinaryKind::Add), &[x, x]);
    for (name, value) in [("condition", condition), ("twice", twice), ("scan", x)] {
        editor.add_output(name, value);
    }
    (module, body)
}

#[test]
fn loops_carry_and_scan() {
    let (mut module, body) = doubling();
    let entry = module.entry;
    let mut editor = Editor::new(&mut module, entry);
    let trips = editor.add_input("trips", scalar(Elem::I64));
    let x = editor.add_input("x", f32s(&[2i64.into()]));
    let repeat = Loop { body, carried: 1, trip_count: true, condition: false };
    let node = editor.insert(repeat, &[trips, x], Loc::name("loop")).unwrap();
    let outputs = editor[node].outputs.clone();
    editor.add_output("last", outputs[0]);
    editor.add_output("all", outputs[1]);
    let mut session = session(module, 1);
    let x = Tensor::f32s(&[2], &[1.0, 3.0]);
    let outputs = run(&mut session, &[("trips", Tensor::i64s(&[], &[3])), ("x", x.clone())]);
    assert_eq!(outputs[0].slice::<f32>(), [8.0, 24.0]);
    assert_eq!((outputs[1].dims(), outputs[1].slice::<f32>()), (&[3, 2][..], &[1.0, 3.0, 2.0, 6.0, 4.0, 12.0][..]));
    let none = run(&mut session, &[("trips", Tensor::i64s(&[], &[0])), ("x", x)]);
    assert_eq!((none[0].slice::<f32>(), none[1].dims()), (&[1.0, 3.0][..], &[0, 2][..]));
}

#[test]
fn endless_loops_end_with_an_error_at_the_node() {
    let (mut module, body) = doubling();
    let entry = module.entry;
    let mut editor = Editor::new(&mut module, entry);
    let x = editor.add_input("x", f32s(&[2i64.into()]));
    let repeat = Loop { body, carried: 1, trip_count: false, condition: false };
    let node = editor.insert(repeat, &[x], Loc::name("forever")).unwrap();
    let last = editor[node].outputs[0];
    editor.add_output("last", last);
    let options = SessionOptions { threads: 1, max_trips: 10 };
    let mut session = Session::new(Arc::new(Program::interpret(module)), options).unwrap();
    let error = session.run(&[("x".into(), Tensor::f32s(&[2], &[0.0, 0.0]))]).unwrap_err();
    assert_eq!(error.to_string(), "error[run::op::operands]: loop: more than 10 repetitions\n  at: \"forever\"");
}

#[test]
fn branches_and_observation_and_profile() {
    let mut module = Module::new("branch");
    let entry = module.entry;
    let branches = [UnaryKind::Neg, UnaryKind::Exp].map(|kind| {
        let function = module.functions.push(Graph::new(kind.name()));
        let mut editor = Editor::new(&mut module, function);
        let x = editor.add_input("x", f32s(&[Dim::symbol("n")]));
        let y = apply(&mut editor, Op::Unary(kind), &[x]);
        editor.add_output("y", y);
        function
    });
    let mut editor = Editor::new(&mut module, entry);
    let condition = editor.add_input("condition", scalar(Elem::Bool));
    let one = editor.constant_value(Constant::f32s(&[1], &[0.0]));
    let y = apply(&mut editor, If { then_branch: branches[0], else_branch: branches[1] }, &[condition, one]);
    editor.add_output("y", y);
    let mut session = session(module, 1);
    let input = |on: u8| vec![("condition".to_string(), Tensor::of(&[], Elem::Bool, &[on]))];
    let mut seen = vec![];
    session.run_observed(&input(0), &mut |function, _, outputs| seen.push((function, outputs[0].slice::<f32>()[0]))).unwrap();
    assert_eq!(seen, [(branches[1], 1.0), (entry, 1.0)]);
    let (outputs, events) = session.run_profiled(&input(1)).unwrap();
    assert_eq!((outputs[0].1.slice::<f32>(), events.len()), (&[-0.0][..], 2));
    let trace = mokume_runtime::profile::chrome_trace(session.program(), &events);
    assert!(trace.contains("\"name\":\"neg\"") && trace.ends_with("]}\n"), "{trace}");
}

#[test]
fn attributes_wait_for_sizes_that_data_decides() {
    let text = r#"module "m" graph @f0 "main"(%0 "x": tensor<4 x bool>) -> ("i", "places") {
        %1 = iota {len = 2*?0, elem = i64} : tensor<2*?0 x i64>
        %2 = non_zero %0 : tensor<1 x ?0 x i64>
        return %1, %2
    }"#;
    let module = mokume_ir::text::parse(text, &mokume_ir::text::no_data).unwrap();
    let outputs = run(&mut session(module, 1), &[("x", Tensor::of(&[4], Elem::Bool, &[1u8, 0, 1, 1]))]);
    assert_eq!((outputs[0].slice::<i64>(), outputs[1].slice::<i64>()), (&[0, 1, 2, 3, 4, 5][..], &[0, 2, 3][..]));
}
