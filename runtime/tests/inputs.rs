//! Inputs that do not fit: each finding names the input, what it expects and what it got.

#![allow(clippy::unwrap_used, reason = "a test")]

use mokume_ir::dim::Dim;
use mokume_ir::edit::Editor;
use mokume_ir::graph::{Module, State};
use mokume_ir::types::{Elem, Shape, Type};
use mokume_runtime::program::Program;
use mokume_runtime::session::{Session, SessionOptions};
use mokume_runtime::tensor::Tensor;
use std::sync::Arc;

fn dims(text: &str) -> Shape {
    let dim = |word: &str| match (word, word.split_once('+')) {
        (_, Some((a, b))) => Dim::symbol(a).plus(&Dim::symbol(b)),
        (word, None) => word.parse::<i64>().map_or_else(|_| Dim::symbol(word), Dim::from),
    };
    text.split(' ').map(dim).collect()
}

/// Gives its inputs back: `ids`, `mask`, and the state `past`.
fn session() -> Session {
    let mut module = Module::new("echo");
    let entry = module.entry;
    let mut editor = Editor::new(&mut module, entry);
    let ids = editor.add_input("ids", Type::tensor(dims("batch seq"), Elem::I64));
    let mask = editor.add_input("mask", Type::tensor(dims("batch past+seq"), Elem::F32));
    let past = editor.add_input("past", Type::tensor(dims("batch 2 past 4"), Elem::F32));
    editor.add_output("ids_out", ids);
    editor.add_output("mask_out", mask);
    editor.add_output("past_out", past);
    editor.declare_state(State { input: 2, output: 2, axis: Some(2) });
    Session::new(Arc::new(Program::interpret(module)), SessionOptions { threads: 1, ..Default::default() }).unwrap()
}

fn error(inputs: &[(&str, Tensor)]) -> String {
    let inputs: Vec<_> = inputs.iter().map(|(name, tensor)| (name.to_string(), tensor.clone())).collect();
    session().run(&inputs).unwrap_err().to_string()
}

fn ids(seq: usize) -> Tensor {
    Tensor::zeros(&[1, seq], Elem::I64)
}

fn mask(seq: usize) -> Tensor {
    Tensor::zeros(&[1, seq], Elem::F32)
}

#[test]
fn states_are_hidden_and_come_back() {
    let mut session = session();
    assert_eq!(session.inputs().iter().map(|i| i.name.as_str()).collect::<Vec<_>>(), ["ids", "mask"]);
    assert_eq!(session.outputs().iter().map(|o| o.name.as_str()).collect::<Vec<_>>(), ["ids_out", "mask_out"]);
    for _ in 0..2 {
        let outputs = session.run(&[("mask".into(), mask(3)), ("ids".into(), ids(3))]).unwrap();
        assert_eq!((outputs.len(), outputs[0].0.as_str(), outputs[0].1.dims()), (2, "ids_out", &[1, 3][..]));
    }
}

#[test]
fn names() {
    assert_eq!(
        error(&[("id", ids(3)), ("mask", mask(3))]),
        "error[run::input::unknown]: there is no input \"id\"\n  \
         help: did you mean \"ids\"? the inputs are \"ids\": tensor<batch x seq x i64>, \"mask\": tensor<batch x past + seq x f32>"
    );
    assert_eq!(
        error(&[("ids", ids(3)), ("mask", mask(3)), ("past", mask(3))]),
        "error[run::input::state]: input \"past\" is state, which the session keeps\n  \
         help: leave it out; a new session starts without state"
    );
    assert_eq!(error(&[("ids", ids(3)), ("ids", ids(3)), ("mask", mask(3))]), "error[run::input::twice]: input \"ids\" is given twice");
}

#[test]
fn types_and_ranks() {
    assert_eq!(
        error(&[("ids", mask(3)), ("mask", Tensor::zeros(&[3], Elem::F32))]),
        "error[run::input::dtype]: input \"ids\" expects tensor<batch x seq x i64>, got tensor<1 x 3 x f32>\n\
         error[run::input::rank]: input \"mask\" expects tensor<batch x past + seq x f32>, got tensor<3 x f32>"
    );
}

#[test]
fn sizes() {
    assert_eq!(
        error(&[("ids", ids(3)), ("mask", mask(4))]),
        "error[run::input::shape]: input \"mask\" expects tensor<batch x past + seq x f32>, got tensor<1 x 4 x f32>: \
         axis 1 must be 3, as past = 0 and seq = 3"
    );
}
