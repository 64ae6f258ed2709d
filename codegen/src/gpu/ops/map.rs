//! Elementwise expressions.

use super::emit::{Emit, Int, Value, int_type};
use super::{convert, function, half};
use crate::error::CodegenError;
use crate::gpu::build::{Build, Param, Result};
use inkwell::IntPredicate;
use inkwell::types::BasicTypeEnum;
use mokume_ir::types::Elem;
use mokume_runtime::gpu::kernel::{RANK, THREADS};
use mokume_runtime::gpu::map::{Map, Term};

/// A thread per element.
pub(super) fn emit(build: &Build<'_>, name: &str, map: &Map) -> Result<()> {
    let count = map.inputs.len();
    let mut signature = vec![Param::Address, Param::I64];
    signature.extend(vec![Param::Address; count]);
    signature.extend(vec![Param::I64; if map.flat { count } else { (1 + count) * RANK }]);
    let e = &Emit::new(build, name, &signature, THREADS);
    let (y, len) = (e.address(), e.size());
    let inputs: Vec<_> = map.inputs.iter().map(|_| e.address()).collect();
    let index = e.global_thread(THREADS);
    let once: Vec<Int<'_, '_>> = inputs.iter().filter(|_| map.flat).map(|_| e.size()).collect();
    let dims = (!map.flat).then(|| e.sizes());
    let strides: Vec<[Int<'_, '_>; RANK]> = inputs.iter().filter(|_| !map.flat).map(|_| e.sizes()).collect();
    e.when(index.below(len), || {
        let places = match dims {
            None => once.iter().map(|&stride| index * stride).collect(),
            Some(dims) => e.places(index, dims, &strides),
        };
        let read = |input: usize| read(map.inputs[input], inputs[input].load(stored(build, map.inputs[input]), places[input]));
        let result = expression(e, map, index, &read);
        y.store(index, written(map.output(), result));
    });
    e.end()
}

/// The type that elements have in memory.
pub(super) fn stored<'c>(build: &Build<'c>, elem: Elem) -> BasicTypeEnum<'c> {
    match elem {
        Elem::F32 => build.float().into(),
        _ => int_type(build, elem.bits().max(8)).into(),
    }
}

/// A value as it is computed with: bools are one bit, floats of 16 bits f32.
fn read<'e, 'c>(elem: Elem, value: Value<'e, 'c>) -> Value<'e, 'c> {
    match (elem, value) {
        (Elem::Bool, Value::Int(value)) => Value::Int(value.is(IntPredicate::NE, value.same(0))),
        (Elem::F16, Value::Int(value)) => Value::Float(half::widened(value)),
        (Elem::BF16, Value::Int(value)) => Value::Float(half::b_widened(value)),
        _ => value,
    }
}

/// A value as it lies in memory.
fn written<'e, 'c>(elem: Elem, value: Value<'e, 'c>) -> Value<'e, 'c> {
    match (elem, value) {
        (Elem::Bool, Value::Int(value)) => Value::Int(value.extended(8, false)),
        (Elem::F16, Value::Float(value)) => Value::Int(half::narrowed(value)),
        (Elem::BF16, Value::Float(value)) => Value::Int(half::b_narrowed(value)),
        _ => value,
    }
}

/// The result of the expression for element `index`.
fn expression<'e, 'c>(e: &'e Emit<'e, 'c>, map: &Map, index: Int<'e, 'c>, read: &dyn Fn(usize) -> Value<'e, 'c>) -> Value<'e, 'c> {
    let mut values: Vec<Value<'e, 'c>> = Vec::with_capacity(map.terms.len());
    for term in &map.terms {
        let at = |term: u32| (values[term as usize], map.elem(term as usize));
        let value = match *term {
            Term::Input(input) => read(input as usize),
            Term::Number(elem) => convert::cast(Value::Int(index), Elem::I64, elem),
            Term::Unary(kind, a) => function::unary(kind, at(a).1, at(a).0),
            Term::Binary(kind, a, b) => function::binary(kind, at(a).1, at(a).0, at(b).0),
            Term::Select(c, a, b) => select(at(c).0.int(), at(a).0, at(b).0),
            Term::Cast(to, a) => convert::cast(at(a).0, at(a).1, to),
            Term::Activation(kind, a, alpha, beta) => {
                Value::Float(function::activation(kind, at(a).0.float(), f32::from_bits(alpha), f32::from_bits(beta)))
            }
            Term::Swiglu(gate, up) => Value::Float(super::math::silu(at(gate).0.float()) * at(up).0.float()),
        };
        values.push(value);
    }
    values.last().copied().unwrap_or_else(|| {
        e.kept(Err(CodegenError::Missing("terms of an expression".into())), || ());
        Value::Int(e.int(0))
    })
}

fn select<'e, 'c>(condition: Int<'e, 'c>, yes: Value<'e, 'c>, no: Value<'e, 'c>) -> Value<'e, 'c> {
    match (yes, no) {
        (Value::Float(yes), Value::Float(no)) => Value::Float(condition.pick(yes, no)),
        (yes, no) => Value::Int(condition.choose(yes.int(), no.int())),
    }
}
