//! The derivative of every op: given what the loss gains by each output, what it gains by each operand. One file per family.
//!
//! Ops without a rule: those that give integers or bools (nothing flows through them), control flow (`inline` first), composites
//! (`decompose` writes them out), integer products (differentiate before `fuse`), and, said by name: resampling, recurrent layers,
//! Fourier transforms, determinants, running products, windows with derived padding, and scatters that compare.

mod elementwise;
mod index;
mod movement;
mod product;
mod reduce;
mod window;

use super::decompose::dims;
use super::expr::{Expr, apply};
use mokume_ir::dim::Dim;
use mokume_ir::graph::{Graph, Node};
use mokume_ir::ids::ValueId;
use mokume_ir::op::{Op, UnaryKind};
use mokume_ir::types::Elem;

/// A part of the gradient per operand; none where nothing flows.
type Parts = Vec<Option<Expr>>;

/// A node seen from its outputs.
pub(super) struct Seen<'g> {
    pub editor: &'g Graph,
    pub node: &'g Node,
    /// What the loss gains by each output.
    pub grads: &'g [Option<ValueId>],
    /// Rounding counts as the identity.
    pub straight_through: bool,
}

impl Seen<'_> {
    /// Operand number `index`.
    fn x(&self, index: usize) -> Expr {
        self.node.inputs[index].into()
    }
    /// The first output.
    fn y(&self) -> Expr {
        self.node.outputs[0].into()
    }
    /// What the loss gains by the first output.
    fn g(&self) -> Result<Expr, String> {
        self.grads[0].map(Expr::from).ok_or_else(|| "nothing depends on its first output".to_string())
    }
    /// Sizes of operand number `index`.
    fn dims(&self, index: usize) -> Result<Vec<Dim>, String> {
        dims(self.editor, self.node.inputs[index])
    }
    /// Sizes of the first output.
    fn out_dims(&self) -> Result<Vec<Dim>, String> {
        dims(self.editor, self.node.outputs[0])
    }
    fn elem(&self, index: usize) -> Option<Elem> {
        self.editor.ty(self.node.inputs[index]).elem()
    }
    /// `part`, in the sizes of the first output, summed to those of operand number `index`, which was broadcast.
    fn summed(&self, part: Expr, index: usize) -> Result<Expr, String> {
        sum_to(part, &self.out_dims()?, &self.dims(index)?)
    }
    /// The part of the first operand, and nothing for the others.
    fn first(&self, part: Expr) -> Parts {
        let mut parts = vec![None; self.node.inputs.len()];
        parts[0] = Some(part);
        parts
    }
    fn nothing(&self) -> Parts {
        vec![None; self.node.inputs.len()]
    }
}

/// The parts of the operands of a node that the loss depends on.
///
/// Errors  with the reason why there are none.
pub(super) fn backward(node: &Seen<'_>) -> Result<Parts, String> {
    match &node.node.op {
        Op::Unary(kind) => elementwise::unary(node, *kind),
        Op::Binary(kind) => elementwise::binary(node, *kind),
        Op::Select(_) => elementwise::select(node),
        Op::Cast(_) => elementwise::cast(node),
        Op::Quantize(op) => elementwise::quantize(node, op),
        Op::Dequantize(_) => elementwise::dequantize(node),
        Op::Reduce(op) => reduce::reduce(node, op),
        Op::Cumulative(op) => reduce::cumulative(node, op),
        Op::Softmax(op) => reduce::softmax(node, op.axis),
        Op::LogSoftmax(op) => reduce::log_softmax(node, op.axis),
        Op::Hadamard(op) => Ok(node.first(apply(op.clone(), [node.g()?]))),
        Op::Matmul(op) => product::matmul(node, op),
        Op::Conv(op) => product::conv(node, op),
        Op::ConvTranspose(op) => product::conv_transpose(node, op),
        Op::Pool(op) => window::pool(node, op),
        Op::Reshape(_) | Op::Squeeze(_) | Op::Unsqueeze(_) => Ok(node.first(node.g()?.reshape(&node.dims(0)?))),
        Op::Transpose(op) => movement::transpose(node, op),
        Op::Broadcast(_) => Ok(node.first(node.summed(node.g()?, 0)?)),
        Op::Slice(op) => movement::slice(node, op),
        Op::Split(op) => movement::split(node, op),
        Op::Concat(op) => movement::concat(node, op),
        Op::Pad(op) => movement::pad(node, op),
        Op::Tile(op) => movement::tile(node, op),
        Op::Trilu(op) => movement::trilu(node, op),
        Op::Gather(op) => index::gather(node, op),
        Op::GatherElements(op) => index::gather_elements(node, op),
        Op::GatherNd(op) => index::gather_nd(node, op),
        Op::ScatterElements(op) => index::scatter_elements(node, op),
        Op::ScatterNd(op) => index::scatter_nd(node, op),
        Op::TopK(op) => index::top_k(node, op),
        Op::ArgReduce(_) | Op::ShapeOf(_) | Op::SizeOf(_) | Op::NonZero(_) | Op::Hardmax(_) => Ok(node.nothing()),
        Op::Call(_) | Op::If(_) | Op::Loop(_) => Err("it is control flow; `inline` writes out what it can".into()),
        Op::BitMatmul(_) | Op::BitConv(_) | Op::BitGather(_) => Err("it reads codes; differentiate before `fuse`".into()),
        _ => Err("there is no rule for it".into()),
    }
}

/// `part` of sizes `from`, summed over the axes along which `to` was broadcast to them.
fn sum_to(part: Expr, from: &[Dim], to: &[Dim]) -> Result<Expr, String> {
    let added = from.len().checked_sub(to.len()).ok_or("an operand has more axes than the result")?;
    let mut axes: Vec<usize> = (0..added).collect();
    for (axis, (from, to)) in from[added..].iter().zip(to).enumerate() {
        match to.known() {
            _ if from == to => {}
            Some(1) => axes.push(added + axis),
            _ => return Err(format!("whether {to} was broadcast to {from} is known at run time only")),
        }
    }
    let summed = if axes.is_empty() { part } else { part.sum(axes) };
    Ok(if added > 0 { summed.reshape(to) } else { summed })
}

/// Zeros of some sizes.
fn zeros(dims: &[Dim]) -> Expr {
    Expr::from(0.0).broadcast(dims)
}

fn sign(x: &Expr) -> Expr {
    x.unary(UnaryKind::Sign)
}
