//! Type inference: types of a node's outputs from its op, the types of its operands and what is known of their contents.
//!
//! One file per op family. What no type tells before the run, such as the count of non-zero elements, becomes a fresh
//! data dependent symbol `?n`; a rank that nothing tells makes the type unranked. Inference is deterministic.

pub mod contents;
mod contraction;
mod control;
mod cx;
mod elementwise;
mod index;
mod movement;
mod neural;
mod normalize;
mod quant;
mod reduce;
mod resample;
mod shape;
mod signal;
mod window;

use crate::dim::{Dim, Symbol};
use crate::graph::{Graph, Module};
use crate::ids::ValueId;
use crate::op::Op;
use crate::types::Type;
pub use contents::Contents;
use contents::Memo;
use cx::Cx;
use std::cell::{Cell, RefCell};

/// Why the operands do not fit the op.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{op}: {message}")]
pub struct InferError {
    /// The op's word.
    pub op: &'static str,
    /// What does not fit.
    pub message: String,
}

/// The types of the outputs of `op` on `inputs`, values of `graph`. To infer many nodes, use one [`Inference`].
///
/// Errors  when the number, element types or shapes of the operands do not fit.
pub fn infer_types(module: &Module, graph: &Graph, op: &Op, inputs: &[ValueId]) -> Result<Vec<Type>, InferError> {
    Inference::new(module, graph).types(op, inputs)
}

/// Inference of several nodes of one graph; contents are computed once.
pub struct Inference<'a> {
    module: &'a Module,
    graph: &'a Graph,
    memo: RefCell<Memo>,
}

impl<'a> Inference<'a> {
    /// For nodes of `graph`.
    pub fn new(module: &'a Module, graph: &'a Graph) -> Self {
        Inference { module, graph, memo: RefCell::default() }
    }
    /// The types of the outputs of `op` on `inputs`. Fresh symbols start at the graph's next number every time.
    ///
    /// Errors  when the number, element types or shapes of the operands do not fit.
    pub fn types(&self, op: &Op, inputs: &[ValueId]) -> Result<Vec<Type>, InferError> {
        infer(self.module, self.graph, &self.memo, op, inputs)
    }
    /// The elements of a small integer value as expressions, when they are known.
    pub fn contents(&self, value: ValueId) -> Option<Contents> {
        contents::lookup(self.module, self.graph, &mut self.memo.borrow_mut(), value)
    }
}

/// The types of the outputs; fresh symbols start at the graph's next number.
pub(crate) fn infer(module: &Module, graph: &Graph, memo: &RefCell<Memo>, op: &Op, inputs: &[ValueId]) -> Result<Vec<Type>, InferError> {
    let types: Vec<&Type> = inputs.iter().map(|&input| graph.ty(input)).collect();
    let contents = |index: usize| contents::lookup(module, graph, &mut memo.borrow_mut(), *inputs.get(index)?);
    let cx = Cx { module, op, types: &types, contents: &contents, unknowns: Cell::new(graph.unknowns) };
    Ok(outputs(&cx)?.into_iter().map(|ty| cx.bounded(ty)).collect())
}

