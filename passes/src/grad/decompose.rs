//! Writes composites out in elementary ops: the inverse of the recognizers.
//!
//! Before  %1 = rms_norm %0, @g {axis = 2, epsilon = 1e-5}
//! After   %1 = mul %0, %0 ; %2 = reduce %1 {kind = mean, …} ; %3 = add %2, 1e-5 ; %4 = rsqrt %3 ; %5 = mul %0, %4 ;
//!         %6 = mul %5, @g
//!
//! Legal when  ranks are known, and the sizes that shapes are made of follow from those of the inputs.
//! Exactness   the definitions of the ops (ir/src/op/table.rs), up to the order of operations.
//! Cost        O(nodes); scores of attention become tensors. What `grad` needs.

use super::expr::{Builder, Expr, apply, select};
use crate::pass::{Pass, PassContext, PassError};
use mokume_ir::attr::Ints;
use mokume_ir::dim::Dim;
use mokume_ir::edit::Editor;
use mokume_ir::graph::{Graph, Node};
use mokume_ir::ids::{NodeId, ValueId};
use mokume_ir::op::*;
use mokume_ir::order::order;
use mokume_ir::types::Elem;

options! {
    /// Composites in elementary ops.
    Decompose {
        /// words of the ops to write out; empty for all: activation, swiglu, rms_norm, layer_norm, group_norm, local_response_norm, rotary, attention
        ops: Vec<String> = vec![],
    }
}

impl Pass for Decompose {
    fn run(&self, editor: &mut Editor<'_>, cx: &mut PassContext<'_>) -> Result<(), PassError> {
        for id in order(editor) {
            if !self.ops.is_empty() && !self.ops.iter().any(|op| op == editor[id].op.name()) {
                continue;
            }
            match definition(editor, id) {
                Err(why) => cx.remark(editor, id, why),
                Ok(Some(expr)) if cx.take() => write_out(editor, id, &expr)?,
                Ok(_) => {}
            }
        }
        Ok(())
    }
}

/// Makes the composite `id` elementary; other nodes stay.
///
/// Errors  with the reason why it cannot be written out.
pub fn decompose(editor: &mut Editor<'_>, id: NodeId) -> Result<Result<(), String>, PassError> {
    match definition(editor, id) {
        Ok(Some(expr)) => write_out(editor, id, &expr).map(Ok),
        Ok(None) => Ok(Ok(())),
        Err(why) => Ok(Err(why)),
    }
}

fn write_out(editor: &mut Editor<'_>, id: NodeId, expr: &Expr) -> Result<(), PassError> {
    let (elem, loc) = (editor.ty(editor[id].inputs[0]).elem().unwrap_or(Elem::F32), editor[id].loc.clone());
    Ok(Builder::new(editor, elem, loc).rewrite(id, expr)?)
}

/// What a composite computes; none for elementary ops.
fn definition(graph: &Graph, id: NodeId) -> Result<Option<Expr>, String> {
    let node = &graph[id];
    let x = Operands { graph, node };
    Ok(Some(match &node.op {
        Op::Activation(op) => activation(op, x.get(0)),
        Op::Swiglu(_) => x.get(0) * x.get(0).unary(UnaryKind::Sigmoid) * x.get(1),
        Op::RmsNorm(op) => rms_norm(op, &x)?,
        Op::LayerNorm(op) => layer_norm(op, &x)?,
        Op::GroupNorm(op) => group_norm(op, &x)?,
        Op::LocalResponseNorm(op) => local_response_norm(op, &x)?,
        Op::Rotary(op) => rotary(op, &x)?,
        Op::Attention(op) => attention(op, &x)?,
        _ => return Ok(None),
    }))
}

/// The operands of a node.
struct Operands<'g> {
    graph: &'g Graph,
    node: &'g Node,
}

