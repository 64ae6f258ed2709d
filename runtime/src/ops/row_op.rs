//! What a row goes through while it is quantized.

use super::OpError;
use super::hadamard::{matrix, transform};
use super::normalize::RowNorm;
use crate::tensor::Tensor;
use mokume_ir::hadamard::Hadamard;
use mokume_ir::op::Op;
use std::sync::Arc;

/// An op on single f32 rows; the same bits as the op on all of them.
#[derive(Debug, Clone)]
pub enum RowOp<'a> {
    /// A norm.
    Norm(RowNorm<'a>),
    /// A rotation of every block of so many elements as the matrix has rows.
    Rotation(Arc<Hadamard>),
}

impl<'a> RowOp<'a> {
    /// The row op that `op` is, for rows of `row` elements; `parameters` are its operands behind the first.
    ///
    /// Errors  when they do not fit.
    pub fn new(op: &Op, row: usize, parameters: &'a [Tensor]) -> Result<Self, OpError> {
        match op {
            Op::Hadamard(op) => Ok(RowOp::Rotation(matrix(op, row)?)),
            _ => Ok(RowOp::Norm(RowNorm::new(op, row, parameters)?)),
        }
    }
    /// Computes a row.
    pub fn row(&self, x: &[f32], y: &mut [f32]) {
        match self {
            RowOp::Norm(norm) => norm.row(x, y),
            RowOp::Rotation(matrix) => {
                let block = matrix.order();
                y.chunks_exact_mut(block).zip(x.chunks_exact(block)).for_each(|(y, x)| transform(matrix, x, y));
            }
        }
    }
}
