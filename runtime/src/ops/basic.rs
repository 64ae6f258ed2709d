//! Ops that compute element by element, or move or choose elements: elementwise, casts, reductions, movement, indexing,
//! shapes, sampling, box selection.

use super::layout::operands;
use super::strings::through_ranks;
use super::{
    OpContext, OpError, activation, binary, cast, det, grid_sample, index, movement, pad, pick, reduce, running, scatter, select, shape,
    sort, suppress, unary,
};
use crate::tensor::Tensor;
use mokume_ir::op::{Op, ScatterKind};
use mokume_ir::quant::Granularity;
use mokume_ir::types::Elem;

type Outputs = Result<Vec<Tensor>, OpError>;

/// Runs `op`, or gives none when it is not of this family.
pub fn run(op: &Op, inputs: &[&Tensor], cx: &OpContext<'_>) -> Option<Outputs> {
    let has = |is: fn(Elem) -> bool| inputs.iter().find(|x| is(x.elem())).map(|x| x.elem());
    if computes(op)
        && let Some(half) = has(|elem| matches!(elem, Elem::F16 | Elem::BF16))
    {
        return Some(through_f32(op, half, inputs, cx));
    }
    if ranks_suffice(op) && has(|elem| elem == Elem::String).is_some() {
        return Some(through_ranks(op, inputs, cx));
    }
    if !reads_quantized(op) && has(|elem| elem.quant().is_some()).is_some() {
        return Some(with_scales(op, inputs, cx));
    }
    dispatch(op, inputs, cx)
}

fn dispatch(op: &Op, inputs: &[&Tensor], cx: &OpContext<'_>) -> Option<Outputs> {
    Some(match op {
        Op::Unary(kind) => unary::unary(*kind, inputs, cx),
        Op::Binary(kind) => binary::binary(*kind, inputs, cx),
        Op::Activation(op) => activation::activation(op, inputs, cx),
        Op::Swiglu(_) => activation::swiglu(inputs, cx),
        Op::Select(_) => select::select(inputs, cx),
        Op::Cast(op) => cast::cast(op, inputs, cx),
        Op::Bitcast(op) => cast::bitcast(op, inputs, cx),
        Op::Reduce(op) => reduce::reduce(op, inputs, cx),
        Op::ArgReduce(op) => running::arg_reduce(op, inputs, cx),
        Op::Cumulative(op) => running::cumulative(op, inputs, cx),
        Op::Det(_) => det::det(inputs, cx),
        Op::Reshape(op) => movement::reshape(op, inputs, cx),
        Op::Squeeze(op) => movement::squeeze(op, inputs, cx),
        Op::Unsqueeze(op) => movement::unsqueeze(op, inputs, cx),
        Op::Transpose(op) => movement::transpose(op, inputs, cx),
        Op::Broadcast(op) => movement::expand(op, inputs, cx),
        Op::Slice(op) => movement::slice(op, inputs, cx),
        Op::Split(op) => movement::split(op, inputs, cx),
        Op::Concat(op) => movement::concat(op, inputs, cx),
        Op::Tile(op) => movement::tile(op, inputs, cx),
        Op::Pad(op) => pad::pad(op, inputs, cx),
        Op::Gather(op) => index::gather(op, inputs, cx),
        Op::GatherElements(op) => index::gather_elements(op, inputs, cx),
        Op::GatherNd(op) => index::gather_nd(op, inputs, cx),
        Op::ScatterElements(op) => scatter::scatter_elements(op, inputs, cx),
        Op::ScatterNd(op) => scatter::scatter_nd(op, inputs, cx),
        Op::Compress(op) => pick::compress(op, inputs, cx),
        Op::NonZero(_) => pick::non_zero(inputs, cx),
        Op::OneHot(op) => pick::one_hot(op, inputs, cx),
        Op::Trilu(op) => pick::trilu(op, inputs, cx),
        Op::TopK(op) => sort::top_k(op, inputs, cx),
        Op::Unique(op) => sort::unique(op, inputs, cx),
        Op::GridSample(op) => grid_sample::grid_sample(op, inputs, cx),
        Op::NonMaxSuppression(op) => suppress::non_max_suppression(op, inputs, cx),
        Op::Range(_) => shape::range(inputs, cx),
        Op::Iota(op) => shape::iota(op, cx),
        Op::ShapeOf(op) => shape::shape_of(op, inputs, cx),
        Op::SizeOf(_) => shape::size_of(inputs),
        Op::DimsOf(op) => shape::dims_of(op, cx),
        _ => return None,
    })
}

