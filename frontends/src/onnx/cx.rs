//! What an operator's handler works with: the node's operands and attributes, and short ways to add core ops.

use super::attrs::Attrs;
use super::import::{Importer, Opsets, Scope};
use super::proto::NodeProto;
use mokume_ir::attr::Ints;
use mokume_ir::constant::Constant;
use mokume_ir::diag::Diagnostic;
use mokume_ir::dim::Dim;
use mokume_ir::edit::Editor;
use mokume_ir::ids::ValueId;
use mokume_ir::infer::InferError;
use mokume_ir::loc::Loc;
use mokume_ir::op::{self, BinaryKind, Op, ReduceKind, UnaryKind};
use mokume_ir::types::Elem;

/// Why a node was not imported.
#[derive(Debug)]
pub enum Fault {
    /// Correct, but not supported.
    Unsupported(String),
    /// The model is wrong.
    Input(String),
    /// Findings of a subgraph, complete as they are.
    Findings(Vec<Diagnostic>),
    /// An operand comes from a node that was reported already.
    Poisoned,
}

impl Fault {
    /// Correct, but not supported.
    pub fn unsupported(why: impl Into<String>) -> Self {
        Fault::Unsupported(why.into())
    }
    /// The model is wrong.
    pub fn input(why: impl Into<String>) -> Self {
        Fault::Input(why.into())
    }
}

impl From<InferError> for Fault {
    fn from(error: InferError) -> Self {
        Fault::Input(error.to_string())
    }
}

impl From<Diagnostic> for Fault {
    fn from(finding: Diagnostic) -> Self {
        Fault::Findings(vec![finding])
    }
}

/// What a name of the model stands for.
#[derive(Debug, Clone)]
pub enum Bound {
    /// A value of the edited function.
    Value(ValueId),
    /// A list whose length is known while importing (ONNX sequence).
    List(Vec<ValueId>),
    /// Nothing (an empty ONNX optional).
    Nothing,
    /// An optional operand that a call leaves out.
    Absent,
    /// The output of a node that was reported.
    Failed,
}

impl From<ValueId> for Bound {
    fn from(value: ValueId) -> Self {
        Bound::Value(value)
    }
}

/// The outputs of a node, in order; or why there are none.
pub type Outcome = Result<Vec<Bound>, Fault>;

/// An [`Outcome`] of one output.
pub fn one(value: ValueId) -> Outcome {
    Ok(vec![Bound::Value(value)])
}

/// An [`Outcome`] of several outputs.
pub fn many(values: impl IntoIterator<Item = ValueId>) -> Outcome {
    Ok(values.into_iter().map(Bound::Value).collect())
}

/// The node being imported, and where to.
pub struct Cx<'a, 'm, 'p> {
    /// The function that is built.
    pub ed: &'a mut Editor<'m>,
    /// The model.
    pub importer: &'a mut Importer<'p>,
    /// Names that subgraphs may capture.
    pub scope: &'a Scope,
    /// The node's attributes.
    pub attrs: Attrs<'a>,
    /// The version of the operator set that the node is of.
    pub opset: i64,
    /// The operator.
    pub op_type: &'a str,
    pub(super) inputs: Vec<Option<Bound>>,
    pub(super) outputs: Vec<bool>,
    pub(super) read: Vec<bool>,
    pub(super) loc: Loc,
    pub(super) opsets: &'a Opsets,
}