impl Operands<'_> {
    fn value(&self, index: usize) -> ValueId {
        self.node.inputs[index]
    }
    fn get(&self, index: usize) -> Expr {
        self.value(index).into()
    }
    fn count(&self) -> usize {
        self.node.inputs.len()
    }
    fn dims(&self, index: usize) -> Result<Vec<Dim>, String> {
        dims(self.graph, self.value(index))
    }
}

/// The sizes of a value.
///
/// Errors  when its rank or a size is known at run time only.
pub(super) fn dims(graph: &Graph, value: ValueId) -> Result<Vec<Dim>, String> {
    let dims = graph.ty(value).dims().filter(|dims| !dims.iter().any(Dim::is_unknown));
    dims.map(<[Dim]>::to_vec).ok_or_else(|| format!("sizes of {} are known at run time only", graph.ty(value)))
}

fn activation(op: &Activation, x: Expr) -> Expr {
    let (alpha, beta) = (f64::from(op.alpha), f64::from(op.beta));
    let clamped = |y: Expr| y.max(0.0).min(1.0);
    // Where x is positive its exponential is not needed, and must not overflow.
    let below_zero = x.min(0.0);
    match op.kind {
        ActivationKind::LeakyRelu => select(x.below(0.0), x.clone() * alpha, x),
        ActivationKind::Elu => select(x.below(0.0), (exp(below_zero) - 1.0) * alpha, x),
        ActivationKind::Celu => select(x.below(0.0), (exp(below_zero * (1.0 / alpha)) - 1.0) * alpha, x),
        ActivationKind::Selu => select(x.above(0.0), x, (exp(below_zero) - 1.0) * alpha) * beta,
        ActivationKind::HardSigmoid => clamped(x * alpha + beta),
        ActivationKind::HardSwish => x.clone() * clamped(x * (1.0 / 6.0) + 0.5),
        ActivationKind::ThresholdedRelu => select(x.above(alpha), x, 0.0),
        ActivationKind::Shrink => select(x.below(-alpha), x.clone() + beta, select(x.above(alpha), x - beta, 0.0)),
        ActivationKind::Silu => x.clone() * (x * alpha).unary(UnaryKind::Sigmoid),
        ActivationKind::Mish => x.clone() * x.unary(UnaryKind::Softplus).unary(UnaryKind::Tanh),
        ActivationKind::Gelu => x.clone() * 0.5 * ((x * 0.5f64.sqrt()).unary(UnaryKind::Erf) + 1.0),
        ActivationKind::GeluTanh => {
            let cube = x.squared() * x.clone();
            let inner = (x.clone() + cube * 0.044715) * (2.0 / std::f64::consts::PI).sqrt();
            x * 0.5 * (inner.unary(UnaryKind::Tanh) + 1.0)
        }
    }
}

fn exp(x: Expr) -> Expr {
    x.unary(UnaryKind::Exp)
}

fn rms_norm(op: &RmsNorm, x: &Operands<'_>) -> Result<Expr, String> {
    let axes = op.axis as usize..x.dims(0)?.len();
    let root = (x.get(0).squared().mean(axes) + f64::from(op.epsilon)).unary(UnaryKind::Rsqrt);
    Ok(x.get(0) * root * x.get(1))
}

fn layer_norm(op: &LayerNorm, x: &Operands<'_>) -> Result<Expr, String> {
    let axes = op.axis as usize..x.dims(0)?.len();
    let scaled = centered(x.get(0), axes, op.epsilon) * x.get(1);
    Ok(if x.count() > 2 { scaled + x.get(2) } else { scaled })
}

/// `(x - mean)/sqrt(var + epsilon)` over `axes`.
fn centered(x: Expr, axes: impl Iterator<Item = usize> + Clone, epsilon: f32) -> Expr {
    let centered = x.clone() - x.mean(axes.clone());
    let root = (centered.squared().mean(axes) + f64::from(epsilon)).unary(UnaryKind::Rsqrt);
    centered * root
}

