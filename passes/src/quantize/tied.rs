//! Tables that an embedding takes rows of and a product multiplies with: stored once, in the codes of the product.
//!
//! Before  %1 = gather @e, %ids ; … ; %9 = matmul %8, @e {transpose_b = true}
//! After   %2 = dequantize @q ; %1 = gather %2, %ids ; … ; %9 = matmul %8, %2 {transpose_b = true}

use super::sites::Site;
use mokume_ir::edit::Editor;
use mokume_ir::graph::Use;
use mokume_ir::ids::{ConstId, NodeId, ValueId};
use mokume_ir::op::{BinaryKind, Op};
use std::collections::HashMap;

/// What becomes of a table that a product multiplies with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// The codes of this product serve both.
    Shared(NodeId),
    /// The product has so many bits, too few for an embedding, which has codes of its own.
    Apart(u8),
    /// The product stays float, and its weight serves both.
    Float,
}

/// Look-ups in tables that products multiply with.
pub type Ties = HashMap<NodeId, Fate>;

/// The look-ups whose table a product reads too; `bits` says how many `sites` will have, of which an embedding needs `least`.
pub fn find(editor: &Editor<'_>, sites: &[Site], bits: &dyn Fn(&Site) -> u8, least: u8) -> Ties {
    let mut ties = Ties::new();
    if least > 8 {
        return ties;
    }
    for id in editor.node_ids() {
        let Some(table) = table(editor, id).filter(|&table| multiplies(editor, table)) else { continue };
        let site = sites.iter().find(|site| site.weight == table && !site.conv && !site.transposed);
        let fate = match site {
            Some(site) if bits(site) >= least => Fate::Shared(site.node),
            Some(site) => Fate::Apart(bits(site)),
            None => Fate::Float,
        };
        ties.insert(id, fate);
    }
    ties
}

/// The constant whose rows the node takes.
fn table(editor: &Editor<'_>, id: NodeId) -> Option<ConstId> {
    let node = &editor[id];
    matches!(&node.op, Op::Gather(op) if op.axis == 0).then(|| editor.constant(node.inputs[0]))?
}

/// Whether a product has the rows of the constant as its columns.
fn multiplies(editor: &Editor<'_>, table: ConstId) -> bool {
    let reads = |usage: &Use| match *usage {
        Use::Operand(id, 1) => matches!(&editor[id].op, Op::Matmul(op) if op.transpose_b),
        _ => false,
    };
    editor.value_ids().filter(|&value| editor.constant(value) == Some(table)).any(|value| editor[value].uses.iter().any(reads))
}

/// The dequantized weight of a product that was rounded, below what was added to it.
pub fn weight(editor: &Editor<'_>, product: NodeId) -> Option<ValueId> {
    let node = editor.node(product)?;
    match &node.op {
        Op::Matmul(_) => {
            let (_, weight) = editor.producer(node.inputs[1])?;
            matches!(weight.op, Op::Dequantize(_)).then(|| node.inputs[1])
        }
        Op::Binary(BinaryKind::Add) => weight(editor, editor.producer(node.inputs[0])?.0),
        _ => None,
    }
}
