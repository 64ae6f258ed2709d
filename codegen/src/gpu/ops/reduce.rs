//! Reductions over any axes.

use super::emit::{Emit, Int, Value};
use super::{math, strided};
use crate::gpu::build::{Axis, Build, Result};
use inkwell::IntPredicate;
use inkwell::types::BasicTypeEnum;
use mokume_ir::op::ReduceKind;
use mokume_ir::types::Elem;
use mokume_runtime::gpu::kernel::ROW_THREADS;

/// A block per result.
pub(super) fn emit(build: &Build<'_>, name: &str, kind: ReduceKind, elem: Elem) -> Result<()> {
    let e = &Emit::new(build, name, &strided(2, 1, 4), ROW_THREADS);
    let (x, y, count) = (e.address(), e.address(), e.size());
    let (kept, kept_strides, inner, inner_strides) = (e.sizes(), e.sizes(), e.sizes(), e.sizes());
    let (number, thread) = (e.block(Axis::X), e.thread());
    let [start] = e.place(number, kept, [kept_strides]);
    let range = (thread, count, e.int(ROW_THREADS.into()));
    let words = e.shared(&format!("{name}_words"), 2 * ROW_THREADS);
    let ty = super::map::stored(build, elem);
    let at = |i| start + e.place(i, inner, [inner_strides])[0];
    let most = match kind {
        ReduceKind::LogSumExp => {
            let own =
                e.repeat(range, &[Value::Float(e.float(f32::NEG_INFINITY))], |i, v| vec![join(Joins::Max, elem, v[0], x.load(ty, at(i)))]);
            Some(e.combine(words, ROW_THREADS, own[0], |a, b| join(Joins::Max, elem, a, b)).float())
        }
        _ => None,
    };
    let joins = Joins::of(kind);
    let own = e.repeat(range, &[joins.neutral(e, elem, ty)], |i, values| {
        let x = x.load(ty, at(i));
        let term = match (kind, x) {
            (ReduceKind::SumSquare | ReduceKind::L2, Value::Float(x)) => Value::Float(x * x),
            (ReduceKind::L1, Value::Float(x)) => Value::Float(math::abs(x)),
            (ReduceKind::LogSumExp, Value::Float(x)) => Value::Float(math::exp(x - finite(most.unwrap_or(x)))),
            _ => x,
        };
        vec![join(joins, elem, values[0], term)]
    });
    let all = e.combine(words, ROW_THREADS, own[0], |a, b| join(joins, elem, a, b));
    let result = match (kind, all) {
        (ReduceKind::Mean, Value::Float(sum)) => Value::Float(sum / count.to_float()),
        (ReduceKind::L2, Value::Float(sum)) => Value::Float(sum.call("llvm.sqrt")),
        (ReduceKind::LogSum, Value::Float(sum)) => Value::Float(math::ln(sum)),
        (ReduceKind::LogSumExp, Value::Float(sum)) => Value::Float(math::ln(sum) + finite(most.unwrap_or(sum))),
        _ => all,
    };
    e.when(thread.is(IntPredicate::EQ, e.int(0)), || y.store(number, result));
    e.end()
}

/// 0 instead of an infinity, so that differences are numbers.
fn finite<'e, 'c>(x: super::emit::Float<'e, 'c>) -> super::emit::Float<'e, 'c> {
    math::abs(x).lt(x.same(f32::INFINITY)).pick(x, x.same(0.0))
}

/// How two partial results are joined.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Joins {
    Sum,
    Product,
    Max,
    Min,
}

impl Joins {
    fn of(kind: ReduceKind) -> Self {
        match kind {
            ReduceKind::Prod => Joins::Product,
            ReduceKind::Max => Joins::Max,
            ReduceKind::Min => Joins::Min,
            _ => Joins::Sum,
        }
    }
    /// The result of nothing.
    pub(super) fn neutral<'e, 'c>(self, e: &'e Emit<'e, 'c>, elem: Elem, ty: BasicTypeEnum<'c>) -> Value<'e, 'c> {
        let int = |value: i64| Value::Int(e.int_of(ty.into_int_type().const_int(value as u64, true)));
        match (self, elem) {
            (Joins::Sum, Elem::F32) => Value::Float(e.float(0.0)),
            (Joins::Product, Elem::F32) => Value::Float(e.float(1.0)),
            (Joins::Max, Elem::F32) => Value::Float(e.float(f32::NEG_INFINITY)),
            (Joins::Min, Elem::F32) => Value::Float(e.float(f32::INFINITY)),
            (Joins::Sum, _) => int(0),
            (Joins::Product, _) => int(1),
            (Joins::Max, Elem::Bool) => int(0),
            (Joins::Min, Elem::Bool) => int(1),
            (Joins::Max, Elem::I32) => int(i32::MIN.into()),
            (Joins::Min, Elem::I32) => int(i32::MAX.into()),
            (Joins::Max, _) => int(i64::MIN),
            (Joins::Min, _) => int(i64::MAX),
        }
    }
}

pub(super) fn join<'e, 'c>(joins: Joins, elem: Elem, a: Value<'e, 'c>, b: Value<'e, 'c>) -> Value<'e, 'c> {
    match (a, b) {
        (Value::Float(a), Value::Float(b)) => Value::Float(match joins {
            Joins::Sum => a + b,
            Joins::Product => a * b,
            Joins::Max => a.max(b),
            Joins::Min => a.min(b),
        }),
        (a, b) => Value::Int(join_ints(joins, elem != Elem::Bool, a.int(), b.int())),
    }
}

fn join_ints<'e, 'c>(joins: Joins, signed: bool, a: Int<'e, 'c>, b: Int<'e, 'c>) -> Int<'e, 'c> {
    let (less, more) = if signed { (IntPredicate::SLT, IntPredicate::SGT) } else { (IntPredicate::ULT, IntPredicate::UGT) };
    match joins {
        Joins::Sum => a + b,
        Joins::Product => a * b,
        Joins::Max => a.is(more, b).choose(a, b),
        Joins::Min => a.is(less, b).choose(a, b),
    }
}
