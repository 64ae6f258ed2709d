//! A part of a function as a module of its own: from given values to wanted ones.

use crate::executor::Executor;
use mokume_ir::constant::Constant;
use mokume_ir::edit::Editor;
use mokume_ir::graph::{Graph, Module, Use};
use mokume_ir::ids::{NodeId, ValueId};
use mokume_ir::op::Op;
use mokume_ir::order::order;
use std::collections::{HashMap, HashSet};

/// The name of a value as input or output of a part.
pub fn port(value: ValueId) -> String {
    value.to_string()
}

/// The part of the entry function of `module` that computes `wanted` from `given`.
///
/// Inputs and outputs are called as [`port`] says. Constants are shared, provenance is kept, nodes that read nothing but constants
/// are evaluated, so that weights are decoded once and not for every run; nodes that compute the same are one.
///
/// Errors  naming a value that does not follow from `given`.
pub fn segment(module: &Module, given: &[ValueId], wanted: &[ValueId], executor: &dyn Executor) -> Result<Module, String> {
    let graph = module.main();
    let mut copy = module.clone();
    copy.entry = copy.functions.push(Graph::new(graph.name.clone()));
    let entry = copy.entry;
    let mut writer = Writer { graph, editor: Editor::new(&mut copy, entry), renamed: HashMap::new(), executor };
    for &value in given {
        let input = writer.editor.add_input(port(value), graph.ty(value).clone());
        writer.renamed.insert(value, input);
    }
    for id in between(graph, given, wanted) {
        writer.write(id)?;
    }
    for &value in wanted {
        let output = writer.renamed(value)?;
        writer.editor.add_output(port(value), output);
    }
    Ok(copy)
}

/// The nodes that compute `wanted` from `given`, in canonical order.
fn between(graph: &Graph, given: &[ValueId], wanted: &[ValueId]) -> Vec<NodeId> {
    let mut seen: HashSet<ValueId> = given.iter().copied().collect();
    let (mut nodes, mut open) = (HashSet::new(), wanted.to_vec());
    while let Some(value) = open.pop() {
        if seen.insert(value)
            && let Some((id, node)) = graph.producer(value)
        {
            nodes.insert(id);
            open.extend(&node.inputs);
        }
    }
    order(graph).into_iter().filter(|id| nodes.contains(id)).collect()
}

struct Writer<'s> {
    graph: &'s Graph,
    editor: Editor<'s>,
    renamed: HashMap<ValueId, ValueId>,
    executor: &'s dyn Executor,
}

impl Writer<'_> {
    fn write(&mut self, id: NodeId) -> Result<(), String> {
        let node = &self.graph[id];
        let inputs = node.inputs.iter().map(|&input| self.renamed(input)).collect::<Result<Vec<_>, _>>()?;
        if let Some(constants) = self.folded(&node.op, &inputs) {
            for (&output, constant) in node.outputs.iter().zip(constants) {
                let value = self.editor.constant_value(constant);
                self.renamed.insert(output, value);
            }
            return Ok(());
        }
        let copy = match self.same(&node.op, &inputs) {
            Some(copy) => copy,
            None => {
                let types = node.outputs.iter().map(|&output| self.graph.ty(output).clone()).collect();
                self.editor.insert_typed(node.op.clone(), &inputs, types, node.loc.clone())
            }
        };
        let outputs = self.editor[copy].outputs.clone();
        self.renamed.extend(node.outputs.iter().copied().zip(outputs));
        Ok(())
    }
    /// The copy of a node that computes the same, such as activations rounded for another product.
    fn same(&self, op: &Op, inputs: &[ValueId]) -> Option<NodeId> {
        let reads = |usage: &Use| match *usage {
            Use::Operand(id, 0) => Some(id).filter(|&id| self.editor[id].op == *op && self.editor[id].inputs[..] == *inputs),
            _ => None,
        };
        self.editor[*inputs.first()?].uses.iter().find_map(reads)
    }
    fn renamed(&mut self, value: ValueId) -> Result<ValueId, String> {
        if let Some(&renamed) = self.renamed.get(&value) {
            return Ok(renamed);
        }
        let constant = self.graph.constant(value).ok_or_else(|| format!("{value} does not follow from what is given"))?;
        let renamed = self.editor.const_id_value(constant);
        self.renamed.insert(value, renamed);
        Ok(renamed)
    }
    /// What a node gives that reads nothing but constants. One that cannot be evaluated by itself runs with the others.
    fn folded(&self, op: &Op, inputs: &[ValueId]) -> Option<Vec<Constant>> {
        let constants = &self.editor.module().constants;
        let operands: Vec<&Constant> = inputs.iter().map(|&input| Some(&constants[self.editor.constant(input)?])).collect::<Option<_>>()?;
        if operands.is_empty() { None } else { self.executor.eval(op, &operands).ok() }
    }
}
