//! The editor: the only way to change a graph. Keeps uses consistent, infers types, carries provenance, counts edits.

use crate::constant::Constant;
use crate::dim::{Dim, Symbol};
use crate::graph::{Def, Graph, Module, Node, Port, Use, Value};
use crate::ids::{ConstId, FuncId, NodeId, ValueId};
use crate::infer::contents::{self, Memo};
use crate::infer::{self, Contents, InferError};
use crate::loc::Loc;
use crate::op::Op;
use crate::types::Type;
use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::Deref;

/// Changes one function of a module. Derefs to the [`Graph`].
pub struct Editor<'m> {
    module: &'m mut Module,
    function: FuncId,
    constants: HashMap<ConstId, ValueId>,
    edits: usize,
    memo: RefCell<Memo>,
}

impl Deref for Editor<'_> {
    type Target = Graph;
    fn deref(&self) -> &Graph {
        &self.module.functions[self.function]
    }
}

impl<'m> Editor<'m> {
    /// An editor of `function`.
    pub fn new(module: &'m mut Module, function: FuncId) -> Self {
        let graph = &module.functions[function];
        let constants = graph.values.iter().filter_map(|(id, value)| match value.def {
            Def::Const(constant) => Some((constant, id)),
            _ => None,
        });
        let constants = constants.collect();
        Editor { module, function, constants, edits: 0, memo: RefCell::default() }
    }
    /// The whole module.
    pub fn module(&self) -> &Module {
        self.module
    }
    /// The edited function.
    pub fn function(&self) -> FuncId {
        self.function
    }
    /// An editor of another function of the same module, such as one just added.
    pub fn enter(&mut self, function: FuncId) -> Editor<'_> {
        debug_assert_ne!(function, self.function, "two editors of one function");
        Editor::new(self.module, function)
    }
    /// How many edits were made.
    pub fn edits(&self) -> usize {
        self.edits
    }
    /// The elements of a small integer value as expressions, when they are known.
    pub fn contents(&self, value: ValueId) -> Option<Contents> {
        contents::lookup(self.module, self, &mut self.memo.borrow_mut(), value)
    }
    /// A fresh data dependent dimension.
    pub fn fresh_dim(&mut self) -> Dim {
        let unknowns = &mut self.module.functions[self.function].unknowns;
        let number = *unknowns;
        *unknowns = number.saturating_add(1);
        Symbol::unknown(number).into()
    }
    fn graph_mut(&mut self) -> &mut Graph {
        self.edits += 1;
        &mut self.module.functions[self.function]
    }
    /// Adds an input.
    pub fn add_input(&mut self, name: impl Into<String>, ty: Type) -> ValueId {
        let graph = self.graph_mut();
        graph.reserve_unknowns(&ty);
        let def = Def::Input(graph.inputs.len() as u32);
        let value = graph.values.push(Value { ty, def, uses: Default::default() });
        graph.inputs.push(Port { name: name.into(), value });
        value
    }
    /// Removes the unused input number `index`; later inputs move down and states follow.
    ///
    /// Panics  when it is used or a state refers to it.
    pub fn remove_input(&mut self, index: usize) {
        let graph = self.graph_mut();
        let port = graph.inputs.remove(index);
        assert!(graph.values[port.value].uses.is_empty(), "input \"{}\" is used", port.name);
        for (i, later) in graph.inputs.iter().enumerate().skip(index) {
            graph.values[later.value].def = Def::Input(i as u32);
        }
        for state in &mut graph.states {
            assert_ne!(state.input as usize, index, "input \"{}\" is state", port.name);
            state.input -= u32::from(state.input as usize > index);
        }
    }
    /// Adds an output.
    pub fn add_output(&mut self, name: impl Into<String>, value: ValueId) {
        let graph = self.graph_mut();
        let index = graph.outputs.len() as u32;
        graph.outputs.push(Port { name: name.into(), value });
        graph.values[value].uses.push(Use::Output(index));
    }
    /// Removes output number `index`; later outputs move up and states follow.
    ///
    /// Panics  when a state refers to it.
    pub fn remove_output(&mut self, index: usize) {
        let graph = self.graph_mut();
        let port = graph.outputs.remove(index);
        graph.values[port.value].uses.retain(|usage| *usage != Use::Output(index as u32));
        for (i, later) in graph.outputs.iter().enumerate().skip(index) {
            let uses = graph.values[later.value].uses.iter_mut();
            uses.filter(|usage| **usage == Use::Output(i as u32 + 1)).for_each(|usage| *usage = Use::Output(i as u32));
        }
        for state in &mut graph.states {
            assert_ne!(state.output as usize, index, "output \"{}\" is state", port.name);
            state.output -= u32::from(state.output as usize > index);
        }
    }
    /// Declares that input `input` takes output `output` of the run before, growing along `axis`.
    pub fn declare_state(&mut self, state: crate::graph::State) {
        self.graph_mut().states.push(state);
    }
    /// The value of a constant, which is interned.
    pub fn constant_value(&mut self, constant: Constant) -> ValueId {
        let id = self.module.constants.intern(constant);
        self.const_id_value(id)
    }
    /// The value of an interned constant.
    pub fn const_id_value(&mut self, id: ConstId) -> ValueId {
        if let Some(&value) = self.constants.get(&id) {
            return value;
        }
        let ty = Type::Tensor(self.module.constants[id].ty.clone());
        let value = self.graph_mut().values.push(Value { ty, def: Def::Const(id), uses: Default::default() });
        self.constants.insert(id, value);
        value
    }
    /// Adds a node; types of its outputs are inferred.
    ///
    /// Errors  when the operands do not fit the op.
    pub fn insert(&mut self, op: impl Into<Op>, inputs: &[ValueId], loc: Loc) -> Result<NodeId, InferError> {
        let op = op.into();
        let types = infer::infer(self.module, self, &self.memo, &op, inputs)?;
        Ok(self.insert_typed(op, inputs, types, loc))
    }
    /// Adds a node with one output and gives that.
    ///
    /// Errors  when the operands do not fit the op.
    pub fn apply(&mut self, op: impl Into<Op>, inputs: &[ValueId], loc: Loc) -> Result<ValueId, InferError> {
        let node = self.insert(op, inputs, loc)?;
        Ok(self[node].outputs[0])
    }
    /// Adds a node whose output types the caller knows.
    pub fn insert_typed(&mut self, op: Op, inputs: &[ValueId], types: Vec<Type>, loc: Loc) -> NodeId {
        let graph = self.graph_mut();
        types.iter().for_each(|ty| graph.reserve_unknowns(ty));
        let id = graph.nodes.push(None);
        let outputs = types.into_iter().enumerate();
        let outputs =
            outputs.map(|(i, ty)| graph.values.push(Value { ty, def: Def::Node(id, i as u32), uses: Default::default() })).collect();
        for (i, &input) in inputs.iter().enumerate() {
            graph.values[input].uses.push(Use::Operand(id, i as u32));
        }
        graph.nodes[id] = Some(Node { op, inputs: inputs.into(), outputs, loc });
        id
    }
    /// Makes every reader of `old`, and every output that is `old`, take `new`.
    pub fn replace_uses(&mut self, old: ValueId, new: ValueId) {
        if old == new {
            return;
        }
        self.forget(old);
        let graph = self.graph_mut();
        let uses = std::mem::take(&mut graph.values[old].uses);
        for &usage in &uses {
            match usage {
                Use::Operand(node, index) => {
                    if let Some(node) = &mut graph.nodes[node] {
                        node.inputs[index as usize] = new;
                    }
                }
                Use::Output(index) => graph.outputs[index as usize].value = new,
            }
        }
        graph.values[new].uses.extend(uses);
    }
    /// Makes operand `index` of `node` take `new`.
    pub fn set_operand(&mut self, node: NodeId, index: usize, new: ValueId) {
        self.forget_outputs(node);
        let graph = self.graph_mut();
        let Some(target) = &mut graph.nodes[node] else { return };
        let old = std::mem::replace(&mut target.inputs[index], new);
        let usage = Use::Operand(node, index as u32);
        graph.values[old].uses.retain(|u| *u != usage);
        graph.values[new].uses.push(usage);
    }
    /// Replaces op and operands of a node, keeping its outputs; their types are inferred again.
    ///
    /// Errors  when the operands do not fit the op; then nothing changes.
    pub fn rewrite(&mut self, node: NodeId, op: impl Into<Op>, inputs: &[ValueId]) -> Result<(), InferError> {
        let op = op.into();
        let types = infer::infer(self.module, self, &self.memo, &op, inputs)?;
        self.forget_outputs(node);
        let graph = self.graph_mut();
        let first = graph.unknowns;
        let Some(target) = &mut graph.nodes[node] else { return Ok(()) };
        target.op = op;
        let old = std::mem::replace(&mut target.inputs, inputs.into());
        let outputs = target.outputs.clone();
        for value in old {
            graph.values[value].uses.retain(|u| !matches!(u, Use::Operand(user, _) if *user == node));
        }
        for (i, &input) in inputs.iter().enumerate() {
            graph.values[input].uses.push(Use::Operand(node, i as u32));
        }
        for (output, ty) in outputs.into_iter().zip(types) {
            let ty = infer::keep_known(&graph.values[output].ty, ty, first);
            graph.reserve_unknowns(&ty);
            graph.values[output].ty = ty;
        }
        Ok(())
    }
    /// Infers the types of a node's outputs again, after those of its operands changed, and gives the outputs whose type is
    /// another one now.
    ///
    /// Errors  when the operands do not fit the op.
    pub fn infer_again(&mut self, node: NodeId) -> Result<Vec<ValueId>, InferError> {
        let first = self.unknowns;
        let types = infer::infer(self.module, self, &self.memo, &self[node].op, &self[node].inputs)?;
        let typed: Vec<(ValueId, Type)> = self[node].outputs.iter().copied().zip(types).collect();
        let mut changed = Vec::new();
        for (output, ty) in typed {
            let ty = infer::keep_known(self.ty(output), ty, first);
            if *self.ty(output) != ty {
                self.set_type(output, ty);
                changed.push(output);
            }
        }
        Ok(changed)
    }
    /// Adds provenance: `node` now also does what the user's nodes of `loc` did.
    pub fn add_loc(&mut self, node: NodeId, loc: &Loc) {
        if let Some(target) = &mut self.graph_mut().nodes[node] {
            target.loc = Loc::merge([&target.loc, loc]);
        }
    }
    /// Sets the type of a value.
    pub fn set_type(&mut self, value: ValueId, ty: Type) {
        self.forget(value);
        let graph = self.graph_mut();
        graph.reserve_unknowns(&ty);
        graph.values[value].ty = ty;
    }
    /// Removes a node whose outputs nobody reads.
    ///
    /// Panics  when an output is still read.
    pub fn erase(&mut self, id: NodeId) {
        let graph = self.graph_mut();
        let Some(node) = graph.nodes[id].take() else { return };
        for &output in &node.outputs {
            assert!(graph.values[output].uses.is_empty(), "{id} is erased while {output} is read");
        }
        for &input in &node.inputs {
            graph.values[input].uses.retain(|u| !matches!(u, Use::Operand(user, _) if *user == id));
        }
    }
    /// Forgets the contents of what follows from a value.
    fn forget(&mut self, value: ValueId) {
        self.memo.get_mut().forget(&self.module.functions[self.function], value);
    }
    fn forget_outputs(&mut self, node: NodeId) {
        let outputs = self.node(node).map(|node| node.outputs.clone()).unwrap_or_default();
        outputs.into_iter().for_each(|output| self.forget(output));
    }
    /// Adds a function to the module.
    pub fn add_function(&mut self, graph: Graph) -> FuncId {
        self.edits += 1;
        self.module.functions.push(graph)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::{no_data, parse, print};
    use crate::verify::verify;

    #[test]
    fn outputs_go_and_others_move_up() {
        let text = r#"module "m"
graph @f0 "main"(%0 "x": tensor<n x f32>) -> ("a", "b", "c") {
  %1 = relu %0 : tensor<n x f32>
  %2 = sqrt %1 : tensor<n x f32>
  return %1, %2, %1
}
"#;
        let mut module = parse(text, &no_data).unwrap();
        let entry = module.entry;
        let mut editor = Editor::new(&mut module, entry);
        editor.remove_output(1);
        editor.remove_output(0);
        let node = editor.insert(crate::op::Op::from(crate::op::UnaryKind::Exp), &[editor.inputs()[0].value], Loc::default()).unwrap();
        let (old, new) = (editor.outputs()[0].value, editor[node].outputs[0]);
        editor.replace_uses(old, new);
        assert!(verify(&module).is_ok());
        let printed = print(&module);
        assert!(printed.contains("-> (\"c\")") && printed.contains("exp %0") && printed.contains("return %1"), "{printed}");
    }
}
