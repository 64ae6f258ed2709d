//! Checks of operands that the neural ops share.

use super::OpError;
use crate::tensor::Tensor;
use mokume_ir::types::Elem;

/// Operand number `index`.
pub fn operand<'a>(inputs: &[&'a Tensor], index: usize) -> Result<&'a Tensor, OpError> {
    inputs.get(index).copied().ok_or_else(|| OpError::operands(format!("operand {index} is missing")))
}

/// Operand number `index` of element type `elem`.
pub fn operand_of<'a>(inputs: &[&'a Tensor], index: usize, elem: Elem) -> Result<&'a Tensor, OpError> {
    let tensor = operand(inputs, index)?;
    match tensor.elem() == elem {
        true => Ok(tensor),
        false => Err(OpError::operands(format!("operand {index} must be {elem}, not {}", tensor.elem()))),
    }
}

/// Operand number `index` of element type `elem` and sizes `dims`.
pub fn operand_as<'a>(inputs: &[&'a Tensor], index: usize, elem: Elem, dims: &[usize]) -> Result<&'a Tensor, OpError> {
    let tensor = operand_of(inputs, index, elem)?;
    match tensor.dims() == dims {
        true => Ok(tensor),
        false => Err(OpError::operands(format!("operand {index} must have shape {dims:?}, not {:?}", tensor.dims()))),
    }
}

/// Refuses tensors of fewer than `rank` axes.
pub fn at_least_rank(x: &Tensor, rank: usize) -> Result<(), OpError> {
    match x.rank() >= rank {
        true => Ok(()),
        false => Err(OpError::operands(format!("{:?} must have at least {rank} axes", x.dims()))),
    }
}

/// `axis`, counted from the back where negative, of a tensor of `rank` axes.
pub fn axis_of(axis: i64, rank: usize) -> Result<usize, OpError> {
    let counted = if axis < 0 { axis + rank as i64 } else { axis };
    match usize::try_from(counted) {
        Ok(counted) if counted < rank => Ok(counted),
        _ => Err(OpError::operands(format!("axis {axis} of a tensor of {rank} axes"))),
    }
}

/// An attribute that must be in `1 ..= 2^31 - 1`.
pub fn positive(value: i64, what: &str) -> Result<usize, OpError> {
    match value {
        1..=0x7fff_ffff => Ok(value as usize),
        _ => Err(OpError::operands(format!("{what} must be positive and below 2^31, not {value}"))),
    }
}

/// An error for element types that an op has no code for.
pub fn no_code<T>(op: &str, elem: Elem) -> Result<T, OpError> {
    Err(OpError::unsupported(format!("{op} of {elem}")))
}
