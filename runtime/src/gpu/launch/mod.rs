//! What every op launches: checks its operands, computes grid and arguments. One file per op family.

mod attention;
pub(crate) mod bit_conv;
pub(crate) mod bit_matmul;
pub(crate) mod codes;
mod conv;
mod hadamard;
pub(crate) mod index;
pub(crate) mod map;
mod matmul;
pub(crate) mod movement;
mod normalize;
mod order;
mod pool;
mod reduce;
mod resample;
mod rotary;
mod scatter;
mod softmax;

use super::device::{Address, Device, DeviceError, Launch};
use super::kernel::{Kernel, RANK};
use super::memory::{DeviceTensor, Pool};
use crate::bind::Scope;
use crate::ops::OpError;
use crate::ops::layout::strides;
use mokume_ir::attr::Ints;
use mokume_ir::diag::Diagnostic;
use mokume_ir::graph::{Graph, Node};
use mokume_ir::op::Op;
use mokume_ir::types::Elem;
use std::collections::HashMap;

/// Why a launch failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LaunchError {
    /// The operands do not fit.
    #[error(transparent)]
    Op(#[from] OpError),
    /// The device refused.
    #[error(transparent)]
    Device(#[from] DeviceError),
}

impl LaunchError {
    /// The finding that `node` did not run.
    pub(crate) fn at(self, node: &Node) -> Diagnostic {
        match self {
            LaunchError::Op(error) => crate::error::of_op(node, error),
            LaunchError::Device(error) => Diagnostic::from(error).at(node.loc.to_string()),
        }
    }
}

pub(crate) type Result<T> = std::result::Result<T, LaunchError>;

/// Operands that do not fit.
pub(crate) fn misfit<T>(message: impl Into<String>) -> Result<T> {
    Err(OpError::operands(message).into())
}

/// What a launch works with.
pub(crate) struct Cx<'x> {
    pub(crate) device: &'x mut dyn Device,
    pub(crate) pool: &'x mut Pool,
    pub(crate) names: &'x mut HashMap<Kernel, String>,
    pub(crate) scope: &'x Scope<'x>,
    /// The rows that were packed last.
    pub(crate) packed: &'x mut Option<bit_matmul::Packed>,
    /// Where kernels say which node met a wrong value, and the number of this node.
    pub(crate) fault: (Address, u64),
}

impl Cx<'_> {
    /// Memory for a tensor.
    pub(crate) fn alloc(&mut self, dims: &[usize], elem: Elem) -> Result<DeviceTensor> {
        let bytes = dims.iter().try_fold(crate::tensor::elem_bytes(elem), |bytes, &dim| bytes.checked_mul(dim));
        let bytes = bytes.ok_or_else(|| OpError::operands(format!("a tensor of {dims:?} {elem} is too large")))?;
        Ok(DeviceTensor::new(self.pool.alloc(self.device, bytes)?, dims, elem))
    }
    /// Launches a kernel on a grid of blocks of `threads`; nothing when the grid is empty.
    pub(crate) fn launch(&mut self, kernel: Kernel, grid: [usize; 3], threads: u32, args: &[u64]) -> Result<()> {
        if grid.contains(&0) {
            return Ok(());
        }
        let [Ok(x), Ok(y), Ok(z)] = grid.map(u32::try_from) else { return misfit(format!("a grid of {grid:?} blocks")) };
        self.launch_shared(kernel, [x, y, z], threads, 0, args)
    }
    /// Launches a kernel that takes dynamic shared memory.
    pub(crate) fn launch_shared(&mut self, kernel: Kernel, grid: [u32; 3], threads: u32, shared_bytes: u32, args: &[u64]) -> Result<()> {
        let name = self.names.entry(kernel).or_insert_with_key(Kernel::symbol);
        let launch = Launch { kernel: name, grid, block: [threads, 1, 1], shared_bytes, args };
        Ok(self.device.launch(&launch)?)
    }
    /// The numbers of an attribute that is known when compiling.
    pub(crate) fn ints(&self, ints: &Ints) -> Result<Vec<i64>> {
        let Ints::Known(dims) = ints else { return misfit("an attribute that is an operand") };
        let number = |dim: &mokume_ir::dim::Dim| dim.eval(&|symbol| self.scope.size_of(symbol));
        let numbers = dims.iter().map(|dim| number(dim).ok_or_else(|| OpError::operands(format!("dimension {dim} has no value"))));
        Ok(numbers.collect::<std::result::Result<_, _>>()?)
    }
}

