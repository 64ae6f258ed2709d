//! Runs graphs on the CPU and in the emulator, and compares.

use super::recording;
use mokume_codegen::gpu::program;
use mokume_ir::constant::Constant;
use mokume_ir::edit::Editor;
use mokume_ir::graph::Module;
use mokume_ir::loc::Loc;
use mokume_ir::op::Op;
use mokume_ir::types::{Elem, Shape, Type};
use mokume_runtime::convert;
use mokume_runtime::cpu::kernels::Kernels;
use mokume_runtime::gpu::arch::Arch;
use mokume_runtime::gpu::code::DeviceCode;
use mokume_runtime::gpu::tuning::Tuning;
use mokume_runtime::ops::OpContext;
use mokume_runtime::program::Program;
use mokume_runtime::session::{Session, SessionOptions};
use mokume_runtime::tensor::Tensor;
use std::sync::Arc;

/// Numbers that repeat with a seed, between -2 and 2.
pub fn floats(dims: &[usize], seed: u64) -> Tensor {
    let values: Vec<f32> = random(dims.iter().product(), seed).map(|bits| (bits >> 40) as f32 / (1u64 << 22) as f32 - 2.0).collect();
    Tensor::f32s(dims, &values)
}

/// Integers of `0..below`.
pub fn ints(dims: &[usize], below: u64, seed: u64) -> Tensor {
    let values: Vec<i64> = random(dims.iter().product(), seed).map(|bits| ((bits >> 33) % below) as i64).collect();
    Tensor::i64s(dims, &values)
}

/// Bools.
pub fn bools(dims: &[usize], seed: u64) -> Tensor {
    let values: Vec<u8> = random(dims.iter().product(), seed).map(|bits| u8::from(bits >> 62 != 0)).collect();
    Tensor::of(dims, Elem::Bool, &values)
}

fn random(count: usize, seed: u64) -> impl Iterator<Item = u64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) + 1;
    (0..count).map(move |_| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        state ^ state >> 29
    })
}

const ARCH: Arch = Arch::Sm90a;
/// Launches of a kernel that are recorded.
const RECORDED: usize = 2;

/// Sessions of a module on the CPU and in the emulator.
pub fn sessions(module: Module) -> (Session, Session) {
    sessions_by(module, Tuning::default())
}

/// [`sessions`] with kernels chosen by a table.
fn sessions_by(module: Module, tuning: Tuning) -> (Session, Session) {
    let mut device = program::emulator(&module, ARCH, &tuning).unwrap_or_else(|report| panic!("{report}"));
    recording::attach_all(&mut device, &[ARCH], RECORDED);
    let device_code = DeviceCode { weights: program::weights(&module).unwrap(), tuning, ..DeviceCode::default() };
    let program = Arc::new(Program::unloaded(module, Kernels { device: device_code, ..Kernels::default() }));
    let cpu = Session::new(program.clone(), SessionOptions { threads: 1, ..Default::default() }).unwrap();
    (cpu, Session::on_device(program, Box::new(device), ARCH).unwrap_or_else(|report| panic!("{report}")))
}

/// A module of one op on operands of the types of these tensors, and perhaps a constant in place of operand `.0`.
fn single(op: Op, inputs: &[Tensor], constant: Option<(usize, Constant)>, outputs: &[(&[usize], Elem)]) -> Module {
    let mut module = Module::new("single");
    let function = module.entry;
    let mut editor = Editor::new(&mut module, function);
    let operand = |(i, x): (usize, &Tensor)| (format!("x{i}"), Type::tensor(Shape::known(x.dims()), x.elem()));
    let mut values: Vec<_> = inputs.iter().enumerate().map(operand).map(|(name, ty)| editor.add_input(&name, ty)).collect();
    if let Some((at, constant)) = constant {
        values.insert(at, editor.constant_value(constant));
    }
    let types = outputs.iter().map(|(dims, elem)| Type::tensor(Shape::known(dims), *elem)).collect();
    let node = editor.insert_typed(op, &values, types, Loc::default());
    let results: Vec<_> = editor[node].outputs.to_vec();
    for (i, result) in results.into_iter().enumerate() {
        editor.add_output(format!("y{i}"), result);
    }
    module
}

/// Runs one op on both and compares: floats within `bound` of the largest magnitude, everything else exactly.
pub fn check(op: impl Into<Op>, inputs: &[Tensor], bound: f32) {
    check_with(op, inputs, None, bound);
}

/// [`check`] with a constant in place of operand `.0`.
pub fn check_with(op: impl Into<Op>, inputs: &[Tensor], constant: Option<(usize, Constant)>, bound: f32) {
    check_by(op, inputs, constant, Tuning::default(), bound);
}

/// [`check_with`] with kernels chosen by a table.
pub fn check_by(op: impl Into<Op>, inputs: &[Tensor], constant: Option<(usize, Constant)>, tuning: Tuning, bound: f32) {
    let op = op.into();
    let context = OpContext { alloc: &Tensor::zeros, size_of: &|_| None };
    let fixed = constant.as_ref().map(|(at, constant)| (*at, convert::to_tensor(constant).unwrap()));
    let mut operands: Vec<&Tensor> = inputs.iter().collect();
    if let Some((at, tensor)) = &fixed {
        operands.insert(*at, tensor);
    }
    let want = mokume_runtime::ops::run(&op, &operands, &context).unwrap();
    let types: Vec<_> = want.iter().map(|y| (y.dims(), y.elem())).collect();
    let (_, mut device) = sessions_by(single(op.clone(), inputs, constant, &types), tuning);
    let named: Vec<_> = inputs.iter().enumerate().map(|(i, x)| (format!("x{i}"), x.clone())).collect();
    let got = device.run(&named).unwrap_or_else(|report| panic!("{}: {report}", op.name()));
    assert_eq!(got.len(), want.len());
    for ((_, got), want) in got.iter().zip(&want) {
        assert_same(op.name(), got, want, bound);
    }
}

/// Compares tensors: floats within `bound` of the largest magnitude, everything else exactly.
pub fn assert_same(what: &str, got: &Tensor, want: &Tensor, bound: f32) {
    assert_eq!((got.dims(), got.elem()), (want.dims(), want.elem()), "{what}");
    if want.elem() != Elem::F32 {
        assert_eq!(got.bytes(), want.bytes(), "{what}");
        return;
    }
    let finite = |x: f32| if x.is_finite() { x.abs() } else { 0.0 };
    let scale = want.slice::<f32>().iter().copied().map(finite).fold(1e-3, f32::max);
    for (i, (&got, &want)) in got.slice::<f32>().iter().zip(want.slice::<f32>()).enumerate() {
        let same = got == want || (got.is_nan() && want.is_nan()) || (got - want).abs() <= bound * scale;
        assert!(same, "{what}: element {i} is {got}, not {want}");
    }
}
