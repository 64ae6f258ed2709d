//! Removes what no output needs: nodes, functions, and the data of constants.
//!
//! Before  %1 = exp %0 ; %2 = neg %0 ; return %2
//! After   %2 = neg %0 ; return %2
//!
//! Legal when  always: nodes have no effects.
//! Exactness   exact.
//! Cost        O(nodes).

use crate::pass::{Pass, PassContext, PassError};
use crate::query::callees;
use mokume_ir::edit::Editor;
use mokume_ir::graph::{Def, Module};
use mokume_ir::ids::{ConstId, FuncId, NodeId};
use mokume_ir::order::needed;
use std::collections::HashSet;

options! {
    /// Dead code elimination.
    Dce {}
}

impl Pass for Dce {
    fn run(&self, editor: &mut Editor<'_>, cx: &mut PassContext<'_>) -> Result<(), PassError> {
        let needed: HashSet<NodeId> = needed(editor).into_iter().collect();
        let mut dead: Vec<NodeId> = editor.node_ids().filter(|id| !needed.contains(id)).collect();
        while let Some(id) = dead.pop() {
            if needed.contains(&id) || editor.node(id).is_none() || !is_unread(editor, id) {
                continue;
            }
            if !cx.take() {
                return Ok(());
            }
            let inputs = editor[id].inputs.clone();
            editor.erase(id);
            dead.extend(inputs.iter().filter_map(|&input| editor.producer(input).map(|(id, _)| id)));
        }
        Ok(())
    }

    fn run_module(&self, module: &mut Module, cx: &mut PassContext<'_>) -> Result<(), PassError> {
        for function in live_functions(module) {
            self.run(&mut Editor::new(module, function), cx)?;
        }
        let functions = live_functions(module);
        module.retain_functions(|function| functions.contains(&function));
        release_constants(module);
        Ok(())
    }
}

/// Lets go of the data of constants that nothing reads.
pub fn release_constants(module: &mut Module) {
    let constants = live_constants(module);
    module.constants.release(|constant| constants.contains(&constant));
}

fn is_unread(editor: &Editor<'_>, id: NodeId) -> bool {
    editor[id].outputs.iter().all(|&output| editor[output].uses.is_empty())
}

/// The entry and every function that a live function refers to, by id.
fn live_functions(module: &Module) -> Vec<FuncId> {
    let mut live = HashSet::from([module.entry]);
    let mut open = vec![module.entry];
    while let Some(function) = open.pop() {
        let graph = &module[function];
        for callee in graph.node_ids().flat_map(|id| callees(&graph[id].op)) {
            if live.insert(callee) {
                open.push(callee);
            }
        }
    }
    module.functions.ids().filter(|id| live.contains(id)).collect()
}

fn live_constants(module: &Module) -> HashSet<ConstId> {
    let graphs = module.functions.iter().map(|(_, graph)| graph);
    let values = graphs.flat_map(|graph| graph.value_ids().map(move |id| &graph[id]));
    let read = values.filter(|value| !value.uses.is_empty());
    read.filter_map(|value| match value.def {
        Def::Const(id) => Some(id),
        _ => None,
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::executor::NoExecutor;
    use crate::pass::Quiet;
    use mokume_ir::constant::Constant;
    use mokume_ir::graph::Graph;
    use mokume_ir::loc::Loc;
    use mokume_ir::op::{Call, Op, UnaryKind};
    use mokume_ir::types::{Elem, Shape, Type};

    #[test]
    fn removes_chains_functions_and_constants_that_nothing_reads() {
        let mut module = Module::new("m");
        let (dead, live) = (module.functions.push(Graph::new("dead")), module.functions.push(Graph::new("live")));
        let ty = Type::tensor(Shape::known(&[2]), Elem::F32);
        let mut editor = Editor::new(&mut module, FuncId(0));
        let x = editor.add_input("x", ty.clone());
        editor.constant_value(Constant::f32s(&[2], &[1.0, 2.0]));
        let e = editor.insert_typed(Op::Unary(UnaryKind::Exp), &[x], vec![ty.clone()], Loc::default());
        let e = editor[e].outputs[0];
        editor.insert_typed(Op::Unary(UnaryKind::Neg), &[e], vec![ty.clone()], Loc::default());
        let call = editor.insert_typed(Op::Call(Call { function: live }), &[x], vec![ty], Loc::default());
        let y = editor[call].outputs[0];
        editor.add_output("y", y);
        let mut quiet = Quiet;
        let mut cx = PassContext::new(&NoExecutor, &mut quiet);
        Dce::default().run_module(&mut module, &mut cx).unwrap();
        assert_eq!((module.main().node_count(), cx.edits()), (1, 2));
        assert_eq!(module.functions.iter().map(|(_, g)| g.name.as_str()).collect::<Vec<_>>(), ["main", "live"]);
        assert_eq!(module.main()[call].op, Op::Call(Call { function: dead }), "the callee has a new number");
        assert!(module.constants.iter().all(|(_, constant)| constant.data.is_empty()));
    }

    #[test]
    fn the_edit_limit_stops_it() {
        let mut module = Module::new("m");
        let ty = Type::tensor(Shape::known(&[2]), Elem::F32);
        let mut editor = Editor::new(&mut module, FuncId(0));
        let x = editor.add_input("x", ty.clone());
        editor.insert_typed(Op::Unary(UnaryKind::Exp), &[x], vec![ty.clone()], Loc::default());
        editor.insert_typed(Op::Unary(UnaryKind::Neg), &[x], vec![ty], Loc::default());
        let mut quiet = Quiet;
        let mut cx = PassContext::new(&NoExecutor, &mut quiet);
        cx.edit_limit = Some(1);
        Dce::default().run_module(&mut module, &mut cx).unwrap();
        assert_eq!(module.main().node_count(), 1);
    }
}
