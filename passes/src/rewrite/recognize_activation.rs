//! Finds activation functions that exporters write out: SiLU, SwiGLU, GELU (both forms), hard sigmoid, hard swish.
//!
//! Before  %1 = sigmoid %g ; %2 = mul %g, %1 ; %3 = mul %2, %u
//! After   %3 = swiglu %g, %u
//!
//! Legal when  the constants are those of the definition to five digits.
//! Exactness   within a few units in the last place.
//! Cost        O(nodes).
//! Source      Hendrycks and Gimpel, "Gaussian Error Linear Units", 2016; Shazeer, "GLU Variants Improve Transformer", 2020.

use crate::pass::{Pass, PassContext, PassError};
use crate::query::{binary, output, same_type, scalar, unary};
use crate::rewrite::pattern::{Product, both_orders, close, product, sweep};
use crate::term::{Rule, Term, apply};
use mokume_ir::edit::Editor;
use mokume_ir::ids::{NodeId, ValueId};
use mokume_ir::op::{Activation, ActivationKind, BinaryKind, Op, Swiglu, UnaryKind};
use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_PI};

options! {
    /// SiLU, SwiGLU, GELU, hard sigmoid, hard swish.
    RecognizeActivation {}
}

const RULES: &[Rule] = &[
    Rule { name: "gelu", find: gelu },
    Rule { name: "silu", find: silu },
    Rule { name: "hard-swish", find: hard_swish },
    Rule { name: "hard-swish-written-out", find: hard_swish_written_out },
    Rule { name: "hard-sigmoid", find: hard_sigmoid },
    Rule { name: "swiglu", find: swiglu },
];

impl Pass for RecognizeActivation {
    fn run(&self, editor: &mut Editor<'_>, cx: &mut PassContext<'_>) -> Result<(), PassError> {
        sweep(editor, cx, RULES)
    }
}

fn activation(kind: ActivationKind, alpha: f32, x: ValueId) -> Term {
    apply(Activation { kind, alpha, beta: 0.0 }, [x])
}

/// `x * sigmoid(x)`
fn silu(editor: &Editor<'_>, id: NodeId) -> Option<Term> {
    let value = output(&editor[id])?;
    both_orders(editor, value, BinaryKind::Mul).find_map(|(x, gate)| {
        let (_, inner) = unary(editor, gate, UnaryKind::Sigmoid)?;
        (inner == x).then(|| activation(ActivationKind::Silu, 1.0, x))
    })
}

/// `silu(g) * u`
fn swiglu(editor: &Editor<'_>, id: NodeId) -> Option<Term> {
    let value = output(&editor[id])?;
    both_orders(editor, value, BinaryKind::Mul).find_map(|(gated, up)| {
        let (_, node) = editor.producer(gated)?;
        let Op::Activation(Activation { kind: ActivationKind::Silu, alpha: 1.0, .. }) = node.op else { return None };
        editor.single_user(gated)?;
        let fits = same_type(editor, gated, up) && editor.constant(up).is_none();
        fits.then(|| apply(Swiglu {}, [node.inputs[0], up]))
    })
}

/// `x * hard_sigmoid(x; 1/6, 1/2)`
fn hard_swish(editor: &Editor<'_>, id: NodeId) -> Option<Term> {
    let value = output(&editor[id])?;
    both_orders(editor, value, BinaryKind::Mul).find_map(|(x, gate)| {
        let (_, node) = editor.producer(gate)?;
        let Op::Activation(Activation { kind: ActivationKind::HardSigmoid, alpha, beta: 0.5 }) = node.op else { return None };
        let fits = node.inputs[0] == x && close(alpha.into(), 1.0 / 6.0);
        fits.then(|| activation(ActivationKind::HardSwish, 0.0, x))
    })
}