fn outputs(cx: &Cx<'_>) -> Result<Vec<Type>, InferError> {
    let one = |ty: Result<Type, InferError>| ty.map(|ty| vec![ty]);
    match cx.op {
        Op::Unary(kind) => one(elementwise::unary(cx, *kind)),
        Op::Binary(kind) => one(elementwise::binary(cx, *kind)),
        Op::Activation(_) => one(elementwise::activation(cx)),
        Op::Select(_) => one(elementwise::select(cx)),
        Op::Cast(op) => one(elementwise::cast(cx, op)),
        Op::Bitcast(op) => one(elementwise::bitcast(cx, op)),
        Op::Swiglu(_) => one(elementwise::swiglu(cx)),
        Op::Reduce(op) => one(reduce::reduce(cx, op)),
        Op::ArgReduce(op) => one(reduce::arg_reduce(cx, op)),
        Op::Cumulative(op) => one(reduce::cumulative(cx, op)),
        Op::Matmul(op) => one(contraction::matmul(cx, op)),
        Op::Det(_) => one(contraction::det(cx)),
        Op::Conv(op) => one(window::conv(cx, op)),
        Op::ConvTranspose(op) => one(window::conv_transpose(cx, op)),
        Op::Pool(op) => window::pool(cx, op),
        Op::Reshape(op) => one(movement::reshape(cx, op)),
        Op::Squeeze(op) => one(movement::squeeze(cx, op)),
        Op::Unsqueeze(op) => one(movement::unsqueeze(cx, op)),
        Op::Transpose(op) => one(movement::transpose(cx, op)),
        Op::Broadcast(op) => one(movement::broadcast(cx, op)),
        Op::Slice(op) => one(movement::slice(cx, op)),
        Op::Split(op) => movement::split(cx, op),
        Op::Concat(op) => one(movement::concat(cx, op)),
        Op::Pad(op) => one(movement::pad(cx, op)),
        Op::Tile(op) => one(movement::tile(cx, op)),
        Op::Trilu(_) => one(movement::trilu(cx)),
        Op::Gather(op) => one(index::gather(cx, op)),
        Op::GatherElements(op) => one(index::gather_elements(cx, op)),
        Op::GatherNd(op) => one(index::gather_nd(cx, op)),
        Op::ScatterElements(op) => one(index::scatter_elements(cx, op)),
        Op::ScatterNd(_) => one(index::scatter_nd(cx)),
        Op::Compress(op) => one(index::compress(cx, op)),
        Op::OneHot(op) => one(index::one_hot(cx, op)),
        Op::NonZero(_) => one(index::non_zero(cx)),
        Op::Unique(op) => index::unique(cx, op),
        Op::TopK(op) => index::top_k(cx, op),
        Op::Range(_) => one(shape::range(cx)),
        Op::Iota(op) => one(shape::iota(cx, op)),
        Op::ShapeOf(op) => one(shape::shape_of(cx, op)),
        Op::SizeOf(_) => one(shape::size_of(cx)),
        Op::DimsOf(op) => one(shape::dims_of(cx, op)),
        Op::Resize(op) => one(resample::resize(cx, op)),
        Op::GridSample(_) => one(resample::grid_sample(cx)),
        Op::NonMaxSuppression(_) => one(resample::non_max_suppression(cx)),
        Op::RoiAlign(op) => one(resample::roi_align(cx, op)),
        Op::Hadamard(op) => one(normalize::hadamard(cx, op)),
        Op::Softmax(op) => one(normalize::along_axis(cx, op.axis)),
        Op::LogSoftmax(op) => one(normalize::along_axis(cx, op.axis)),
        Op::Hardmax(op) => one(normalize::along_axis(cx, op.axis)),
        Op::LayerNorm(op) => one(normalize::trailing(cx, op.axis, 2..=3)),
        Op::RmsNorm(op) => one(normalize::trailing(cx, op.axis, 2..=2)),
        Op::GroupNorm(op) => one(normalize::group_norm(cx, op)),
        Op::LocalResponseNorm(op) => one(normalize::local_response_norm(cx, op)),
        Op::Attention(op) => one(neural::attention(cx, op)),
        Op::Rotary(op) => one(neural::rotary(cx, op)),
        Op::Recurrent(op) => neural::recurrent(cx, op),
        Op::Dft(op) => one(signal::dft(cx, op)),
        Op::Stft(op) => one(signal::stft(cx, op)),
        Op::Quantize(op) => one(quant::quantize(cx, op)),
        Op::Dequantize(_) => one(quant::dequantize(cx)),
        Op::BitGather(_) => one(quant::bit_gather(cx)),
        Op::BitMatmul(op) => one(quant::bit_matmul(cx, op)),
        Op::BitConv(op) => one(quant::bit_conv(cx, op)),
        Op::Call(op) => control::call(cx, op),
        Op::If(op) => control::branch(cx, op),
        Op::Loop(op) => control::repeat(cx, op),
    }
}

/// The type `new` of a rewritten value: what only a fresh symbol `?n` (`n` from `first` on) stands for is taken from `old`.
pub(crate) fn keep_known(old: &Type, new: Type, first: u32) -> Type {
    let (Some(old), Type::Tensor(new)) = (old.as_tensor(), &new) else { return new };
    let shape = match (old.shape.dims(), new.shape.dims()) {
        (Some(_), None) => old.shape.clone(),
        (Some(before), Some(after)) if before.len() == after.len() => {
            let fresh = |dim: &Dim| dim.as_symbol().is_some_and(|symbol| number(symbol) > first);
            before.iter().zip(after).map(|(before, after)| if fresh(after) { before.clone() } else { after.clone() }).collect()
        }
        _ => new.shape.clone(),
    };
    Type::tensor(shape, new.elem)
}

/// One more than the largest `n` of a symbol `?n` in the type, 0 when there is none.
pub(crate) fn next_unknown(ty: &Type) -> u32 {
    let mut next = 0;
    let mut inner = ty;
    while let Type::Seq(element) | Type::Opt(element) = inner {
        inner = element;
    }
    for dim in inner.dims().unwrap_or_default() {
        dim.symbols(&mut |symbol| next = next.max(number(symbol)));
    }
    next
}

/// `n + 1` for `?n`, 0 for other symbols.
fn number(symbol: &Symbol) -> u32 {
    let digits = symbol.name().strip_prefix('?').and_then(|digits| digits.parse::<u32>().ok());
    digits.map_or(0, |n| n.saturating_add(1))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests;