/// Operands and what is known of them.
impl Cx<'_, '_, '_> {
    /// How many operands the node names, absent ones at the end not counted.
    pub fn input_count(&self) -> usize {
        self.inputs.len()
    }
    /// Whether output `index` is used.
    pub fn wants(&self, index: usize) -> bool {
        self.outputs.get(index).copied().unwrap_or(false)
    }
    /// How many outputs the node names.
    pub fn output_count(&self) -> usize {
        self.outputs.len()
    }
    /// What operand `index` stands for, if it is given.
    pub fn bound(&mut self, index: usize) -> Result<Option<Bound>, Fault> {
        let Some(Some(bound)) = self.inputs.get(index) else { return Ok(None) };
        self.read[index] = true;
        match bound {
            Bound::Failed => Err(Fault::Poisoned),
            bound => Ok(Some(bound.clone())),
        }
    }
    /// Operand `index`, if it is given.
    pub fn optional(&mut self, index: usize) -> Result<Option<ValueId>, Fault> {
        match self.bound(index)? {
            None => Ok(None),
            Some(Bound::Value(value)) => Ok(Some(value)),
            Some(_) => Err(Fault::unsupported(format!("operand {index} is a sequence or optional"))),
        }
    }
    /// Operand `index`.
    pub fn input(&mut self, index: usize) -> Result<ValueId, Fault> {
        self.optional(index)?.ok_or_else(|| Fault::input(format!("operand {index} is missing")))
    }
    /// All operands, which must be given.
    pub fn all_inputs(&mut self) -> Result<Vec<ValueId>, Fault> {
        (0..self.inputs.len()).map(|index| self.input(index)).collect()
    }
    /// Marks operand `index` as read: it cannot change the result.
    pub fn ignore_input(&mut self, index: usize) {
        if let Some(read) = self.read.get_mut(index) {
            *read = true;
        }
    }
    /// Fails when the handler left an operand or attribute unread, or gave too few outputs.
    pub(super) fn check_complete(&self, node: &NodeProto, outputs: &[Bound]) -> Result<(), Fault> {
        if let Some(name) = self.attrs.unread().first() {
            return Err(Fault::unsupported(format!("attribute \"{name}\" is not supported here")));
        }
        if let Some(index) = (0..self.inputs.len()).find(|&i| self.inputs[i].is_some() && !self.read[i]) {
            return Err(Fault::unsupported(format!("operand {index}, \"{}\", is not supported here", node.input[index])));
        }
        match node.output.iter().rposition(|name| !name.is_empty()) {
            Some(last) if last >= outputs.len() => {
                Err(Fault::unsupported(format!("output {last}, \"{}\", is not supported", node.output[last])))
            }
            _ => Ok(()),
        }
    }
    /// Element type.
    pub fn elem(&self, value: ValueId) -> Result<Elem, Fault> {
        self.ed.ty(value).elem().ok_or_else(|| Fault::unsupported("an operand is a sequence or optional"))
    }
    /// Dimensions, when the rank is known.
    pub fn dims(&self, value: ValueId) -> Option<Vec<Dim>> {
        self.ed.ty(value).dims().map(<[Dim]>::to_vec)
    }
    /// Number of axes, when known.
    pub fn rank(&self, value: ValueId) -> Option<usize> {
        self.ed.ty(value).dims().map(<[Dim]>::len)
    }
    /// Dimensions, which the import of this operator needs.
    pub fn need_dims(&self, value: ValueId) -> Result<Vec<Dim>, Fault> {
        self.dims(value).ok_or_else(|| Fault::unsupported("the rank of an operand is not known while importing"))
    }
    /// Number of axes, which the import of this operator needs.
    pub fn need_rank(&self, value: ValueId) -> Result<usize, Fault> {
        self.need_dims(value).map(|dims| dims.len())
    }
    /// Dimension `axis` as a number, which the import of this operator needs.
    pub fn need_size(&self, value: ValueId, axis: usize) -> Result<i64, Fault> {
        let size = self.need_dims(value)?.get(axis).and_then(Dim::known);
        size.ok_or_else(|| Fault::unsupported(format!("the size of axis {axis} of an operand is not known while importing")))
    }
    /// An axis counted from the front; a negative one stays where the rank is unknown.
    pub fn axis(&self, value: ValueId, axis: i64) -> Result<i64, Fault> {
        match self.rank(value) {
            Some(rank) => front(axis, rank).map(|axis| axis as i64),
            None => Ok(axis),
        }
    }
    /// An axis counted from the front.
    pub fn front_axis(&self, value: ValueId, axis: i64) -> Result<usize, Fault> {
        front(axis, self.need_rank(value)?)
    }
    /// The elements of a rank-0 or rank-1 integer tensor, when known while importing.
    pub fn contents(&mut self, value: ValueId) -> Option<Vec<Dim>> {
        if let Some(contents) = self.ed.contents(value) {
            return Some(contents.dims);
        }
        let constant = self.constant(value)?;
        (constant.dims().len() < 2).then(|| constant.to_i64s())?.map(|values| values.into_iter().map(Dim::from).collect())
    }
    /// The elements of an integer tensor, when known as numbers.
    pub fn numbers(&mut self, value: ValueId) -> Option<Vec<i64>> {
        self.contents(value)?.iter().map(Dim::known).collect()
    }
    /// The elements of operand `index`, which the import of this operator needs.
    pub fn need_numbers(&mut self, index: usize) -> Result<Vec<i64>, Fault> {
        let value = self.input(index)?;
        self.numbers(value).ok_or_else(|| Fault::unsupported(format!("operand {index} is computed while running")))
    }
    /// The one number that operand `index` holds, which the import of this operator needs.
    pub fn need_number(&mut self, index: usize) -> Result<i64, Fault> {
        match self.need_numbers(index)?[..] {
            [number] => Ok(number),
            _ => Err(Fault::input(format!("operand {index} holds more than one number"))),
        }
    }
    /// The constant that a value is, if it is one.
    pub fn constant(&self, value: ValueId) -> Option<&Constant> {
        self.ed.constant(value).map(|id| &self.ed.module().constants[id])
    }
    /// Known elements, or `value` as one more operand. What data decides stays an operand: an attribute does not wait for it.
    pub fn ints(&mut self, value: ValueId, operands: &mut Vec<ValueId>) -> Ints {
        match self.contents(value).filter(|dims| !dims.iter().any(Dim::is_unknown)) {
            Some(dims) => Ints::Known(dims),
            None => {
                operands.push(value);
                Ints::Operand(operands.len() as u32 - 1)
            }
        }
    }
}

