//! An order for nodes that no output needs, which does not depend on ids either.
//!
//! Such a node is described by two hashes: what it computes, down to inputs and constants, and where its results go.
//! Nodes with equal descriptions, such as two copies that nothing reads, can change places without anyone noticing.

use super::number::functions_of;
use crate::attr::Attr;
use crate::constant::Hash;
use crate::graph::{Def, Graph, Module, Use};
use crate::ids::{NodeId, ValueId};
use crate::order::{needed, order};
use std::collections::{BTreeSet, HashMap};

/// All nodes of a graph: those that outputs need in canonical order, then the others, operands first.
pub fn with_dead(module: &Module, graph: &Graph) -> Vec<NodeId> {
    let mut nodes = needed(graph);
    if nodes.len() < graph.node_count() {
        let mut dead = order(graph).split_off(nodes.len());
        let places = nodes.iter().enumerate().map(|(place, &id)| (id, place)).collect();
        let mut hashes = Hashes { module, graph, places, what: HashMap::new(), whither: HashMap::new() };
        dead.iter().for_each(|&id| hashes.describe_what(id));
        dead.iter().rev().for_each(|&id| hashes.describe_whither(id));
        hashes.sort(&mut dead);
        nodes.extend(dead);
    }
    nodes
}

struct Hashes<'m> {
    module: &'m Module,
    graph: &'m Graph,
    /// Positions of nodes that are in order already.
    places: HashMap<NodeId, usize>,
    what: HashMap<NodeId, Hash>,
    whither: HashMap<NodeId, Hash>,
}

impl Hashes<'_> {
    /// Hashes op, types, provenance and operands.
    fn describe_what(&mut self, id: NodeId) {
        let node = &self.graph[id];
        let mut hasher = blake3::Hasher::new();
        let functions = functions_of(&node.op).into_iter().filter_map(|callee| self.module.functions.get(callee));
        let callees: Vec<_> = functions.map(|callee| (&callee.name, callee.node_count(), callee.inputs().len())).collect();
        let attrs = node.op.attrs().into_iter().filter(|(_, attr)| !matches!(attr, Attr::Func(_)));
        let types: Vec<String> = node.outputs.iter().map(|&value| self.graph.ty(value).to_string()).collect();
        let own = (node.op.name(), attrs.collect::<Vec<_>>(), callees, types, &node.loc.names);
        hasher.update(format!("{own:?}").as_bytes());
        node.inputs.iter().for_each(|&value| self.hash_operand(value, &mut hasher));
        let hash = hasher.finalize().into();
        self.what.insert(id, hash);
    }
    fn hash_operand(&self, value: ValueId, hasher: &mut blake3::Hasher) {
        match self.graph[value].def {
            Def::Const(id) => hasher.update(self.module.constants.get(id).map_or(&[0; 32], |constant| &constant.hash)),
            Def::Input(index) => hasher.update(format!("input {index}").as_bytes()),
            Def::Node(producer, index) => {
                let place = self.places.get(&producer);
                hasher.update(format!("{index} of {place:?} {:?}", self.what.get(&producer)).as_bytes())
            }
        };
    }
    /// Hashes the readers of the results.
    fn describe_whither(&mut self, id: NodeId) {
        let outputs = self.graph[id].outputs.iter().enumerate();
        let readers = outputs.flat_map(|(i, &value)| self.graph[value].uses.iter().map(move |usage| (i, usage)));
        let mut readers: Vec<_> = readers
            .filter_map(|(i, usage)| match usage {
                Use::Operand(user, operand) => Some((i, *operand, self.what.get(user), self.whither.get(user))),
                Use::Output(_) => None,
            })
            .collect();
        readers.sort();
        let hash = blake3::hash(format!("{readers:?}").as_bytes()).into();
        self.whither.insert(id, hash);
    }
    /// Sorts nodes: operands first, then by description, then by where the operands are.
    fn sort(&mut self, nodes: &mut Vec<NodeId>) {
        let mut waiting: HashMap<NodeId, usize> = nodes.iter().map(|&id| (id, self.unplaced(id))).collect();
        let mut ready: BTreeSet<Key> = nodes.iter().filter(|id| waiting[id] == 0).map(|&id| self.key(id)).collect();
        let mut sorted = Vec::with_capacity(nodes.len());
        while let Some(Key { id, .. }) = ready.pop_first() {
            self.places.insert(id, self.places.len());
            sorted.push(id);
            for user in self.users(id) {
                let Some(count) = waiting.get_mut(&user) else { continue };
                *count -= 1;
                if *count == 0 {
                    ready.insert(self.key(user));
                }
            }
        }
        // The nodes of a cycle are never ready.
        nodes.retain(|id| !self.places.contains_key(id));
        sorted.append(nodes);
        *nodes = sorted;
    }
    fn key(&self, id: NodeId) -> Key {
        let operands = self.producers(id).map(|producer| self.places.get(&producer).copied()).collect();
        Key { what: self.what[&id], whither: self.whither[&id], operands, id }
    }
    fn unplaced(&self, id: NodeId) -> usize {
        self.producers(id).filter(|producer| !self.places.contains_key(producer)).count()
    }
    fn producers(&self, id: NodeId) -> impl Iterator<Item = NodeId> {
        self.graph[id].inputs.iter().filter_map(|&value| self.graph.producer(value)).map(|(producer, _)| producer)
    }
    /// The readers of the results, once per operand.
    fn users(&self, id: NodeId) -> Vec<NodeId> {
        let uses = self.graph[id].outputs.iter().flat_map(|&value| &self.graph[value].uses);
        let users = uses.filter_map(|usage| match usage {
            Use::Operand(user, _) => Some(*user),
            Use::Output(_) => None,
        });
        users.collect()
    }
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    what: Hash,
    whither: Hash,
    operands: Vec<Option<usize>>,
    id: NodeId,
}
