//! Computes equal things once.
//!
//! Before  %1 = exp %0 ; %2 = exp %0 ; %3 = add %1, %2
//! After   %1 = exp %0 ; %3 = add %1, %1
//!
//! Legal when  always: nodes have no effects.
//! Exactness   exact.
//! Cost        O(nodes), a printed op each.

use crate::pass::{Pass, PassContext, PassError};
use mokume_ir::edit::Editor;
use mokume_ir::ids::{NodeId, ValueId};
use mokume_ir::order::order;
use std::collections::HashMap;

options! {
    /// Common subexpression elimination.
    Cse {}
}

impl Pass for Cse {
    fn run(&self, editor: &mut Editor<'_>, cx: &mut PassContext<'_>) -> Result<(), PassError> {
        let mut first: HashMap<(String, Vec<ValueId>), NodeId> = HashMap::new();
        for id in order(editor) {
            let key = (format!("{:?}", editor[id].op), editor[id].inputs.to_vec());
            match first.get(&key) {
                Some(&kept) if same_types(editor, kept, id) => {
                    if !cx.take() {
                        return Ok(());
                    }
                    merge(editor, kept, id);
                }
                Some(_) => {}
                None => _ = first.insert(key, id),
            }
        }
        Ok(())
    }
}

/// Nodes whose sizes depend on data carry symbols of their own; those stay apart.
fn same_types(editor: &Editor<'_>, a: NodeId, b: NodeId) -> bool {
    editor[a].outputs.iter().zip(&editor[b].outputs).all(|(&a, &b)| editor.ty(a) == editor.ty(b))
}

fn merge(editor: &mut Editor<'_>, kept: NodeId, other: NodeId) {
    let pairs: Vec<_> = editor[other].outputs.iter().copied().zip(editor[kept].outputs.iter().copied()).collect();
    for (old, new) in pairs {
        editor.replace_uses(old, new);
    }
    let loc = editor[other].loc.clone();
    editor.add_loc(kept, &loc);
    editor.erase(other);
}