/// The kernels that a node needs.
///
/// Errors  why no kernel computes it.
pub(crate) fn kernels(graph: &Graph, node: &Node) -> std::result::Result<Vec<Kernel>, String> {
    let types = Types { graph, node };
    match &node.op {
        Op::Transpose(_) | Op::Broadcast(_) | Op::Slice(_) | Op::Split(_) | Op::Concat(_) | Op::Pad(_) => movement::kernels(&types),
        Op::Gather(_) => index::kernels(&types),
        Op::BitGather(_) => Ok(vec![index::table_kernel(&types)?]),
        Op::Reduce(op) => reduce::kernels(op, &types),
        Op::ArgReduce(op) => order::arg_kernels(op, &types),
        Op::TopK(op) => order::top_kernels(op, &types),
        Op::Cumulative(op) => order::cumulative_kernels(op, &types),
        Op::ScatterElements(op) => scatter::element_kernels(op, &types),
        Op::ScatterNd(op) => scatter::slice_kernels(op, &types),
        Op::Softmax(_) | Op::LogSoftmax(_) => softmax::kernels(&types),
        Op::LayerNorm(_) | Op::RmsNorm(_) => normalize::kernels(&types),
        Op::Hadamard(op) => hadamard::kernels(op, &types),
        Op::Rotary(op) => rotary::kernels(op, &types),
        Op::Attention(op) => attention::kernels(op, &types),
        Op::Matmul(_) => matmul::kernels(&types),
        Op::Conv(_) => conv::kernels(&types),
        Op::Pool(op) => pool::kernels(op, &types),
        Op::GroupNorm(_) => normalize::group_kernels(&types),
        Op::Resize(op) => resample::kernels(op, &types),
        _ => Err("there is no code for this op".into()),
    }
}

/// Runs a node; `dims` are the sizes of its outputs.
///
/// Errors  when the operands do not fit, or the device fails.
pub(crate) fn run(op: &Op, inputs: &[DeviceTensor], dims: &[Vec<usize>], cx: &mut Cx<'_>) -> Result<Vec<DeviceTensor>> {
    let outputs = match op {
        Op::Transpose(_) | Op::Broadcast(_) | Op::Slice(_) | Op::Split(_) | Op::Concat(_) | Op::Pad(_) => {
            movement::run(op, inputs, dims, cx)?
        }
        Op::Gather(op) => vec![index::gather(op, inputs, cx)?],
        Op::Reduce(op) => vec![reduce::reduce(op, inputs, &dims[0], cx)?],
        Op::ArgReduce(op) => vec![order::arg_reduce(op, inputs, &dims[0], cx)?],
        Op::TopK(op) => order::top_k(op, inputs, dims, cx)?,
        Op::Cumulative(op) => vec![order::cumulative(op, inputs, cx)?],
        Op::ScatterElements(op) => vec![scatter::elements(op, inputs, cx)?],
        Op::ScatterNd(op) => vec![scatter::slices(op, inputs, cx)?],
        Op::Softmax(op) => vec![softmax::softmax(op.axis, false, inputs, cx)?],
        Op::LogSoftmax(op) => vec![softmax::softmax(op.axis, true, inputs, cx)?],
        Op::LayerNorm(op) => vec![normalize::norm((op.axis, op.epsilon, true), inputs, cx)?],
        Op::RmsNorm(op) => vec![normalize::norm((op.axis, op.epsilon, false), inputs, cx)?],
        Op::Hadamard(op) => vec![hadamard::hadamard(op, inputs, cx)?],
        Op::Rotary(op) => vec![rotary::rotary(op, inputs, cx)?],
        Op::Attention(op) => vec![attention::attention(op, inputs, cx)?],
        Op::Matmul(op) => vec![matmul::matmul(op, inputs, cx)?],
        Op::Conv(op) => vec![conv::conv(op, inputs, cx)?],
        Op::Pool(op) => vec![pool::pool(op, inputs, cx)?],
        Op::GroupNorm(op) => vec![normalize::group_norm(op, inputs, cx)?],
        Op::Resize(op) => vec![resample::resize(op, inputs, cx)?],
        other => return Err(OpError::unsupported(other.name()).into()),
    };
    match outputs.iter().zip(dims).all(|(output, dims)| output.dims[..] == dims[..]) {
        true => Ok(outputs),
        false => misfit("the sizes of a result are not those of its type"),
    }
}

/// The types of a node's operands.
pub(crate) struct Types<'t> {
    pub(crate) graph: &'t Graph,
    pub(crate) node: &'t Node,
}

