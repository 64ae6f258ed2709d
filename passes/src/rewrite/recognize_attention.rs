//! Finds scaled dot-product attention, with grouped keys and values, and causal and padding masks.
//!
//! Before  %1 = mul %q, c ; %2 = mul %k, c ; %3 = matmul %1, %2 {transpose_b} ; %4 = add %3, %mask ; %5 = softmax %4 ;
//!         %6 = matmul %5, %v
//! After   %6 = attention %q, %k, %v {causal = true, scale = c*c}
//!
//! A transpose of the result to `[b, s, h, e]` becomes the flag `join_heads`, whoever found the attention.
//!
//! Legal when  operands have rank 4. A mask whose meaning is causal or padding becomes a flag or a bool mask; any other stays
//!             an operand. Repetition of keys and values over query heads is absorbed.
//! Exactness   scores are scaled after the product instead of before, and sums may be in another order: within a few units in
//!             the last place of the scores. Masked scores count as minus infinity, where a model may add a finite low number.
//! Cost        O(nodes); every mask is evaluated symbolically once per use.
//! Source      Vaswani et al., "Attention Is All You Need", 2017, eq. 1; Ainslie et al., "GQA", 2023.

use crate::canonicalize::movement::{reshape_to, static_dims};
use crate::pass::{Pass, PassContext, PassError};
use crate::query::{binary, output, scalar, splat, unary};
use crate::rewrite::mask::{self, Meaning};
use crate::rewrite::pattern::{both_orders, product, replace, sweep};
use crate::term::{Rule, Term, apply};
use mokume_ir::attr::Ints;
use mokume_ir::dim::Dim;
use mokume_ir::edit::Editor;
use mokume_ir::graph::Graph;
use mokume_ir::ids::{NodeId, ValueId};
use mokume_ir::op::{Attention, BinaryKind, Cast, Op, Reshape, UnaryKind};
use mokume_ir::order::order;
use mokume_ir::types::Elem;

options! {
    /// Scaled dot-product attention.
    RecognizeAttention {}
}

impl Pass for RecognizeAttention {
    fn run(&self, editor: &mut Editor<'_>, cx: &mut PassContext<'_>) -> Result<(), PassError> {
        for id in order(editor) {
            if editor.node(id).is_none() {
                continue;
            }
            let Some(found) = attention(editor, id) else { continue };
            if let Some(why) = found.mask.as_ref().and_then(|(_, meaning)| meaning.as_ref().err()) {
                cx.remark(editor, id, *why);
            }
            if !cx.take() {
                return Ok(());
            }
            let term = found.term(editor);
            replace(editor, id, term)?;
        }
        sweep(editor, cx, &[Rule { name: "join-heads", find: join_heads }])
    }
}

