//! The editor keeps use lists, types and contents consistent through every kind of edit.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use mokume_ir::attr::Ints;
use mokume_ir::constant::Constant;
use mokume_ir::dim::Dim;
use mokume_ir::edit::Editor;
use mokume_ir::graph::{Graph, Module};
use mokume_ir::ids::ValueId;
use mokume_ir::infer::contents;
use mokume_ir::loc::Loc;
use mokume_ir::op::{BinaryKind, Compress, DimsOf, Gather, NonZero, Op, ShapeOf, UnaryKind};
use mokume_ir::types::{Elem, Shape, Type};
use mokume_ir::verify::verify;

fn ty(dims: &[&str], elem: Elem) -> Type {
    let dim = |text: &&str| text.parse::<i64>().map_or_else(|_| Dim::symbol(text), Dim::from);
    Type::tensor(dims.iter().map(dim).collect(), elem)
}

fn edit(check: impl FnOnce(&mut Editor<'_>)) {
    let mut module = Module::new("m");
    let entry = module.entry;
    check(&mut Editor::new(&mut module, entry));
    verify(&module).unwrap_or_else(|report| panic!("{report}"));
}

fn apply(ed: &mut Editor<'_>, op: impl Into<Op>, inputs: &[ValueId]) -> ValueId {
    ed.apply(op, inputs, Loc::default()).unwrap()
}

#[test]
fn replacing_moves_every_reader() {
    edit(|ed| {
        let x = ed.add_input("x", ty(&["b", "4"], Elem::F32));
        let y = ed.add_input("y", ty(&["b", "4"], Elem::F32));
        let double = apply(ed, BinaryKind::Add, &[x, x]);
        ed.add_output("double", double);
        ed.add_output("x", x);
        ed.replace_uses(x, y);
        assert!(ed[x].uses.is_empty());
        assert_eq!(ed[y].uses.len(), 3);
        assert_eq!(ed.outputs()[1].value, y);
        ed.replace_uses(y, y);
        assert_eq!(ed[y].uses.len(), 3);
    });
}

#[test]
fn rewriting_and_erasing_release_operands() {
    edit(|ed| {
        let x = ed.add_input("x", ty(&["b", "4"], Elem::F32));
        let sum = apply(ed, BinaryKind::Add, &[x, x]);
        let (node, _) = ed.producer(sum).unwrap();
        ed.add_output("y", sum);
        ed.rewrite(node, UnaryKind::IsNan, &[x]).unwrap();
        assert_eq!(ed[x].uses.len(), 1);
        assert_eq!(ed.ty(sum), &ty(&["b", "4"], Elem::Bool));
        let before = ed.edits();
        assert!(ed.rewrite(node, UnaryKind::Not, &[x]).is_err());
        assert_eq!((ed.edits(), &ed[node].op), (before, &Op::Unary(UnaryKind::IsNan)));
        let unused = apply(ed, UnaryKind::Exp, &[x]);
        ed.erase(ed.producer(unused).unwrap().0);
        assert_eq!(ed[x].uses.len(), 1);
    });
}

#[test]
fn fresh_symbols_are_unique_and_survive_rewriting() {
    edit(|ed| {
        let x = ed.add_input("x", ty(&["?3"], Elem::F32));
        let found = apply(ed, NonZero {}, &[x]);
        assert_eq!(ed.ty(found), &ty(&["1", "?4"], Elem::I64));
        let condition = ed.add_input("c", ty(&["?3"], Elem::Bool));
        let kept = apply(ed, Compress { axis: Some(0) }, &[x, condition]);
        assert_eq!(ed.ty(kept), &ty(&["?5"], Elem::F32));
        let (node, _) = ed.producer(kept).unwrap();
        ed.rewrite(node, Compress { axis: None }, &[x, condition]).unwrap();
        assert_eq!(ed.ty(kept), &ty(&["?5"], Elem::F32));
        assert_eq!(ed.fresh_dim(), Dim::symbol("?6"));
        assert_eq!(ed.fresh_dim(), Dim::symbol("?7"));
        ed.add_output("y", kept);
        ed.add_output("z", found);
    });
}

fn shape_element(ed: &mut Editor<'_>, x: ValueId, index: i64) -> ValueId {
    let shape = apply(ed, ShapeOf { start: 0, end: None }, &[x]);
    let index = ed.constant_value(Constant::i64s(&[], &[index]));
    apply(ed, Gather { axis: 0 }, &[shape, index])
}

fn contents_text(ed: &Editor<'_>, value: ValueId) -> String {
    ed.contents(value).map_or("none".into(), |contents| format!("{:?}", contents.dims))
}

#[test]
fn contents_follow_edits() {
    edit(|ed| {
        let x = ed.add_input("x", ty(&["b", "4"], Elem::F32));
        let y = ed.add_input("y", ty(&["s", "8"], Elem::F32));
        let size = shape_element(ed, x, 0);
        let twice = apply(ed, BinaryKind::Add, &[size, size]);
        assert_eq!(contents_text(ed, twice), "[2*b]");
        ed.replace_uses(x, y);
        assert_eq!(contents_text(ed, twice), "[2*s]");
        let one = ed.constant_value(Constant::i64s(&[], &[1]));
        let (gather, _) = ed.producer(size).unwrap();
        ed.set_operand(gather, 1, one);
        assert_eq!(contents_text(ed, twice), "[16]");
        ed.rewrite(gather, DimsOf { dims: vec![Dim::symbol("b")], scalar: true }, &[]).unwrap();
        assert_eq!(contents_text(ed, twice), "[2*b]");
        ed.add_output("twice", twice);
        ed.add_output("x", x);
    });
}

#[test]
fn a_new_type_changes_contents() {
    edit(|ed| {
        let unknown = ed.fresh_dim();
        let x = ed.add_input("x", Type::tensor(Shape::Ranked(vec![unknown]), Elem::F32));
        let size = shape_element(ed, x, 0);
        assert_eq!(contents_text(ed, size), "[?0]");
        ed.set_type(x, ty(&["n"], Elem::F32));
        assert_eq!(contents_text(ed, size), "[n]");
        ed.add_output("size", size);
    });
}

fn chain(length: usize) -> Module {
    let mut module = Module::new("m");
    let entry = module.entry;
    let mut ed = Editor::new(&mut module, entry);
    let x = ed.add_input("x", ty(&["b", "4"], Elem::F32));
    let mut size = shape_element(&mut ed, x, 0);
    let one = ed.constant_value(Constant::i64s(&[], &[1]));
    for _ in 0..length {
        size = apply(&mut ed, BinaryKind::Add, &[size, one]);
    }
    ed.add_output("y", size);
    module
}

#[test]
fn long_chains_need_no_deep_stack() {
    let module = chain(20_000);
    let graph: &Graph = module.main();
    let last = graph.outputs()[0].value;
    let contents = contents::of(&module, graph)[last].clone().unwrap();
    assert_eq!(contents.dims, [Dim::symbol("b").plus(&Dim::from(20_000i64))]);
    assert!(contents.scalar);
    verify(&module).unwrap_or_else(|report| panic!("{report}"));
}

#[test]
fn sizes_known_from_contents_become_types() {
    edit(|ed| {
        let x = ed.add_input("x", ty(&["b", "4"], Elem::F32));
        let size = shape_element(ed, x, 0);
        let shape = apply(ed, mokume_ir::op::Unsqueeze { axes: Ints::of([0]) }, &[size]);
        let one = ed.constant_value(Constant::f32s(&[], &[1.0]));
        let ones = apply(ed, mokume_ir::op::Broadcast { shape: Ints::Operand(1) }, &[one, shape]);
        assert_eq!(ed.ty(ones), &ty(&["b"], Elem::F32));
        ed.add_output("ones", ones);
        ed.add_output("x", x);
    });
}
