//! The CPU op library: one file per op family. An op takes tensors and gives new ones; it knows nothing of graphs.

pub mod activation;
pub mod basic;
pub mod binary;
pub mod cast;
pub mod det;
pub mod elementwise;
pub mod grid_sample;
pub mod index;
pub mod lanes;
pub mod layout;
pub mod math;
pub mod movement;
pub mod neural;
pub mod number;
pub mod pad;
pub mod pick;
pub mod reduce;
pub mod running;
pub mod scatter;
pub mod select;
pub mod shape;
pub mod small_float;
pub mod sort;
pub mod strided;
pub mod strings;
pub mod suppress;
pub mod unary;

pub mod attention;
pub mod bit;
pub mod bit_gather;
mod cell;
pub mod conv;
pub mod conv_transpose;
mod depthwise;
pub mod epilogue;
pub mod fft;
#[cfg(test)]
mod fuzz;
pub mod gemm;
mod gemv;
pub mod hadamard;
pub mod matmul;
pub mod normalize;
pub mod operands;
pub mod patches;
pub mod pool;
mod pool_planes;
pub mod quantize;
pub mod real;
pub mod recurrent;
pub mod resample;
pub mod roi_align;
pub mod rotary;
pub mod row_op;
pub mod scratch;
pub mod shared;
pub mod signal;
pub mod simd;
pub mod softmax;
#[cfg(test)]
pub(crate) mod testing;
pub mod window;

use crate::memory::Buffer;
use crate::tensor::Tensor;
use mokume_ir::attr::Ints;
use mokume_ir::dim::{Dim, Symbol};
use mokume_ir::op::Op;
use mokume_ir::types::Elem;

/// Why an op did not run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpError {
    /// The operands do not fit the op or each other, or hold values the op has no meaning for.
    #[error("{0}")]
    Operands(String),
    /// Correct, but this library has no code for it.
    #[error("not supported: {0}")]
    Unsupported(String),
}

impl OpError {
    /// Operands that do not fit.
    pub fn operands(message: impl Into<String>) -> Self {
        OpError::Operands(message.into())
    }
    /// No code for it.
    pub fn unsupported(message: impl Into<String>) -> Self {
        OpError::Unsupported(message.into())
    }
}

/// What an op may use beside its operands.
pub struct OpContext<'a> {
    /// Memory for outputs: zeroed or not, as `zeroed` asks; unique, so writable.
    pub alloc: &'a dyn Fn(&[usize], Elem) -> Tensor,
    /// Sizes bound to symbols by the inputs of this run.
    pub size_of: &'a dyn Fn(&Symbol) -> Option<i64>,
}

impl OpContext<'_> {
    /// Memory for an output. Its contents are unspecified: every element must be written.
    ///
    /// Errors  when the size overflows, or the system has not that much memory.
    pub fn alloc(&self, dims: &[usize], elem: Elem) -> Result<Tensor, OpError> {
        let bytes = dims.iter().try_fold(crate::tensor::elem_bytes(elem).max(1), |bytes, &dim| bytes.checked_mul(dim));
        match bytes {
            Some(bytes) if Buffer::is_available(bytes) => Ok((self.alloc)(dims, elem)),
            _ => Err(OpError::operands(format!("an output of {dims:?} {elem} is too large"))),
        }
    }
    /// The number that `dim` is in this run.
    pub fn dim(&self, dim: &Dim) -> Result<i64, OpError> {
        dim.eval(self.size_of).ok_or_else(|| OpError::operands(format!("dimension {dim} has no value")))
    }
    /// The numbers of an `Ints` attribute, read from the operand where they arrive at run time.
    pub fn ints(&self, ints: &Ints, inputs: &[&Tensor]) -> Result<Vec<i64>, OpError> {
        match ints {
            Ints::Known(dims) => dims.iter().map(|dim| self.dim(dim)).collect(),
            Ints::Operand(index) => match inputs.get(*index as usize) {
                Some(tensor) if tensor.elem() == Elem::I64 => Ok(tensor.slice::<i64>().to_vec()),
                Some(tensor) if tensor.elem() == Elem::I32 => Ok(tensor.slice::<i32>().iter().map(|&v| v.into()).collect()),
                Some(tensor) => Err(OpError::operands(format!("operand {index} must be integers, not {}", tensor.elem()))),
                None => Err(OpError::operands(format!("operand {index} is missing"))),
            },
        }
    }
}

/// Runs one op other than control flow.
///
/// Errors  when the operands do not fit or there is no code for them.
pub fn run(op: &Op, inputs: &[&Tensor], cx: &OpContext<'_>) -> Result<Vec<Tensor>, OpError> {
    basic::run(op, inputs, cx).or_else(|| neural::run(op, inputs, cx)).unwrap_or_else(|| Err(OpError::unsupported(op.name())))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Runs `op` where no symbol has a value.
    pub fn try_run(op: impl Into<Op>, inputs: &[&Tensor]) -> Result<Vec<Tensor>, OpError> {
        let cx = OpContext { alloc: &Tensor::zeros, size_of: &|_| None };
        run(&op.into(), inputs, &cx)
    }
    /// The outputs of `op`.
    pub fn run_op(op: impl Into<Op>, inputs: &[&Tensor]) -> Vec<Tensor> {
        try_run(op, inputs).unwrap()
    }
    /// Whether `op` refuses the operands.
    pub fn fails(op: impl Into<Op>, inputs: &[&Tensor]) -> bool {
        try_run(op, inputs).is_err()
    }
}
