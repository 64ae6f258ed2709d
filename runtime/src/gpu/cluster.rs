//! Which elementwise nodes become one kernel: a node joins its only reader when both have the same sizes.

use super::map::{Map, Term};
use mokume_ir::graph::{Graph, Node};
use mokume_ir::ids::{NodeId, ValueId};
use mokume_ir::op::{BinaryKind, Op, UnaryKind};
use mokume_ir::types::Elem;
use std::collections::HashMap;

/// Operands that a kernel takes at most.
const MAX_INPUTS: usize = 8;
/// Terms of an expression at most.
const MAX_TERMS: usize = 32;

/// An expression with the values that are its operands.
#[derive(Debug, Clone)]
pub(crate) struct Cluster {
    pub(crate) map: Map,
    pub(crate) operands: Vec<ValueId>,
}

/// The clusters of a graph, by the node that gives their result; the other nodes of a cluster have none.
pub(crate) struct Clusters {
    open: HashMap<NodeId, Cluster>,
    joined: HashMap<NodeId, NodeId>,
}

/// Whether the op is computed element by element.
pub(crate) fn is_elementwise(op: &Op) -> bool {
    matches!(op, Op::Unary(_) | Op::Binary(_) | Op::Select(_) | Op::Cast(_) | Op::Activation(_) | Op::Swiglu(_) | Op::Iota(_))
}

impl Clusters {
    /// No clusters yet.
    pub(crate) fn new() -> Self {
        Clusters { open: HashMap::new(), joined: HashMap::new() }
    }
    /// Adds an elementwise node, whose operands were added before it. `joins` says which nodes may go into a cluster.
    ///
    /// Errors  when no kernel computes it.
    pub(crate) fn add(&mut self, graph: &Graph, id: NodeId) -> Result<(), String> {
        let node = &graph[id];
        let mut cluster = Cluster { map: Map { inputs: vec![], terms: vec![], flat: false }, operands: vec![] };
        let mut terms = Vec::new();
        for (index, &value) in node.inputs.iter().enumerate() {
            terms.push(self.operand(graph, id, &mut cluster, value, node.inputs.len() - index)?);
        }
        let term = term(node, &terms)?;
        cluster.map.terms.push(term);
        check(&cluster.map)?;
        self.open.insert(id, cluster);
        Ok(())
    }
    /// The cluster that gives the result of a node.
    pub(crate) fn get(&self, id: NodeId) -> Option<&Cluster> {
        self.open.get(&id)
    }
    /// Whether a node is inside the cluster of another one.
    pub(crate) fn is_joined(&self, id: NodeId) -> bool {
        self.joined.contains_key(&id)
    }

    /// The term of an operand; `rest` operands, this one included, still need room.
    fn operand(&mut self, graph: &Graph, reader: NodeId, into: &mut Cluster, value: ValueId, rest: usize) -> Result<u32, String> {
        let producer = graph.producer(value).map(|(id, _)| id).filter(|id| self.open.contains_key(id));
        if let Some(id) = producer.filter(|_| joins(graph, reader, value)) {
            let (inputs, terms) = (self.open[&id].operands.len(), self.open[&id].map.terms.len());
            if into.operands.len() + inputs + rest <= MAX_INPUTS && into.map.terms.len() + terms + rest < MAX_TERMS {
                let cluster = self.open.remove(&id).ok_or("a cluster is gone")?;
                self.joined.insert(id, reader);
                return splice(into, cluster);
            }
        }
        input(into, value, graph.ty(value).elem().ok_or("an operand is no tensor")?)
    }
}

/// Whether the producer of `value` may be computed inside `reader`, its only reader.
fn joins(graph: &Graph, reader: NodeId, value: ValueId) -> bool {
    let same = graph.ty(value).dims().is_some() && graph.ty(value).dims() == graph.ty(graph[reader].outputs[0]).dims();
    same && graph.single_user(value) == Some(reader)
}

/// The term of an operand that is read from memory.
fn input(into: &mut Cluster, value: ValueId, elem: Elem) -> Result<u32, String> {
    let number = into.operands.iter().position(|&operand| operand == value).unwrap_or_else(|| {
        into.operands.push(value);
        into.map.inputs.push(elem);
        into.operands.len() - 1
    });
    Ok(push(into, Term::Input(number as u32)))
}

fn push(into: &mut Cluster, term: Term) -> u32 {
    let found = into.map.terms.iter().position(|other| *other == term);
    found.unwrap_or_else(|| {
        into.map.terms.push(term);
        into.map.terms.len() - 1
    }) as u32
}

