//! Heads that have the table of an embedding as their weight, and the norms before them.
//!
//! Such a table is stored once as long as both see it in one basis and at one scale: so the gain of the norm before the head stays
//! where it is, and when the residual stream is rotated, the norm gets its operand turned back, and its result is turned again.

use super::region::{self, Norms, Rules, Slot};
use mokume_ir::edit::Editor;
use mokume_ir::graph::Use;
use mokume_ir::ids::NodeId;
use mokume_ir::op::Op;
use std::collections::BTreeSet;

/// The heads that alone read the RMSNorm at `norm`, over `width` channels.
pub fn heads(editor: &Editor<'_>, norm: NodeId, width: i64) -> Option<BTreeSet<Slot>> {
    if region::is_norm_of(editor, &editor[norm], width) != Some(true) {
        return None;
    }
    let rules = Rules { block: width, norms: Norms::Foreign, sums: false, tied: false };
    let slots = region::grow_from(editor, editor[norm].outputs[0], rules).ok()?.slots;
    (!slots.is_empty() && slots.iter().all(|slot| slot.reads && is_table(editor, slot))).then_some(slots)
}

/// Whether an embedding takes rows of the weight.
fn is_table(editor: &Editor<'_>, slot: &Slot) -> bool {
    let Some(weight) = editor.constant(editor[slot.node].inputs[slot.operand]) else { return false };
    let looks_up = |usage: &Use| match *usage {
        Use::Operand(id, 0) => matches!(&editor[id].op, Op::Gather(op) if op.axis == 0),
        _ => false,
    };
    let values = editor.value_ids().filter(|&value| editor.constant(value) == Some(weight));
    slot.axis == 1 && values.flat_map(|value| &editor[value].uses).any(looks_up)
}