fn group_norm(op: &GroupNorm, x: &Operands<'_>) -> Result<Expr, String> {
    let dims = x.dims(0)?;
    let inside = dims[2..].iter().fold(dims[1].floor_div(&op.groups.into()), |product, dim| product.times(dim));
    let grouped = x.get(0).reshape(&[dims[0].clone(), op.groups.into(), inside]);
    let normed = centered(grouped, 2..3, op.epsilon).reshape(&dims);
    let per_channel = |index: usize| {
        let mut to = vec![Dim::from(1i64); dims.len()];
        to[1] = dims[1].clone();
        x.get(index).reshape(&to)
    };
    Ok(normed * per_channel(1) + per_channel(2))
}

fn local_response_norm(op: &LocalResponseNorm, x: &Operands<'_>) -> Result<Expr, String> {
    let dims = x.dims(0)?;
    let inside = dims[2..].iter().fold(Dim::from(1i64), |product, dim| product.times(dim));
    let rows = x.get(0).squared().reshape(&[dims[0].clone(), 1i64.into(), dims[1].clone(), inside]);
    let before = (op.size - 1) / 2;
    let window = Pool {
        kind: PoolKind::Average,
        kernel: vec![op.size, 1],
        strides: vec![1, 1],
        dilations: vec![1, 1],
        pads: vec![before, 0, op.size - 1 - before, 0],
        auto_pad: AutoPad::Explicit,
        ceil: false,
        count_include_pad: true,
        p: 2,
        indices: false,
        column_major: false,
    };
    let mean = apply(window, [rows]).reshape(&dims);
    let base = mean * f64::from(op.alpha) + f64::from(op.bias);
    Ok(x.get(0) / base.binary(BinaryKind::Pow, f64::from(op.beta)))
}

/// Elements `from..to` of an axis.
pub(super) fn part(x: &Expr, axis: usize, from: &Dim, to: &Dim) -> Expr {
    let one = |dim: &Dim| Ints::Known(vec![dim.clone()]);
    apply(Slice { starts: one(from), ends: one(to), axes: Ints::of([axis as i64]), steps: Ints::of([1]) }, [x.clone()])
}

fn rotary(op: &Rotary, x: &Operands<'_>) -> Result<Expr, String> {
    let (dims, angles) = (x.dims(0)?, x.dims(1)?);
    let last = dims.len() - 1;
    let size = dims[last].known().ok_or("the size of a head is not a number")?;
    let rotated = if op.dims == 0 { size } else { op.dims };
    let turn = Turn { interleaved: op.interleaved, rotated, dims: &dims };
    let per_pair = angles.last().and_then(Dim::known) == Some(rotated / 2);
    let angle = |index: usize| match per_pair {
        true => (x.get(index), x.get(index)),
        false => turn.pair(&x.get(index), &angles),
    };
    let ((cos_a, cos_b), (sin_a, sin_b)) = (angle(1), angle(2));
    let (a, b) = turn.pair(&part(&x.get(0), last, &0i64.into(), &rotated.into()), &dims);
    let turned = turn.joined(a.clone() * cos_a - b.clone() * sin_a, b * cos_b + a * sin_b);
    if rotated == size {
        return Ok(turned);
    }
    let rest = part(&x.get(0), last, &rotated.into(), &size.into());
    Ok(apply(Concat { axis: last as i64 }, [turned, rest]))
}

/// How pairs lie in the last axis.
struct Turn<'d> {
    interleaved: bool,
    rotated: i64,
    dims: &'d [Dim],
}

