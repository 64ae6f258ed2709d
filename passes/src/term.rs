//! Replacements: what a rule wants a node to become, written as an expression.

use mokume_ir::constant::Constant;
use mokume_ir::edit::Editor;
use mokume_ir::ids::{NodeId, ValueId};
use mokume_ir::infer::InferError;
use mokume_ir::loc::Loc;
use mokume_ir::op::Op;

/// An expression over values of a graph.
#[derive(Debug, Clone)]
pub enum Term {
    /// A value that exists.
    Value(ValueId),
    /// A new constant.
    Const(Constant),
    /// The first output of an op.
    Apply(Op, Vec<Term>),
}

impl From<ValueId> for Term {
    fn from(value: ValueId) -> Self {
        Term::Value(value)
    }
}

impl From<Constant> for Term {
    fn from(constant: Constant) -> Self {
        Term::Const(constant)
    }
}

/// `op` applied to terms.
pub fn apply<T: Into<Term>>(op: impl Into<Op>, operands: impl IntoIterator<Item = T>) -> Term {
    Term::Apply(op.into(), operands.into_iter().map(Into::into).collect())
}

/// A named rewrite of the first output of a node. `find` says what the node should become, or nothing.
pub struct Rule {
    /// The name, for debugging and documentation.
    pub name: &'static str,
    /// The pattern and its replacement.
    pub find: fn(&Editor<'_>, NodeId) -> Option<Term>,
}

/// Makes `node` compute `term`. Nodes that nothing reads any more go.
///
/// Errors  when the term does not type-check.
pub fn replace(editor: &mut Editor<'_>, node: NodeId, term: Term) -> Result<(), InferError> {
    let loc = editor[node].loc.clone();
    let old_inputs = editor[node].inputs.clone();
    match term {
        Term::Apply(op, operands) => {
            let operands = operands.into_iter().map(|operand| build(editor, operand, &loc)).collect::<Result<Vec<_>, _>>()?;
            editor.rewrite(node, op, &operands)?;
            old_inputs.iter().for_each(|&input| erase_dead(editor, input));
        }
        term => {
            let value = build(editor, term, &loc)?;
            let output = editor[node].outputs[0];
            editor.replace_uses(output, value);
            erase_dead(editor, output);
        }
    }
    Ok(())
}

/// The value of `term`, in new nodes where it applies ops.
///
/// Errors  when the term does not type-check.
pub fn build(editor: &mut Editor<'_>, term: Term, loc: &Loc) -> Result<ValueId, InferError> {
    match term {
        Term::Value(value) => Ok(value),
        Term::Const(constant) => Ok(editor.constant_value(constant)),
        Term::Apply(op, operands) => {
            let operands = operands.into_iter().map(|operand| build(editor, operand, loc)).collect::<Result<Vec<_>, _>>()?;
            editor.apply(op, &operands, loc.clone())
        }
    }
}

/// Erases the node that makes `value` if nothing reads its outputs, then what only that node read.
pub fn erase_dead(editor: &mut Editor<'_>, value: ValueId) {
    let mut open = vec![value];
    while let Some(value) = open.pop() {
        let Some((id, node)) = editor.producer(value) else { continue };
        if node.outputs.iter().all(|&output| editor[output].uses.is_empty()) {
            open.extend(node.inputs.clone());
            editor.erase(id);
        }
    }
}
