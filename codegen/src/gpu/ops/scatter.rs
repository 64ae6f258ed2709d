//! Scatters. An index out of range tells the number of the node, and writes nothing.

use super::emit::{Emit, Int, Memory, Value};
use super::reduce::{Joins, join};
use super::{map, params, strided};
use crate::gpu::build::{Build, Result};
use inkwell::IntPredicate;
use mokume_ir::op::ScatterKind;
use mokume_ir::types::Elem;
use mokume_runtime::gpu::kernel::{RANK, THREADS};

/// A thread per line of the indices along the axis.
pub(super) fn elements(build: &Build<'_>, name: &str, kind: ScatterKind, elem: Elem, wide: bool) -> Result<()> {
    let mut signature = strided(3, 5, 3);
    signature.extend(params(1, 1));
    let e = &Emit::new(build, name, &signature, THREADS);
    let (y, indices, updates) = (e.address(), e.address(), e.address());
    let [lines, count, size, y_stride, stride] = e.sizes();
    let (dims, y_strides, strides) = (e.sizes(), e.sizes(), e.sizes());
    let (fault, node) = (e.address(), e.size());
    let line = e.global_thread(THREADS);
    e.when(line.below(lines), || {
        let [to, from] = e.place(line, dims, [y_strides, strides]);
        e.each((e.int(0), count, e.int(1)), |i| {
            let at = from + i * stride;
            let index = counted(load(build, indices, at, wide), size);
            let fits = index.below(size);
            e.when(fits.is(IntPredicate::EQ, fits.same(0)), || fault.store(e.int(0), Value::Int(node)));
            e.when(fits, || write(build, (kind, elem), (y, to + index * y_stride), (updates, at)));
        });
    });
    e.end()
}

/// A thread per element of a slice.
pub(super) fn slices(build: &Build<'_>, name: &str, kind: ScatterKind, elem: Elem) -> Result<()> {
    let mut signature = params(3, 3 + 2 * RANK);
    signature.extend(params(1, 1));
    let e = &Emit::new(build, name, &signature, THREADS);
    let (y, indices, updates) = (e.address(), e.address(), e.address());
    let [columns, slices, depth] = e.sizes();
    let (sizes, strides): ([Int<'_, '_>; RANK], [Int<'_, '_>; RANK]) = (e.sizes(), e.sizes());
    let (fault, node) = (e.address(), e.size());
    let column = e.global_thread(THREADS);
    e.when(column.below(columns), || {
        e.each((e.int(0), slices, e.int(1)), |slice| {
            let (mut place, mut fits) = (e.int(0), e.int_of(build.context.bool_type().const_all_ones()));
            for axis in 0..RANK {
                let has = e.int(axis as i64).below(depth);
                let index = load(build, indices, slice * depth + has.choose(e.int(axis as i64), e.int(0)), true);
                let index = has.choose(counted(index, sizes[axis]), e.int(0));
                place = place + index * strides[axis];
                fits = fits.and(index.below(sizes[axis]));
            }
            e.when(fits.is(IntPredicate::EQ, fits.same(0)), || fault.store(e.int(0), Value::Int(node)));
            e.when(fits, || write(build, (kind, elem), (y, place + column), (updates, slice * columns + column)));
        });
    });
    e.end()
}

fn load<'e, 'c>(build: &Build<'c>, indices: Memory<'e, 'c>, at: Int<'e, 'c>, wide: bool) -> Int<'e, 'c> {
    match wide {
        true => indices.load(build.long().into(), at).int(),
        false => indices.load(build.int().into(), at).int().extended(64, true),
    }
}

/// An index, counted from the end when negative.
fn counted<'e, 'c>(index: Int<'e, 'c>, size: Int<'e, 'c>) -> Int<'e, 'c> {
    index.is(IntPredicate::SLT, index.same(0)).choose(index + size, index)
}

/// Writes an update.
fn write<'e, 'c>(
    build: &Build<'c>,
    (kind, elem): (ScatterKind, Elem),
    (y, place): (Memory<'e, 'c>, Int<'e, 'c>),
    (updates, at): (Memory<'e, 'c>, Int<'e, 'c>),
) {
    let ty = map::stored(build, elem);
    let update = updates.load(ty, at);
    let joins = match kind {
        ScatterKind::None => return y.store(place, update),
        ScatterKind::Add => Joins::Sum,
        ScatterKind::Mul => Joins::Product,
        ScatterKind::Min => Joins::Min,
        ScatterKind::Max => Joins::Max,
    };
    y.store(place, join(joins, elem, y.load(ty, place), update));
}
