//! Attention and rotary position embedding.
//!
//! Specs <https://onnx.ai/onnx/operators/onnx__Attention.html>, RotaryEmbedding.
//! Opsets  Attention-24 adds `nonpad_kv_seqlen` and masks shorter than the keys, 25 adds windows. The causal frontier is
//!         `j <= i + offset`, where the offset counts the keys before the queries.

use super::Row;
use super::constant::iota;
use crate::onnx::cx::{Bound, Cx, Fault, Outcome, one};
use crate::onnx::tensor;
use mokume_ir::attr::Ints;
use mokume_ir::dim::Dim;
use mokume_ir::ids::ValueId;
use mokume_ir::op::{self, BinaryKind as B, PadMode, ReduceKind, UnaryKind as U};
use mokume_ir::types::Elem;

/// The family's table.
pub const ROWS: &[Row] = &[("Attention", attention), ("RotaryEmbedding", rotary_embedding)];

/// Queries, keys and values with heads apart, and what goes with them.
struct Heads {
    q: ValueId,
    k: ValueId,
    v: ValueId,
    /// Queries, keys.
    lengths: (Dim, Dim),
    scale: Option<f32>,
    softcap: f32,
}

fn attention(cx: &mut Cx<'_, '_, '_>) -> Outcome {
    let q = cx.input(0)?;
    let flat = cx.need_rank(q)? == 3;
    let (q_heads, k_heads) = (cx.attrs.int("q_num_heads")?, cx.attrs.int("kv_num_heads")?);
    let q = heads(cx, 0, q_heads)?;
    let (new_k, new_v) = (heads(cx, 1, k_heads)?, heads(cx, 2, k_heads)?);
    let k = with_past(cx, 4, new_k)?;
    let v = with_past(cx, 5, new_v)?;
    let (s, added, t) = (size(cx, q, 2)?, size(cx, new_k, 2)?, size(cx, k, 2)?);
    check_precision(cx, q)?;
    let scale = cx.attrs.float("scale")?;
    let heads = Heads { q, k, v, lengths: (s.clone(), t.clone()), scale, softcap: cx.attrs.float_or("softcap", 0.0)? };
    let nonpad = cx.optional(6)?;
    let causal = cx.attrs.flag("is_causal")?;
    // The op's own causal frontier is the same when every new key has its query.
    let own_causal = causal && nonpad.is_none() && s == added;
    let mode = cx.attrs.int_or("qk_matmul_output_mode", 0)?;
    let frontier = causal && (!own_causal || cx.wants(3));
    let allowed = allowed(cx, &heads, &t.minus(&added), nonpad, frontier)?;
    let mask = mask(cx, &heads, allowed)?;
    let operands: Vec<ValueId> = [heads.q, heads.k, heads.v].into_iter().chain(mask).collect();
    let op = op::Attention { scale, causal: own_causal && !frontier, softcap: heads.softcap, mask: mask.is_some(), join_heads: false };
    let y = cx.apply(op, &operands)?;
    let mut outputs: Vec<Bound> = vec![if flat { merged(cx, y)? } else { y }.into(), k.into(), v.into()];
    if cx.wants(3) {
        outputs.push(scores(cx, &heads, mask, mode)?.into());
    }
    Ok(outputs)
}

fn size(cx: &Cx<'_, '_, '_>, x: ValueId, axis: usize) -> Result<Dim, Fault> {
    let dims = cx.need_dims(x)?;
    dims.get(axis).cloned().ok_or_else(|| Fault::input(format!("an operand has {} axes, not 4", dims.len())))
}

/// Operand `index` as `[batch, heads, length, size]`.
fn heads(cx: &mut Cx<'_, '_, '_>, index: usize, count: Option<i64>) -> Result<ValueId, Fault> {
    let x = cx.input(index)?;
    match &cx.need_dims(x)?[..] {
        [batch, length, width] => {
            let count = count.filter(|&count| count > 0).ok_or_else(|| Fault::input("the number of heads is missing"))?;
            let count = Dim::from(count);
            let split = cx.reshape(x, vec![batch.clone(), length.clone(), count.clone(), width.floor_div(&count)])?;
            cx.transpose(split, &[0, 2, 1, 3])
        }
        [_, _, _, _] => Ok(x),
        dims => Err(Fault::input(format!("operand {index} has {} axes, not 3 or 4", dims.len()))),
    }
}

/// `[batch, length, heads * size]`
fn merged(cx: &mut Cx<'_, '_, '_>, x: ValueId) -> Result<ValueId, Fault> {
    let woven = cx.transpose(x, &[0, 2, 1, 3])?;
    let dims = cx.need_dims(woven)?;
    cx.reshape(woven, vec![dims[0].clone(), dims[1].clone(), dims[2].times(&dims[3])])
}