/// Attention as found in the graph.
struct Found {
    q: ValueId,
    k: ValueId,
    v: ValueId,
    scale: f64,
    mask: Option<(ValueId, Result<Meaning, &'static str>)>,
}

impl Found {
    fn term(self, editor: &Editor<'_>) -> Term {
        let mut op = Attention { scale: Some(self.scale as f32), causal: false, softcap: 0.0, mask: false, join_heads: false };
        let mut operands: Vec<Term> = vec![self.q.into(), self.k.into(), self.v.into()];
        match self.mask {
            None => {}
            Some((_, Ok(Meaning { causal, padding }))) => {
                op.causal = causal;
                op.mask = padding.is_some();
                operands.extend(padding.map(|padding| padding_mask(editor, padding)));
            }
            Some((mask, Err(_))) => {
                op.mask = true;
                operands.push(mask.into());
            }
        }
        Term::Apply(op.into(), operands)
    }
}

/// `[b, t]` as a bool mask `[b, 1, 1, t]`.
fn padding_mask(editor: &Editor<'_>, padding: ValueId) -> Term {
    let one = Dim::from(1i64);
    let dims = editor.ty(padding).dims().unwrap_or_default();
    let shape = match dims {
        [batch, keys] => vec![batch.clone(), one.clone(), one, keys.clone()],
        _ => dims.to_vec(),
    };
    let reshaped = apply(Reshape { shape: Ints::Known(shape), allow_zero: true }, [padding]);
    match editor.ty(padding).elem() {
        Some(Elem::Bool) => reshaped,
        _ => apply(Cast { to: Elem::Bool, saturate: false }, [reshaped]),
    }
}

/// `softmax(scale q kᵀ + mask) v`
fn attention(editor: &Editor<'_>, id: NodeId) -> Option<Found> {
    let (probabilities, v, transposed) = matmul(editor, output(&editor[id])?)?;
    let scores = softmax_last(editor, unguarded(editor, probabilities))?;
    let rank4 = |value: ValueId| editor.ty(value).dims().is_some_and(|dims| dims.len() == 4);
    if transposed || !rank4(v) || editor.ty(v).elem()? != Elem::F32 {
        return None;
    }
    let (masked, mask) = split_mask(editor, scores);
    let scaled = product(editor, masked, 2);
    let [dot] = scaled.factors[..] else { return None };
    let (q, k, transposed) = matmul(editor, dot)?;
    let (q, q_scale) = unscaled(editor, q);
    let (k, k_scale, swapped) = key(editor, k)?;
    if transposed == swapped || !rank4(q) || !rank4(k) {
        return None;
    }
    let (s, t) = (editor.ty(scores).dims()?.get(2)?.clone(), editor.ty(scores).dims()?.get(3)?.clone());
    let mask = mask.map(|mask| (mask, mask::meaning(editor, mask, &s, &t)));
    let (k, v) = ungrouped_pair(editor, k, v);
    heads_fit(editor, q, k, v)?;
    Some(Found { q, k, v, scale: scaled.scale * q_scale * k_scale, mask })
}

/// Batches are equal, and query heads a multiple of key heads: products would broadcast where attention does not.
fn heads_fit(graph: &Graph, q: ValueId, k: ValueId, v: ValueId) -> Option<()> {
    let ([b, hq, ..], [kb, hk, ..], [vb, vh, ..]) = (graph.ty(q).dims()?, graph.ty(k).dims()?, graph.ty(v).dims()?) else { return None };
    let multiple = hq == hk || hq.known()?.checked_rem(hk.known()?)? == 0;
    (kb == b && vb == b && vh == hk && multiple).then_some(())
}

/// Operands of a plain product and whether the second one is transposed.
fn matmul(graph: &Graph, value: ValueId) -> Option<(ValueId, ValueId, bool)> {
    let (_, node) = graph.producer(value)?;
    match &node.op {
        Op::Matmul(op) if !op.transpose_a => Some((node.inputs[0], node.inputs[1], op.transpose_b)),
        _ => None,
    }
}

/// `p` of `is_nan(p) ? 0 : p`: rows that see no key give 0, as attention does.
fn unguarded(editor: &Editor<'_>, value: ValueId) -> ValueId {
    let guarded = || {
        let (_, node) = editor.producer(value)?;
        let (Op::Select(_), [condition, zero, p]) = (&node.op, &node.inputs[..]) else { return None };
        let (_, tested) = unary(editor, *condition, UnaryKind::IsNan)?;
        (tested == *p && splat(editor, *zero)? == 0.0).then_some(*p)
    };
    guarded().unwrap_or(value)
}

fn softmax_last(graph: &Graph, value: ValueId) -> Option<ValueId> {
    let (_, node) = graph.producer(value)?;
    match &node.op {
        Op::Softmax(softmax) if softmax.axis == 3 || softmax.axis == -1 => Some(node.inputs[0]),
        _ => None,
    }
}

/// Scores and what is added to them, when the sum is of a product and a mask.
fn split_mask(editor: &Editor<'_>, scores: ValueId) -> (ValueId, Option<ValueId>) {
    let is_scores = |value: ValueId| {
        let factors = product(editor, value, 2).factors;
        matches!(factors[..], [dot] if matmul(editor, dot).is_some())
    };
    let sum = both_orders(editor, scores, BinaryKind::Add).find(|(a, _)| is_scores(*a));
    sum.map_or((scores, None), |(scores, mask)| (scores, Some(mask)))
}

/// The operand of a multiplication (or division) by a number, and the number.
fn unscaled(editor: &Editor<'_>, value: ValueId) -> (ValueId, f64) {
    if let Some((_, x, factor)) = binary(editor, value, BinaryKind::Mul)
        && let Some(factor) = scalar(editor, factor)
    {
        return (x, factor);
    }
    if let Some((_, x, divisor)) = binary(editor, value, BinaryKind::Div)
        && let Some(divisor) = scalar(editor, divisor)
    {
        return (x, 1.0 / divisor);
    }
    (value, 1.0)
}

/// The key tensor `[b, h, t, d]` behind scaling and a transpose of the last two axes, in either order.
fn key(editor: &Editor<'_>, value: ValueId) -> Option<(ValueId, f64, bool)> {
    let (inner, outer_scale) = unscaled(editor, value);
    let swapped = swapped_last_two(editor, inner);
    let (x, inner_scale) = unscaled(editor, swapped.unwrap_or(inner));
    Some((x, outer_scale * inner_scale, swapped.is_some()))
}

/// The operand of a transpose of the last two of four axes.
fn swapped_last_two(graph: &Graph, value: ValueId) -> Option<ValueId> {
    let (_, node) = graph.producer(value)?;
    matches!(&node.op, Op::Transpose(op) if op.perm == [0, 1, 3, 2]).then(|| node.inputs[0])
}

/// Keys and values before their heads were repeated, when both were.
fn ungrouped_pair(editor: &Editor<'_>, k: ValueId, v: ValueId) -> (ValueId, ValueId) {
    match (ungrouped(editor, k), ungrouped(editor, v)) {
        (Some(k), Some(v)) => (k, v),
        _ => (k, v),
    }
}

/// `x [b, h, t, d]` of `reshape(broadcast(reshape(x, [b, h, 1, t, d]), [b, h, r, t, d]), [b, h*r, t, d])`
fn ungrouped(graph: &Graph, value: ValueId) -> Option<ValueId> {
    let (_, merged) = graph.producer(value)?;
    let (_, repeated) = graph.producer(*merged.inputs.first()?)?;
    let (_, spread) = graph.producer(*repeated.inputs.first()?)?;
    let x = *spread.inputs.first()?;
    let is_spread = matches!(spread.op, Op::Reshape(_) | Op::Unsqueeze(_));
    if !matches!(merged.op, Op::Reshape(_)) || !matches!(repeated.op, Op::Broadcast(_) | Op::Tile(_)) || !is_spread {
        return None;
    }
    let [b, h, t, d] = graph.ty(x).dims()? else { return None };
    let [sb, sh, one, st, sd] = graph.ty(spread.outputs[0]).dims()? else { return None };
    let [rb, rh, r, rt, rd] = graph.ty(repeated.outputs[0]).dims()? else { return None };
    let [mb, mh, mt, md] = graph.ty(value).dims()? else { return None };
    let same = [sb, rb, mb].iter().all(|dim| *dim == b)
        && [sh, rh].iter().all(|dim| *dim == h)
        && [st, rt, mt].iter().all(|dim| *dim == t)
        && [sd, rd, md].iter().all(|dim| *dim == d);
    (same && one.known() == Some(1) && *mh == h.times(r)).then_some(x)
}

/// Attention that writes the heads of a token side by side needs no transpose.
fn join_heads(editor: &Editor<'_>, id: NodeId) -> Option<Term> {
    let Op::Transpose(swap) = &editor[id].op else { return None };
    let apart = editor[id].inputs[0];
    let (_, node) = editor.producer(apart).filter(|_| editor[apart].uses.len() == 1)?;
    let Op::Attention(attention) = &node.op else { return None };
    if attention.join_heads || swap.perm != [0, 2, 1, 3] {
        return None;
    }
    let joined = apply(Attention { join_heads: true, ..attention.clone() }, node.inputs.clone());
    Some(reshape_to(joined, static_dims(editor, output(&editor[id])?)?))
}
