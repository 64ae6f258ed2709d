//! The rules: directional, typed, each a function from an expression to the expressions it equals.

use super::language::{Expr, Graph, Head, Info, Types, info};
use egg::{Applier, Id, PatternAst, Rewrite, SearchMatches, Searcher, Subst, Symbol, Var};
use mokume_ir::op::{BinaryKind, UnaryKind};

/// An expression over classes.
enum Tree {
    Class(Id),
    Apply(Head, Vec<Tree>),
}

type Find = fn(&Graph, &Expr) -> Vec<Tree>;

/// Every rule.
pub fn all() -> Vec<Rewrite<Expr, Types>> {
    let rules: [(&str, Find); 11] = [
        ("transpose-transpose", transpose_transpose),
        ("reshape-reshape", reshape_reshape),
        ("move-out-of-unary", move_out_of_unary),
        ("move-out-of-binary", move_out_of_binary),
        ("constant-right", constant_right),
        ("numbers-together", numbers_together),
        ("number-outward", number_outward),
        ("neutral-number", neutral_number),
        ("negation", negation),
        ("factor", factor),
        ("reciprocal", reciprocal),
    ];
    rules.into_iter().map(|(name, find)| rule(name, find)).collect()
}

#[allow(clippy::expect_used, reason = "the only error is an unbound variable, and there are no variables")]
fn rule(name: &str, find: Find) -> Rewrite<Expr, Types> {
    Rewrite::new(name, EveryClass, Rule(find)).expect("a rule without variables")
}

/// Matches every class; the rule looks inside.
struct EveryClass;

impl Searcher<Expr, Types> for EveryClass {
    fn search_eclass_with_limit(&self, _: &Graph, eclass: Id, _: usize) -> Option<SearchMatches<'_, Expr>> {
        Some(SearchMatches { eclass, substs: vec![Subst::default()], ast: None })
    }
    fn vars(&self) -> Vec<Var> {
        vec![]
    }
}

struct Rule(Find);

impl Applier<Expr, Types> for Rule {
    fn apply_one(&self, graph: &mut Graph, eclass: Id, _: &Subst, _: Option<&PatternAst<Expr>>, name: Symbol) -> Vec<Id> {
        let class = &graph[eclass];
        let ty = class.data.clone();
        let trees: Vec<Tree> = class.nodes.iter().flat_map(|expr| (self.0)(graph, expr)).collect();
        let trees: Vec<Tree> = trees.into_iter().filter(|tree| type_of(graph, tree) == ty).collect();
        let ids: Vec<Id> = trees.into_iter().map(|tree| add(graph, tree)).collect();
        ids.into_iter().filter(|&id| graph.union_trusted(eclass, id, name)).collect()
    }
}

fn type_of(graph: &Graph, tree: &Tree) -> Info {
    match tree {
        Tree::Class(id) => graph[*id].data.clone(),
        Tree::Apply(head, args) => {
            let args: Vec<Info> = args.iter().map(|arg| type_of(graph, arg)).collect();
            info(head, &|i| &args[i])
        }
    }
}

fn add(graph: &mut Graph, tree: Tree) -> Id {
    match tree {
        Tree::Class(id) => id,
        Tree::Apply(head, args) => {
            let args = args.into_iter().map(|arg| add(graph, arg)).collect();
            graph.add(Expr { head, args })
        }
    }
}

fn class(id: Id) -> Tree {
    Tree::Class(id)
}

fn unary(kind: UnaryKind, x: Tree) -> Tree {
    Tree::Apply(Head::Unary(kind), vec![x])
}

fn binary(kind: BinaryKind, a: Tree, b: Tree) -> Tree {
    Tree::Apply(Head::Binary(kind), vec![a, b])
}

fn number(value: f32) -> Tree {
    Tree::Apply(Head::Number(value.to_bits()), vec![])
}

fn number_of(graph: &Graph, id: Id) -> Option<f32> {
    graph[id].nodes.iter().find_map(|expr| match expr.head {
        Head::Number(bits) => Some(f32::from_bits(bits)),
        _ => None,
    })
}

/// The moves among the expressions of a class: head and operand.
fn moves(graph: &Graph, id: Id) -> impl Iterator<Item = (&Head, Id)> {
    graph[id].nodes.iter().filter(|expr| is_move(&expr.head)).map(|expr| (&expr.head, expr.args[0]))
}

fn is_move(head: &Head) -> bool {
    matches!(head, Head::Transpose(_) | Head::Reshape(_))
}

