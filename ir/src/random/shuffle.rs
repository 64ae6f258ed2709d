//! The same module under other ids.

use super::Rng;
use crate::edit::Editor;
use crate::graph::{Def, Graph, Module};
use crate::ids::{ConstId, FuncId, NodeId, ValueId};
use crate::op::Op;
use std::collections::HashMap;

/// `module` built again with functions, constants and nodes added in another order; operands still come before their users.
pub fn shuffled(module: &Module, seed: u64) -> Module {
    let mut rng = Rng::new(seed);
    let mut shuffle = Shuffle { module, copy: Module::new(&module.name), functions: HashMap::new(), constants: HashMap::new() };
    shuffle.copy.functions = Default::default();
    shuffle.declare(&mut rng);
    for id in module.functions.ids() {
        shuffle.fill(id, &mut rng);
    }
    shuffle.copy
}

struct Shuffle<'m> {
    module: &'m Module,
    copy: Module,
    functions: HashMap<FuncId, FuncId>,
    constants: HashMap<ConstId, ConstId>,
}

impl Shuffle<'_> {
    fn declare(&mut self, rng: &mut Rng) {
        let mut ids: Vec<FuncId> = self.module.functions.ids().collect();
        rng.shuffle(&mut ids);
        for id in ids {
            let mut empty = Graph::new(&self.module[id].name);
            empty.states = self.module[id].states.clone();
            self.functions.insert(id, self.copy.functions.push(empty));
        }
        self.copy.entry = self.functions[&self.module.entry];
        let mut constants: Vec<_> = self.module.constants.iter().collect();
        rng.shuffle(&mut constants);
        for (id, constant) in constants {
            self.constants.insert(id, self.copy.constants.intern(constant.clone()));
        }
    }
    fn fill(&mut self, id: FuncId, rng: &mut Rng) {
        let graph = &self.module[id];
        let mut values = HashMap::new();
        let mut editor = Editor::new(&mut self.copy, self.functions[&id]);
        for port in graph.inputs() {
            values.insert(port.value, editor.add_input(&port.name, graph.ty(port.value).clone()));
        }
        for node in any_order(graph, rng) {
            let node = &graph[node];
            let operands: Vec<ValueId> = node.inputs.iter().map(|&v| copied(graph, v, &values, &self.constants, &mut editor)).collect();
            let types = node.outputs.iter().map(|&value| graph.ty(value).clone()).collect();
            let new = editor.insert_typed(renamed(&node.op, &self.functions), &operands, types, node.loc.clone());
            values.extend(node.outputs.iter().copied().zip(editor[new].outputs.iter().copied()));
        }
        for port in graph.outputs() {
            let value = copied(graph, port.value, &values, &self.constants, &mut editor);
            editor.add_output(&port.name, value);
        }
    }
}

fn copied(
    graph: &Graph,
    value: ValueId,
    values: &HashMap<ValueId, ValueId>,
    constants: &HashMap<ConstId, ConstId>,
    editor: &mut Editor<'_>,
) -> ValueId {
    match graph.constant(value) {
        Some(constant) => editor.const_id_value(constants[&constant]),
        None => values[&value],
    }
}

/// The live nodes in a random order with operands first.
fn any_order(graph: &Graph, rng: &mut Rng) -> Vec<NodeId> {
    let mut waiting: Vec<NodeId> = graph.node_ids().collect();
    let mut order = Vec::new();
    while !waiting.is_empty() {
        rng.shuffle(&mut waiting);
        let (ready, rest): (Vec<_>, Vec<_>) = waiting.iter().partition(|&&id| {
            graph[id].inputs.iter().all(|&value| match graph[value].def {
                Def::Node(producer, _) => order.contains(&producer),
                _ => true,
            })
        });
        // Taking half of what is ready mixes the levels.
        let taken = ready.len().div_ceil(2);
        order.extend(&ready[..taken]);
        waiting = [&ready[taken..], &rest[..]].concat();
    }
    order
}

fn renamed(op: &Op, functions: &HashMap<FuncId, FuncId>) -> Op {
    let mut op = op.clone();
    match &mut op {
        Op::Call(call) => call.function = functions[&call.function],
        Op::If(branch) => {
            branch.then_branch = functions[&branch.then_branch];
            branch.else_branch = functions[&branch.else_branch];
        }
        Op::Loop(repeat) => repeat.body = functions[&repeat.body],
        _ => {}
    }
    op
}
