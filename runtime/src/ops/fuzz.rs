//! Random operands: no op of the basic family panics on them, and results do not depend on the number of threads.

use super::tests::try_run;
use crate::tensor::Tensor;
use mokume_ir::attr::Ints;
use mokume_ir::dim::Dim;
use mokume_ir::op::*;
use mokume_ir::types::Elem;

/// A small generator of random choices.
struct Choices(u64);

impl Choices {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }
    fn flag(&mut self) -> bool {
        self.below(2) == 1
    }
    fn of<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len() as u64) as usize]
    }
    fn int(&mut self) -> i64 {
        match self.below(12) {
            0 => self.of(&[i64::MIN, i64::MAX, -100, 100]),
            _ => self.below(8) as i64 - 3,
        }
    }
    fn list(&mut self) -> Vec<i64> {
        (0..self.below(4)).map(|_| self.int()).collect()
    }
    /// Known numbers, or an operand that may be missing.
    fn ints(&mut self) -> Ints {
        if self.below(4) == 0 { Ints::Operand(self.below(4) as u32) } else { Ints::of(self.list()) }
    }
    fn one_int(&mut self) -> Ints {
        let value = self.int();
        Ints::of([value])
    }
    fn elem(&mut self) -> Elem {
        use Elem::*;
        let all = [Bool, I8, I16, I32, U8, U32, U64, F16, BF16, F64, F8E4M3FN, F8E8M0, F4E2M1, I4, U2, C64, C128, String];
        if self.flag() { self.of(&[F32, I64]) } else { self.of(&all) }
    }
    fn tensor(&mut self) -> Tensor {
        let dims: Vec<usize> = (0..self.below(4)).map(|_| self.below(4) as usize).collect();
        let count = dims.iter().product();
        match self.elem() {
            Elem::String => Tensor::strings(&dims, (0..count).map(|_| self.below(3).to_string()).collect()),
            Elem::I64 => Tensor::i64s(&dims, &(0..count).map(|_| self.int()).collect::<Vec<_>>()),
            Elem::Bool => Tensor::of(&dims, Elem::Bool, &(0..count).map(|_| self.below(2) as u8).collect::<Vec<_>>()),
            elem => {
                let mut tensor = Tensor::zeros(&dims, elem);
                tensor.bytes_mut().iter_mut().for_each(|byte| *byte = self.below(256) as u8);
                tensor
            }
        }
    }
    fn scatter(&mut self) -> ScatterKind {
        self.of(ScatterKind::ALL)
    }
    fn op(&mut self) -> Op {
        let axis = self.below(6) as i64 - 3;
        match self.below(34) {
            0..3 => Op::Unary(self.of(UnaryKind::ALL)),
            3..6 => Op::Binary(self.of(BinaryKind::ALL)),
            6 => Activation { kind: self.of(ActivationKind::ALL), alpha: 0.5, beta: 0.25 }.into(),
            7 => Swiglu {}.into(),
            8 => Select {}.into(),
            9 => Cast { to: self.elem(), saturate: self.flag() }.into(),
            10 => Bitcast { to: self.elem() }.into(),
            11 => Reduce { kind: self.of(ReduceKind::ALL), axes: self.ints(), all: self.flag(), keep_dims: self.flag() }.into(),
            12 => ArgReduce { largest: self.flag(), axis, keep_dims: self.flag(), last: self.flag() }.into(),
            13 => Cumulative { axis: self.one_int(), product: self.flag(), exclusive: self.flag(), reverse: self.flag() }.into(),
            14 => Reshape { shape: self.ints(), allow_zero: self.flag() }.into(),
            15 => Squeeze { axes: self.ints(), all: self.flag() }.into(),
            16 => Unsqueeze { axes: self.ints() }.into(),
            17 => Transpose { perm: self.list() }.into(),
            18 => Broadcast { shape: self.ints() }.into(),
            19 => Slice { starts: self.one_int(), ends: self.one_int(), axes: Ints::of([axis]), steps: self.one_int() }.into(),
            20 => Split { axis, sizes: self.ints() }.into(),
            21 => Concat { axis }.into(),
            22 => {
                let pads = Ints::of([self.int(), self.int()]);
                Pad { mode: self.of(PadMode::ALL), pads, axes: Ints::of([axis]), value: self.flag() }.into()
            }
            23 => Tile { repeats: self.ints() }.into(),
            24 => Gather { axis }.into(),
            25 => GatherElements { axis }.into(),
            26 => GatherNd { batch_dims: axis }.into(),
            27 => ScatterElements { axis, kind: self.scatter() }.into(),
            28 => ScatterNd { kind: self.scatter() }.into(),
            29 => Compress { axis: self.flag().then_some(axis) }.into(),
            30 if self.flag() => OneHot { axis }.into(),
            30 => Trilu { upper: self.flag() }.into(),
            31 => Unique { axis: self.flag().then_some(axis), sorted: self.flag() }.into(),
            32 => TopK { k: self.one_int(), axis, largest: self.flag(), sorted: true }.into(),
            _ => match self.below(5) {
                0 => NonZero {}.into(),
                1 => Det {}.into(),
                2 => ShapeOf { start: self.int(), end: self.flag().then_some(axis) }.into(),
                3 => Iota { len: Dim::from(axis), elem: self.elem() }.into(),
                _ => Range {}.into(),
            },
        }
    }
}

/// Ranges and depths of random bits would fill the memory, as they should.
fn is_vast(op: &Op, inputs: &[Tensor]) -> bool {
    matches!(op, Op::Range(_) | Op::OneHot(_)) && inputs.iter().any(|x| x.elem() != Elem::I64)
}

#[test]
fn random_operands_never_panic() {
    let mut choices = Choices(0x5eed);
    let mut worked = 0;
    for _ in 0..60_000 {
        let op = choices.op();
        let mut inputs: Vec<Tensor> = (0..1 + choices.below(3)).map(|_| choices.tensor()).collect();
        if choices.flag() && inputs.len() > 1 {
            inputs[1] = inputs[0].clone();
        }
        if !is_vast(&op, &inputs) && try_run(op, &inputs.iter().collect::<Vec<_>>()).is_ok() {
            worked += 1;
        }
    }
    assert!(worked > 5_000, "{worked} of the random ops fit their operands");
}

#[test]
fn threads_do_not_change_results() {
    let values: Vec<f32> = (0..600_000u32).map(|i| ((i.wrapping_mul(2_654_435_761) >> 8) as f32 / 1e6).sin()).collect();
    let x = Tensor::f32s(&[20, 300, 100], &values);
    let sum = |axes: &[i64]| -> Op {
        Reduce { kind: ReduceKind::Sum, axes: Ints::of(axes.iter().copied()), all: axes.is_empty(), keep_dims: false }.into()
    };
    let ops =
        [sum(&[]), sum(&[0]), sum(&[1]), sum(&[2]), sum(&[0, 2]), Op::Unary(UnaryKind::Tanh), Transpose { perm: vec![2, 0, 1] }.into()];
    for op in ops {
        let on = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| try_run(op.clone(), &[&x]).unwrap().remove(0))
        };
        assert_eq!(on(1).bytes(), on(3).bytes(), "{}", op.name());
    }
}
