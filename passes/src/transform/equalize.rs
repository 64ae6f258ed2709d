//! Evens out the channels between two convolutions, so that one scale fits all of them.
//!
//! Before  %1 = conv %0, @w, @b ; %2 = relu %1 ; %3 = conv %2, @v
//! After   %1 = conv %0, @w/s, @b/s ; %2 = relu %1 ; %3 = conv %2, @v*s     // s per channel: both weights reach as far
//!
//! Legal when  the second convolution, of one group or one channel per group, is all that reads the first, through ReLU, leaky ReLU and
//!             pooling at most, which a positive factor passes. Weights and bias are f32 constants.
//! Exactness   the rounding of one product per weight and round.
//! Cost        O(weights) per round.
//! Source      Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", 2019, section 4.1.

use super::region::Slot;
use crate::canonicalize::dce::release_constants;
use crate::canonicalize::fold_affine::scaled;
use crate::pass::{Pass, PassContext, PassError};
use crate::query::{self, callees_first};
use mokume_ir::constant::Constant;
use mokume_ir::edit::Editor;
use mokume_ir::graph::{Module, Node};
use mokume_ir::ids::NodeId;
use mokume_ir::op::{ActivationKind, Op, PoolKind, UnaryKind};
use mokume_ir::order::order;

options! {
    /// Equalization of convolutions.
    Equalize {
        /// how often every pair is looked at: chains of convolutions influence each other
        rounds: usize = 8,
    }
}

/// Factors stay within 1/LIMIT and LIMIT.
const LIMIT: f32 = 1024.0;
/// Factors nearer to 1 than this are left out.
const NEAR: f32 = 1e-3;

impl Pass for Equalize {
    fn run(&self, editor: &mut Editor<'_>, cx: &mut PassContext<'_>) -> Result<(), PassError> {
        let mut pairs = vec![];
        for id in order(editor) {
            match pair(editor, id) {
                Some(Ok(pair)) if cx.take() => pairs.push(pair),
                Some(Err(why)) => cx.remark(editor, id, why),
                _ => {}
            }
        }
        for _ in 0..self.rounds {
            let changes = pairs.iter().filter(|pair| pair.equalize(editor)).count();
            if changes == 0 {
                break;
            }
        }
        Ok(())
    }

    fn run_module(&self, module: &mut Module, cx: &mut PassContext<'_>) -> Result<(), PassError> {
        callees_first(module).into_iter().try_for_each(|function| self.run(&mut Editor::new(module, function), cx))?;
        release_constants(module);
        Ok(())
    }
}

/// Weights on both sides of channels.
struct Pair {
    /// The weight that gives the channels.
    gives: Slot,
    /// Its bias, if there is one.
    bias: Option<Slot>,
    /// The weight that reads them.
    reads: Slot,
}

/// The pair of the convolution at `id` and the one that reads it; why not, if there is one.
fn pair(editor: &Editor<'_>, id: NodeId) -> Option<Result<Pair, String>> {
    let node = &editor[id];
    let Op::Conv(_) = &node.op else { return None };
    let channels = weight(editor, node)?.dims()[0];
    let bias = node.inputs.get(2).map(|_| Slot { node: id, operand: 2, axis: 0, reads: false });
    if node.inputs.get(2).is_some_and(|&bias| query::constant(editor, bias).is_none_or(|bias| bias.to_f32s().is_none())) {
        return None;
    }
    let (reader, obstacle) = reader(editor, id)?;
    let axis = channel_axis(editor, reader, channels)?;
    if let Some(obstacle) = obstacle {
        return Some(Err(format!("no factors for its channels: a factor does not pass {obstacle}")));
    }
    let gives = Slot { node: id, operand: 1, axis: 0, reads: false };
    Some(Ok(Pair { gives, bias, reads: Slot { node: reader, operand: 1, axis, reads: true } }))
}

