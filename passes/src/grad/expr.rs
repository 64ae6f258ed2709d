//! Expressions with operators, so that formulas read in code as they do on paper.
//!
//! A part that stands in an expression more than once becomes nodes once.

use half::{bf16, f16};
use mokume_ir::attr::Ints;
use mokume_ir::constant::Constant;
use mokume_ir::dim::Dim;
use mokume_ir::edit::Editor;
use mokume_ir::ids::{NodeId, ValueId};
use mokume_ir::infer::InferError;
use mokume_ir::loc::Loc;
use mokume_ir::op::{BinaryKind, Broadcast, Cast, Matmul, Op, Reduce, ReduceKind, Reshape, Select, Transpose, UnaryKind};
use mokume_ir::types::Elem;
use std::collections::HashMap;
use std::ops::{Add, Div, Mul, Neg, Sub};
use std::rc::Rc;

/// An expression over values of a graph.
#[derive(Debug, Clone)]
pub struct Expr(Rc<Form>);

#[derive(Debug)]
enum Form {
    Value(ValueId),
    /// A scalar of the element type that the builder works in.
    Number(f64),
    /// An output of an op.
    Apply(Op, Vec<Expr>, usize),
}

impl From<ValueId> for Expr {
    fn from(value: ValueId) -> Self {
        Expr(Rc::new(Form::Value(value)))
    }
}

impl From<f64> for Expr {
    fn from(number: f64) -> Self {
        Expr(Rc::new(Form::Number(number)))
    }
}

/// The first output of `op`.
pub fn apply(op: impl Into<Op>, operands: impl IntoIterator<Item = Expr>) -> Expr {
    output(op, operands, 0)
}

/// Output number `index` of `op`.
pub fn output(op: impl Into<Op>, operands: impl IntoIterator<Item = Expr>, index: usize) -> Expr {
    Expr(Rc::new(Form::Apply(op.into(), operands.into_iter().collect(), index)))
}

/// `condition ? a : b`
pub fn select(condition: Expr, a: impl Into<Expr>, b: impl Into<Expr>) -> Expr {
    apply(Select {}, [condition, a.into(), b.into()])
}

macro_rules! operators {
    ($($operator:ident $method:ident $kind:ident;)+) => { $(
        impl<T: Into<Expr>> $operator<T> for Expr {
            type Output = Expr;
            fn $method(self, other: T) -> Expr {
                self.binary(BinaryKind::$kind, other)
            }
        }
    )+ };
}

operators! {
    Add add Add;
    Sub sub Sub;
    Mul mul Mul;
    Div div Div;
}

impl Neg for Expr {
    type Output = Expr;
    fn neg(self) -> Expr {
        self.unary(UnaryKind::Neg)
    }
}

