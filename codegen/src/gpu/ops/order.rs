//! Ops that go by the order of elements along an axis: arg reductions, top k, running sums and products.
//!
//! An element and its place make one number of 64 bits, which is the larger the earlier the element comes: the order of the element above,
//! the place below.

use super::emit::{Emit, Int, Value};
use super::reduce::{Joins, join};
use super::{map, params};
use crate::gpu::build::{Axis, Build, Result};
use inkwell::IntPredicate;
use mokume_ir::types::Elem;
use mokume_runtime::gpu::kernel::{ROW_THREADS, THREADS};

/// The place in the number of an element, from the highest place on.
const PLACES: i64 = u32::MAX as i64;

/// Where the extreme of a line is: a block per line.
pub(super) fn arg_reduce(build: &Build<'_>, name: &str, largest: bool, last: bool, elem: Elem) -> Result<()> {
    let e = &Emit::new(build, name, &params(2, 2), ROW_THREADS);
    let (x, y) = (e.address(), e.address());
    let [size, stride] = e.sizes();
    let (line, start) = line_of(e, size, stride);
    let range = (e.thread(), size, e.int(ROW_THREADS.into()));
    let words = e.shared(&format!("{name}_words"), 2 * ROW_THREADS);
    let own = e.repeat(range, &[Value::Int(e.int(i64::MIN))], |i, most| {
        let order = order(x.load(map::stored(build, elem), start + i * stride), largest, true);
        let place = if last { i } else { e.int(PLACES) - i };
        vec![Value::Int(larger(most[0].int(), numbered(order, place)))]
    });
    let most = e.combine(words, ROW_THREADS, own[0], |a, b| Value::Int(larger(a.int(), b.int()))).int();
    let place = most.and(e.int(PLACES));
    let place = if last { place } else { e.int(PLACES) - place };
    e.when(e.thread().is(IntPredicate::EQ, e.int(0)), || y.store(line, Value::Int(place)));
    e.end()
}

/// The first elements of a line in order: a block per line, which looks for one after the other.
pub(super) fn top_k(build: &Build<'_>, name: &str, largest: bool, elem: Elem) -> Result<()> {
    let e = &Emit::new(build, name, &params(3, 3), ROW_THREADS);
    let (x, values, indices) = (e.address(), e.address(), e.address());
    let [size, stride, k] = e.sizes();
    let (line, start) = line_of(e, size, stride);
    let first = line / stride * k * stride + line % stride;
    let range = (e.thread(), size, e.int(ROW_THREADS.into()));
    let words = e.shared(&format!("{name}_words"), 2 * ROW_THREADS);
    let ty = map::stored(build, elem);
    e.repeat((e.int(0), k, e.int(1)), &[Value::Int(e.int(i64::MAX))], |rank, bound| {
        let bound = bound[0].int();
        let own = e.repeat(range, &[Value::Int(e.int(i64::MIN))], |i, most| {
            let number = numbered(order(x.load(ty, start + i * stride), largest, false), e.int(PLACES) - i);
            let number = number.is(IntPredicate::SLE, bound).choose(number, e.int(i64::MIN));
            vec![Value::Int(larger(most[0].int(), number))]
        });
        let most = e.combine(words, ROW_THREADS, own[0], |a, b| Value::Int(larger(a.int(), b.int()))).int();
        let place = e.int(PLACES) - most.and(e.int(PLACES));
        e.when(e.thread().is(IntPredicate::EQ, e.int(0)), || {
            values.store(first + rank * stride, x.load(ty, start + place * stride));
            indices.store(first + rank * stride, Value::Int(place));
        });
        vec![Value::Int(most - 1)]
    });
    e.end()
}

/// Running sums or products: a thread per line.
pub(super) fn cumulative(build: &Build<'_>, name: &str, product: bool, exclusive: bool, reverse: bool, elem: Elem) -> Result<()> {
    let e = &Emit::new(build, name, &params(2, 3), THREADS);
    let (x, y) = (e.address(), e.address());
    let [lines, size, stride] = e.sizes();
    let line = e.global_thread(THREADS);
    let (ty, joins) = (map::stored(build, elem), if product { Joins::Product } else { Joins::Sum });
    e.when(line.below(lines), || {
        let start = line / stride * size * stride + line % stride;
        e.repeat((e.int(0), size, e.int(1)), &[joins.neutral(e, elem, ty)], |i, before| {
            let place = start + if reverse { size - 1 - i } else { i } * stride;
            let after = join(joins, elem, before[0], x.load(ty, place));
            y.store(place, if exclusive { before[0] } else { after });
            vec![after]
        });
    });
    e.end()
}

/// The line of a block, and where it begins.
fn line_of<'e, 'c>(e: &'e Emit<'e, 'c>, size: Int<'e, 'c>, stride: Int<'e, 'c>) -> (Int<'e, 'c>, Int<'e, 'c>) {
    let line = e.block(Axis::X);
    (line, line / stride * size * stride + line % stride)
}

/// A number of 32 bits that is the larger the earlier the element comes. NaN is larger than every number, or first in any case.
fn order<'e, 'c>(x: Value<'e, 'c>, largest: bool, nan_first: bool) -> Int<'e, 'c> {
    let turned = |order: Int<'e, 'c>| if largest { order } else { order.xor(order.same(-1)) };
    match x {
        Value::Int(x) => turned(x),
        Value::Float(x) => {
            // Both zeros are one number.
            let bits = (x + 0.0).bits();
            let order = turned(bits.xor(bits.halved(31).and(bits.same(0x7fff_ffff))));
            let of_nan = if largest || nan_first { i32::MAX } else { i32::MIN };
            x.is_nan().choose(order.same(of_nan.into()), order)
        }
    }
}

fn numbered<'e, 'c>(order: Int<'e, 'c>, place: Int<'e, 'c>) -> Int<'e, 'c> {
    order.extended(64, true) * (1 << 32) + place
}

fn larger<'e, 'c>(a: Int<'e, 'c>, b: Int<'e, 'c>) -> Int<'e, 'c> {
    a.is(IntPredicate::SGT, b).choose(a, b)
}
