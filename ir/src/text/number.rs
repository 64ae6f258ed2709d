//! Canonical numbers of functions, constants and values: the order in which the text first mentions them.

use super::dead;
use crate::arena::Map;
use crate::attr::Attr;
use crate::graph::{Def, Graph, Module};
use crate::ids::{ConstId, FuncId, Id, NodeId, ValueId};
use crate::op::Op;

/// The numbers of a module.
pub struct Numbers {
    /// Functions in order: the entry, those reachable from it by first mention, then the others by name.
    pub functions: Vec<FuncNumbers>,
    /// Mentioned constants in order.
    pub constants: Vec<ConstId>,
    function_numbers: Map<FuncId, Option<u32>>,
    constant_numbers: Map<ConstId, Option<u32>>,
}

/// The numbers of a function.
pub struct FuncNumbers {
    /// The function.
    pub id: FuncId,
    /// Its nodes in canonical order, those that no output needs at the end.
    pub nodes: Vec<NodeId>,
    values: Map<ValueId, Option<u32>>,
    next: u32,
}

impl Numbers {
    /// The numbers of `module`.
    pub fn new(module: &Module) -> Self {
        let mut numbers = Numbers { functions: vec![], constants: vec![], function_numbers: Map::new(), constant_numbers: Map::new() };
        let mut roots: Vec<FuncId> = module.functions.ids().collect();
        roots.sort_by_key(|&id| (id != module.entry, &module[id].name, id));
        roots.into_iter().for_each(|root| numbers.reach(module, root));
        numbers
    }
    /// The number of a function; none when it does not exist.
    pub fn function(&self, id: FuncId) -> Option<u32> {
        self.function_numbers[id]
    }
    /// The number of a mentioned constant.
    pub fn constant(&self, id: ConstId) -> Option<u32> {
        self.constant_numbers[id]
    }
    /// Numbers `root` and what it refers to, breadth first.
    fn reach(&mut self, module: &Module, root: FuncId) {
        let mut at = self.functions.len();
        self.mention_function(module, root);
        while let Some(function) = self.functions.get(at).map(|function| function.id) {
            let graph = &module[function];
            let nodes = dead::with_dead(module, graph);
            for &node in &nodes {
                functions_of(&graph[node].op).into_iter().for_each(|callee| self.mention_function(module, callee));
                graph[node].inputs.iter().for_each(|&value| self.mention_constant(graph, value));
            }
            graph.outputs().iter().for_each(|port| self.mention_constant(graph, port.value));
            self.functions[at] = FuncNumbers::new(function, graph, nodes);
            at += 1;
        }
    }
    fn mention_function(&mut self, module: &Module, id: FuncId) {
        if module.functions.get(id).is_some() && self.function_numbers[id].is_none() {
            self.function_numbers.set(id, Some(self.functions.len() as u32));
            self.functions.push(FuncNumbers { id, nodes: vec![], values: Map::new(), next: 0 });
        }
    }
    fn mention_constant(&mut self, graph: &Graph, value: ValueId) {
        if let Some(id) = graph.constant(value)
            && self.constant_numbers[id].is_none()
        {
            self.constant_numbers.set(id, Some(self.constants.len() as u32));
            self.constants.push(id);
        }
    }
}

impl FuncNumbers {
    fn new(id: FuncId, graph: &Graph, nodes: Vec<NodeId>) -> Self {
        let inputs = graph.inputs().iter().map(|port| port.value);
        let results = nodes.iter().flat_map(|&node| graph[node].outputs.iter().copied());
        let mut values = Map::new();
        let mut next = 0;
        for value in inputs.chain(results) {
            values.set(value, Some(next));
            next += 1;
        }
        FuncNumbers { id, nodes, values, next }
    }
    /// The number of an input or node output; values of no live node come after all others.
    pub fn value(&self, id: ValueId) -> u32 {
        self.values[id].unwrap_or(self.next + id.index() as u32)
    }
    /// What an operand or output is: a constant or a numbered value.
    pub fn source(&self, graph: &Graph, id: ValueId) -> Result<ConstId, u32> {
        match graph[id].def {
            Def::Const(constant) => Ok(constant),
            _ => Err(self.value(id)),
        }
    }
}

/// The functions that an op refers to, in the order of its attributes.
pub fn functions_of(op: &Op) -> Vec<FuncId> {
    fn collect(attr: Attr, into: &mut Vec<FuncId>) {
        match attr {
            Attr::Func(id) => into.push(id),
            Attr::List(items) => items.into_iter().for_each(|item| collect(item, into)),
            _ => {}
        }
    }
    let mut functions = Vec::new();
    if matches!(op, Op::Call(_) | Op::If(_) | Op::Loop(_)) {
        op.attrs().into_iter().for_each(|(_, attr)| collect(attr, &mut functions));
    }
    functions
}
