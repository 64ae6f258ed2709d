//! Rules of elementwise arithmetic.

use crate::query::{self, binary, output, same_type, splat, unary};
use crate::term::{Rule, Term, apply};
use mokume_ir::constant::Constant;
use mokume_ir::edit::Editor;
use mokume_ir::ids::{NodeId, ValueId};
use mokume_ir::op::{BinaryKind, Op, UnaryKind};
use mokume_ir::types::Elem;

/// The rules, tried in this order.
pub const RULES: &[Rule] = &[
    Rule { name: "constant-right", find: constant_right },
    Rule { name: "neutral", find: neutral },
    Rule { name: "subtract-constant", find: subtract_constant },
    Rule { name: "divide-exactly", find: divide_exactly },
    Rule { name: "small-power", find: small_power },
    Rule { name: "reciprocal", find: reciprocal },
    Rule { name: "rsqrt", find: rsqrt },
    Rule { name: "twice", find: twice },
    Rule { name: "max-zero", find: max_zero },
    Rule { name: "select-known", find: select_known },
    Rule { name: "cast-same", find: cast_same },
    Rule { name: "cast-cast", find: cast_cast },
];

fn operands(editor: &Editor<'_>, id: NodeId) -> Option<(BinaryKind, ValueId, ValueId)> {
    match editor[id].op {
        Op::Binary(kind) => Some((kind, editor[id].inputs[0], editor[id].inputs[1])),
        _ => None,
    }
}

/// `c + x` is `x + c`, `c < x` is `x > c`.
fn constant_right(editor: &Editor<'_>, id: NodeId) -> Option<Term> {
    use BinaryKind::*;
    let (kind, a, b) = operands(editor, id)?;
    let swapped = match kind {
        Add | Mul | Min | Max | And | Or | Xor | BitAnd | BitOr | BitXor | Eq => kind,
        Lt => Gt,
        Gt => Lt,
        Le => Ge,
        Ge => Le,
        _ => return None,
    };
    (editor.constant(a).is_some() && editor.constant(b).is_none()).then(|| apply(Op::Binary(swapped), [b, a]))
}

/// `x + 0`, `x - 0`, `x * 1`, `x / 1`, `x ^ 1` are `x`; the sign of a zero may change.
fn neutral(editor: &Editor<'_>, id: NodeId) -> Option<Term> {
    use BinaryKind::*;
    let (kind, a, b) = operands(editor, id)?;
    let neutral = match kind {
        Add | Sub | Or | Xor | BitOr | BitXor | Shl | Shr => 0.0,
        Mul | Div | Pow | And => 1.0,
        _ => return None,
    };
    (same_type(editor, output(&editor[id])?, a) && splat(editor, b)? == neutral).then_some(Term::Value(a))
}

/// `x - c` is `x + -c`.
fn subtract_constant(editor: &Editor<'_>, id: NodeId) -> Option<Term> {
    let (kind, a, b) = operands(editor, id)?;
    let constant = query::constant(editor, b).filter(|_| kind == BinaryKind::Sub)?;
    Some(apply(Op::Binary(BinaryKind::Add), [a.into(), Term::Const(map(constant, |v| -v)?)]))
}

/// `x / c` is `x * (1/c)` where `1/c` is exact: powers of two.
fn divide_exactly(editor: &Editor<'_>, id: NodeId) -> Option<Term> {
    let (kind, a, b) = operands(editor, id)?;
    let divisor = splat(editor, b).filter(|_| kind == BinaryKind::Div)?;
    let constant = query::constant(editor, b).filter(|_| has_exact_reciprocal(divisor))?;
    Some(apply(Op::Binary(BinaryKind::Mul), [a.into(), Term::Const(map(constant, |v| 1.0 / v)?)]))
}

/// Powers of two whose reciprocal is a normal number of every float type.
fn has_exact_reciprocal(value: f64) -> bool {
    value.abs().log2().fract() == 0.0 && (2f64.powi(-14)..=2f64.powi(14)).contains(&value.abs())
}

/// `x ^ 2` is `x * x`, and so on for the exponents that models use.
fn small_power(editor: &Editor<'_>, id: NodeId) -> Option<Term> {
    let (kind, x, exponent) = operands(editor, id)?;
    let exponent = splat(editor, exponent).filter(|_| kind == BinaryKind::Pow)?;
    if !same_type(editor, output(&editor[id])?, x) {
        return None;
    }
    let is_float = editor.ty(x).elem()?.is_float();
    let mul = |a: Term, b: Term| apply(Op::Binary(BinaryKind::Mul), [a, b]);
    match exponent {
        2.0 => Some(mul(x.into(), x.into())),
        3.0 => Some(mul(mul(x.into(), x.into()), x.into())),
        0.5 if is_float => Some(apply(Op::Unary(UnaryKind::Sqrt), [x])),
        -1.0 if is_float => Some(apply(Op::Unary(UnaryKind::Reciprocal), [x])),
        -0.5 if is_float => Some(apply(Op::Unary(UnaryKind::Rsqrt), [x])),
        _ => None,
    }
}

