//! Regions of a graph as expressions, and back.

use super::language::{Expr, Head, Info};
use crate::query::{self, output};
use crate::term::{Term, apply};
use egg::{Id, RecExpr};
use mokume_ir::attr::Ints;
use mokume_ir::constant::Constant;
use mokume_ir::edit::Editor;
use mokume_ir::ids::{NodeId, ValueId};
use mokume_ir::op::{BinaryKind, Op, Reshape, Transpose};
use mokume_ir::types::Elem;

/// Larger regions are cut into several.
const MAX_NODES: usize = 64;

/// Whether the node is in the language and its reader does not make it part of a larger region.
pub fn is_root(editor: &Editor<'_>, id: NodeId) -> bool {
    let Some(value) = output(&editor[id]).filter(|_| head(editor, id).is_some()) else { return false };
    editor.single_user(value).is_none_or(|user| head(editor, user).is_none())
}

/// The expression of the region at `id`; none when it is a single node.
pub fn read(editor: &Editor<'_>, id: NodeId) -> Option<RecExpr<Expr>> {
    let mut expr = RecExpr::default();
    let mut count = 0;
    let root = head(editor, id)?;
    add_node(editor, id, root, &mut expr, &mut count)?;
    (count > 1).then_some(expr)
}

fn add_node(editor: &Editor<'_>, id: NodeId, head: Head, expr: &mut RecExpr<Expr>, count: &mut usize) -> Option<Id> {
    *count += 1;
    let args = editor[id].inputs.iter().map(|&input| add(editor, input, expr, count)).collect::<Option<Vec<_>>>()?;
    Some(expr.add(Expr { head, args }))
}

fn add(editor: &Editor<'_>, value: ValueId, expr: &mut RecExpr<Expr>, count: &mut usize) -> Option<Id> {
    let inside = editor.producer(value).filter(|_| *count < MAX_NODES && editor.single_user(value).is_some());
    if let Some((id, _)) = inside
        && let Some(head) = head(editor, id)
    {
        return add_node(editor, id, head, expr, count);
    }
    let leaf = match number(editor, value) {
        Some(number) => Head::Number(number.to_bits()),
        None => Head::Value(value, info(editor, value)?),
    };
    Some(expr.add(Expr { head: leaf, args: vec![] }))
}

/// A scalar f32 constant.
fn number(editor: &Editor<'_>, value: ValueId) -> Option<f32> {
    let constant = query::constant(editor, value)?;
    let numbers = (constant.dims().is_empty() && constant.ty.elem == Elem::F32).then(|| constant.to_f32s())??;
    numbers.first().copied()
}

fn info(editor: &Editor<'_>, value: ValueId) -> Option<Info> {
    Some(Info { dims: editor.ty(value).dims()?.to_vec(), elem: editor.ty(value).elem()? })
}

/// What the node is in the language: f32 arithmetic and moves whose shapes are known.
fn head(editor: &Editor<'_>, id: NodeId) -> Option<Head> {
    use BinaryKind::*;
    let node = &editor[id];
    let typed = |&value: &ValueId| info(editor, value).is_some_and(|info| info.elem == Elem::F32);
    if node.outputs.len() != 1 || !node.inputs.iter().chain(&node.outputs).all(typed) {
        return None;
    }
    match &node.op {
        Op::Unary(kind) => Some(Head::Unary(*kind)),
        Op::Binary(kind @ (Add | Sub | Mul | Div | Min | Max)) => Some(Head::Binary(*kind)),
        Op::Transpose(op) => Some(Head::Transpose(op.perm.clone())),
        Op::Reshape(Reshape { shape: Ints::Known(dims), .. }) => Some(Head::Reshape(dims.clone())),
        _ => None,
    }
}

/// An expression as nodes to be built. Common subexpressions are found by `cse`.
pub fn term(_editor: &Editor<'_>, expr: &RecExpr<Expr>) -> Term {
    let mut terms: Vec<Term> = Vec::new();
    for node in expr.as_ref() {
        let args = node.args.iter().map(|&arg| terms[usize::from(arg)].clone());
        terms.push(match &node.head {
            Head::Value(value, _) => Term::Value(*value),
            Head::Number(bits) => Term::Const(Constant::f32s(&[], &[f32::from_bits(*bits)])),
            Head::Unary(kind) => apply(Op::Unary(*kind), args),
            Head::Binary(kind) => apply(Op::Binary(*kind), args),
            Head::Transpose(perm) => apply(Transpose { perm: perm.clone() }, args),
            Head::Reshape(dims) => apply(Reshape { shape: Ints::Known(dims.clone()), allow_zero: false }, args),
        });
    }
    terms.pop().expect("an expression has a root")
}
