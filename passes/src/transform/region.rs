//! Regions: the values whose channels change together when the basis of one of them does, and the constants at their borders.
//!
//! A linear map of the channels of a value can be moved into weights when everything that gives or takes the value is a product
//! with a constant weight, or commutes with the map. [`grow`] follows values through what commutes (sums, moves that leave the
//! channels together, products with other axes) and finds the [`Slot`]s at the border, or says what stands in the way.

use crate::query;
use crate::transform::tied;
use crate::transform::vectors::uniform;
use mokume_ir::dim::Dim;
use mokume_ir::edit::Editor;
use mokume_ir::graph::{Def, Graph, Node, Use};
use mokume_ir::ids::{NodeId, ValueId};
use mokume_ir::op::{BinaryKind, Op, UnaryKind};
use mokume_ir::types::Elem;
use std::collections::{BTreeMap, BTreeSet};

/// A constant operand whose vectors along an axis are in the basis of a region.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Slot {
    /// The node.
    pub node: NodeId,
    /// Which operand.
    pub operand: usize,
    /// The axis of the channels.
    pub axis: usize,
    /// The node reads the region, else it writes it.
    pub reads: bool,
}

/// Values in one basis.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Region {
    /// The values.
    pub values: BTreeSet<ValueId>,
    /// Constants at the border.
    pub slots: BTreeSet<Slot>,
    /// Norms whose operand is inside.
    pub norms: BTreeSet<NodeId>,
    /// Norms with a gain per channel whose operand is inside, and the heads that read them, whose weights are tables of embeddings.
    pub turned: BTreeMap<NodeId, BTreeSet<Slot>>,
}

/// What commutes with the map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// The map treats blocks of this many neighbors alike; the last axis of every value is a multiple.
    pub block: i64,
    /// Which norms may read a value.
    pub norms: Norms,
    /// Sums of two values of the region are in it.
    pub sums: bool,
    /// Norms before tied heads may read it whatever their gain.
    pub tied: bool,
}

/// How a region treats norms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Norms {
    /// None may read it.
    Foreign,
    /// RMSNorms of uniform gain over a block commute.
    Commute,
    /// LayerNorms over a block are its only readers.
    Center,
}

/// Why there is no region: the node that stands in the way and what is wrong with it, and how far it was followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Obstacle {
    /// The node; none for what the graph itself does.
    pub node: Option<NodeId>,
    /// What is wrong.
    pub why: String,
    /// The values found before.
    pub values: BTreeSet<ValueId>,
}

impl Obstacle {
    /// The reason, with the node in the way.
    pub fn describe(&self, graph: &Graph) -> String {
        match self.node.and_then(|id| graph.node(id)) {
            Some(node) => format!("{}, at {node}", self.why),
            None => self.why.clone(),
        }
    }
}

/// The region of a value.
///
/// Errors  with what does not commute.
pub fn grow(editor: &Editor<'_>, seed: ValueId, rules: Rules) -> Result<Region, Obstacle> {
    let mut growth = Growth { editor, rules, region: Region::default(), open: vec![] };
    growth.join(seed);
    let ended = growth.follow();
    growth.end(ended)
}

/// The region of what follows from `seed`; whatever gives `seed` is not looked at.
///
/// Errors  with what does not commute.
pub fn grow_from(editor: &Editor<'_>, seed: ValueId, rules: Rules) -> Result<Region, Obstacle> {
    let mut growth = Growth { editor, rules, region: Region::default(), open: vec![] };
    growth.region.values.insert(seed);
    let ended = growth.uses(seed).and_then(|()| growth.follow());
    growth.end(ended)
}

type Stop = (Option<NodeId>, String);

struct Growth<'e, 'm> {
    editor: &'e Editor<'m>,
    rules: Rules,
    region: Region,
    open: Vec<ValueId>,
}

impl Growth<'_, '_> {
    fn end(self, ended: Result<(), Stop>) -> Result<Region, Obstacle> {
        match ended {
            Ok(()) => Ok(self.region),
            Err((node, why)) => Err(Obstacle { node, why, values: self.region.values }),
        }
    }

    fn join(&mut self, value: ValueId) {
        if self.region.values.insert(value) {
            self.open.push(value);
        }
    }

    fn follow(&mut self) -> Result<(), Stop> {
        while let Some(value) = self.open.pop() {
            self.definition(value)?;
            self.uses(value)?;
        }
        self.states()
    }

    fn definition(&mut self, value: ValueId) -> Result<(), Stop> {
        match self.editor[value].def {
            Def::Const(_) => Ok(()),
            Def::Input(index) => self.is_state_input(index),
            Def::Node(id, _) => {
                let node = &self.editor[id];
                if let Some(operands) = self.shared_operands(node) {
                    return operands.into_iter().try_for_each(|operand| self.operand(id, operand));
                }
                let slot = written(self.editor, id, self.rules.block);
                let slot = slot.ok_or_else(|| (Some(id), format!("`{}` writes it, which has no weight to change", node.op.name())))?;
                self.region.slots.insert(slot);
                Ok(())
            }
        }
    }

