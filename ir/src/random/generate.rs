//! Generates modules op by op.

use super::Rng;
use crate::attr::Ints;
use crate::constant::Constant;
use crate::dim::Dim;
use crate::edit::Editor;
use crate::graph::{Graph, Module};
use crate::ids::{FuncId, ValueId};
use crate::infer::InferError;
use crate::loc::Loc;
use crate::op::*;
use crate::types::{Elem, Shape, Type};

/// Values larger than this are squashed.
const BOUND: f32 = 50.0;
/// Tensors with more elements (symbols counted as 1) do not grow.
const ELEMENTS: i64 = 600;

/// A random module with about `nodes` nodes: f32 inputs over the symbols `n` and `s`, every result reaches an output.
///
/// Errors  when inference refuses a node, which is a bug of either.
pub fn module(seed: u64, nodes: usize) -> Result<Module, InferError> {
    let mut module = Module::new(format!("random {seed}"));
    let entry = module.entry;
    let mut rng = Rng::new(seed);
    let shapes = [vec![Dim::symbol("n"), Dim::from(4i64), Dim::from(6i64)], vec![Dim::symbol("s"), Dim::symbol("n"), Dim::from(6i64)]];
    let mut generator = Generator::new(Editor::new(&mut module, entry), &mut rng);
    for (i, dims) in shapes.into_iter().enumerate() {
        let ty = Type::tensor(Shape::Ranked(dims), Elem::F32);
        let value = generator.editor.add_input(format!("x{i}"), ty);
        generator.items.push(Item { value, bound: 1.0 });
    }
    while generator.editor.node_count() < nodes {
        generator.step()?;
    }
    generator.finish();
    Ok(module)
}

/// An f32 value and a bound of its magnitude.
#[derive(Debug, Clone, Copy)]
struct Item {
    value: ValueId,
    bound: f32,
}

struct Generator<'m> {
    editor: Editor<'m>,
    rng: &'m mut Rng,
    items: Vec<Item>,
    named: usize,
}

type Made = Result<Item, InferError>;

impl<'m> Generator<'m> {
    fn new(editor: Editor<'m>, rng: &'m mut Rng) -> Self {
        Generator { editor, rng, items: Vec::new(), named: 0 }
    }
    /// Everything that nobody reads becomes an output.
    fn finish(&mut self) {
        let ends: Vec<ValueId> = self.editor.value_ids().filter(|&value| self.editor[value].uses.is_empty()).collect();
        for (i, value) in ends.into_iter().enumerate() {
            self.editor.add_output(format!("y{i}"), value);
        }
    }
    fn step(&mut self) -> Result<(), InferError> {
        let x = self.item();
        let made = match self.rng.below(22) {
            0..3 => self.unary(x)?,
            3..6 => self.binary(x)?,
            6 => self.matmul(x)?,
            7 => self.transpose(x)?,
            8 => self.flatten(x)?,
            9 => self.reshape_by_shape(x)?,
            10 => self.reduce(x)?,
            11 => self.normalize(x)?,
            12 => self.concat(x)?,
            13 => self.slice(x)?,
            14 => self.gather(x)?,
            15 => self.unsqueeze(x)?,
            16 => self.split(x)?,
            17 => self.pad(x)?,
            18 => self.select(x)?,
            19 => self.conv(x)?,
            20 => self.call(x)?,
            _ => self.branch(x)?,
        };
        let made = self.squashed(made)?;
        self.items.push(made);
        Ok(())
    }
    /// One of the values, rather a late one.
    fn item(&mut self) -> Item {
        let (a, b) = (self.rng.below(self.items.len()), self.rng.below(self.items.len()));
        self.items[a.max(b)]
    }
    fn dims(&self, item: Item) -> Vec<Dim> {
        self.editor.ty(item.value).dims().unwrap_or_default().to_vec()
    }
    /// Axes whose sizes are numbers above 0, with these sizes.
    fn known_axes(&self, item: Item) -> Vec<(usize, usize)> {
        let sizes = self.dims(item).into_iter().map(|dim| dim.known().and_then(|size| usize::try_from(size).ok()));
        sizes.enumerate().filter_map(|(axis, size)| Some((axis, size.filter(|&size| size > 0)?))).collect()
    }
    fn is_large(&self, item: Item) -> bool {
        self.dims(item).iter().filter_map(Dim::known).product::<i64>() > ELEMENTS
    }
    fn loc(&mut self) -> Loc {
        self.named += 1;
        if self.rng.below(4) == 0 { Loc::default() } else { Loc::name(format!("node {}", self.named)) }
    }
    fn apply(&mut self, op: impl Into<Op>, inputs: &[ValueId]) -> Result<ValueId, InferError> {
        let loc = self.loc();
        self.editor.apply(op, inputs, loc)
    }
    fn make(&mut self, op: impl Into<Op>, inputs: &[ValueId], bound: f32) -> Made {
        Ok(Item { value: self.apply(op, inputs)?, bound })
    }
    fn constant(&mut self, constant: Constant) -> ValueId {
        self.editor.constant_value(constant)
    }
    fn squashed(&mut self, item: Item) -> Made {
        if item.bound < BOUND { Ok(item) } else { self.make(Op::Unary(UnaryKind::Tanh), &[item.value], 1.0) }
    }

