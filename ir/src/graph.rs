//! Modules and graphs: arenas of nodes and values, read here, changed through [`Editor`](crate::edit::Editor).

use crate::arena::Arena;
use crate::constant::Constants;
use crate::ids::{ConstId, FuncId, NodeId, ValueId};
use crate::infer::next_unknown;
use crate::loc::Loc;
use crate::op::Op;
use crate::types::Type;
use smallvec::SmallVec;
use std::collections::HashMap;
use std::fmt;
use std::ops::{Index, IndexMut};

/// Functions and the constants they use. The entry function is what runs.
#[derive(Debug, Clone)]
pub struct Module {
    /// The model's name.
    pub name: String,
    /// Functions; `call`, `if` and `loop` refer to them. No recursion.
    pub functions: Arena<FuncId, Graph>,
    /// The function that runs.
    pub entry: FuncId,
    /// Constants.
    pub constants: Constants,
}

impl Module {
    /// A module with one empty function.
    pub fn new(name: impl Into<String>) -> Self {
        let mut functions = Arena::default();
        let entry = functions.push(Graph::new("main"));
        Module { name: name.into(), functions, entry, constants: Constants::default() }
    }
    /// The entry function.
    pub fn main(&self) -> &Graph {
        &self.functions[self.entry]
    }
    /// Removes the functions that `keep` refuses and numbers the others anew.
    ///
    /// Panics  when the entry or a function that a kept one refers to is removed.
    pub fn retain_functions(&mut self, keep: impl Fn(FuncId) -> bool) {
        let mut renamed = HashMap::new();
        let mut kept = Arena::default();
        for (id, graph) in std::mem::take(&mut self.functions).into_items() {
            if keep(id) {
                renamed.insert(id, kept.push(graph));
            }
        }
        for id in kept.ids() {
            let graph: &mut Graph = &mut kept[id];
            for id in graph.nodes.ids() {
                if let Some(node) = &mut graph.nodes[id] {
                    rename(&mut node.op, &renamed);
                }
            }
        }
        self.functions = kept;
        self.entry = renamed[&self.entry];
    }
}

fn rename(op: &mut Op, renamed: &HashMap<FuncId, FuncId>) {
    match op {
        Op::Call(op) => op.function = renamed[&op.function],
        Op::If(op) => (op.then_branch, op.else_branch) = (renamed[&op.then_branch], renamed[&op.else_branch]),
        Op::Loop(op) => op.body = renamed[&op.body],
        _ => {}
    }
}

impl Index<FuncId> for Module {
    type Output = Graph;
    fn index(&self, id: FuncId) -> &Graph {
        &self.functions[id]
    }
}

impl IndexMut<FuncId> for Module {
    fn index_mut(&mut self, id: FuncId) -> &mut Graph {
        &mut self.functions[id]
    }
}

/// A function: inputs, a directed acyclic graph of nodes, outputs.
#[derive(Debug, Clone)]
pub struct Graph {
    /// Its name.
    pub name: String,
    pub(crate) nodes: Arena<NodeId, Option<Node>>,
    pub(crate) values: Arena<ValueId, Value>,
    pub(crate) inputs: Vec<Port>,
    pub(crate) outputs: Vec<Port>,
    /// Declared state, kept by the runtime between runs.
    pub states: Vec<State>,
    /// Number of the next fresh symbol; above that of every `?n` in a type.
    pub(crate) unknowns: u32,
}

/// A named input or output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// The user's name.
    pub name: String,
    /// The value.
    pub value: ValueId,
}

/// An input that takes what an output gave in the run before; the user sees neither.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// Index of the input.
    pub input: u32,
    /// Index of the output.
    pub output: u32,
    /// The axis along which it grows; before the first run it has size 0 there. None: fixed size, zeros at first.
    pub axis: Option<u32>,
}

/// One application of an op.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// What it computes.
    pub op: Op,
    /// Operands.
    pub inputs: SmallVec<[ValueId; 4]>,
    /// Results.
    pub outputs: SmallVec<[ValueId; 1]>,
    /// Provenance.
    pub loc: Loc,
}

