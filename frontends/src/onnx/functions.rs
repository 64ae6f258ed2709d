//! Model-local functions: every call is inlined, with the call's attributes in place of references.

use super::cx::{Bound, Fault};
use super::import::{Importer, Opsets, Scope, name_of};
use super::proto::{AttributeProto, FunctionProto, GraphProto, NodeProto};
use mokume_ir::edit::Editor;
use std::collections::HashMap;

/// Deepest nesting of calls.
const DEPTH_LIMIT: usize = 32;

/// Domain, name and overload of a function.
pub type Key = (String, String, String);

/// The functions of a model.
pub struct Library<'p>(HashMap<Key, &'p FunctionProto>);

impl<'p> Library<'p> {
    /// Of these functions.
    pub fn new(functions: &'p [FunctionProto]) -> Self {
        let key = |f: &FunctionProto| (f.domain.clone(), f.name.clone(), f.overload.clone());
        Library(functions.iter().map(|function| (key(function), function)).collect())
    }
    /// The function a node calls, if it calls one.
    pub fn find(&self, node: &NodeProto) -> Option<&'p FunctionProto> {
        if self.0.is_empty() {
            return None;
        }
        self.0.get(&key(node)).copied()
    }
}

/// Which function a node calls, should there be one.
pub fn key(node: &NodeProto) -> Key {
    (node.domain.clone(), node.op_type.clone(), node.overload.clone())
}

/// Imports the body of `function` for the call `node`.
pub fn inline(
    importer: &mut Importer<'_>,
    ed: &mut Editor<'_>,
    node: &NodeProto,
    function: &FunctionProto,
    inputs: Vec<Option<Bound>>,
) -> Result<Vec<Bound>, Fault> {
    if importer.calls.len() >= DEPTH_LIMIT {
        return Err(Fault::input(format!("calls are nested more than {DEPTH_LIMIT} deep, or the function calls itself")));
    }
    if inputs.len() > function.input.len() {
        return Err(Fault::input(format!("{} operands for a function of {}", inputs.len(), function.input.len())));
    }
    let mut scope = Scope::new();
    for (index, name) in function.input.iter().enumerate() {
        scope.insert(name.clone(), inputs.get(index).cloned().flatten().unwrap_or(Bound::Absent));
    }
    let body = bound_nodes(&function.node, &given(node, function));
    importer.calls.push(name_of(node).to_string());
    let ordered = importer.nodes(ed, &body, &mut scope, &Opsets::new(&function.opset_import));
    importer.calls.pop();
    match ordered {
        true => function.output.iter().map(|name| result(&scope, name)).collect(),
        false => Err(Fault::Poisoned),
    }
}

fn result(scope: &Scope, name: &str) -> Result<Bound, Fault> {
    scope.get(name).cloned().ok_or_else(|| Fault::input(format!("the function does not define its output \"{name}\"")))
}

/// The attributes a call passes, and defaults of those it does not.
fn given<'a>(node: &'a NodeProto, function: &'a FunctionProto) -> HashMap<&'a str, &'a AttributeProto> {
    function.attribute_proto.iter().chain(&node.attribute).map(|attr| (attr.name.as_str(), attr)).collect()
}

/// Nodes with references to attributes replaced by values; a reference without a value is left out.
fn bound_nodes(nodes: &[NodeProto], given: &HashMap<&str, &AttributeProto>) -> Vec<NodeProto> {
    let bind = |node: &NodeProto| NodeProto {
        attribute: node.attribute.iter().filter_map(|attr| bound_attribute(attr, given)).collect(),
        ..node.clone()
    };
    nodes.iter().map(bind).collect()
}

fn bound_attribute(attr: &AttributeProto, given: &HashMap<&str, &AttributeProto>) -> Option<AttributeProto> {
    if !attr.ref_attr_name.is_empty() {
        let value = (*given.get(attr.ref_attr_name.as_str())?).clone();
        return Some(AttributeProto { name: attr.name.clone(), ..value });
    }
    let mut attr = attr.clone();
    if let Some(graph) = &mut attr.g {
        bind_graph(graph, given);
    }
    attr.graphs.iter_mut().for_each(|graph| bind_graph(graph, given));
    Some(attr)
}

fn bind_graph(graph: &mut GraphProto, given: &HashMap<&str, &AttributeProto>) {
    graph.node = bound_nodes(&graph.node, given);
}
