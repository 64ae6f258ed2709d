//! Subgraphs of nodes: as functions of their own, what they capture made explicit; or in place, where the choice is known.

use super::cx::{Bound, Fault};
use super::import::{Importer, Opsets, Scope, sweep};
use super::proto::GraphProto;
use super::schedule;
use mokume_ir::dim::{Dim, Symbol};
use mokume_ir::edit::Editor;
use mokume_ir::graph::Graph;
use mokume_ir::ids::{ConstId, FuncId, ValueId};
use mokume_ir::types::{Shape, TensorType, Type};
use std::collections::{HashMap, HashSet};

/// What subgraphs read from around them. Constants need not be passed: functions share them.
#[derive(Debug, Default)]
pub struct Captures {
    names: Vec<String>,
    /// The values that are passed, in the order of the parameters.
    pub values: Vec<ValueId>,
    constants: Vec<(String, ConstId)>,
}

impl Captures {
    /// Of all `graphs`, each name once.
    ///
    /// Errors  when one is a sequence, or comes from a node that failed.
    pub fn of(graphs: &[&GraphProto], ed: &Editor<'_>, scope: &Scope) -> Result<Self, Fault> {
        let mut captures = Captures::default();
        let mut seen = HashSet::new();
        for name in graphs.iter().flat_map(|graph| schedule::captures(graph)).filter(|name| seen.insert(*name)) {
            match scope.get(name) {
                Some(Bound::Value(value)) => captures.push(name, *value, ed),
                Some(Bound::Failed) => return Err(Fault::Poisoned),
                Some(Bound::Absent) | None => {}
                Some(_) => return Err(Fault::unsupported(format!("the subgraph reads \"{name}\", a sequence or optional"))),
            }
        }
        Ok(captures)
    }
    fn push(&mut self, name: &str, value: ValueId, ed: &Editor<'_>) {
        match ed.constant(value) {
            Some(id) => self.constants.push((name.to_string(), id)),
            None => {
                self.names.push(name.to_string());
                self.values.push(value);
            }
        }
    }
}

/// Makes what a subgraph's inputs stand for from the function's first parameters.
pub type Prologue<'a> = &'a dyn Fn(&mut Editor<'_>, &[ValueId]) -> Result<Vec<ValueId>, Fault>;

/// How a subgraph becomes a function of `params`, then captures.
pub struct Body<'a> {
    /// The function's name.
    pub name: String,
    /// The subgraph.
    pub graph: &'a GraphProto,
    /// Operator sets.
    pub opsets: &'a Opsets,
    /// Names and types of the first parameters.
    pub params: Vec<(String, Type)>,
    /// What is passed after them.
    pub captures: &'a Captures,
    /// Values of the subgraph's inputs.
    pub prologue: Prologue<'a>,
    /// Parameter that is the first output.
    pub first_output: Option<usize>,
}

impl Importer<'_> {
    /// The function for a subgraph.
    pub fn function(&mut self, ed: &mut Editor<'_>, body: &Body<'_>) -> Result<FuncId, Fault> {
        let captured = body.captures.values.iter().map(|&value| ed.ty(value).clone());
        let types = body.params.iter().map(|param| param.1.clone()).chain(captured).collect();
        let types = self.own_types(types);
        let id = ed.add_function(Graph::new(&body.name));
        let mut inner = ed.enter(id);
        let names = body.params.iter().map(|param| &param.0).chain(&body.captures.names);
        let params: Vec<ValueId> = names.zip(types).map(|(name, ty)| inner.add_input(name, ty)).collect();
        let (own, captured) = params.split_at(body.params.len());
        let mut scope: Scope = body.captures.names.iter().cloned().zip(captured.iter().map(|&v| Bound::Value(v))).collect();
        for (name, constant) in &body.captures.constants {
            scope.insert(name.clone(), inner.const_id_value(*constant).into());
        }
        for (input, value) in body.graph.input.iter().zip((body.prologue)(&mut inner, own)?) {
            scope.insert(input.name.clone(), value.into());
        }
        let outputs = self.subgraph(&mut inner, body.graph, scope, body.opsets)?;
        if let Some(index) = body.first_output {
            inner.add_output("condition", params[index]);
        }
        for (port, bound) in body.graph.output.iter().zip(outputs) {
            let Bound::Value(value) = bound else { return Err(Fault::unsupported("the subgraph gives a sequence or optional")) };
            inner.add_output(&port.name, value);
        }
        sweep(&mut inner);
        Ok(id)
    }
    /// Imports a subgraph into `ed`; gives what its outputs stand for.
    pub fn subgraph(&mut self, ed: &mut Editor<'_>, graph: &GraphProto, mut scope: Scope, opsets: &Opsets) -> Result<Vec<Bound>, Fault> {
        self.initializers(ed, graph, &mut scope);
        if !self.nodes(ed, &graph.node, &mut scope, opsets) {
            return Err(Fault::Poisoned);
        }
        let output = |name: &String| match scope.get(name) {
            Some(Bound::Failed) => Err(Fault::Poisoned),
            Some(bound) => Ok(bound.clone()),
            None => Err(Fault::input(format!("the subgraph does not define its output \"{name}\""))),
        };
        graph.output.iter().map(|port| output(&port.name)).collect()
    }
    /// The names in `scope` that a subgraph captures.
    pub fn captured_scope(&self, graph: &GraphProto, scope: &Scope) -> Scope {
        let names = schedule::captures(graph).into_iter();
        names.filter_map(|name| Some((name.to_string(), scope.get(name)?.clone()))).collect()
    }
    /// Types of parameters: a function's symbols are its own, and each is the whole size of some parameter's axis.
    fn own_types(&mut self, types: Vec<Type>) -> Vec<Type> {
        let dims = types.iter().filter_map(Type::dims).flatten();
        let mut names: HashMap<Symbol, Symbol> = HashMap::new();
        for symbol in dims.filter_map(Dim::as_symbol) {
            let name = if symbol.is_unknown() { self.symbols.fresh("size") } else { symbol.clone() };
            names.entry(symbol.clone()).or_insert(name);
        }
        types.into_iter().map(|ty| self.own_type(ty, &names)).collect()
    }
    fn own_type(&mut self, ty: Type, names: &HashMap<Symbol, Symbol>) -> Type {
        let Type::Tensor(TensorType { shape: Shape::Ranked(dims), elem }) = ty else { return ty };
        let own = |dim: Dim| {
            let mut bound = true;
            dim.symbols(&mut |symbol| bound &= names.contains_key(symbol));
            match bound {
                true => dim.substitute(&|symbol| names[symbol].clone().into()),
                false => self.symbols.fresh("size").into(),
            }
        };
        Type::tensor(dims.into_iter().map(own).collect(), elem)
    }
}
