//! Ops of neural layers: contractions, convolutions, pools, norms, attention, recurrence, resampling, detection, signals,
//! quantized arithmetic.

use super::{OpContext, OpError};
use crate::tensor::Tensor;
use mokume_ir::op::Op;

/// Runs `op`, or gives none when it is not of this family.
pub fn run(op: &Op, _inputs: &[&Tensor], _cx: &OpContext<'_>) -> Option<Result<Vec<Tensor>, OpError>> {
    let _ = op;
    None
}