/// Adds the terms of another cluster; gives its result.
fn splice(into: &mut Cluster, from: Cluster) -> Result<u32, String> {
    let mut renamed: Vec<u32> = Vec::new();
    for term in &from.map.terms {
        let at = |index: &u32| renamed[*index as usize];
        let new = match term {
            Term::Input(number) => {
                let number = *number as usize;
                renamed.push(input(into, from.operands[number], from.map.inputs[number])?);
                continue;
            }
            Term::Number(elem) => Term::Number(*elem),
            Term::Unary(kind, a) => Term::Unary(*kind, at(a)),
            Term::Binary(kind, a, b) => Term::Binary(*kind, at(a), at(b)),
            Term::Select(c, a, b) => Term::Select(at(c), at(a), at(b)),
            Term::Cast(to, a) => Term::Cast(*to, at(a)),
            Term::Activation(kind, a, alpha, beta) => Term::Activation(*kind, at(a), *alpha, *beta),
            Term::Swiglu(gate, up) => Term::Swiglu(at(gate), at(up)),
        };
        renamed.push(push(into, new));
    }
    renamed.last().copied().ok_or_else(|| "an empty expression".into())
}

/// The operation of a node on these terms.
fn term(node: &Node, terms: &[u32]) -> Result<Term, String> {
    match (&node.op, terms) {
        (Op::Iota(op), []) => Ok(Term::Number(op.elem)),
        (Op::Unary(kind), [a]) => Ok(Term::Unary(*kind, *a)),
        (Op::Binary(kind), [a, b]) => Ok(Term::Binary(*kind, *a, *b)),
        (Op::Select(_), [c, a, b]) => Ok(Term::Select(*c, *a, *b)),
        (Op::Cast(op), [a]) => Ok(Term::Cast(op.to, *a)),
        (Op::Activation(op), [a]) => Ok(Term::Activation(op.kind, *a, op.alpha.to_bits(), op.beta.to_bits())),
        (Op::Swiglu(_), [gate, up]) => Ok(Term::Swiglu(*gate, *up)),
        _ => Err("operands that do not fit".into()),
    }
}

/// Whether the last operation has code for the types of its operands.
fn check(map: &Map) -> Result<(), String> {
    let Some(last) = map.terms.last() else { return Err("an empty expression".into()) };
    let elem = |term: &u32| map.elem(*term as usize);
    let fits = match last {
        Term::Input(_) => true,
        Term::Number(elem) => matches!(elem, Elem::I64 | Elem::I32 | Elem::F32),
        Term::Unary(kind, a) => has_unary(*kind, elem(a)),
        Term::Binary(kind, a, b) => elem(a) == elem(b) && has_binary(*kind, elem(a)),
        Term::Select(c, a, b) => elem(c) == Elem::Bool && elem(a) == elem(b) && is_stored(elem(a)),
        Term::Cast(to, a) => is_cast(elem(a)) && is_cast(*to),
        Term::Activation(_, a, ..) => elem(a) == Elem::F32,
        Term::Swiglu(gate, up) => elem(gate) == Elem::F32 && elem(up) == Elem::F32,
    };
    let types = || map.inputs.iter().map(|elem| elem.name()).collect::<Vec<_>>().join(", ");
    if fits { Ok(()) } else { Err(format!("operands of types {}", types())) }
}

/// Types that kernels read and write.
fn is_stored(elem: Elem) -> bool {
    use Elem::*;
    matches!(elem, Bool | I8 | U8 | I16 | U16 | I32 | U32 | I64 | U64 | F32)
}

/// Types that casts know.
fn is_cast(elem: Elem) -> bool {
    is_stored(elem) || matches!(elem, Elem::F16 | Elem::BF16)
}

fn has_unary(kind: UnaryKind, elem: Elem) -> bool {
    use UnaryKind::*;
    match elem {
        Elem::F32 => !matches!(kind, Not | BitNot | Asin | Acos | Atan | Asinh | Acosh | Atanh),
        Elem::Bool => kind == Not,
        _ => is_stored(elem) && matches!(kind, Abs | Neg | Sign | BitNot),
    }
}

fn has_binary(kind: BinaryKind, elem: Elem) -> bool {
    use BinaryKind::*;
    match elem {
        Elem::F32 => matches!(kind, Add | Sub | Mul | Div | Pow | Min | Max) || kind.is_comparison(),
        Elem::Bool => matches!(kind, And | Or | Xor | Eq),
        _ => is_stored(elem) && (matches!(kind, Add | Sub | Mul | Div | Min | Max | BitAnd | BitOr | BitXor) || kind.is_comparison()),
    }
}