/// `1 / x`
fn reciprocal(editor: &Editor<'_>, id: NodeId) -> Option<Term> {
    let (kind, one, x) = operands(editor, id)?;
    let applies = kind == BinaryKind::Div
        && editor.ty(x).elem()?.is_float()
        && same_type(editor, output(&editor[id])?, x)
        && splat(editor, one)? == 1.0;
    applies.then(|| apply(Op::Unary(UnaryKind::Reciprocal), [x]))
}

/// `1 / sqrt(x)`
fn rsqrt(editor: &Editor<'_>, id: NodeId) -> Option<Term> {
    let root = match editor[id].op {
        Op::Unary(UnaryKind::Reciprocal) => editor[id].inputs[0],
        _ => return None,
    };
    let (_, x) = unary(editor, root, UnaryKind::Sqrt)?;
    Some(apply(Op::Unary(UnaryKind::Rsqrt), [x]))
}

/// `f(f(x))` for functions that undo or repeat themselves.
fn twice(editor: &Editor<'_>, id: NodeId) -> Option<Term> {
    let Op::Unary(kind) = editor[id].op else { return None };
    let inner = editor[id].inputs[0];
    let (_, x) = unary(editor, inner, kind)?;
    use UnaryKind::*;
    match kind {
        Neg | Not | BitNot => Some(Term::Value(x)),
        Abs | Relu | Floor | Ceil | Round | Sign => Some(Term::Value(inner)),
        _ => None,
    }
}

/// `max(x, 0)` is `relu(x)`.
fn max_zero(editor: &Editor<'_>, id: NodeId) -> Option<Term> {
    let (kind, x, zero) = operands(editor, id)?;
    let applies = kind == BinaryKind::Max
        && editor.ty(x).elem()?.is_float()
        && same_type(editor, output(&editor[id])?, x)
        && splat(editor, zero)? == 0.0;
    applies.then(|| apply(Op::Unary(UnaryKind::Relu), [x]))
}

/// A choice whose condition is constant, or whose alternatives are one value.
fn select_known(editor: &Editor<'_>, id: NodeId) -> Option<Term> {
    let Op::Select(_) = editor[id].op else { return None };
    let (condition, a, b) = (editor[id].inputs[0], editor[id].inputs[1], editor[id].inputs[2]);
    let chosen = match splat(editor, condition) {
        _ if a == b => a,
        Some(condition) if condition != 0.0 => a,
        Some(_) => b,
        None => return None,
    };
    same_type(editor, output(&editor[id])?, chosen).then_some(Term::Value(chosen))
}

fn cast_same(editor: &Editor<'_>, id: NodeId) -> Option<Term> {
    let Op::Cast(cast) = &editor[id].op else { return None };
    let x = editor[id].inputs[0];
    (editor.ty(x).elem()? == cast.to).then_some(Term::Value(x))
}

/// A cast of a cast that keeps every value is one cast.
fn cast_cast(editor: &Editor<'_>, id: NodeId) -> Option<Term> {
    let Op::Cast(outer) = &editor[id].op else { return None };
    let (_, inner) = editor.producer(editor[id].inputs[0]).filter(|(_, node)| matches!(node.op, Op::Cast(_)))?;
    let x = inner.inputs[0];
    let (from, through) = (editor.ty(x).elem()?, editor.ty(inner.outputs[0]).elem()?);
    keeps_values(from, through).then(|| apply(outer.clone(), [x]))
}

/// Whether every value of `from` is one of `to`.
fn keeps_values(from: Elem, to: Elem) -> bool {
    use Elem::*;
    match (from, to) {
        (Bool, _) => to.is_int() || matches!(to, F16 | BF16 | F32 | F64),
        (F16 | BF16, F32 | F64) | (F32, F64) => true,
        (F64, _) | (F32, _) | (F16, _) | (BF16, _) => false,
        _ if from.is_signed_int() && to.is_signed_int() => from.bits() <= to.bits(),
        _ if from.is_unsigned_int() && to.is_unsigned_int() => from.bits() <= to.bits(),
        _ if from.is_unsigned_int() && to.is_signed_int() => from.bits() < to.bits(),
        (I8 | U8 | I16 | U16, F32) | (I8 | U8 | I16 | U16 | I32 | U32, F64) => true,
        _ => false,
    }
}

/// A float constant with `f` applied to every element; `f` must be exact in every float type.
fn map(constant: &Constant, f: fn(f64) -> f64) -> Option<Constant> {
    let number = |bytes: &[u8]| query::number(constant.ty.elem, bytes).map(f);
    let data: Vec<u8> = match constant.ty.elem {
        Elem::F32 => constant.data.chunks(4).flat_map(|b| (number(b).unwrap_or_default() as f32).to_le_bytes()).collect(),
        Elem::F64 => constant.data.chunks(8).flat_map(|b| number(b).unwrap_or_default().to_le_bytes()).collect(),
        Elem::F16 => constant.data.chunks(2).flat_map(|b| half::f16::from_f64(number(b).unwrap_or_default()).to_le_bytes()).collect(),
        _ => return None,
    };
    Some(Constant::new(&constant.dims(), constant.ty.elem, data.into()))
}

/// `a op b` where `b` is a splat: the other operand and the number.
pub fn with_splat(editor: &Editor<'_>, value: ValueId, kind: BinaryKind) -> Option<(ValueId, f64)> {
    let (_, a, b) = binary(editor, value, kind)?;
    Some((a, splat(editor, b)?))
}
