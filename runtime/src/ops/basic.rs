//! Ops that compute element by element, or move elements: elementwise, casts, reductions, movement, indexing, shapes.

use super::{OpContext, OpError};
use crate::tensor::Tensor;
use mokume_ir::op::Op;

/// Runs `op`, or gives none when it is not of this family.
pub fn run(op: &Op, _inputs: &[&Tensor], _cx: &OpContext<'_>) -> Option<Result<Vec<Tensor>, OpError>> {
    let _ = op;
    None
}
