//! Ops that compute element by element, or move elements: elementwise, casts, reductions, movement, indexing, shapes.

use super::{OpContext, OpError, activation, binary, cast, index, movement, reduce, select, shape, unary};
use crate::tensor::Tensor;
use mokume_ir::op::Op;
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
    if moves(op) && has(|elem| elem == Elem::String).is_some() {
        return Some(through_indices(op, inputs, cx));
    }
    Some(match op {
        Op::Unary(kind) => unary::unary(*kind, inputs, cx),
        Op::Binary(kind) => binary::binary(*kind, inputs, cx),
        Op::Activation(op) => activation::activation(op, inputs, cx),
        Op::Swiglu(_) => activation::swiglu(inputs, cx),
        Op::Select(_) => select::select(inputs, cx),
        Op::Cast(op) => cast::cast(op, inputs, cx),
        Op::Bitcast(op) => cast::bitcast(op, inputs, cx),
        Op::Reduce(op) => reduce::reduce(op, inputs, cx),
        Op::Reshape(op) => movement::reshape(op, inputs, cx),
        Op::Squeeze(op) => movement::squeeze(op, inputs, cx),
        Op::Unsqueeze(op) => movement::unsqueeze(op, inputs, cx),
        Op::Transpose(op) => movement::transpose(op, inputs, cx),
        Op::Broadcast(op) => movement::expand(op, inputs, cx),
        Op::Slice(op) => movement::slice(op, inputs, cx),
        Op::Split(op) => movement::split(op, inputs, cx),
        Op::Concat(op) => movement::concat(op, inputs, cx),
        Op::Tile(op) => movement::tile(op, inputs, cx),
        Op::Gather(op) => index::gather(op, inputs, cx),
        Op::GatherElements(op) => index::gather_elements(op, inputs, cx),
        Op::GatherNd(op) => index::gather_nd(op, inputs, cx),
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
    matches!(op, Op::Unary(_) | Op::Binary(_) | Op::Activation(_) | Op::Swiglu(_) | Op::Reduce(_) | Op::Range(_))
}

/// Runs `op` on f32 and converts f32 results to `half`.
fn through_f32(op: &Op, half: Elem, inputs: &[&Tensor], cx: &OpContext<'_>) -> Outputs {
    let widen = |x: &&Tensor| match x.elem() {
        Elem::F16 | Elem::BF16 => cast::convert(x, Elem::F32, false, cx),
        _ => Ok((*x).clone()),
    };
    let wide = inputs.iter().map(widen).collect::<Result<Vec<_>, _>>()?;
    let outputs = run(op, &wide.iter().collect::<Vec<_>>(), cx).unwrap_or_else(|| Err(OpError::unsupported(op.name())))?;
    // The result of a power has the type of its base.
    let elem = if matches!(op, Op::Binary(_)) { inputs[0].elem() } else { half };
    let narrow = |x: Tensor| if x.elem() == Elem::F32 { cast::convert(&x, elem, false, cx) } else { Ok(x) };
    outputs.into_iter().map(narrow).collect()
}

/// Ops that copy elements whatever they are.
fn moves(op: &Op) -> bool {
    matches!(
        op,
        Op::Select(_)
            | Op::Transpose(_)
            | Op::Broadcast(_)
            | Op::Slice(_)
            | Op::Split(_)
            | Op::Concat(_)
            | Op::Tile(_)
            | Op::Gather(_)
            | Op::GatherElements(_)
            | Op::GatherNd(_)
    )
}

/// Strings are moved by moving their numbers, which count from 1 so that 0 is the empty string.
fn through_indices(op: &Op, inputs: &[&Tensor], cx: &OpContext<'_>) -> Outputs {
    let mut texts = vec![String::new()];
    let numbered = |x: &&Tensor| {
        if x.elem() != Elem::String {
            return (*x).clone();
        }
        let first = texts.len() as i64;
        texts.extend_from_slice(x.string_slice());
        Tensor::i64s(x.dims(), &(first..texts.len() as i64).collect::<Vec<_>>())
    };
    let numbers: Vec<Tensor> = inputs.iter().map(numbered).collect();
    let outputs = run(op, &numbers.iter().collect::<Vec<_>>(), cx).unwrap_or_else(|| Err(OpError::unsupported(op.name())))?;
    let text = |x: Tensor| Tensor::strings(x.dims(), x.slice::<i64>().iter().map(|&i| texts[i as usize].clone()).collect());
    Ok(outputs.into_iter().map(text).collect())
}
