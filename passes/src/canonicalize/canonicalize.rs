//! Brings a graph into one form, whoever wrote it.
//!
//! Before  %1 = shape_of %0 ; %2 = gather %1, @0 ; … ; %7 = reshape %6, %5 ; %9 = transpose %8 ; %10 = matmul %7, %9
//! After   %7 = reshape %6 {shape = [batch*seq, 576]} ; %10 = matmul %7, %8 {transpose_b = true}
//!
//! Shape arithmetic becomes attributes, moves that move nothing go, moves of moves merge, constants stand on the right,
//! transposes of matmul operands become flags. The rules are in [`arithmetic`](super::arithmetic), [`ints`](super::ints),
//! [`movement`](super::movement) and [`matrix`](super::matrix); every one makes the graph smaller or strictly more canonical.
//!
//! Exactness   exact up to the sign of zeros and, for `pow` and `1/sqrt`, the rounding of the cheaper op.
//! Cost        a few sweeps over the nodes.

use super::{arithmetic, ints, matrix, movement};
use crate::pass::{Pass, PassContext, PassError};
use crate::query;
use crate::term::{self, Rule};
use mokume_ir::edit::Editor;
use mokume_ir::ids::{NodeId, ValueId};
use mokume_ir::order::order;
use std::collections::HashSet;

options! {
    /// The canonical form.
    Canonicalize {}
}

const RULES: [&[Rule]; 4] = [ints::RULES, movement::RULES, arithmetic::RULES, matrix::RULES];

/// Rules shrink the graph or move along a partial order, so that sweeps end by themselves; this bounds a mistake.
const MAX_SWEEPS: usize = 16;

impl Pass for Canonicalize {
    fn run(&self, editor: &mut Editor<'_>, cx: &mut PassContext<'_>) -> Result<(), PassError> {
        for _ in 0..MAX_SWEEPS {
            let before = cx.edits();
            sweep(editor, cx)?;
            if cx.edits() == before {
                break;
            }
        }
        Ok(())
    }
}

fn sweep(editor: &mut Editor<'_>, cx: &mut PassContext<'_>) -> Result<(), PassError> {
    let mut retyped = HashSet::new();
    for id in order(editor) {
        if editor.node(id).is_some() {
            retype(editor, id, &mut retyped)?;
            settle(editor, id, cx, &mut retyped)?;
        }
    }
    Ok(())
}

/// Applies rules to a node until none fits.
fn settle(editor: &mut Editor<'_>, id: NodeId, cx: &mut PassContext<'_>, retyped: &mut HashSet<ValueId>) -> Result<(), PassError> {
    while editor.node(id).is_some() {
        let Some(found) = RULES.iter().copied().flatten().find_map(|rule| (rule.find)(editor, id)) else { break };
        if !cx.take() {
            break;
        }
        let outputs = editor[id].outputs.clone();
        let types: Vec<_> = outputs.iter().map(|&output| editor.ty(output).clone()).collect();
        term::replace(editor, id, found)?;
        retyped.extend(outputs.into_iter().zip(types).filter(|(output, ty)| editor.ty(*output) != ty).map(|(output, _)| output));
    }
    Ok(())
}

/// Infers the types of a node again after those of its operands became more precise.
fn retype(editor: &mut Editor<'_>, id: NodeId, retyped: &mut HashSet<ValueId>) -> Result<(), PassError> {
    let node = &editor[id];
    if !node.inputs.iter().any(|input| retyped.contains(input)) || !query::callees(&node.op).is_empty() {
        return Ok(());
    }
    retyped.extend(editor.infer_again(id)?);
    Ok(())
}
