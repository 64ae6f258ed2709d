//! The language of regions: typed expressions, and what an expression costs.

use egg::{Analysis, CostFunction, DidMerge, EGraph, Id, Language, RecExpr};
use mokume_ir::dim::{Dim, DimFn};
use mokume_ir::ids::ValueId;
use mokume_ir::op::{BinaryKind, UnaryKind};
use mokume_ir::types::Elem;

/// What an expression applies.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Head {
    /// A value of the graph, with its type.
    Value(ValueId, Info),
    /// An f32 number, in bits, in every element.
    Number(u32),
    /// An elementwise function.
    Unary(UnaryKind),
    /// An elementwise function of two operands of one element type, with broadcasting.
    Binary(BinaryKind),
    /// A permutation of axes.
    Transpose(Vec<i64>),
    /// The same elements in another shape.
    Reshape(Vec<Dim>),
}

/// Type of an expression.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Info {
    /// Sizes.
    pub dims: Vec<Dim>,
    /// Element type.
    pub elem: Elem,
}

/// A head and its operands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Expr {
    /// What is applied.
    pub head: Head,
    /// To what.
    pub args: Vec<Id>,
}

impl Language for Expr {
    type Discriminant = Head;
    fn discriminant(&self) -> Head {
        self.head.clone()
    }
    fn matches(&self, other: &Self) -> bool {
        self.head == other.head && self.args.len() == other.args.len()
    }
    fn children(&self) -> &[Id] {
        &self.args
    }
    fn children_mut(&mut self) -> &mut [Id] {
        &mut self.args
    }
}

/// Types of classes. All expressions of a class have one type.
#[derive(Debug, Clone, Default)]
pub struct Types;

/// An e-graph of typed expressions.
pub type Graph = EGraph<Expr, Types>;

impl Analysis<Expr> for Types {
    type Data = Info;
    fn make(graph: &mut Graph, expr: &Expr, _: Id) -> Info {
        info(&expr.head, &|i| &graph[expr.args[i]].data)
    }
    fn merge(&mut self, _: &mut Info, _: Info) -> DidMerge {
        DidMerge(false, false)
    }
}

/// The type of `head` applied to operands of types `arg(i)`.
pub fn info<'i>(head: &Head, arg: &dyn Fn(usize) -> &'i Info) -> Info {
    match head {
        Head::Value(_, info) => info.clone(),
        Head::Number(_) => Info { dims: vec![], elem: Elem::F32 },
        Head::Unary(_) => arg(0).clone(),
        Head::Binary(_) => Info { dims: broadcast(&arg(0).dims, &arg(1).dims), elem: arg(0).elem },
        Head::Transpose(perm) => Info { dims: perm.iter().map(|&axis| arg(0).dims[axis as usize].clone()).collect(), ..arg(0).clone() },
        Head::Reshape(dims) => Info { dims: dims.clone(), ..arg(0).clone() },
    }
}

fn broadcast(a: &[Dim], b: &[Dim]) -> Vec<Dim> {
    let (long, short) = if a.len() < b.len() { (b, a) } else { (a, b) };
    let offset = long.len() - short.len();
    let size = |(axis, dim): (usize, &Dim)| if axis < offset { dim.clone() } else { dim.call(DimFn::Broadcast, &short[axis - offset]) };
    long.iter().enumerate().map(size).collect()
}

/// Cost: elements written, with every symbol as [`SIZE`]; a reshape counts as one.
#[derive(Clone, Copy)]
pub struct Touched<'g>(pub &'g Graph);

/// The size that stands for every symbol.
const SIZE: i64 = 64;

impl Touched<'_> {
    /// The cost of an expression whose operands are in the e-graph.
    pub fn of(&mut self, expr: &RecExpr<Expr>) -> f64 {
        let mut infos: Vec<Info> = Vec::new();
        let mut total = 0.0;
        for node in expr.as_ref() {
            let made = info(&node.head, &|i| &infos[usize::from(node.args[i])]);
            total += elements(&node.head, &made);
            infos.push(made);
        }
        total
    }
}

impl CostFunction<Expr> for Touched<'_> {
    type Cost = f64;
    fn cost<C: FnMut(Id) -> f64>(&mut self, expr: &Expr, mut costs: C) -> f64 {
        let own = elements(&expr.head, &info(&expr.head, &|i| &self.0[expr.args[i]].data));
        expr.args.iter().fold(own, |sum, &arg| sum + costs(arg))
    }
}

fn elements(head: &Head, info: &Info) -> f64 {
    match head {
        Head::Value(..) | Head::Number(_) => 0.0,
        Head::Reshape(_) => 1.0,
        _ => 1.0 + info.dims.iter().map(|dim| dim.eval(&|_| Some(SIZE)).unwrap_or(SIZE).max(1) as f64).product::<f64>(),
    }
}
