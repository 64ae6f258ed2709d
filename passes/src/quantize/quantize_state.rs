//! Keeps keys and values in few bits: rows are rounded when they are appended to the state, a scale for every token and head.
//!
//! Before  %2 = concat %past, %new {axis = 2} ; %3 = attention %q, %2, %v …          state("past" <- "present" axis 2)
//! After   %1 = quantize %new {to = !quant<4, unsigned, row, zero_point>} ; %2 = concat %past, %1 ; %3 = attention %q, %2, %v …
//!         with codes as the type of both ends of the state
//!
//! Legal when  a concat joins the state and one more f32 tensor along axis 2, and only `attention` reads it, as keys or as values.
//! Exactness   approximate: round to nearest, half to even, between the smallest and the largest element of a row (0 included), or
//!             with signed levels up to the largest magnitude. Attention computes with the real values of the codes, in f32.
//! Cost        O(states). Requires `declare-state`.
//! Source      KIVI, arXiv 2402.02750, and QServe, arXiv 2405.04532, section 4: per token values; keys per token, which outlying
//!             channels of keys make worse unless they are rotated.

use crate::pass::{Pass, PassContext, PassError};
use mokume_ir::diag::Diagnostic;
use mokume_ir::edit::Editor;
use mokume_ir::graph::{Graph, State, Use};
use mokume_ir::ids::{NodeId, ValueId};
use mokume_ir::op::{Concat, Op, Quantize};
use mokume_ir::quant::{Granularity, Levels, QuantType};
use mokume_ir::types::{Elem, TensorType};

options! {
    /// Keys and values in codes.
    QuantizeState {
        /// bits of an element of keys, 1 to 8; 16 or more leaves keys float
        k: u8 = 8,
        /// bits of an element of values, 1 to 8; 16 or more leaves values float
        v: u8 = 8,
        /// levels of keys: unsigned (with a zero point), signed
        k_levels: String = "unsigned".to_string(),
        /// levels of values: unsigned (with a zero point), signed
        v_levels: String = "unsigned".to_string(),
    }
}

impl Pass for QuantizeState {
    fn run(&self, editor: &mut Editor<'_>, cx: &mut PassContext<'_>) -> Result<(), PassError> {
        let types = Types { keys: code_type("k", self.k, &self.k_levels)?, values: code_type("v", self.v, &self.v_levels)? };
        for state in editor.states.clone() {
            match find(editor, &state, &types) {
                Ok(site) if cx.take() => edit(editor, &site)?,
                Ok(_) => return Ok(()),
                Err(Miss { node: Some(node), why }) => cx.remark(editor, node, why),
                Err(Miss { node: None, .. }) => {}
            }
        }
        Ok(())
    }
}

/// What keys and values become; none to stay float.
struct Types {
    keys: Option<QuantType>,
    values: Option<QuantType>,
}

/// A state that can be kept in codes.
struct Site {
    past: ValueId,
    concat: NodeId,
    to: QuantType,
}

/// Why a state stays as it is, told where a node reads it.
struct Miss {
    node: Option<NodeId>,
    why: String,
}

fn code_type(option: &str, bits: u8, levels: &str) -> Result<Option<QuantType>, PassError> {
    let wrong = |message: String, help: &str| Err(PassError::from(Diagnostic::input("quantize::state", message).help(help)));
    let levels = match Levels::from_name(levels) {
        Some(levels @ (Levels::Unsigned | Levels::Signed)) => levels,
        _ => return wrong(format!("pass `quantize-state` cannot take {option}_levels={levels}"), "levels are unsigned, signed"),
    };
    match bits {
        16.. => Ok(None),
        1..=8 => Ok(Some(QuantType { bits, levels, granularity: Granularity::Row, zero_point: levels == Levels::Unsigned })),
        _ => wrong(format!("pass `quantize-state` cannot take {option}={bits}"), "codes have 1 to 8 bits; 16 leaves them float"),
    }
}

/// The concat that a state grows by, and the type for it.
fn find(graph: &Graph, state: &State, types: &Types) -> Result<Site, Miss> {
    let (past, present) = (graph.inputs()[state.input as usize].value, graph.outputs()[state.output as usize].value);
    let reader = graph[past].uses.iter().find_map(|read| match *read {
        Use::Operand(node, _) => Some(node),
        Use::Output(_) => None,
    });
    let miss = |why: &str| Miss { node: reader, why: why.into() };
    let Some((concat, node)) = graph.producer(present) else { return Err(miss("the state is not appended to")) };
    let appends = matches!(&node.op, Op::Concat(Concat { axis: 2 })) && node.inputs.len() == 2 && node.inputs[0] == past;
    if !appends || state.axis != Some(2) || graph[past].uses[..] != [Use::Operand(concat, 0)] {
        return Err(miss("the state is not appended to along axis 2, or read before"));
    }
    let (Some(kept), Some(more)) = (tensor(graph, past), tensor(graph, node.inputs[1])) else { return Err(miss("not a tensor")) };
    if kept.elem != Elem::F32 || more.elem != Elem::F32 || kept.shape.rank() != Some(4) {
        return Err(miss(&format!("the state has the type {kept}")));
    }
    match role(graph, present).map_err(miss)? {
        Role::Keys => types.keys,
        Role::Values => types.values,
    }
    .map(|to| Site { past, concat, to })
    .ok_or(Miss { node: None, why: String::new() })
}

fn tensor(graph: &Graph, value: ValueId) -> Option<&TensorType> {
    graph.ty(value).as_tensor()
}

/// What attention reads a state as.
#[derive(Clone, Copy, PartialEq)]
enum Role {
    Keys,
    Values,
}

fn role(graph: &Graph, present: ValueId) -> Result<Role, &'static str> {
    let readers = graph[present].uses.iter().filter_map(|read| match *read {
        Use::Operand(node, index) => Some((&graph[node].op, index)),
        Use::Output(_) => None,
    });
    let roles: Vec<Option<Role>> = readers.map(|(op, index)| read_as(op, index)).collect();
    match roles[..] {
        [] => Err("no attention reads the state"),
        [Some(first), ..] if roles.iter().all(|role| *role == Some(first)) => Ok(first),
        _ if roles.contains(&None) => Err("another op than attention reads the state"),
        _ => Err("the state is both keys and values"),
    }
}

fn read_as(op: &Op, operand: u32) -> Option<Role> {
    match (op, operand) {
        (Op::Attention(_), 1) => Some(Role::Keys),
        (Op::Attention(_), 2) => Some(Role::Values),
        _ => None,
    }
}

fn edit(editor: &mut Editor<'_>, site: &Site) -> Result<(), PassError> {
    let (new, loc) = (editor[site.concat].inputs[1], editor[site.concat].loc.clone());
    let shape = tensor(editor, site.past).map(|ty| ty.shape.clone());
    let codes = editor.apply(Quantize { to: site.to, clip: None }, &[new], loc)?;
    if let Some(shape) = shape {
        editor.set_type(site.past, TensorType::new(shape, Elem::Quant(site.to)).into());
    }
    editor.rewrite(site.concat, Concat { axis: 2 }, &[site.past, codes])?;
    Ok(())
}
