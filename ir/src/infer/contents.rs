//! Symbolic contents: the elements of small tensors of integers as expressions over the dimensions.
//!
//! Exporters compute shapes with tensors (shape, gather, concatenate, reshape), sometimes in floats. Following those elements
//! symbolically turns shapes that arrive at run time into attributes that are known when compiling. Everything here holds for
//! all sizes of the symbols that the element type can hold; what cannot be told, or is no integer, is none.

mod arithmetic;
mod eval;
mod rearrange;

use crate::arena::Map;
use crate::constant::Constant;
use crate::dim::Dim;
use crate::graph::{Def, Graph, Module};
use crate::ids::ValueId;
use crate::order::order;
use crate::types::{Elem, Type};
use std::collections::HashMap;

/// Tensors with more elements are not followed.
const MAX_ELEMENTS: usize = 64;
/// Elements that weigh more are not followed.
const MAX_WEIGHT: usize = 256;
/// Up to here f64 holds every integer.
const LARGEST: f64 = (1i64 << 53) as f64;

/// The elements of a tensor of rank 0 or 1 that holds integers, whatever its element type; bool is 0 and 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents {
    /// The elements.
    pub dims: Vec<Dim>,
    /// Rank 0; then there is one element.
    pub scalar: bool,
}

/// The elements of a small tensor of any rank, in row-major order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Elements {
    shape: Vec<usize>,
    items: Vec<Dim>,
}

/// What was found out about the values of a graph.
#[derive(Debug, Clone, Default)]
pub(crate) struct Memo {
    found: HashMap<ValueId, Option<Elements>>,
}

impl Memo {
    /// Forgets what follows from `value` by its contents or its type.
    pub fn forget(&mut self, graph: &Graph, value: ValueId) {
        self.found.remove(&value);
        let mut changed: Vec<ValueId> = readers(graph, value).collect();
        while let Some(value) = changed.pop() {
            if self.found.remove(&value).is_some() {
                changed.extend(readers(graph, value));
            }
        }
    }
}

/// The values that nodes make from `value`.
fn readers(graph: &Graph, value: ValueId) -> impl Iterator<Item = ValueId> {
    let nodes = graph[value].uses.iter().filter_map(|usage| match usage {
        crate::graph::Use::Operand(node, _) => graph.node(*node),
        crate::graph::Use::Output(_) => None,
    });
    nodes.flat_map(|node| node.outputs.iter().copied())
}

/// The contents of all values of `graph` where they are known; linear in the size of the graph.
pub fn of(module: &Module, graph: &Graph) -> Map<ValueId, Option<Contents>> {
    let mut memo = Memo::default();
    let mut table = Map::new();
    let nodes = order(graph);
    let operands = nodes.iter().flat_map(|&id| graph[id].inputs.iter().chain(&graph[id].outputs));
    for &value in operands {
        if let contents @ Some(_) = lookup(module, graph, &mut memo, value) {
            table.set(value, contents);
        }
    }
    table
}

/// The contents of `value`, which are computed unless `memo` has them.
pub(crate) fn lookup(module: &Module, graph: &Graph, memo: &mut Memo, value: ValueId) -> Option<Contents> {
    let elements = elements(module, graph, memo, value)?;
    (elements.shape.len() <= 1).then(|| Contents { dims: elements.items.clone(), scalar: elements.shape.is_empty() })
}

/// Depth first with an explicit stack of (value, operands visited). A value being visited counts as not known, so that
/// cycles end.
fn elements<'m>(module: &Module, graph: &Graph, memo: &'m mut Memo, value: ValueId) -> Option<&'m Elements> {
    let mut stack = vec![(value, false)];
    while let Some((value, visited)) = stack.pop() {
        if visited {
            let found = evaluate(module, graph, memo, value);
            memo.found.insert(value, found);
        } else if !memo.found.contains_key(&value) && small_shape(graph.ty(value)).is_some() {
            memo.found.insert(value, None);
            stack.push((value, true));
            let operands = graph.producer(value).filter(|(_, node)| eval::follows(&node.op));
            stack.extend(operands.iter().flat_map(|(_, node)| node.inputs.iter().map(|&operand| (operand, false))));
        }
    }
    memo.found.get(&value)?.as_ref()
}

fn evaluate(module: &Module, graph: &Graph, memo: &Memo, value: ValueId) -> Option<Elements> {
    let elem = graph.ty(value).elem()?;
    let shape = small_shape(graph.ty(value))?;
    let elements = match graph[value].def {
        Def::Input(_) => None,
        Def::Const(id) => of_constant(module.constants.get(id)?, &shape),
        Def::Node(id, output) => {
            let node = graph.node(id)?;
            let operand = |index: usize| memo.found.get(node.inputs.get(index)?)?.as_ref();
            let ty = |index: usize| node.inputs.get(index).map(|&input| graph.ty(input));
            eval::evaluate(&node.op, &eval::Site { operand: &operand, ty: &ty, output: output as usize, shape: &shape })
        }
    }?;
    let fits = elements.shape == shape && elements.items.len() == shape.iter().product::<usize>();
    (fits && elements.items.iter().all(|item| item.weight() <= MAX_WEIGHT && representable(item, elem))).then_some(elements)
}

fn of_constant(constant: &Constant, shape: &[usize]) -> Option<Elements> {
    let items = constant.to_i64s().or_else(|| integers(constant))?;
    Some(Elements { shape: shape.to_vec(), items: items.into_iter().map(Dim::from).collect() })
}

/// The numbers of a float constant that holds integers only.
fn integers(constant: &Constant) -> Option<Vec<i64>> {
    let integer = |number: f64| (number.fract() == 0.0 && number.abs() <= LARGEST).then_some(number as i64);
    match constant.ty.elem {
        Elem::F32 => constant.data.as_chunks().0.iter().map(|&bytes| integer(f32::from_le_bytes(bytes).into())).collect(),
        Elem::F64 => constant.data.as_chunks().0.iter().map(|&bytes| integer(f64::from_le_bytes(bytes))).collect(),
        _ => None,
    }
}

/// The shape of a tensor that is followed.
fn small_shape(ty: &Type) -> Option<Vec<usize>> {
    let tensor = ty.as_tensor()?;
    if !tensor.elem.is_int() && !matches!(tensor.elem, Elem::Bool | Elem::F32 | Elem::F64) {
        return None;
    }
    let shape = tensor.shape.as_known()?;
    let count = shape.iter().try_fold(1usize, |count, &dim| count.checked_mul(dim))?;
    (count <= MAX_ELEMENTS).then_some(shape)
}

/// Whether `item` is surely a value of `elem`. Sizes are taken to fit 32 bits, and 24 bits where a model computes with them
/// in f32: beyond, it would compute with other sizes than it has.
fn representable(item: &Dim, elem: Elem) -> bool {
    let bits = elem.bits();
    match item.known() {
        Some(n) if elem == Elem::F32 => n.abs() <= 1 << 24,
        Some(n) if elem == Elem::F64 => n.abs() <= LARGEST as i64,
        None if elem.is_float() => true,
        Some(n) if elem == Elem::Bool => n == 0 || n == 1,
        Some(n) if elem.is_unsigned_int() => n >= 0 && (bits >= 63 || n < 1 << bits),
        Some(n) => bits >= 64 || (-(1i64 << (bits - 1))..1i64 << (bits - 1)).contains(&n),
        None => bits >= 32 && (elem.is_signed_int() || item.is_non_negative()),
    }
}