    fn unary(&mut self, x: Item) -> Made {
        use UnaryKind::*;
        let small = self.make(Op::Unary(Tanh), &[x.value], 1.0);
        match self.rng.below(8) {
            0 => small,
            1 => self.make(Op::Unary(Sigmoid), &[x.value], 1.0),
            2 => self.make(Op::Unary(Relu), &[x.value], x.bound),
            3 => self.make(Op::Unary(Neg), &[x.value], x.bound),
            4 => self.make(Op::Unary(Abs), &[x.value], x.bound),
            5 => self.make(Op::Unary(Erf), &[x.value], 1.0),
            6 => self.make(Op::Unary(Exp), &[small?.value], 3.0),
            _ => {
                let kind = *self
                    .rng
                    .pick(&[ActivationKind::Gelu, ActivationKind::Silu, ActivationKind::HardSwish])
                    .unwrap_or(&ActivationKind::Gelu);
                let alpha = if kind == ActivationKind::Silu { 1.0 } else { 0.0 };
                self.make(Activation { kind, alpha, beta: 0.0 }, &[x.value], x.bound)
            }
        }
    }
    fn binary(&mut self, x: Item) -> Made {
        use BinaryKind::*;
        let y = self.partner(x);
        let (kind, bound) = match self.rng.below(6) {
            0 | 1 => (Add, x.bound + y.bound),
            2 => (Sub, x.bound + y.bound),
            3 => (Mul, x.bound * y.bound),
            4 => (Min, x.bound.max(y.bound)),
            _ => (Max, x.bound.max(y.bound)),
        };
        let operands = if self.rng.below(2) == 0 { [x.value, y.value] } else { [y.value, x.value] };
        self.make(Op::Binary(kind), &operands, bound)
    }
    /// A value of the shape of `x`, or a constant that broadcasts to it.
    fn partner(&mut self, x: Item) -> Item {
        let dims = self.dims(x);
        let equal: Vec<Item> = self.items.iter().copied().filter(|&y| self.dims(y) == dims).collect();
        if self.rng.below(2) == 0
            && let Some(&y) = self.rng.pick(&equal)
        {
            return y;
        }
        let last = dims.last().and_then(Dim::known).and_then(|size| usize::try_from(size).ok());
        let shape: Vec<usize> = if self.rng.below(2) == 0 { vec![] } else { last.into_iter().collect() };
        let constant = self.rng.floats(&shape);
        Item { value: self.constant(constant), bound: 1.0 }
    }
    fn matmul(&mut self, x: Item) -> Made {
        let dims = self.dims(x);
        let (Some(k), true) = (dims.last().and_then(Dim::known), dims.len() >= 2) else { return self.unary(x) };
        let (k, n) = (k.max(0) as usize, 1 + self.rng.below(8));
        let transpose_b = self.rng.below(2) == 0;
        let weight = self.rng.floats(&if transpose_b { [n, k] } else { [k, n] });
        let weight = self.constant(weight);
        self.make(Matmul { transpose_a: false, transpose_b }, &[x.value, weight], x.bound * k as f32)
    }
    fn transpose(&mut self, x: Item) -> Made {
        let mut perm: Vec<i64> = (0..self.dims(x).len() as i64).collect();
        self.rng.shuffle(&mut perm);
        self.make(Transpose { perm }, &[x.value], x.bound)
    }
    /// Joins the last two axes.
    fn flatten(&mut self, x: Item) -> Made {
        let mut dims = self.dims(x);
        let (Some(b), Some(a)) = (dims.pop(), dims.pop()) else { return self.unary(x) };
        dims.push(a.times(&b));
        self.make(Reshape { shape: Ints::Known(dims), allow_zero: false }, &[x.value], x.bound)
    }
    /// Puts axes of size 1 before all others, through the shape at run time.
    fn reshape_by_shape(&mut self, x: Item) -> Made {
        let shape = self.apply(ShapeOf { start: 0, end: None }, &[x.value])?;
        let one = self.constant(Constant::i64s(&[1], &[1]));
        let shape = self.apply(Concat { axis: 0 }, &[one, shape])?;
        let made = self.apply(Reshape { shape: Ints::Operand(1), allow_zero: true }, &[x.value, shape])?;
        let squeeze = Squeeze { axes: Ints::of([0]), all: false };
        self.make(squeeze, &[made], x.bound)
    }
    fn reduce(&mut self, x: Item) -> Made {
        let axes = self.known_axes(x);
        let Some(&(axis, size)) = self.rng.pick(&axes) else { return self.unary(x) };
        let (kind, bound) = match self.rng.below(3) {
            0 => (ReduceKind::Sum, x.bound * size as f32),
            1 => (ReduceKind::Mean, x.bound),
            _ => (ReduceKind::Max, x.bound),
        };
        let keep_dims = self.rng.below(2) == 0;
        self.make(Reduce { kind, axes: Ints::of([axis as i64]), all: false, keep_dims }, &[x.value], bound)
    }
    fn normalize(&mut self, x: Item) -> Made {
        let axes = self.known_axes(x);
        let last = self.dims(x).len().wrapping_sub(1);
        let Some(&(axis, size)) = self.rng.pick(&axes) else { return self.unary(x) };
        match self.rng.below(3) {
            0 if axis == last => {
                let scale = self.rng.floats(&[size]);
                let scale = self.constant(scale);
                self.make(RmsNorm { axis: axis as i64, epsilon: 0.1 }, &[x.value, scale], size as f32)
            }
            1 if axis == last => {
                let (scale, bias) = (self.rng.floats(&[size]), self.rng.floats(&[size]));
                let (scale, bias) = (self.constant(scale), self.constant(bias));
                self.make(LayerNorm { axis: axis as i64, epsilon: 0.1 }, &[x.value, scale, bias], size as f32 + 1.0)
            }
            _ => self.make(Softmax { axis: axis as i64 }, &[x.value], 1.0),
        }
    }
    fn concat(&mut self, x: Item) -> Made {
        let rank = self.dims(x).len();
        if rank == 0 || self.is_large(x) {
            return self.unary(x);
        }
        let axis = self.rng.below(rank) as i64;
        let other = self.unary(x)?;
        self.make(Concat { axis }, &[x.value, other.value], x.bound.max(other.bound))
    }
    fn slice(&mut self, x: Item) -> Made {
        let axes = self.known_axes(x);
        let Some(&(axis, size)) = self.rng.pick(&axes) else { return self.unary(x) };
        let start = self.rng.below(size);
        let end = if self.rng.below(3) == 0 { i64::MAX } else { (start + 1 + self.rng.below(size - start)) as i64 };
        let backward = self.rng.below(4) == 0;
        let (starts, ends, step) = if backward { (-1, i64::MIN, -1) } else { (start as i64, end, 1) };
        let op = Slice { starts: Ints::of([starts]), ends: Ints::of([ends]), axes: Ints::of([axis as i64]), steps: Ints::of([step]) };
        self.make(op, &[x.value], x.bound)
    }
    fn gather(&mut self, x: Item) -> Made {
        let axes = self.known_axes(x);
        let Some(&(axis, size)) = self.rng.pick(&axes) else { return self.unary(x) };
        let count = 1 + self.rng.below(3);
        let indices: Vec<i64> = (0..count).map(|_| self.rng.below(2 * size) as i64 - size as i64).collect();
        let dims: &[usize] = if count == 1 { &[] } else { &[count] };
        let indices = self.constant(Constant::i64s(dims, &indices));
        self.make(Gather { axis: axis as i64 }, &[x.value, indices], x.bound)
    }
    fn unsqueeze(&mut self, x: Item) -> Made {
        let rank = self.dims(x).len();
        if rank > 4 {
            return self.reduce(x);
        }
        let axis = self.rng.below(rank + 1) as i64;
        self.make(Unsqueeze { axes: Ints::of([axis]) }, &[x.value], x.bound)
    }
    fn split(&mut self, x: Item) -> Made {
        let axes: Vec<_> = self.known_axes(x).into_iter().filter(|(_, size)| *size > 1).collect();
        let Some(&(axis, size)) = self.rng.pick(&axes) else { return self.unary(x) };
        let first = 1 + self.rng.below(size - 1);
        let sizes = Ints::of([first as i64, (size - first) as i64]);
        let loc = self.loc();
        let node = self.editor.insert(Split { axis: axis as i64, sizes }, &[x.value], loc)?;
        let parts = self.editor[node].outputs.clone();
        self.items.push(Item { value: parts[0], bound: x.bound });
        Ok(Item { value: parts[1], bound: x.bound })
    }
    fn pad(&mut self, x: Item) -> Made {
        let rank = self.dims(x).len();
        if rank == 0 || self.is_large(x) {
            return self.unary(x);
        }
        let axis = self.rng.below(rank) as i64;
        let pads = Ints::of([self.rng.below(2) as i64, 1]);
        self.make(Pad { mode: PadMode::Constant, pads, axes: Ints::of([axis]), value: false }, &[x.value], x.bound)
    }
    /// Picks by a comparison of integers along the last axis.
    fn select(&mut self, x: Item) -> Made {
        let Some(len) = self.dims(x).last().cloned() else { return self.unary(x) };
        let y = self.unary(x)?;
        let position = self.apply(Iota { len, elem: Elem::I64 }, &[])?;
        let limit = self.constant(Constant::i64s(&[], &[2]));
        let condition = self.apply(Op::Binary(BinaryKind::Lt), &[position, limit])?;
        self.make(Select {}, &[condition, x.value, y.value], x.bound.max(y.bound))
    }
    fn conv(&mut self, x: Item) -> Made {
        let dims = self.dims(x);
        let [_, channels, _] = &dims[..] else { return self.unary(x) };
        let Some(channels) = channels.known().filter(|&channels| channels > 0) else { return self.unary(x) };
        let out = 1 + self.rng.below(5);
        let (weight, bias) = (self.rng.floats(&[out, channels as usize, 3]), self.rng.floats(&[out]));
        let (weight, bias) = (self.constant(weight), self.constant(bias));
        let op = Conv { strides: vec![1], dilations: vec![1], pads: vec![1, 1], auto_pad: AutoPad::Explicit, groups: 1 };
        self.make(op, &[x.value, weight, bias], 3.0 * x.bound * channels as f32 + 1.0)
    }
    fn call(&mut self, x: Item) -> Made {
        let (function, bound) = self.function(x)?;
        self.make(Call { function }, &[x.value], bound)
    }
    fn branch(&mut self, x: Item) -> Made {
        let ((then_branch, a), (else_branch, b)) = (self.function(x)?, self.function(x)?);
        let size = self.apply(SizeOf {}, &[x.value])?;
        let limit = self.rng.below(100) as i64;
        let limit = self.constant(Constant::i64s(&[], &[limit]));
        let condition = self.apply(Op::Binary(BinaryKind::Gt), &[size, limit])?;
        self.make(If { then_branch, else_branch }, &[condition, x.value], a.max(b))
    }
    /// A function of one value like `x` with a result of the same shape, and the bound of the result.
    fn function(&mut self, x: Item) -> Result<(FuncId, f32), InferError> {
        let ty = self.editor.ty(x.value).clone();
        let id = self.editor.add_function(Graph::new(format!("f{}", self.named)));
        let mut body = Generator::new(self.editor.enter(id), self.rng);
        let value = body.editor.add_input("x", ty);
        body.items.push(Item { value, bound: x.bound });
        let mut last = body.items[0];
        for _ in 0..1 + body.rng.below(3) {
            last = if body.rng.below(2) == 0 { body.unary(last)? } else { body.binary(last)? };
        }
        let bound = last.bound;
        body.editor.add_output("y", last.value);
        Ok((id, bound))
    }
}