/// Ops that do arithmetic, which f16 and bf16 leave to f32.
fn computes(op: &Op) -> bool {
    match op {
        Op::Unary(_) | Op::Binary(_) | Op::Activation(_) | Op::Swiglu(_) | Op::Reduce(_) | Op::ArgReduce(_) | Op::Cumulative(_) => true,
        Op::TopK(_) | Op::Unique(_) | Op::Range(_) | Op::GridSample(_) => true,
        Op::ScatterElements(op) => op.kind != ScatterKind::None,
        Op::ScatterNd(op) => op.kind != ScatterKind::None,
        _ => false,
    }
}

/// Runs `op` on f32 and converts f32 results to `half`.
fn through_f32(op: &Op, half: Elem, inputs: &[&Tensor], cx: &OpContext<'_>) -> Outputs {
    let widen = |x: &&Tensor| match x.elem() {
        Elem::F16 | Elem::BF16 => cast::convert(x, Elem::F32, false, cx),
        _ => Ok((*x).clone()),
    };
    let wide = inputs.iter().map(widen).collect::<Result<Vec<_>, _>>()?;
    let outputs = run(op, &wide.iter().collect::<Vec<_>>(), cx).unwrap_or_else(|| Err(OpError::unsupported(op.name())))?;
    // The result of a power has the type of its base, a sample that of its image.
    let elem = if matches!(op, Op::Binary(_) | Op::GridSample(_)) { inputs[0].elem() } else { half };
    let narrow = |x: Tensor| if x.elem() == Elem::F32 { cast::convert(&x, elem, false, cx) } else { Ok(x) };
    outputs.into_iter().map(narrow).collect()
}

/// Ops that know what codes mean, or look only at sizes.
fn reads_quantized(op: &Op) -> bool {
    matches!(
        op,
        Op::Dequantize(_) | Op::BitGather(_) | Op::BitMatmul(_) | Op::BitConv(_) | Op::Attention(_) | Op::ShapeOf(_) | Op::SizeOf(_)
    )
}

/// Ops that copy elements whatever they are.
fn moves(op: &Op) -> bool {
    match op {
        Op::Select(_) | Op::Transpose(_) | Op::Broadcast(_) | Op::Slice(_) | Op::Split(_) | Op::Concat(_) | Op::Tile(_) => true,
        Op::Gather(_) | Op::GatherElements(_) | Op::GatherNd(_) | Op::Compress(_) => true,
        Op::ScatterElements(op) => op.kind == ScatterKind::None,
        Op::ScatterNd(op) => op.kind == ScatterKind::None,
        _ => false,
    }
}

/// Ops on strings that ranks can stand for.
fn ranks_suffice(op: &Op) -> bool {
    moves(op) || matches!(op, Op::Pad(_) | Op::OneHot(_) | Op::Unique(_)) || matches!(op, Op::Binary(kind) if kind.is_comparison())
}

/// Codes move as other bytes do, where one scale is right for all of them.
fn with_scales(op: &Op, inputs: &[&Tensor], cx: &OpContext<'_>) -> Outputs {
    let [first] = operands(inputs)?;
    if let (Op::Concat(op), Some(Granularity::Row)) = (op, first.elem().quant().map(|quant| quant.granularity)) {
        return movement::concat_rows(op, inputs, cx);
    }
    let uniform = |x: &&Tensor| x.elem().quant().is_none_or(|quant| quant.granularity == Granularity::Tensor);
    let same = |x: &&Tensor| x.elem().quant().is_none() || x.scales == first.scales;
    let reshapes = matches!(op, Op::Reshape(_) | Op::Squeeze(_) | Op::Unsqueeze(_));
    if first.elem().quant().is_none() || !inputs.iter().all(uniform) || !inputs.iter().all(same) || !(reshapes || moves(op)) {
        return Err(OpError::unsupported(format!("{} of {}", op.name(), first.elem())));
    }
    let mut outputs = dispatch(op, inputs, cx).unwrap_or_else(|| Err(OpError::unsupported(op.name())))?;
    outputs.iter_mut().for_each(|output| output.scales = first.scales.clone());
    Ok(outputs)
}