    /// Takes an operand that shares the basis of the node's result.
    fn operand(&mut self, id: NodeId, operand: usize) -> Result<(), Stop> {
        let value = self.editor[id].inputs[operand];
        let Some(constant) = self.editor.constant(value) else {
            self.join(value);
            return Ok(());
        };
        let constant = &self.editor.module().constants[constant];
        match constant.dims().last() {
            Some(&last) if last as i64 % self.rules.block == 0 && is_f32(self.editor, value) => {
                let axis = constant.dims().len() - 1;
                self.region.slots.insert(Slot { node: id, operand, axis, reads: false });
                Ok(())
            }
            _ => Err((Some(id), format!("the constant operand {operand} has other channels"))),
        }
    }

    fn uses(&mut self, value: ValueId) -> Result<(), Stop> {
        for usage in self.editor[value].uses.clone() {
            match usage {
                Use::Output(index) => self.is_state_output(index)?,
                Use::Operand(id, operand) => self.reader(id, operand as usize)?,
            }
        }
        Ok(())
    }

    fn reader(&mut self, id: NodeId, operand: usize) -> Result<(), Stop> {
        let node = &self.editor[id];
        if self.shared_operands(node).is_some_and(|shared| shared.contains(&operand)) {
            if matches!(node.op, Op::RmsNorm(_)) {
                self.region.norms.insert(id);
            }
            node.outputs.clone().into_iter().for_each(|output| self.join(output));
            return Ok(());
        }
        if self.rules.norms == Norms::Center && operand == 0 && is_norm_of(self.editor, node, self.rules.block) == Some(false) {
            self.region.norms.insert(id);
            return Ok(());
        }
        if let Some(heads) = self.tied_heads(id, operand) {
            self.region.turned.insert(id, heads);
            return Ok(());
        }
        match read(self.editor, id, operand, self.rules.block).filter(|_| self.rules.norms != Norms::Center) {
            Some(slot) => {
                self.region.slots.insert(slot);
                Ok(())
            }
            None => Err((Some(id), self.why_not(node))),
        }
    }

    /// The heads behind a norm, if they share their weights with embeddings.
    fn tied_heads(&self, id: NodeId, operand: usize) -> Option<BTreeSet<Slot>> {
        (self.rules.tied && operand == 0).then(|| tied::heads(self.editor, id, self.rules.block))?
    }

    /// Why `node` may not read the region.
    fn why_not(&self, node: &Node) -> String {
        let name = node.op.name();
        match (&node.op, self.rules.norms) {
            (Op::RmsNorm(_), Norms::Commute) => format!("`{name}` reads it with a gain per channel: run fold-norm first"),
            (Op::LayerNorm(_), Norms::Commute) => format!("`{name}` reads it, which subtracts a mean: run fold-norm and center-norm first"),
            (Op::Matmul(_), Norms::Center) => format!("`{name}` reads it and would miss the mean"),
            (Op::Binary(BinaryKind::Add), _) if !self.rules.sums => "a sum reads it".to_string(),
            _ => format!("`{name}` reads it"),
        }
    }

    fn is_state_input(&self, index: u32) -> Result<(), Stop> {
        match self.editor.states.iter().any(|state| state.input == index) {
            true => Ok(()),
            false => Err((None, format!("it is the input \"{}\"", self.editor.inputs()[index as usize].name))),
        }
    }

    fn is_state_output(&self, index: u32) -> Result<(), Stop> {
        match self.editor.states.iter().any(|state| state.output == index) {
            true => Ok(()),
            false => Err((None, format!("it leaves the model as \"{}\"", self.editor.outputs()[index as usize].name))),
        }
    }

    /// What is written to state must be read from it in the same basis.
    fn states(&self) -> Result<(), Stop> {
        let inside = |value: ValueId| self.region.values.contains(&value);
        for state in &self.editor.states {
            let (input, output) = (&self.editor.inputs()[state.input as usize], &self.editor.outputs()[state.output as usize]);
            if inside(input.value) != inside(output.value) && (inside(output.value) || !self.editor[input.value].uses.is_empty()) {
                return Err((None, format!("the state \"{}\" is in two bases", input.name)));
            }
        }
        Ok(())
    }