/// `matmul`, `matmul "/fc/MatMul"`
impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.op.name())?;
        if self.loc.names.is_empty() { Ok(()) } else { write!(f, " {}", self.loc) }
    }
}

/// A value and who reads it.
#[derive(Debug, Clone)]
pub struct Value {
    /// Its type.
    pub ty: Type,
    /// Where it comes from.
    pub def: Def,
    /// Who reads it; unordered, a node appears once per operand.
    pub uses: SmallVec<[Use; 2]>,
}

/// Where a value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Def {
    /// Input number `.0` of the function.
    Input(u32),
    /// A constant of the module.
    Const(ConstId),
    /// Output number `.1` of a node.
    Node(NodeId, u32),
}

/// A reader of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Use {
    /// Operand number `.1` of a node.
    Operand(NodeId, u32),
    /// Output number `.0` of the function.
    Output(u32),
}

impl Graph {
    /// An empty function.
    pub fn new(name: impl Into<String>) -> Self {
        Graph {
            name: name.into(),
            nodes: Arena::default(),
            values: Arena::default(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            states: Vec::new(),
            unknowns: 0,
        }
    }
    /// Inputs, in order.
    pub fn inputs(&self) -> &[Port] {
        &self.inputs
    }
    /// Outputs, in order.
    pub fn outputs(&self) -> &[Port] {
        &self.outputs
    }
    /// The node, or none when it was erased or never existed.
    pub fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(id)?.as_ref()
    }
    /// Ids of live nodes by age; for an order of execution see [`order`](crate::order::order).
    pub fn node_ids(&self) -> impl DoubleEndedIterator<Item = NodeId> {
        self.nodes.iter().filter(|(_, node)| node.is_some()).map(|(id, _)| id)
    }
    /// Number of live nodes.
    pub fn node_count(&self) -> usize {
        self.node_ids().count()
    }
    /// One more than the largest node index ever used.
    pub fn node_bound(&self) -> usize {
        self.nodes.len()
    }
    /// Number of values ever made, dead ones included.
    pub fn value_bound(&self) -> usize {
        self.values.len()
    }
    /// Ids of all values ever made, dead ones included.
    pub fn value_ids(&self) -> impl Iterator<Item = ValueId> + use<> {
        self.values.ids()
    }
    /// The type of a value.
    pub fn ty(&self, value: ValueId) -> &Type {
        &self.values[value].ty
    }
    /// The node that makes a value, if a node does.
    pub fn producer(&self, value: ValueId) -> Option<(NodeId, &Node)> {
        match self.values[value].def {
            Def::Node(id, _) => self.node(id).map(|node| (id, node)),
            _ => None,
        }
    }
    /// The constant that a value is, if it is one.
    pub fn constant(&self, value: ValueId) -> Option<ConstId> {
        match self.values[value].def {
            Def::Const(id) => Some(id),
            _ => None,
        }
    }
    /// Keeps fresh symbols above those in `ty`.
    pub(crate) fn reserve_unknowns(&mut self, ty: &Type) {
        self.unknowns = self.unknowns.max(next_unknown(ty));
    }
    /// The single reader of a value, if it has exactly one and that is a node.
    pub fn single_user(&self, value: ValueId) -> Option<NodeId> {
        match self.values[value].uses[..] {
            [Use::Operand(node, _)] => Some(node),
            _ => None,
        }
    }
}

impl Index<NodeId> for Graph {
    type Output = Node;
    /// Panics when the node was erased.
    #[allow(clippy::panic, reason = "an erased id is a bug of the caller")]
    fn index(&self, id: NodeId) -> &Node {
        match &self.nodes[id] {
            Some(node) => node,
            None => panic!("{id} was erased"),
        }
    }
}

impl Index<ValueId> for Graph {
    type Output = Value;
    fn index(&self, id: ValueId) -> &Value {
        &self.values[id]
    }
}
