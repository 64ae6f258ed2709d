//! Writes functions out where they are used: calls that occur once, and the branch that a constant condition takes.
//!
//! Before  %1 = if @true, %0 {then_branch = @f1, else_branch = @f2}
//! After   the nodes of @f1, reading %0
//!
//! Legal when  always. Functions that several calls share stay shared: that is what keeps them one body of code.
//! Exactness   exact.
//! Cost        O(nodes).

use crate::pass::{Pass, PassContext, PassError};
use crate::query::{callees, splat};
use mokume_ir::edit::Editor;
use mokume_ir::graph::{Def, Graph, Module};
use mokume_ir::ids::{FuncId, NodeId, ValueId};
use mokume_ir::infer::InferError;
use mokume_ir::op::Op;
use mokume_ir::order::order;
use std::collections::HashMap;

options! {
    /// Inlining.
    Inline {}
}

impl Pass for Inline {
    fn run(&self, editor: &mut Editor<'_>, cx: &mut PassContext<'_>) -> Result<(), PassError> {
        let calls = call_counts(editor.module());
        for id in order(editor) {
            let Some((function, arguments)) = body(editor, id, &calls) else { continue };
            if !cx.take() {
                break;
            }
            inline(editor, id, function, &arguments)?;
        }
        Ok(())
    }
}

/// How often every function is referred to.
fn call_counts(module: &Module) -> HashMap<FuncId, usize> {
    let mut counts = HashMap::new();
    for (_, graph) in module.functions.iter() {
        graph.node_ids().flat_map(|id| callees(&graph[id].op)).for_each(|callee| *counts.entry(callee).or_insert(0) += 1);
    }
    counts
}

/// The function whose body can stand for the node, and its arguments.
fn body(editor: &Editor<'_>, id: NodeId, calls: &HashMap<FuncId, usize>) -> Option<(FuncId, Vec<ValueId>)> {
    let node = &editor[id];
    match &node.op {
        Op::Call(call) if calls.get(&call.function) == Some(&1) => Some((call.function, node.inputs.to_vec())),
        Op::If(op) => {
            let taken = if splat(editor, node.inputs[0])? != 0.0 { op.then_branch } else { op.else_branch };
            Some((taken, node.inputs[1..].to_vec()))
        }
        _ => None,
    }
}

fn inline(editor: &mut Editor<'_>, id: NodeId, function: FuncId, arguments: &[ValueId]) -> Result<(), InferError> {
    let callee = editor.module()[function].clone();
    let mut copies: HashMap<ValueId, ValueId> = HashMap::new();
    for node in order(&callee) {
        let node = &callee[node];
        let inputs: Vec<ValueId> = node.inputs.iter().map(|&input| copied(editor, &callee, input, arguments, &copies)).collect();
        let copy = editor.insert(node.op.clone(), &inputs, node.loc.clone())?;
        copies.extend(node.outputs.iter().copied().zip(editor[copy].outputs.clone()));
    }
    let results: Vec<ValueId> = callee.outputs().iter().map(|port| copied(editor, &callee, port.value, arguments, &copies)).collect();
    for (old, new) in editor[id].outputs.clone().into_iter().zip(results) {
        editor.replace_uses(old, new);
    }
    editor.erase(id);
    Ok(())
}

/// What stands in the caller for a value of the callee.
fn copied(editor: &mut Editor<'_>, callee: &Graph, value: ValueId, arguments: &[ValueId], copies: &HashMap<ValueId, ValueId>) -> ValueId {
    match callee[value].def {
        Def::Input(index) => arguments[index as usize],
        Def::Const(id) => editor.const_id_value(id),
        Def::Node(..) => copies[&value],
    }
}
