//! Finds RMSNorm and LayerNorm.
//!
//! Before  %1 = mul %x, %x ; %2 = reduce mean %1 ; %3 = add %2, eps ; %4 = rsqrt %3 ; %5 = mul %x, %4 ; %6 = mul %5, @w
//! After   %6 = rms_norm %x, @w
//!
//! Legal when  the mean is over the last axis and kept; scale and bias are constants of that axis's size.
//! Exactness   the kernel sums in another order: within a few units in the last place.
//! Cost        O(nodes).
//! Source      Zhang and Sennrich, "Root Mean Square Layer Normalization", 2019; Ba et al., "Layer Normalization", 2016.

use crate::pass::{Pass, PassContext, PassError};
use crate::query::{self, binary, output, scalar, splat, unary};
use crate::rewrite::pattern::{both_orders, sweep};
use crate::term::{Rule, Term, apply};
use mokume_ir::constant::Constant;
use mokume_ir::edit::Editor;
use mokume_ir::graph::Graph;
use mokume_ir::ids::{NodeId, ValueId};
use mokume_ir::op::{BinaryKind, LayerNorm, Op, ReduceKind, RmsNorm, UnaryKind};
use mokume_ir::types::Elem;

options! {
    /// RMSNorm and LayerNorm.
    RecognizeNorm {}
}

const RULES: &[Rule] = &[
    Rule { name: "layer-norm", find: layer_norm },
    Rule { name: "rms-norm", find: rms_norm },
    Rule { name: "norm-scale", find: norm_scale },
    Rule { name: "norm-bias", find: norm_bias },
];

impl Pass for RecognizeNorm {
    fn run(&self, editor: &mut Editor<'_>, cx: &mut PassContext<'_>) -> Result<(), PassError> {
        sweep(editor, cx, RULES)
    }
}

/// `(x - mean x) / sqrt(mean (x - mean x)² + eps)`
fn layer_norm(editor: &Editor<'_>, id: NodeId) -> Option<Term> {
    let (centered, epsilon) = normalized(editor, id)?;
    let (_, x, mean) = binary(editor, centered, BinaryKind::Sub)?;
    (mean_of_last_axis(editor, mean)? == x).then_some(())?;
    Some(apply(LayerNorm { axis: last_axis(editor, x)?, epsilon }, [x.into(), Term::Const(ones(editor, x)?)]))
}

/// `x / sqrt(mean x² + eps)`
fn rms_norm(editor: &Editor<'_>, id: NodeId) -> Option<Term> {
    let (x, epsilon) = normalized(editor, id)?;
    Some(apply(RmsNorm { axis: last_axis(editor, x)?, epsilon }, [x.into(), Term::Const(ones(editor, x)?)]))
}

/// The operand `x` and epsilon of `x / sqrt(mean x² + eps)`, however the division is written.
fn normalized(editor: &Editor<'_>, id: NodeId) -> Option<(ValueId, f32)> {
    let value = output(&editor[id])?;
    let products = both_orders(editor, value, BinaryKind::Mul).find_map(|(x, inverse)| {
        let (_, sum) = unary(editor, inverse, UnaryKind::Rsqrt)?;
        mean_square(editor, sum, x)
    });
    products.or_else(|| {
        let (_, x, root) = binary(editor, value, BinaryKind::Div)?;
        let (_, sum) = unary(editor, root, UnaryKind::Sqrt)?;
        mean_square(editor, sum, x)
    })
}

/// `mean x² + eps` over the last axis.
fn mean_square(editor: &Editor<'_>, sum: ValueId, x: ValueId) -> Option<(ValueId, f32)> {
    let (_, mean, epsilon) = binary(editor, sum, BinaryKind::Add)?;
    let epsilon = scalar(editor, epsilon)?;
    let square = mean_of_last_axis(editor, mean)?;
    (squared(editor, square)? == x && editor.ty(x).elem()? == Elem::F32).then_some((x, epsilon as f32))
}

fn squared(editor: &Editor<'_>, value: ValueId) -> Option<ValueId> {
    if let Some((_, a, b)) = binary(editor, value, BinaryKind::Mul) {
        return (a == b).then_some(a);
    }
    let (_, x, exponent) = binary(editor, value, BinaryKind::Pow)?;
    (scalar(editor, exponent)? == 2.0).then_some(x)
}

/// The operand of a mean over the last axis that keeps the axis.
fn mean_of_last_axis(graph: &Graph, value: ValueId) -> Option<ValueId> {
    let (_, node) = graph.producer(value)?;
    let Op::Reduce(reduce) = &node.op else { return None };
    let x = node.inputs[0];
    let rank = graph.ty(x).dims()?.len() as i64;
    let axes = reduce.axes.numbers()?;
    let last = matches!(axes[..], [axis] if axis == rank - 1 || axis == -1);
    (reduce.kind == ReduceKind::Mean && reduce.keep_dims && !reduce.all && last).then_some(x)
}

fn last_axis(graph: &Graph, x: ValueId) -> Option<i64> {
    Some(graph.ty(x).dims()?.len() as i64 - 1)
}

fn width(graph: &Graph, x: ValueId) -> Option<usize> {
    usize::try_from(graph.ty(x).dims()?.last()?.known()?).ok()
}

fn ones(graph: &Graph, x: ValueId) -> Option<Constant> {
    let width = width(graph, x)?;
    Some(Constant::f32s(&[width], &vec![1.0; width]))
}

/// A norm of unit scale times a constant of the last axis.
fn norm_scale(editor: &Editor<'_>, id: NodeId) -> Option<Term> {
    let value = output(&editor[id])?;
    both_orders(editor, value, BinaryKind::Mul).find_map(|(norm, scale)| {
        let (_, node) = editor.producer(norm)?;
        let unit =
            matches!(node.op, Op::RmsNorm(_) | Op::LayerNorm(_)) && node.inputs.len() == 2 && splat(editor, node.inputs[1]) == Some(1.0);
        editor.single_user(norm).filter(|_| unit)?;
        let scale = per_channel(editor, scale, norm)?;
        Some(apply(node.op.clone(), [node.inputs[0].into(), scale]))
    })
}

/// A LayerNorm without bias plus a constant of the last axis.
fn norm_bias(editor: &Editor<'_>, id: NodeId) -> Option<Term> {
    let value = output(&editor[id])?;
    both_orders(editor, value, BinaryKind::Add).find_map(|(norm, bias)| {
        let (_, node) = editor.producer(norm)?;
        editor.single_user(norm).filter(|_| matches!(node.op, Op::LayerNorm(_)) && node.inputs.len() == 2)?;
        let bias = per_channel(editor, bias, norm)?;
        Some(apply(node.op.clone(), [node.inputs[0].into(), node.inputs[1].into(), bias]))
    })
}

/// A constant whose only axis longer than 1 is the last axis of `like`, as a vector.
fn per_channel(editor: &Editor<'_>, value: ValueId, like: ValueId) -> Option<Term> {
    let constant = query::constant(editor, value)?;
    let width = width(editor, like)?;
    let fits = constant.ty.elem == Elem::F32 && constant.len() == width && constant.dims().last() == Some(&width);
    let rank = editor.ty(like).dims()?.len();
    (fits && constant.dims().len() <= rank).then(|| match constant.dims().len() {
        1 => Term::Value(value),
        _ => Term::Const(Constant::new(&[width], Elem::F32, constant.data.clone())),
    })
}