/// The convolution that is all that reads `id`, by way of single readers, and the first of those that a factor does not pass.
fn reader(editor: &Editor<'_>, id: NodeId) -> Option<(NodeId, Option<String>)> {
    let (mut id, mut obstacle) = (id, None);
    loop {
        id = editor.single_user(query::output(&editor[id])?)?;
        let node = &editor[id];
        match &node.op {
            Op::Conv(_) => return Some((id, obstacle)),
            Op::Unary(_) | Op::Activation(_) | Op::Pool(_) if !is_homogeneous(&node.op) => obstacle = obstacle.or(Some(node.to_string())),
            Op::Unary(_) | Op::Activation(_) | Op::Pool(_) => {}
            _ => return None,
        }
    }
}

/// Whether `f(s x) = s f(x)` for positive s, channel by channel.
pub(crate) fn is_homogeneous(op: &Op) -> bool {
    match op {
        Op::Unary(kind) => matches!(kind, UnaryKind::Relu | UnaryKind::Abs | UnaryKind::Neg),
        Op::Activation(op) => op.kind == ActivationKind::LeakyRelu,
        Op::Pool(op) => matches!(op.kind, PoolKind::Max | PoolKind::Average) && !op.indices,
        _ => false,
    }
}

/// The axis of the input channels of a convolution's weight.
fn channel_axis(editor: &Editor<'_>, id: NodeId, channels: usize) -> Option<usize> {
    let node = &editor[id];
    let Op::Conv(op) = &node.op else { return None };
    let dims = weight(editor, node)?.dims();
    match op.groups {
        1 => (dims[1] == channels).then_some(1),
        groups => (groups == channels as i64 && dims[1] == 1 && dims[0] == channels).then_some(0),
    }
}

fn weight<'e>(editor: &'e Editor<'_>, node: &Node) -> Option<&'e Constant> {
    query::constant(editor, node.inputs[1]).filter(|weight| weight.to_f32s().is_some())
}

impl Pair {
    /// Makes both weights reach as far in every channel; false when they do.
    fn equalize(&self, editor: &mut Editor<'_>) -> bool {
        let (Some(gives), Some(reads)) = (reach(editor, &self.gives), reach(editor, &self.reads)) else { return false };
        let factor = |(gives, reads): (&f32, &f32)| {
            let factor = (gives / reads).sqrt();
            if factor.is_finite() && factor > 0.0 { factor.clamp(1.0 / LIMIT, LIMIT) } else { 1.0 }
        };
        let factors: Vec<f32> = gives.iter().zip(&reads).map(factor).collect();
        if factors.iter().all(|factor| (factor - 1.0).abs() < NEAR) {
            return false;
        }
        let inverses: Vec<f32> = factors.iter().map(|factor| 1.0 / factor).collect();
        [Some(self.gives), self.bias].into_iter().flatten().for_each(|slot| scale(editor, &slot, &inverses));
        scale(editor, &self.reads, &factors);
        true
    }
}

/// Largest magnitude per index of the axis.
pub(crate) fn reach(editor: &Editor<'_>, slot: &Slot) -> Option<Vec<f32>> {
    let constant = query::constant(editor, editor[slot.node].inputs[slot.operand])?;
    let (dims, numbers) = (constant.dims(), constant.to_f32s()?);
    let inner: usize = dims[slot.axis + 1..].iter().product();
    let mut peaks = vec![0f32; dims[slot.axis]];
    for (at, number) in numbers.iter().enumerate() {
        let peak = &mut peaks[at / inner.max(1) % dims[slot.axis]];
        *peak = peak.max(number.abs());
    }
    Some(peaks)
}

/// Multiplies a constant along the axis of `slot`.
pub(crate) fn scale(editor: &mut Editor<'_>, slot: &Slot, factors: &[f32]) {
    let value = editor[slot.node].inputs[slot.operand];
    if let Some(constant) = query::constant(editor, value).and_then(|constant| scaled(constant, slot.axis, factors)) {
        let value = editor.constant_value(constant);
        editor.set_operand(slot.node, slot.operand, value);
    }
}