/// An axis counted from the front.
pub fn front(axis: i64, rank: usize) -> Result<usize, Fault> {
    let from_front = if axis < 0 { axis.saturating_add(rank as i64) } else { axis };
    let valid = (0..rank as i64).contains(&from_front);
    valid.then_some(from_front as usize).ok_or_else(|| Fault::input(format!("axis {axis} is not one of {rank} axes")))
}

/// Adding ops.
impl Cx<'_, '_, '_> {
    /// An op with one output.
    pub fn apply(&mut self, op: impl Into<Op>, inputs: &[ValueId]) -> Result<ValueId, Fault> {
        Ok(self.ed.apply(op, inputs, self.loc.clone())?)
    }
    /// An op with its outputs.
    pub fn insert(&mut self, op: impl Into<Op>, inputs: &[ValueId]) -> Result<Vec<ValueId>, Fault> {
        let node = self.ed.insert(op, inputs, self.loc.clone())?;
        Ok(self.ed[node].outputs.to_vec())
    }
    /// An elementwise function.
    pub fn unary(&mut self, kind: UnaryKind, x: ValueId) -> Result<ValueId, Fault> {
        self.apply(Op::Unary(kind), &[x])
    }
    /// An elementwise function.
    pub fn binary(&mut self, kind: BinaryKind, a: ValueId, b: ValueId) -> Result<ValueId, Fault> {
        self.apply(Op::Binary(kind), &[a, b])
    }
    /// An elementwise function of a value and a number of its element type.
    pub fn with_number(&mut self, kind: BinaryKind, a: ValueId, number: f64) -> Result<ValueId, Fault> {
        let b = self.number_like(a, number)?;
        self.binary(kind, a, b)
    }
    /// `condition ? a : b`
    pub fn select(&mut self, condition: ValueId, a: ValueId, b: ValueId) -> Result<ValueId, Fault> {
        self.apply(op::Select {}, &[condition, a, b])
    }
    /// Conversion, unless the type is right already.
    pub fn cast(&mut self, x: ValueId, to: Elem) -> Result<ValueId, Fault> {
        if self.elem(x)? == to {
            return Ok(x);
        }
        self.apply(op::Cast { to, saturate: true }, &[x])
    }
    /// Another shape.
    pub fn reshape(&mut self, x: ValueId, dims: Vec<Dim>) -> Result<ValueId, Fault> {
        if self.dims(x).as_ref() == Some(&dims) {
            return Ok(x);
        }
        self.apply(op::Reshape { shape: Ints::Known(dims), allow_zero: true }, &[x])
    }
    /// Permuted axes.
    pub fn transpose(&mut self, x: ValueId, perm: &[usize]) -> Result<ValueId, Fault> {
        if perm.iter().enumerate().all(|(i, &p)| i == p) {
            return Ok(x);
        }
        self.apply(op::Transpose { perm: perm.iter().map(|&p| p as i64).collect() }, &[x])
    }
    /// Axes of size 1 inserted.
    pub fn unsqueeze(&mut self, x: ValueId, axes: &[i64]) -> Result<ValueId, Fault> {
        if axes.is_empty() {
            return Ok(x);
        }
        self.apply(op::Unsqueeze { axes: Ints::of(axes.iter().copied()) }, &[x])
    }
    /// Axes of size 1 removed.
    pub fn squeeze(&mut self, x: ValueId, axes: &[i64]) -> Result<ValueId, Fault> {
        if axes.is_empty() {
            return Ok(x);
        }
        self.apply(op::Squeeze { axes: Ints::of(axes.iter().copied()), all: false }, &[x])
    }
    /// Elements `start..end` along `axis`.
    pub fn slice(&mut self, x: ValueId, axis: usize, start: Dim, end: Dim) -> Result<ValueId, Fault> {
        self.slice_by(x, axis, start, end, 1)
    }
    /// Every `step`-th element of `start..end` along `axis`.
    pub fn slice_by(&mut self, x: ValueId, axis: usize, start: Dim, end: Dim, step: i64) -> Result<ValueId, Fault> {
        let (starts, ends) = (Ints::Known(vec![start]), Ints::Known(vec![end]));
        self.apply(op::Slice { starts, ends, axes: Ints::of([axis as i64]), steps: Ints::of([step]) }, &[x])
    }
    /// Joined along `axis`.
    pub fn concat(&mut self, parts: &[ValueId], axis: usize) -> Result<ValueId, Fault> {
        match parts {
            [only] => Ok(*only),
            _ => self.apply(op::Concat { axis: axis as i64 }, parts),
        }
    }
    /// Broadcast to `dims`.
    pub fn broadcast(&mut self, x: ValueId, dims: Vec<Dim>) -> Result<ValueId, Fault> {
        if self.dims(x).as_ref() == Some(&dims) {
            return Ok(x);
        }
        self.apply(op::Broadcast { shape: Ints::Known(dims) }, &[x])
    }
    /// Reduced over axes counted from the front.
    pub fn reduce(&mut self, kind: ReduceKind, x: ValueId, axes: &[i64], keep_dims: bool) -> Result<ValueId, Fault> {
        self.apply(op::Reduce { kind, axes: Ints::of(axes.iter().copied()), all: false, keep_dims }, &[x])
    }
    /// The matrix product.
    pub fn matmul(&mut self, a: ValueId, b: ValueId) -> Result<ValueId, Fault> {
        self.apply(op::Matmul { transpose_a: false, transpose_b: false }, &[a, b])
    }
    /// Slices chosen along `axis`.
    pub fn gather(&mut self, x: ValueId, indices: ValueId, axis: usize) -> Result<ValueId, Fault> {
        self.apply(op::Gather { axis: axis as i64 }, &[x, indices])
    }
    /// A constant tensor.
    pub fn tensor(&mut self, constant: Constant) -> ValueId {
        self.ed.constant_value(constant)
    }
    /// A rank-1 i64 constant.
    pub fn i64s(&mut self, values: &[i64]) -> ValueId {
        self.tensor(Constant::i64s(&[values.len()], values))
    }
    /// A scalar constant of a plain numeric type.
    pub fn number(&mut self, elem: Elem, number: f64) -> Result<ValueId, Fault> {
        let bytes = super::numbers::encode(elem, number)
            .ok_or_else(|| Fault::unsupported(format!("arithmetic on {elem} is not supported here")))?;
        Ok(self.tensor(Constant::new(&[], elem, bytes.into())))
    }
    /// A scalar constant of the element type of `x`.
    pub fn number_like(&mut self, x: ValueId, number: f64) -> Result<ValueId, Fault> {
        self.number(self.elem(x)?, number)
    }
    /// Sizes as a rank-1 i64 tensor.
    pub fn dims_tensor(&mut self, dims: Vec<Dim>) -> Result<ValueId, Fault> {
        match dims.iter().map(Dim::known).collect::<Option<Vec<i64>>>() {
            Some(numbers) => Ok(self.i64s(&numbers)),
            None => self.apply(op::DimsOf { dims, scalar: false }, &[]),
        }
    }
    /// A size as an i64 scalar.
    pub fn dim_scalar(&mut self, dim: Dim) -> Result<ValueId, Fault> {
        match dim.known() {
            Some(number) => Ok(self.tensor(Constant::i64s(&[], &[number]))),
            None => self.apply(op::DimsOf { dims: vec![dim], scalar: true }, &[]),
        }
    }
}
