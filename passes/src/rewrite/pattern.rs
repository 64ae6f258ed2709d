//! What recognizers share: sweeping rules over a graph, flattened products, slices, and replacement with merged provenance.

use crate::pass::{PassContext, PassError};
use crate::query::{self, scalar};
use crate::term::{self, Rule, Term};
use mokume_ir::edit::Editor;
use mokume_ir::graph::Graph;
use mokume_ir::ids::{NodeId, ValueId};
use mokume_ir::loc::Loc;
use mokume_ir::op::{BinaryKind, Op};
use mokume_ir::order::order;
use std::collections::HashSet;

/// Applies the first rule that fits to every node, operands first, in one sweep.
///
/// Errors  when a replacement does not type-check.
pub fn sweep(editor: &mut Editor<'_>, cx: &mut PassContext<'_>, rules: &[Rule]) -> Result<(), PassError> {
    for id in order(editor) {
        if editor.node(id).is_none() {
            continue;
        }
        let Some(found) = rules.iter().find_map(|rule| (rule.find)(editor, id)) else { continue };
        if !cx.take() {
            return Ok(());
        }
        replace(editor, id, found)?;
    }
    Ok(())
}

/// Makes the only output of `root` be `term`, which carries the provenance of every node it stands for. A term of another
/// type leaves the root alone: then some operand broadcasts what the pattern takes as it is.
///
/// Errors  when the term does not type-check.
pub fn replace(editor: &mut Editor<'_>, root: NodeId, term: Term) -> Result<(), PassError> {
    let loc = provenance(editor, root, &term);
    let old = editor[root].outputs[0];
    let new = term::build(editor, term, &loc)?;
    let (dead, live) = if query::same_type(editor, old, new) { (old, new) } else { (new, old) };
    editor.replace_uses(dead, live);
    term::erase_dead(editor, dead);
    Ok(())
}

/// Provenance of the nodes between `root` and the values that `term` reads.
fn provenance(graph: &Graph, root: NodeId, term: &Term) -> Loc {
    let mut leaves = HashSet::new();
    collect_leaves(term, &mut leaves);
    let (mut open, mut seen) = (vec![root], HashSet::from([root]));
    while let Some(id) = open.pop() {
        let operands = graph[id].inputs.iter().filter(|input| !leaves.contains(*input));
        let producers = operands.filter_map(|&input| graph.producer(input));
        // A node that others read as well stays; its name is its own.
        let inner = producers.filter(|(_, node)| node.outputs.iter().all(|&o| graph.single_user(o).is_some()));
        open.extend(inner.map(|(id, _)| id).filter(|id| seen.insert(*id)));
    }
    let mut nodes: Vec<NodeId> = seen.into_iter().collect();
    nodes.sort();
    Loc::merge(nodes.iter().map(|&id| &graph[id].loc))
}

fn collect_leaves(term: &Term, leaves: &mut HashSet<ValueId>) {
    match term {
        Term::Value(value) => drop(leaves.insert(*value)),
        Term::Const(_) => {}
        Term::Apply(_, operands) => operands.iter().for_each(|operand| collect_leaves(operand, leaves)),
    }
}

/// The two operand orders of a binary node of `kind`.
pub fn both_orders(graph: &Graph, value: ValueId, kind: BinaryKind) -> impl Iterator<Item = (ValueId, ValueId)> + use<> {
    query::binary(graph, value, kind).into_iter().flat_map(|(_, a, b)| [(a, b), (b, a)])
}

/// A product of values times a number: factors of nested `mul`, constants and divisions by constants gathered.
#[derive(Debug, Clone, PartialEq)]
pub struct Product {
    /// Factors that are not scalar constants, left to right.
    pub factors: Vec<ValueId>,
    /// The number.
    pub scale: f64,
}

/// `value` as a product, looking through at most `depth` nested nodes.
pub fn product(editor: &Editor<'_>, value: ValueId, depth: usize) -> Product {
    let whole = Product { factors: vec![value], scale: 1.0 };
    if depth == 0 {
        return whole;
    }
    if let Some((_, a, b)) = query::binary(editor, value, BinaryKind::Mul) {
        return times(factor(editor, a, depth), factor(editor, b, depth));
    }
    match query::binary(editor, value, BinaryKind::Div) {
        Some((_, a, b)) => match scalar(editor, b) {
            Some(divisor) => times(factor(editor, a, depth), Product { factors: vec![], scale: 1.0 / divisor }),
            None => whole,
        },
        None => whole,
    }
}

fn factor(editor: &Editor<'_>, value: ValueId, depth: usize) -> Product {
    match scalar(editor, value) {
        Some(scale) => Product { factors: vec![], scale },
        None => product(editor, value, depth - 1),
    }
}

fn times(mut a: Product, b: Product) -> Product {
    a.factors.extend(b.factors);
    Product { factors: a.factors, scale: a.scale * b.scale }
}

/// Whether two numbers agree to the precision of f32 constants in exported graphs.
pub fn close(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-5 * b.abs().max(1e-30)
}

/// `x[start..end]` along one axis with step 1: operand, axis, start, end.
pub fn slice_of(graph: &Graph, value: ValueId) -> Option<(ValueId, usize, i64, i64)> {
    let (_, node) = graph.producer(value)?;
    match &node.op {
        Op::Slice(slice) => {
            let (starts, ends) = (slice.starts.numbers()?, slice.ends.numbers()?);
            let (axes, steps) = (slice.axes.numbers()?, slice.steps.numbers()?);
            let ([start], [end], [axis], [1]) = (&starts[..], &ends[..], &axes[..], &steps[..]) else { return None };
            let x = node.inputs[0];
            let size = graph.ty(x).dims()?.get(usize::try_from(*axis).ok()?)?.known()?;
            let clamp = |at: i64| if at < 0 { (at + size).max(0) } else { at.min(size) };
            Some((x, *axis as usize, clamp(*start), clamp(*end)))
        }
        Op::Split(split) => {
            let sizes = split.sizes.numbers()?;
            let index = node.outputs.iter().position(|&output| output == value)?;
            let start: i64 = sizes[..index].iter().sum();
            Some((node.inputs[0], usize::try_from(split.axis).ok()?, start, start + sizes.get(index)?))
        }
        _ => None,
    }
}