/// The applications of `kind` among the expressions of a class.
fn binaries(graph: &Graph, id: Id, kind: BinaryKind) -> impl Iterator<Item = (Id, Id)> {
    let applies = move |expr: &&Expr| expr.head == Head::Binary(kind);
    graph[id].nodes.iter().filter(applies).map(|expr| (expr.args[0], expr.args[1]))
}

fn unaries(graph: &Graph, id: Id, kind: UnaryKind) -> impl Iterator<Item = Id> {
    graph[id].nodes.iter().filter(move |expr| expr.head == Head::Unary(kind)).map(|expr| expr.args[0])
}

/// `t(u(x)) = (t u)(x)`, nothing when that is the identity.
fn transpose_transpose(graph: &Graph, expr: &Expr) -> Vec<Tree> {
    let Head::Transpose(outer) = &expr.head else { return vec![] };
    let merge = |(head, x): (&Head, Id)| {
        let Head::Transpose(inner) = head else { return None };
        let perm: Vec<i64> = outer.iter().map(|&axis| inner[axis as usize]).collect();
        let is_identity = perm.iter().enumerate().all(|(i, &axis)| i as i64 == axis);
        Some(if is_identity { class(x) } else { Tree::Apply(Head::Transpose(perm), vec![class(x)]) })
    };
    moves(graph, expr.args[0]).filter_map(merge).collect()
}

/// A reshape of a reshape is one; a reshape to the same shape is none.
fn reshape_reshape(graph: &Graph, expr: &Expr) -> Vec<Tree> {
    let Head::Reshape(dims) = &expr.head else { return vec![] };
    let same = (graph[expr.args[0]].data.dims == *dims).then(|| class(expr.args[0]));
    let inner = moves(graph, expr.args[0]).filter(|(head, _)| matches!(head, Head::Reshape(_)));
    inner.map(|(_, x)| Tree::Apply(expr.head.clone(), vec![class(x)])).chain(same).collect()
}

/// `f(move x) = move f(x)`
fn move_out_of_unary(graph: &Graph, expr: &Expr) -> Vec<Tree> {
    let Head::Unary(kind) = expr.head else { return vec![] };
    moves(graph, expr.args[0]).map(|(head, x)| Tree::Apply(head.clone(), vec![unary(kind, class(x))])).collect()
}

/// `f(move a, move b) = move f(a, b)` for one move of operands of one shape, and `f(move a, 2) = move f(a, 2)`
fn move_out_of_binary(graph: &Graph, expr: &Expr) -> Vec<Tree> {
    let Head::Binary(kind) = expr.head else { return vec![] };
    let (left, right) = (expr.args[0], expr.args[1]);
    let mut trees = vec![];
    for (head, a) in moves(graph, left) {
        let both = moves(graph, right).filter(|(other, b)| *other == head && graph[*b].data.dims == graph[a].data.dims);
        let partners = both.map(|(_, b)| b).chain(number_of(graph, right).map(|_| right));
        trees.extend(partners.map(|b| Tree::Apply(head.clone(), vec![binary(kind, class(a), class(b))])));
    }
    trees
}

/// `2 + x = x + 2`
fn constant_right(graph: &Graph, expr: &Expr) -> Vec<Tree> {
    match expr.head {
        Head::Binary(kind @ (BinaryKind::Add | BinaryKind::Mul)) if number_of(graph, expr.args[0]).is_some() => {
            vec![binary(kind, class(expr.args[1]), class(expr.args[0]))]
        }
        _ => vec![],
    }
}

/// `(x * 2) * 3 = x * 6`, `(x + 2) + 3 = x + 5`, `(x * 2) / 4 = x * 0.5`
fn numbers_together(graph: &Graph, expr: &Expr) -> Vec<Tree> {
    let Head::Binary(outer) = expr.head else { return vec![] };
    let Some(second) = number_of(graph, expr.args[1]) else { return vec![] };
    let (inner, merge): (_, fn(f32, f32) -> f32) = match outer {
        BinaryKind::Add => (BinaryKind::Add, |a, b| a + b),
        BinaryKind::Mul => (BinaryKind::Mul, |a, b| a * b),
        BinaryKind::Div => (BinaryKind::Mul, |a, b| a / b),
        _ => return vec![],
    };
    let merged = |(x, first): (Id, Id)| {
        let value = merge(number_of(graph, first)?, second);
        (value.is_normal() || value == 0.0).then(|| binary(inner, class(x), number(value)))
    };
    binaries(graph, expr.args[0], inner).filter_map(merged).collect()
}

