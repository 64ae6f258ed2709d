//! Types of outputs, op by op.

use crate::attr::Ints;
use crate::dim::Dim;
use crate::edit::Editor;
use crate::graph::Module;
use crate::ids::ValueId;
use crate::loc::Loc;
use crate::op::*;
use crate::types::{Elem, Shape, Type};

/// `"batch x 3 x f32"`, `"* x f32"` or `"f32"`; `h+1` and `2*h` are dimensions too.
fn ty(text: &str) -> Type {
    let mut parts: Vec<&str> = text.split(" x ").collect();
    let elem = Elem::from_name(parts.pop().unwrap()).unwrap();
    let shape = if parts == ["*"] { Shape::Unranked } else { parts.into_iter().map(dim).collect() };
    Type::tensor(shape, elem)
}

fn dim(text: &str) -> Dim {
    let atom = |text: &str| text.parse::<i64>().map_or_else(|_| Dim::symbol(text), Dim::from);
    let term = |text: &str| text.split('*').map(atom).reduce(|a, b| a.times(&b)).unwrap();
    text.split('+').map(term).reduce(|a, b| a.plus(&b)).unwrap()
}

/// An operand: a type, or after `=` the elements of an i64 vector or scalar.
fn operand(editor: &mut Editor<'_>, text: &str) -> ValueId {
    let Some(elements) = text.strip_prefix('=') else { return editor.add_input("x", ty(text)) };
    let inner = elements.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let dims = inner.unwrap_or(elements).split(',').filter(|part| !part.is_empty()).map(dim).collect();
    editor.apply(DimsOf { dims, scalar: inner.is_none() }, &[], Loc::default()).unwrap()
}

/// Infers `op` on `operands` and compares the types of the outputs, or the error, as text.
fn check(op: impl Into<Op>, operands: &[&str], expected: &str) {
    let mut module = Module::new("test");
    let function = module.entry;
    let mut editor = Editor::new(&mut module, function);
    let inputs: Vec<ValueId> = operands.iter().map(|text| operand(&mut editor, text)).collect();
    let found = match editor.insert(op, &inputs, Loc::default()) {
        Ok(node) => {
            let types = editor[node].outputs.iter().map(|&output| editor.ty(output).to_string());
            types.map(|ty| ty.trim_start_matches("tensor<").trim_end_matches('>').to_string()).collect::<Vec<_>>().join(", ")
        }
        Err(error) => error.to_string(),
    };
    assert_eq!(found, expected);
}

#[test]
fn smoke() {
    check(BinaryKind::Add, &["batch x 1 x f32", "3 x f32"], "batch x 3 x f32");
    check(BinaryKind::Add, &["2 x f32", "3 x f32"], "add: sizes 2 and 3 do not broadcast");
    check(Reshape { shape: Ints::Operand(1), allow_zero: false }, &["b x s x 576 x f32", "=[0,0,-1,64]"], "b x s x 9 x 64 x f32");
}