impl Turn<'_> {
    /// First and second elements of the pairs of a tensor, whose leading sizes are those of `dims`.
    fn pair(&self, x: &Expr, dims: &[Dim]) -> (Expr, Expr) {
        let (lead, last) = (&dims[..dims.len() - 1], dims.len() - 1);
        let half = Dim::from(self.rotated / 2);
        if !self.interleaved {
            return (part(x, last, &0i64.into(), &half), part(x, last, &half, &self.rotated.into()));
        }
        let parted = x.reshape(&[lead, &[half.clone(), 2i64.into()]].concat());
        let side =
            |from: i64| part(&parted, last + 1, &from.into(), &(from + 1).into()).reshape(&[lead, std::slice::from_ref(&half)].concat());
        (side(0), side(1))
    }
    /// The inverse of `pair` for the rotated tensor.
    fn joined(&self, a: Expr, b: Expr) -> Expr {
        let last = self.dims.len() - 1;
        if !self.interleaved {
            return apply(Concat { axis: last as i64 }, [a, b]);
        }
        let lead = &self.dims[..last];
        let alone = [lead, &[Dim::from(self.rotated / 2), 1i64.into()]].concat();
        let joined = apply(Concat { axis: last as i64 + 1 }, [a.reshape(&alone), b.reshape(&alone)]);
        joined.reshape(&[lead, &[self.rotated.into()]].concat())
    }
}

fn attention(op: &Attention, x: &Operands<'_>) -> Result<Expr, String> {
    let (q, k, v) = (x.dims(0)?, x.dims(1)?, x.dims(2)?);
    let [b, hq, s, d] = &q[..] else { return Err("queries do not have four axes".into()) };
    let (hk, t, e) = (&k[1], &k[2], &v[3]);
    let shared = hq.floor_div(hk);
    let grouped = x.get(0).reshape(&[b.clone(), hk.clone(), shared.times(s), d.clone()]);
    let scale = match (op.scale, d.known()) {
        (Some(scale), _) => f64::from(scale),
        (None, Some(d)) => (d as f64).powf(-0.5),
        (None, None) => return Err("the size of a head is not a number".into()),
    };
    let all = [b.clone(), hq.clone(), s.clone(), t.clone()];
    let mut scores = grouped.matmul(&x.get(1), (false, true)).reshape(&all) * scale;
    if op.softcap > 0.0 {
        let cap = f64::from(op.softcap);
        scores = (scores * (1.0 / cap)).unary(UnaryKind::Tanh) * cap;
    }
    let seen = visible(op, x, s, t);
    if op.mask && x.graph.ty(x.value(3)).elem() != Some(Elem::Bool) {
        scores = scores + x.get(3);
    }
    let masked = seen.iter().fold(scores, |scores, seen| select(seen.clone(), scores, f64::from(f32::MIN)));
    let weights = apply(Softmax { axis: 3 }, [masked]);
    // Rows that see nothing give 0.
    let weights = seen.iter().fold(weights, |weights, seen| select(seen.clone(), weights, 0.0));
    let rows = weights.reshape(&[b.clone(), hk.clone(), shared.times(s), t.clone()]);
    let heads = rows.matmul(&x.get(2), (false, false)).reshape(&[b.clone(), hq.clone(), s.clone(), e.clone()]);
    Ok(match op.join_heads {
        true => heads.transpose(&[0, 2, 1, 3]).reshape(&[b.clone(), s.clone(), hq.times(e)]),
        false => heads,
    })
}

/// What says which keys a query sees.
fn visible(op: &Attention, x: &Operands<'_>, s: &Dim, t: &Dim) -> Vec<Expr> {
    let mut seen = vec![];
    if op.mask && x.graph.ty(x.value(3)).elem() == Some(Elem::Bool) {
        seen.push(x.get(3));
    }
    if op.causal {
        let iota = |len: &Dim| apply(Iota { len: len.clone(), elem: Elem::I64 }, []);
        let past = apply(DimsOf { dims: vec![t.minus(s)], scalar: true }, []);
        let rows = (iota(s) + past).reshape(&[s.clone(), 1i64.into()]);
        seen.push(iota(t).binary(BinaryKind::Le, rows));
    }
    seen
}