/// `(x + 2) + y = (x + y) + 2`: numbers meet at the root.
fn number_outward(graph: &Graph, expr: &Expr) -> Vec<Tree> {
    let Head::Binary(kind @ (BinaryKind::Add | BinaryKind::Mul)) = expr.head else { return vec![] };
    let mut trees = vec![];
    for (side, other) in [(expr.args[0], expr.args[1]), (expr.args[1], expr.args[0])] {
        let inner = binaries(graph, side, kind).filter(|(_, n)| number_of(graph, *n).is_some() && number_of(graph, other).is_none());
        trees.extend(inner.map(|(x, n)| binary(kind, binary(kind, class(x), class(other)), class(n))));
    }
    trees
}

/// `x + 0 = x`, `x * 1 = x`
fn neutral_number(graph: &Graph, expr: &Expr) -> Vec<Tree> {
    let Head::Binary(kind) = expr.head else { return vec![] };
    let neutral = match kind {
        BinaryKind::Add | BinaryKind::Sub => 0.0,
        BinaryKind::Mul | BinaryKind::Div => 1.0,
        _ => return vec![],
    };
    if number_of(graph, expr.args[1]) == Some(neutral) { vec![class(expr.args[0])] } else { vec![] }
}

/// `a + -b = a - b`, `a - -b = a + b`, `-(x * 2) = x * -2`, `-(a - b) = b - a`
fn negation(graph: &Graph, expr: &Expr) -> Vec<Tree> {
    let negated = |id: Id| unaries(graph, id, UnaryKind::Neg);
    match expr.head {
        Head::Binary(BinaryKind::Add) => {
            let (a, b) = (expr.args[0], expr.args[1]);
            let right = negated(b).map(|b| binary(BinaryKind::Sub, class(a), class(b)));
            right.chain(negated(a).map(|a| binary(BinaryKind::Sub, class(b), class(a)))).collect()
        }
        Head::Binary(BinaryKind::Sub) => negated(expr.args[1]).map(|b| binary(BinaryKind::Add, class(expr.args[0]), class(b))).collect(),
        Head::Unary(UnaryKind::Neg) => {
            let scaled = binaries(graph, expr.args[0], BinaryKind::Mul)
                .filter_map(|(x, n)| Some(binary(BinaryKind::Mul, class(x), number(-number_of(graph, n)?))));
            let swapped = binaries(graph, expr.args[0], BinaryKind::Sub).map(|(a, b)| binary(BinaryKind::Sub, class(b), class(a)));
            scaled.chain(swapped).collect()
        }
        _ => vec![],
    }
}

/// `a c + b c = (a + b) c`, likewise for `-`
fn factor(graph: &Graph, expr: &Expr) -> Vec<Tree> {
    let Head::Binary(kind @ (BinaryKind::Add | BinaryKind::Sub)) = expr.head else { return vec![] };
    let mut trees = vec![];
    for (a, c) in binaries(graph, expr.args[0], BinaryKind::Mul).flat_map(both_orders) {
        for (b, d) in binaries(graph, expr.args[1], BinaryKind::Mul).flat_map(both_orders) {
            if graph.find(c) == graph.find(d) {
                trees.push(binary(BinaryKind::Mul, binary(kind, class(a), class(b)), class(c)));
            }
        }
    }
    trees
}

fn both_orders((a, b): (Id, Id)) -> [(Id, Id); 2] {
    [(a, b), (b, a)]
}

/// `x * (1/y) = x / y`, `1/(1/x) = x`, `1/sqrt(x) = rsqrt(x)`
fn reciprocal(graph: &Graph, expr: &Expr) -> Vec<Tree> {
    let inverse = |id: Id| unaries(graph, id, UnaryKind::Reciprocal);
    match expr.head {
        Head::Binary(BinaryKind::Mul) => {
            let (a, b) = (expr.args[0], expr.args[1]);
            let right = inverse(b).map(|b| binary(BinaryKind::Div, class(a), class(b)));
            right.chain(inverse(a).map(|a| binary(BinaryKind::Div, class(b), class(a)))).collect()
        }
        Head::Unary(UnaryKind::Reciprocal) => {
            let roots = unaries(graph, expr.args[0], UnaryKind::Sqrt).map(|x| unary(UnaryKind::Rsqrt, class(x)));
            roots.chain(inverse(expr.args[0]).map(class)).collect()
        }
        _ => vec![],
    }
}