fn with_past(cx: &mut Cx<'_, '_, '_>, index: usize, new: ValueId) -> Result<ValueId, Fault> {
    match cx.optional(index)? {
        Some(past) => cx.concat(&[past, new], 2),
        None => Ok(new),
    }
}

/// The softmax may be computed in the elements' type or a wider one.
fn check_precision(cx: &Cx<'_, '_, '_>, q: ValueId) -> Result<(), Fault> {
    let Some(number) = cx.attrs.int("softmax_precision")? else { return Ok(()) };
    let (precision, elem) = (tensor::elem(i32::try_from(number).unwrap_or(-1))?, cx.elem(q)?);
    match precision == elem || precision.bits() > elem.bits() {
        true => Ok(()),
        false => Err(Fault::unsupported(format!("softmax in {precision} of scores in {elem} is not supported"))),
    }
}

/// Which keys each query may see by position; none when all.
fn allowed(cx: &mut Cx<'_, '_, '_>, heads: &Heads, past: &Dim, nonpad: Option<ValueId>, causal: bool) -> Result<Option<ValueId>, Fault> {
    let (left, right) = (cx.attrs.int_or("left_window_size", -1)?, cx.attrs.int_or("right_window_size", -1)?);
    let right = if causal { 0 } else { right };
    if nonpad.is_none() && left < 0 && right < 0 {
        return Ok(None);
    }
    let (s, t) = &heads.lengths;
    let keys = iota(cx, t.clone())?;
    let queries = iota(cx, s.clone())?;
    let queries = cx.unsqueeze(queries, &[1])?;
    let valid = match nonpad {
        Some(nonpad) => Some(cx.cast(nonpad, Elem::I64).and_then(|n| cx.unsqueeze(n, &[1, 2, 3]))?),
        None => None,
    };
    let offset = match valid {
        Some(valid) => {
            let s = cx.dim_scalar(s.clone())?;
            cx.binary(B::Sub, valid, s)?
        }
        None => cx.dim_scalar(past.clone())?,
    };
    let places = cx.binary(B::Add, queries, offset)?;
    let mut rules = Vec::new();
    if left >= 0 {
        let first = cx.with_number(B::Sub, places, left as f64)?;
        rules.push(cx.binary(B::Ge, keys, first)?);
    }
    if right >= 0 {
        let last = cx.with_number(B::Add, places, right as f64)?;
        rules.push(cx.binary(B::Le, keys, last)?);
    }
    if let Some(valid) = valid {
        rules.push(cx.binary(B::Lt, keys, valid)?);
    }
    let mut rules = rules.into_iter();
    let first = rules.next().ok_or_else(|| Fault::input("no rule"))?;
    Ok(Some(rules.try_fold(first, |all, rule| cx.binary(B::And, all, rule))?))
}

/// The mask operand joined with what positions allow.
fn mask(cx: &mut Cx<'_, '_, '_>, heads: &Heads, allowed: Option<ValueId>) -> Result<Option<ValueId>, Fault> {
    let Some(given) = cx.optional(3)? else { return Ok(allowed) };
    let given = padded_mask(cx, given, &heads.lengths.1)?;
    let given = if cx.elem(given)? == Elem::Bool { given } else { cx.cast(given, cx.elem(heads.q)?)? };
    let Some(allowed) = allowed else { return Ok(Some(given)) };
    match cx.elem(given)? {
        Elem::Bool => Ok(Some(cx.binary(B::And, given, allowed)?)),
        elem => {
            let bias = bias(cx, allowed, elem)?;
            Ok(Some(cx.binary(B::Add, given, bias)?))
        }
    }
}

/// 0 where `allowed`, minus infinity elsewhere.
fn bias(cx: &mut Cx<'_, '_, '_>, allowed: ValueId, elem: Elem) -> Result<ValueId, Fault> {
    let (zero, never) = (cx.number(elem, 0.0)?, cx.number(elem, f64::NEG_INFINITY)?);
    cx.select(allowed, zero, never)
}

/// A mask shorter than the keys forbids the rest.
fn padded_mask(cx: &mut Cx<'_, '_, '_>, mask: ValueId, keys: &Dim) -> Result<ValueId, Fault> {
    let dims = cx.need_dims(mask)?;
    let last = dims.last().ok_or_else(|| Fault::input("the mask is a scalar"))?;
    if last == keys || last.known() == Some(1) || cx.opset < 24 {
        return Ok(mask);
    }
    let fill = if cx.elem(mask)? == Elem::Bool { 0.0 } else { f64::NEG_INFINITY };
    let fill = cx.number_like(mask, fill)?;
    let pads = Ints::Known(vec![Dim::from(0i64), keys.minus(last)]);
    let axes = Ints::of([dims.len() as i64 - 1]);
    cx.apply(op::Pad { mode: PadMode::Constant, pads, axes, value: true }, &[mask, fill])
}