impl Types<'_> {
    /// The element type of an operand.
    pub(crate) fn elem(&self, index: usize) -> std::result::Result<Elem, String> {
        let value = self.node.inputs.get(index).ok_or_else(|| format!("operand {index} is missing"))?;
        self.graph.ty(*value).elem().ok_or_else(|| format!("operand {index} is no tensor"))
    }
    /// All operands must be of this type.
    pub(crate) fn all(&self, elem: Elem) -> std::result::Result<(), String> {
        (0..self.node.inputs.len()).try_for_each(|index| match self.elem(index)? {
            other if other == elem => Ok(()),
            other => Err(format!("operand {index} is {other}, not {elem}")),
        })
    }
    /// The number of axes of an operand.
    pub(crate) fn rank(&self, index: usize) -> Option<usize> {
        Some(self.graph.ty(*self.node.inputs.get(index)?).dims()?.len())
    }
    /// The known size of an operand along an axis.
    pub(crate) fn size(&self, index: usize, axis: usize) -> Option<usize> {
        let dims = self.graph.ty(*self.node.inputs.get(index)?).dims()?;
        usize::try_from(dims.get(axis)?.known()?).ok()
    }
    /// Every one of these attributes must be known when compiling.
    pub(crate) fn known(&self, ints: &[&Ints]) -> std::result::Result<(), String> {
        match ints.iter().all(|ints| ints.known().is_some()) {
            true => Ok(()),
            false => Err("an attribute is known only from data".into()),
        }
    }
}

/// Axes of a strided walk, joined to [`RANK`]: sizes, and per operand the elements between neighbors.
pub(crate) struct Walk {
    pub(crate) dims: [u64; RANK],
    pub(crate) strides: Vec<[u64; RANK]>,
}

/// Joins neighboring axes that every operand walks evenly.
///
/// Errors  when more than [`RANK`] remain.
pub(crate) fn walk(dims: &[usize], strides: &[Vec<i64>]) -> Result<Walk> {
    let mut joined: Vec<(usize, Vec<i64>)> = Vec::new();
    for (axis, &size) in dims.iter().enumerate().filter(|(_, size)| **size != 1) {
        let own: Vec<i64> = strides.iter().map(|strides| strides[axis]).collect();
        match joined.last_mut() {
            Some((before, steps)) if steps.iter().zip(&own).all(|(&step, &own)| step == own * size as i64) => {
                *before *= size;
                *steps = own;
            }
            _ => joined.push((size, own)),
        }
    }
    if joined.len() > RANK {
        return Err(OpError::unsupported(format!("a walk over {} axes", joined.len())).into());
    }
    let mut walk = Walk { dims: [1; RANK], strides: vec![[0; RANK]; strides.len()] };
    let skip = RANK - joined.len();
    for (axis, (size, steps)) in joined.into_iter().enumerate() {
        walk.dims[skip + axis] = size as u64;
        walk.strides.iter_mut().zip(steps).for_each(|(strides, step)| strides[skip + axis] = step as u64);
    }
    Ok(walk)
}

/// Strides of a dense tensor.
pub(crate) fn dense(dims: &[usize]) -> Vec<i64> {
    strides(dims).iter().map(|&stride| stride as i64).collect()
}

/// Strides of a dense tensor of sizes `dims`, repeated to `target`; none when it does not broadcast.
pub(crate) fn spread(dims: &[usize], target: &[usize]) -> Option<Vec<i64>> {
    let skip = target.len().checked_sub(dims.len())?;
    let own = dense(dims);
    let stride = |axis: usize| match axis.checked_sub(skip) {
        None => Some(0),
        Some(own_axis) if dims[own_axis] == target[axis] => Some(if dims[own_axis] == 1 { 0 } else { own[own_axis] }),
        Some(own_axis) => (dims[own_axis] == 1).then_some(0),
    };
    (0..target.len()).map(stride).collect()
}

/// Kernels count elements in 32 bits.
pub(crate) fn count(len: usize) -> Result<usize> {
    if len < 1 << 31 { Ok(len) } else { misfit(format!("a tensor of {len} elements is too large for a kernel")) }
}

/// The single operand, dense.
pub(crate) fn one(inputs: &[DeviceTensor]) -> Result<&DeviceTensor> {
    match inputs.first() {
        Some(x) if x.spare.is_none() => Ok(x),
        _ => misfit("an operand is missing or not dense"),
    }
}

/// Operand `index` if it is of the type and dense.
pub(crate) fn operand(inputs: &[DeviceTensor], index: usize, elem: Elem) -> Result<&DeviceTensor> {
    match inputs.get(index) {
        Some(x) if x.elem == elem && x.spare.is_none() => Ok(x),
        Some(x) => misfit(format!("operand {index} is {}, where dense {elem} is expected", x.elem)),
        None => misfit(format!("operand {index} is missing")),
    }
}
