//! Moves what is scaled and shifted per channel after a convolution or matmul into its weights and bias: batch normalization.
//!
//! Before  %1 = conv %0, @w, @b ; %2 = mul %1, @s ; %3 = add %2, @t
//! After   %3 = conv %0, @w', @b'      // w' = w s per output channel, b' = b s + t
//!
//! Legal when  weights, scale and shift are f32 constants, scale and shift have one number per channel, and nothing else reads
//!             what is between.
//! Exactness   the rounding of one product per weight.
//! Cost        O(weights).

use crate::pass::{Pass, PassContext, PassError};
use crate::query::{self, output, same_type};
use crate::term::{self, Term, apply};
use mokume_ir::constant::Constant;
use mokume_ir::edit::Editor;
use mokume_ir::graph::Node;
use mokume_ir::ids::{NodeId, ValueId};
use mokume_ir::op::{BinaryKind, Matmul, Op};
use mokume_ir::order::order;

options! {
    /// Folding of scales and shifts.
    FoldAffine {}
}

impl Pass for FoldAffine {
    fn run(&self, editor: &mut Editor<'_>, cx: &mut PassContext<'_>) -> Result<(), PassError> {
        for id in order(editor) {
            let Some(folded) = editor.node(id).and_then(|node| fold(editor, node)) else { continue };
            if !cx.take() {
                break;
            }
            let before = editor.producer(editor[id].inputs[0]).map(|(_, node)| node.loc.clone());
            term::replace(editor, id, folded)?;
            if let Some(loc) = before {
                editor.add_loc(id, &loc);
            }
        }
        Ok(())
    }
}

/// The product that also does what `node`, a scale or a shift by a constant, does to its result.
fn fold(editor: &Editor<'_>, node: &Node) -> Option<Term> {
    let Op::Binary(kind) = node.op else { return None };
    let (y, constant) = (node.inputs[0], query::constant(editor, node.inputs[1])?);
    let (id, product) = editor.producer(y)?;
    if editor[y].uses.len() != 1 || !same_type(editor, output(node)?, y) {
        return None;
    }
    match (&product.op, kind) {
        (Op::Conv(_), BinaryKind::Mul) => scale_conv(editor, id, &channels(editor, y, constant, 1)?),
        (Op::Conv(_), BinaryKind::Add) => shift_conv(editor, id, &channels(editor, y, constant, 1)?),
        (Op::ConvTranspose(op), BinaryKind::Add) if op.groups == 1 => shift_conv(editor, id, &channels(editor, y, constant, 1)?),
        (Op::ConvTranspose(op), BinaryKind::Mul) if op.groups == 1 => scale_conv(editor, id, &channels(editor, y, constant, 1)?),
        (Op::Matmul(op), BinaryKind::Mul) => {
            let last = editor.ty(y).dims()?.len().checked_sub(1)?;
            scale_matmul(editor, product, op, &channels(editor, y, constant, last)?)
        }
        _ => None,
    }
}

/// The constant as one number per index of `axis` of `y`, if it does not vary along the others.
fn channels(editor: &Editor<'_>, y: ValueId, constant: &Constant, axis: usize) -> Option<Vec<f32>> {
    let dims = editor.ty(y).dims()?;
    let count = usize::try_from(dims.get(axis)?.known()?).ok()?;
    let own = constant.dims();
    let missing = dims.len().checked_sub(own.len())?;
    let varies = |at: usize, size: usize| size != 1 && at + missing != axis;
    let numbers = constant.to_f32s()?;
    match numbers.len() {
        _ if own.iter().enumerate().any(|(at, &size)| varies(at, size)) => None,
        1 => Some(vec![numbers[0]; count]),
        len => (len == count).then_some(numbers),
    }
}

fn scale_conv(editor: &Editor<'_>, id: NodeId, scale: &[f32]) -> Option<Term> {
    let node = &editor[id];
    let weight = query::constant(editor, node.inputs[1])?;
    let axis = usize::from(matches!(node.op, Op::ConvTranspose(_)));
    let mut operands = vec![node.inputs[0].into(), Term::Const(scaled(weight, axis, scale)?)];
    if let Some(&bias) = node.inputs.get(2) {
        operands.push(Term::Const(scaled(query::constant(editor, bias)?, 0, scale)?));
    }
    Some(apply(node.op.clone(), operands))
}

fn shift_conv(editor: &Editor<'_>, id: NodeId, shift: &[f32]) -> Option<Term> {
    let node = &editor[id];
    let bias = match node.inputs.get(2) {
        Some(&bias) => query::constant(editor, bias)?.to_f32s()?,
        None => vec![0.0; shift.len()],
    };
    let sum: Vec<f32> = bias.iter().zip(shift).map(|(bias, shift)| bias + shift).collect();
    let operands = [node.inputs[0].into(), node.inputs[1].into(), Term::Const(Constant::f32s(&[sum.len()], &sum))];
    Some(apply(node.op.clone(), operands))
}

fn scale_matmul(editor: &Editor<'_>, node: &Node, op: &Matmul, scale: &[f32]) -> Option<Term> {
    let weight = query::constant(editor, node.inputs[1]).filter(|weight| weight.dims().len() == 2)?;
    let weight = scaled(weight, usize::from(!op.transpose_b), scale)?;
    Some(apply(op.clone(), [node.inputs[0].into(), Term::Const(weight)]))
}

/// `constant` times `scale[i]` at index `i` of `axis`.
pub(crate) fn scaled(constant: &Constant, axis: usize, scale: &[f32]) -> Option<Constant> {
    let (dims, mut numbers) = (constant.dims(), constant.to_f32s()?);
    let inner: usize = dims.get(axis + 1..)?.iter().product();
    if dims[axis] != scale.len() {
        return None;
    }
    for (i, number) in numbers.iter_mut().enumerate() {
        *number *= scale[i / inner % scale.len()];
    }
    Some(Constant::f32s(&dims, &numbers))
}