/// Keys or values with one head per query head.
fn repeated_heads(cx: &mut Cx<'_, '_, '_>, x: ValueId, like: ValueId) -> Result<ValueId, Fault> {
    let (dims, count) = (cx.need_dims(x)?, size(cx, like, 1)?);
    if dims[1] == count {
        return Ok(x);
    }
    let group = count.floor_div(&dims[1]);
    let apart = cx.unsqueeze(x, &[2])?;
    let wide = vec![dims[0].clone(), dims[1].clone(), group, dims[2].clone(), dims[3].clone()];
    let wide = cx.broadcast(apart, wide)?;
    cx.reshape(wide, vec![dims[0].clone(), count, dims[2].clone(), dims[3].clone()])
}

/// The scores as output: 0 raw, 1 after the cap, 2 after the mask, 3 after softmax.
fn scores(cx: &mut Cx<'_, '_, '_>, heads: &Heads, mask: Option<ValueId>, mode: i64) -> Result<ValueId, Fault> {
    let mut scores = products(cx, heads.q, heads.k, heads.scale)?;
    if mode >= 1 && heads.softcap > 0.0 {
        let ratio = cx.with_number(B::Div, scores, heads.softcap.into())?;
        let bounded = cx.unary(U::Tanh, ratio)?;
        scores = cx.with_number(B::Mul, bounded, heads.softcap.into())?;
    }
    if let Some(mask) = mask.filter(|_| mode >= 2) {
        let elem = cx.elem(scores)?;
        let mask = if cx.elem(mask)? == Elem::Bool { bias(cx, mask, elem)? } else { mask };
        scores = cx.binary(B::Add, scores, mask)?;
    }
    if mode < 3 { Ok(scores) } else { guarded_softmax(cx, scores) }
}

/// `scale q kᵀ`, both operands scaled by its root.
fn products(cx: &mut Cx<'_, '_, '_>, q: ValueId, k: ValueId, scale: Option<f32>) -> Result<ValueId, Fault> {
    let width = size(cx, q, 3)?.known();
    let scale = match (scale, width) {
        (Some(scale), _) => f64::from(scale),
        (None, Some(width)) => 1.0 / (width as f64).sqrt(),
        (None, None) => return Err(Fault::unsupported("the size of a head is not known while importing")),
    };
    let k = repeated_heads(cx, k, q)?;
    let (q, k) = (cx.with_number(B::Mul, q, scale.sqrt())?, cx.with_number(B::Mul, k, scale.sqrt())?);
    cx.apply(op::Matmul { transpose_a: false, transpose_b: true }, &[q, k])
}

/// Softmax along the last axis; a row without any key is 0.
fn guarded_softmax(cx: &mut Cx<'_, '_, '_>, scores: ValueId) -> Result<ValueId, Fault> {
    let last = cx.need_rank(scores)? as i64 - 1;
    let highest = cx.reduce(ReduceKind::Max, scores, &[last], true)?;
    let empty = cx.unary(U::IsNegInf, highest)?;
    let soft = cx.apply(op::Softmax { axis: last }, &[scores])?;
    let zero = cx.number_like(scores, 0.0)?;
    cx.select(empty, zero, soft)
}

fn rotary_embedding(cx: &mut Cx<'_, '_, '_>) -> Outcome {
    let x = cx.input(0)?;
    let flat = cx.need_rank(x)? == 3;
    let count = cx.attrs.int("num_heads")?;
    let (interleaved, dims) = (cx.attrs.flag("interleaved")?, cx.attrs.int_or("rotary_embedding_dim", 0)?);
    let x = heads(cx, 0, count)?;
    let positions = cx.optional(3)?;
    let cos = angles(cx, 1, positions)?;
    let sin = angles(cx, 2, positions)?;
    let y = cx.apply(op::Rotary { interleaved, dims }, &[x, cos, sin])?;
    one(if flat { merged(cx, y)? } else { y })
}

/// Cosines or sines as `[batch, 1, length, size/2]`.
fn angles(cx: &mut Cx<'_, '_, '_>, index: usize, positions: Option<ValueId>) -> Result<ValueId, Fault> {
    let cache = cx.input(index)?;
    let rows = match positions {
        Some(positions) => cx.gather(cache, positions, 0)?,
        None => cache,
    };
    cx.unsqueeze(rows, &[1])
}
