//! Findings of a run: what an op, a function or an input did wrong, with the user's names.

use crate::ops::OpError;
use mokume_ir::diag::Diagnostic;
use mokume_ir::graph::Node;

/// The finding that `node` did not run.
pub(crate) fn of_op(node: &Node, error: OpError) -> Diagnostic {
    let message = format!("{}: {error}", node.op.name());
    let finding = match error {
        OpError::Operands(_) => Diagnostic::input("run::op::operands", message),
        OpError::Unsupported(_) => Diagnostic::unsupported("run::op::unsupported", message),
    };
    finding.at(node.loc.to_string())
}

/// The finding that `node` gave what its type does not allow.
pub(crate) fn of_result(node: &Node, message: String) -> Diagnostic {
    Diagnostic::input("run::op::result", format!("{}: {message}", node.op.name())).at(node.loc.to_string())
}