    /// The operands of `node` that share the basis of its results; none when it does not commute.
    fn shared_operands(&self, node: &Node) -> Option<Vec<usize>> {
        let graph: &Graph = self.editor;
        let result = node.outputs[0];
        let last = last_dim(graph, result)?;
        let whole = |operand: usize| last_dim(graph, node.inputs[operand]).as_ref() == Some(&last);
        let in_blocks = |value: ValueId| last_dim(graph, value).and_then(|dim| dim.known()).is_some_and(|n| n % self.rules.block == 0);
        let rank = graph.ty(result).dims()?.len() as i64;
        let stays = |axis: i64| axis.rem_euclid(rank.max(1)) != rank - 1;
        if !in_blocks(result) {
            return None;
        }
        match &node.op {
            Op::Binary(BinaryKind::Add | BinaryKind::Sub) => (self.rules.sums && whole(0) && whole(1)).then(|| vec![0, 1]),
            Op::Binary(BinaryKind::Mul) => match (is_factor(graph, node.inputs[0]), is_factor(graph, node.inputs[1])) {
                (false, true) if whole(0) => Some(vec![0]),
                (true, false) if whole(1) => Some(vec![1]),
                _ => None,
            },
            Op::Binary(BinaryKind::Div) => (whole(0) && is_factor(graph, node.inputs[1])).then(|| vec![0]),
            Op::Unary(UnaryKind::Neg) => Some(vec![0]),
            Op::Reshape(_) | Op::Squeeze(_) | Op::Unsqueeze(_) => in_blocks(node.inputs[0]).then(|| vec![0]),
            Op::Transpose(op) => stays_last(&op.perm).then(|| vec![0]),
            Op::Broadcast(_) => whole(0).then(|| vec![0]),
            Op::Slice(op) => op.axes.numbers()?.into_iter().all(stays).then(|| vec![0]),
            Op::Split(op) => stays(op.axis).then(|| vec![0]),
            Op::Concat(op) => stays(op.axis).then(|| (0..node.inputs.len()).collect()),
            Op::Gather(op) => (graph.constant(node.inputs[0]).is_none() && self.is_kept(node, op.axis)).then(|| vec![0]),
            Op::RmsNorm(_) if self.rules.norms == Norms::Commute => self.commutes(node).then(|| vec![0]),
            Op::Attention(_) => in_blocks(node.inputs[2]).then(|| vec![2]),
            Op::Matmul(op) => (!op.transpose_b && self.mixes_rows(node)).then(|| vec![1]),
            _ => None,
        }
    }

    /// A gather along another axis than the last of its operand.
    fn is_kept(&self, node: &Node, axis: i64) -> bool {
        let rank = self.editor.ty(node.inputs[0]).dims().map_or(0, |dims| dims.len() as i64);
        rank > 0 && axis.rem_euclid(rank) != rank - 1
    }

    /// A norm over one block whose gain is the same number for every channel.
    fn commutes(&self, node: &Node) -> bool {
        let gain = query::constant(self.editor, node.inputs[1]);
        is_norm_of(self.editor, node, self.rules.block) == Some(true) && gain.and_then(uniform).is_some()
    }

    /// A product of two values that are not constant: sums of rows of the second.
    fn mixes_rows(&self, node: &Node) -> bool {
        node.inputs.iter().all(|&input| self.editor.constant(input).is_none())
    }
}

/// Whether the node is an RMSNorm (true) or LayerNorm (false) over a last axis of `width`.
pub fn is_norm_of(graph: &Graph, node: &Node, width: i64) -> Option<bool> {
    let (axis, rms) = match &node.op {
        Op::RmsNorm(op) => (op.axis, true),
        Op::LayerNorm(op) => (op.axis, false),
        _ => return None,
    };
    let dims = graph.ty(node.inputs[0]).dims()?;
    let last = axis == dims.len() as i64 - 1 || axis == -1;
    (last && dims.last()?.known() == Some(width)).then_some(rms)
}

/// The slot of a constant weight through which `id` gives its result.
fn written(editor: &Editor<'_>, id: NodeId, block: i64) -> Option<Slot> {
    let node = &editor[id];
    let (operand, axis) = match &node.op {
        Op::Matmul(op) => (1, usize::from(!op.transpose_b)),
        Op::Gather(op) if op.axis == 0 => (0, 1),
        _ => return None,
    };
    weight(editor, node, operand, axis, block)?;
    Some(Slot { node: id, operand, axis, reads: false })
}

/// The slot of a constant weight through which `id` takes operand `operand`.
fn read(editor: &Editor<'_>, id: NodeId, operand: usize, block: i64) -> Option<Slot> {
    let node = &editor[id];
    let Op::Matmul(op) = &node.op else { return None };
    let axis = usize::from(op.transpose_b);
    weight(editor, node, 1, axis, block)?;
    (operand == 0 && !op.transpose_a).then_some(Slot { node: id, operand: 1, axis, reads: true })
}

/// A constant f32 matrix with a multiple of `block` along `axis`.
fn weight(editor: &Editor<'_>, node: &Node, operand: usize, axis: usize, block: i64) -> Option<()> {
    let constant = query::constant(editor, *node.inputs.get(operand)?)?;
    let dims = constant.dims();
    (constant.ty.elem == Elem::F32 && dims.len() == 2 && dims[axis] as i64 % block == 0).then_some(())
}

fn is_f32(editor: &Editor<'_>, value: ValueId) -> bool {
    query::constant(editor, value).is_some_and(|constant| constant.ty.elem == Elem::F32)
}

fn last_dim(graph: &Graph, value: ValueId) -> Option<Dim> {
    graph.ty(value).dims()?.last().cloned()
}

/// Whether a value has one number for all channels.
fn is_factor(graph: &Graph, value: ValueId) -> bool {
    graph.ty(value).dims().is_some_and(|dims| dims.last().is_none_or(|dim| dim.known() == Some(1)))
}

fn stays_last(perm: &[i64]) -> bool {
    perm.last() == Some(&(perm.len() as i64 - 1))
}
