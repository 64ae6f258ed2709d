//! Type inference: types of a node's outputs from its op and operands.

use crate::graph::{Graph, Module};
use crate::ids::ValueId;
use crate::op::Op;
use crate::types::Type;

/// Why the operands do not fit the op.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{op}: {message}")]
pub struct InferError {
    /// The op's word.
    pub op: &'static str,
    /// What does not fit.
    pub message: String,
}

/// The types of the outputs of `op` on `inputs`, values of `graph`.
///
/// Errors  when the number, element types or shapes of the operands do not fit.
pub fn infer_types(_module: &Module, _graph: &Graph, op: &Op, _inputs: &[ValueId]) -> Result<Vec<Type>, InferError> {
    Err(InferError { op: op.name(), message: "no inference".into() })
}