impl Expr {
    /// A function of this.
    pub fn unary(&self, kind: UnaryKind) -> Expr {
        apply(kind, [self.clone()])
    }
    /// A function of this and another.
    pub fn binary(&self, kind: BinaryKind, other: impl Into<Expr>) -> Expr {
        apply(kind, [self.clone(), other.into()])
    }
    /// The square.
    pub fn squared(&self) -> Expr {
        self.clone() * self.clone()
    }
    /// The larger.
    pub fn max(&self, other: impl Into<Expr>) -> Expr {
        self.binary(BinaryKind::Max, other)
    }
    /// The smaller.
    pub fn min(&self, other: impl Into<Expr>) -> Expr {
        self.binary(BinaryKind::Min, other)
    }
    /// Whether it is larger.
    pub fn above(&self, other: impl Into<Expr>) -> Expr {
        self.binary(BinaryKind::Gt, other)
    }
    /// Whether it is smaller.
    pub fn below(&self, other: impl Into<Expr>) -> Expr {
        self.binary(BinaryKind::Lt, other)
    }
    /// The sum over `axes`, which stay with size 1.
    pub fn sum(&self, axes: impl IntoIterator<Item = usize>) -> Expr {
        self.reduce(ReduceKind::Sum, axes)
    }
    /// The mean over `axes`, which stay with size 1.
    pub fn mean(&self, axes: impl IntoIterator<Item = usize>) -> Expr {
        self.reduce(ReduceKind::Mean, axes)
    }
    fn reduce(&self, kind: ReduceKind, axes: impl IntoIterator<Item = usize>) -> Expr {
        let axes = Ints::of(axes.into_iter().map(|axis| axis as i64));
        apply(Reduce { kind, axes, all: false, keep_dims: true }, [self.clone()])
    }
    /// The same elements in other sizes.
    pub fn reshape(&self, dims: &[Dim]) -> Expr {
        apply(Reshape { shape: Ints::Known(dims.to_vec()), allow_zero: true }, [self.clone()])
    }
    /// Repeated to `dims`.
    pub fn broadcast(&self, dims: &[Dim]) -> Expr {
        apply(Broadcast { shape: Ints::Known(dims.to_vec()) }, [self.clone()])
    }
    /// Axis `i` of the result is axis `perm[i]` of this.
    pub fn transpose(&self, perm: &[usize]) -> Expr {
        apply(Transpose { perm: perm.iter().map(|&axis| axis as i64).collect() }, [self.clone()])
    }
    /// The product of matrices in the last two axes; `transposed` says which are read transposed.
    pub fn matmul(&self, other: &Expr, transposed: (bool, bool)) -> Expr {
        apply(Matmul { transpose_a: transposed.0, transpose_b: transposed.1 }, [self.clone(), other.clone()])
    }
    /// In another element type.
    pub fn cast(&self, to: Elem) -> Expr {
        apply(Cast { to, saturate: true }, [self.clone()])
    }
}

/// Turns expressions into nodes.
pub struct Builder<'b, 'm> {
    editor: &'b mut Editor<'m>,
    /// Element type of numbers.
    elem: Elem,
    loc: Loc,
    /// What was built. The expressions are kept, so that addresses stay theirs.
    built: HashMap<*const Form, (Expr, ValueId)>,
}

impl<'b, 'm> Builder<'b, 'm> {
    /// A builder of nodes with the provenance `loc`; numbers become scalars of `elem`.
    pub fn new(editor: &'b mut Editor<'m>, elem: Elem, loc: Loc) -> Self {
        Builder { editor, elem, loc, built: HashMap::new() }
    }
    /// The value of an expression.
    ///
    /// Errors  when it does not type-check.
    pub fn build(&mut self, expr: &Expr) -> Result<ValueId, InferError> {
        let key = Rc::as_ptr(&expr.0);
        if let Some((_, value)) = self.built.get(&key) {
            return Ok(*value);
        }
        let value = match &*expr.0 {
            Form::Value(value) => *value,
            Form::Number(number) => self.editor.constant_value(scalar(self.elem, *number)),
            Form::Apply(op, operands, index) => {
                let operands = operands.iter().map(|operand| self.build(operand)).collect::<Result<Vec<_>, _>>()?;
                let node = self.editor.insert(op.clone(), &operands, self.loc.clone())?;
                self.editor[node].outputs[*index]
            }
        };
        self.built.insert(key, (expr.clone(), value));
        Ok(value)
    }
    /// Makes `node` compute an expression.
    ///
    /// Errors  when it does not type-check.
    pub fn rewrite(&mut self, node: NodeId, expr: &Expr) -> Result<(), InferError> {
        if let Form::Apply(op, operands, 0) = &*expr.0 {
            let operands = operands.iter().map(|operand| self.build(operand)).collect::<Result<Vec<_>, _>>()?;
            return self.editor.rewrite(node, op.clone(), &operands);
        }
        let (value, output) = (self.build(expr)?, self.editor[node].outputs[0]);
        self.editor.replace_uses(output, value);
        Ok(())
    }
}

/// A scalar of a float type; f32 for all others.
fn scalar(elem: Elem, number: f64) -> Constant {
    let bytes = match elem {
        Elem::F64 => number.to_le_bytes().to_vec(),
        Elem::F16 => f16::from_f64(number).to_le_bytes().to_vec(),
        Elem::BF16 => bf16::from_f64(number).to_le_bytes().to_vec(),
        _ => return Constant::f32s(&[], &[number as f32]),
    };
    Constant::new(&[], elem, bytes.into())
}
