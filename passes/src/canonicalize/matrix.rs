//! Rules of matrix products: transposes become flags, so that every exporter's weights look alike without moving data.

use crate::query;
use crate::term::{Rule, Term, apply};
use mokume_ir::constant::Constant;
use mokume_ir::edit::Editor;
use mokume_ir::graph::Node;
use mokume_ir::ids::{NodeId, ValueId};
use mokume_ir::op::{Matmul, Op};

/// The rules, tried in this order.
pub const RULES: &[Rule] = &[
    Rule { name: "matmul-transpose-a", find: matmul_transpose_a },
    Rule { name: "matmul-transpose-b", find: matmul_transpose_b },
    Rule { name: "matmul-flat-weight", find: matmul_flat_weight },
];

fn matmul_transpose_a(editor: &Editor<'_>, id: NodeId) -> Option<Term> {
    let Op::Matmul(op) = &editor[id].op else { return None };
    let a = untransposed(editor, editor[id].inputs[0])?;
    Some(apply(Matmul { transpose_a: !op.transpose_a, ..op.clone() }, [a, editor[id].inputs[1]]))
}

fn matmul_transpose_b(editor: &Editor<'_>, id: NodeId) -> Option<Term> {
    let Op::Matmul(op) = &editor[id].op else { return None };
    let b = untransposed(editor, editor[id].inputs[1])?;
    Some(apply(Matmul { transpose_b: !op.transpose_b, ..op.clone() }, [editor[id].inputs[0], b]))
}

/// The operand of a transpose of the last two axes.
fn untransposed(editor: &Editor<'_>, value: ValueId) -> Option<ValueId> {
    let (_, node) = editor.producer(value)?;
    swaps_last_two(node).then(|| node.inputs[0])
}

fn swaps_last_two(node: &Node) -> bool {
    let Op::Transpose(op) = &node.op else { return false };
    let rank = op.perm.len();
    rank >= 2 && op.perm.iter().enumerate().all(|(i, &axis)| axis as usize == if i + 2 < rank { i } else { 2 * rank - 3 - i })
}

/// A constant weight with leading axes of size 1 loses them where the other operand has enough axes.
fn matmul_flat_weight(editor: &Editor<'_>, id: NodeId) -> Option<Term> {
    let Op::Matmul(op) = &editor[id].op else { return None };
    let (a, b) = (editor[id].inputs[0], editor[id].inputs[1]);
    let constant = query::constant(editor, b).filter(|constant| constant.quant.is_none())?;
    let dims = constant.dims();
    let (batch, matrix) = dims.split_at(dims.len().checked_sub(2)?);
    let fits = !batch.is_empty() && batch.iter().all(|&n| n == 1) && editor.ty(a).dims()?.len() >= dims.len();
    fits.then(|| apply(op.clone(), [a.into(), Term::Const(Constant::new(matrix, constant.ty.elem, constant.data.clone()))]))
}