/// `x * clamp(x + 3, 0, 6) / 6`, factors in any order.
fn hard_swish_written_out(editor: &Editor<'_>, id: NodeId) -> Option<Term> {
    let Product { factors, scale } = product(editor, output(&editor[id])?, 3);
    let [a, b] = factors[..] else { return None };
    let fits = close(scale, 1.0 / 6.0);
    let x = [(a, b), (b, a)].into_iter().filter(|_| fits).find_map(|(x, gate)| (six_gate(editor, gate)? == x).then_some(x));
    x.map(|x| activation(ActivationKind::HardSwish, 0.0, x))
}

/// `clamp(x + 3, 0, 6) / 6`
fn hard_sigmoid(editor: &Editor<'_>, id: NodeId) -> Option<Term> {
    let Product { factors, scale } = product(editor, output(&editor[id])?, 1);
    let [gate] = factors[..] else { return None };
    let x = six_gate(editor, gate).filter(|_| close(scale, 1.0 / 6.0))?;
    Some(apply(Activation { kind: ActivationKind::HardSigmoid, alpha: 1.0 / 6.0, beta: 0.5 }, [x]))
}

/// `x` of `min(relu(x + 3), 6)` or `relu(min(x + 3, 6))`
fn six_gate(editor: &Editor<'_>, gate: ValueId) -> Option<ValueId> {
    let six = |value: ValueId| {
        let (_, inner, bound) = binary(editor, value, BinaryKind::Min)?;
        (scalar(editor, bound)? == 6.0).then_some(inner)
    };
    let relu = |value: ValueId| unary(editor, value, UnaryKind::Relu).map(|(_, inner)| inner);
    let shifted = six(gate).and_then(relu).or_else(|| relu(gate).and_then(six))?;
    let (_, x, shift) = binary(editor, shifted, BinaryKind::Add)?;
    (scalar(editor, shift)? == 3.0).then_some(x)
}

/// `x/2 * (1 + erf(x/sqrt 2))` or `x/2 * (1 + tanh(sqrt(2/pi) (x + 0.044715 x³)))`, factors in any order.
fn gelu(editor: &Editor<'_>, id: NodeId) -> Option<Term> {
    let Product { factors, scale } = product(editor, output(&editor[id])?, 3);
    let [a, b] = factors[..] else { return None };
    if !close(scale, 0.5) {
        return None;
    }
    [(a, b), (b, a)].into_iter().find_map(|(x, gate)| {
        let inner = plus_one(editor, gate)?;
        let kind = erf_gate(editor, inner, x).or_else(|| tanh_gate(editor, inner, x))?;
        Some(activation(kind, 0.0, x))
    })
}

/// `v` of `v + 1`
fn plus_one(editor: &Editor<'_>, value: ValueId) -> Option<ValueId> {
    let (_, inner, one) = binary(editor, value, BinaryKind::Add)?;
    (scalar(editor, one)? == 1.0).then_some(inner)
}

fn erf_gate(editor: &Editor<'_>, value: ValueId, x: ValueId) -> Option<ActivationKind> {
    let (_, argument) = unary(editor, value, UnaryKind::Erf)?;
    let argument = product(editor, argument, 1);
    (argument.factors == [x] && close(argument.scale, FRAC_1_SQRT_2)).then_some(ActivationKind::Gelu)
}

fn tanh_gate(editor: &Editor<'_>, value: ValueId, x: ValueId) -> Option<ActivationKind> {
    let (_, argument) = unary(editor, value, UnaryKind::Tanh)?;
    let argument = product(editor, argument, 1);
    let [sum] = argument.factors[..] else { return None };
    let cubic = both_orders(editor, sum, BinaryKind::Add).any(|(linear, cube)| {
        let cube = product(editor, cube, 3);
        linear == x && cube.factors == [x, x, x] && close(cube.scale, 0.044715)
    });
    (cubic && close(argument.scale, FRAC_2_PI.sqrt())).then_some(ActivationKind::GeluTanh)
}
