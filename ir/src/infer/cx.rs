//! What an inference function sees of a node, and the questions it asks.

use super::{Contents, InferError};
use crate::attr::Ints;
use crate::dim::{Dim, DimFn, Symbol};
use crate::graph::Module;
use crate::op::Op;
use crate::types::{Elem, Shape, TensorType, Type};
use std::cell::Cell;
use std::ops::RangeInclusive;

pub(super) type Result<T> = std::result::Result<T, InferError>;

/// Expressions above this weight are replaced by a fresh symbol.
pub(super) const MAX_WEIGHT: usize = 256;

/// An operand that claims to hold more integers than this tells nothing about a rank or a number of parts.
const MAX_INTS: usize = 4096;

/// A node under inference.
pub(super) struct Cx<'a> {
    pub module: &'a Module,
    pub op: &'a Op,
    pub types: &'a [&'a Type],
    pub contents: &'a dyn Fn(usize) -> Option<Contents>,
    pub unknowns: Cell<u32>,
}

impl<'a> Cx<'a> {
    /// An error of this node.
    pub fn fail<T>(&self, message: impl Into<String>) -> Result<T> {
        Err(self.error(message))
    }
    pub fn error(&self, message: impl Into<String>) -> InferError {
        InferError { op: self.op.name(), message: message.into() }
    }
    /// Checks the number of operands.
    pub fn count(&self, allowed: RangeInclusive<usize>) -> Result<()> {
        if allowed.contains(&self.types.len()) {
            return Ok(());
        }
        let (low, high) = (*allowed.start(), *allowed.end());
        let wanted = match high {
            _ if low == high => low.to_string(),
            usize::MAX => format!("{low} or more"),
            _ => format!("{low} to {high}"),
        };
        self.fail(format!("takes {wanted} operands, not {}", self.types.len()))
    }
    /// Operand `index`, which must be a tensor.
    pub fn tensor(&self, index: usize) -> Result<&'a TensorType> {
        match self.types.get(index) {
            Some(Type::Tensor(tensor)) => Ok(tensor),
            Some(other) => self.fail(format!("operand {index} must be a tensor, not {other}")),
            None => self.fail(format!("operand {index} is missing")),
        }
    }
    /// Operand `index`, whose element type must satisfy `allowed`.
    pub fn tensor_of(&self, index: usize, what: &str, allowed: impl Fn(Elem) -> bool) -> Result<&'a TensorType> {
        let tensor = self.tensor(index)?;
        if allowed(tensor.elem) { Ok(tensor) } else { self.fail(format!("operand {index} must be {what}, not {tensor}")) }
    }
    /// A float operand.
    pub fn float(&self, index: usize) -> Result<&'a TensorType> {
        self.tensor_of(index, "float", Elem::is_float)
    }
    /// An i32 or i64 operand.
    pub fn indices(&self, index: usize) -> Result<&'a TensorType> {
        self.tensor_of(index, "i32 or i64", |elem| matches!(elem, Elem::I32 | Elem::I64))
    }
    /// Checks that operands `a` and `b` have one element type.
    pub fn same_elem(&self, a: usize, b: usize) -> Result<Elem> {
        let (x, y) = (self.tensor(a)?, self.tensor(b)?);
        if x.elem == y.elem { Ok(x.elem) } else { self.fail(format!("operands {a} and {b} have element types {} and {}", x.elem, y.elem)) }
    }
    /// Checks that operand `index` has rank `rank`, if its rank is known.
    pub fn rank_is(&self, index: usize, rank: usize) -> Result<Option<&'a [Dim]>> {
        self.rank_in(index, rank..=rank)
    }
    /// Checks that operand `index` has a rank in `ranks`, if its rank is known.
    pub fn rank_in(&self, index: usize, ranks: RangeInclusive<usize>) -> Result<Option<&'a [Dim]>> {
        let tensor = self.tensor(index)?;
        match tensor.shape.dims() {
            Some(dims) if !ranks.contains(&dims.len()) => {
                let (low, high) = (*ranks.start(), *ranks.end());
                let wanted = match high {
                    _ if low == high => format!("rank {low}"),
                    usize::MAX => format!("rank {low} or more"),
                    _ => format!("rank {low} to {high}"),
                };
                self.fail(format!("operand {index} must have {wanted}, not {tensor}"))
            }
            dims => Ok(dims),
        }
    }
    /// A fresh data dependent dimension.
    pub fn fresh(&self) -> Dim {
        let number = self.unknowns.get();
        self.unknowns.set(number.saturating_add(1));
        Symbol::unknown(number).into()
    }
    /// `count` fresh dimensions.
    pub fn fresh_shape(&self, count: usize) -> Shape {
        (0..count).map(|_| self.fresh()).collect()
    }
    /// The type with oversized expressions replaced by fresh symbols.
    pub fn bounded(&self, ty: Type) -> Type {
        match ty {
            Type::Tensor(TensorType { shape: Shape::Ranked(dims), elem }) => {
                let dims = dims.into_iter().map(|dim| if dim.weight() > MAX_WEIGHT { self.fresh() } else { dim });
                Type::tensor(dims.collect(), elem)
            }
            other => other,
        }
    }
    /// `axis` as an index into `rank` axes; negative counts from the back.
    pub fn axis(&self, axis: i64, rank: usize) -> Result<usize> {
        let from_front = if axis < 0 { axis.saturating_add(rank as i64) } else { axis };
        match usize::try_from(from_front) {
            Ok(index) if index < rank => Ok(index),
            _ => self.fail(format!("axis {axis} is out of range for rank {rank}")),
        }
    }
    /// The axes as indices, in the order given, each once.
    pub fn axes(&self, axes: &[i64], rank: usize) -> Result<Vec<usize>> {
        let mut seen = vec![false; rank];
        axes.iter()
            .map(|&axis| {
                let index = self.axis(axis, rank)?;
                let twice = std::mem::replace(&mut seen[index], true);
                if twice { self.fail(format!("axis {axis} is given twice")) } else { Ok(index) }
            })
            .collect()
    }
    /// The expressions of an `Ints` attribute, from the contents of its operand if need be.
    pub fn ints(&self, ints: &Ints) -> Result<Option<Vec<Dim>>> {
        match ints {
            Ints::Known(dims) => Ok(Some(dims.clone())),
            Ints::Operand(index) => {
                let index = *index as usize;
                self.tensor_of(index, "integers", Elem::is_int)?;
                self.rank_in(index, 0..=1)?;
                Ok((self.contents)(index).map(|contents| contents.dims))
            }
        }
    }
    /// The numbers of an `Ints` attribute, when all are numbers.
    pub fn numbers(&self, ints: &Ints) -> Result<Option<Vec<i64>>> {
        Ok(self.ints(ints)?.and_then(|dims| dims.iter().map(Dim::known).collect()))
    }
    /// How many integers an `Ints` attribute holds, when that is known.
    pub fn ints_len(&self, ints: &Ints) -> Result<Option<usize>> {
        if let Some(dims) = self.ints(ints)? {
            return Ok(Some(dims.len()));
        }
        let Ints::Operand(index) = ints else { return Ok(None) };
        Ok(match self.tensor(*index as usize)?.shape.dims() {
            Some([]) => Some(1),
            Some([len]) => len.known().and_then(|len| usize::try_from(len).ok()).filter(|len| *len <= MAX_INTS),
            _ => None,
        })
    }
    /// How many operands the attributes name beside the data operands.
    pub fn named(&self, ints: &[&Ints]) -> usize {
        ints.iter().filter(|ints| matches!(ints, Ints::Operand(_))).count()
    }
    /// Two dimensions that must be equal, as the one that says more.
    pub fn equal(&self, a: &Dim, b: &Dim, what: &str) -> Result<Dim> {
        if a == b {
            return Ok(a.clone());
        }
        if a.minus(b).known().is_some() {
            return self.fail(format!("{what} must be equal, not {a} and {b}"));
        }
        let vague = |dim: &Dim| (dim.known().is_none(), dim.is_unknown(), dim.weight());
        Ok(if vague(b) < vague(a) { b.clone() } else { a.clone() })
    }
    /// Numpy broadcasting of shapes.
    pub fn broadcast<'s>(&self, shapes: impl IntoIterator<Item = &'s Shape>) -> Result<Shape> {
        let mut result: Vec<Dim> = vec![];
        for shape in shapes {
            let Shape::Ranked(dims) = shape else { return Ok(Shape::Unranked) };
            let (long, short) = if dims.len() > result.len() { (dims.clone(), result) } else { (result, dims.clone()) };
            result = long;
            let offset = result.len() - short.len();
            for (target, dim) in result[offset..].iter_mut().zip(&short) {
                *target = self.broadcast_dims(target, dim)?;
            }
        }
        Ok(Shape::Ranked(result))
    }
    fn broadcast_dims(&self, a: &Dim, b: &Dim) -> Result<Dim> {
        match (a.known(), b.known()) {
            (Some(x), Some(y)) if x != y && x != 1 && y != 1 => self.fail(format!("sizes {a} and {b} do not broadcast")),
            _ => Ok(a.call(DimFn::Broadcast, b)),
        }
    }
    /// Checks that operand `index` has size `dim` at `axis`, if both are known.
    pub fn size_is(&self, index: usize, axis: usize, dim: &Dim) -> Result<()> {
        let Some(found) = self.tensor(index)?.shape.dims().and_then(|dims| dims.get(axis)) else { return Ok(()) };
        self.equal(found, dim, &format!("axis {axis} of operand {index} and the size it belongs to")).map(|_| ())
    }
}

/// The product of dimensions, unless it grows beyond reason.
pub(super) fn product<'d>(dims: impl IntoIterator<Item = &'d Dim>) -> Option<Dim> {
    dims.into_iter().try_fold(Dim::from(1i64), |product, dim| product.try_times(dim, MAX_WEIGHT))
}

/// `ceil(a / b)` for positive `b`.
pub(super) fn ceil_div(a: &Dim, b: i64) -> Dim {
    a.plus(&Dim::from(b.saturating_sub(1))).floor_div(&Dim::from(b))
}
