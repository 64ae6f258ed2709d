//! Gathers.

use super::emit::{Emit, Int, Memory, Value, int_type};
use super::params;
use crate::gpu::build::{Build, Result};
use inkwell::IntPredicate;
use mokume_runtime::gpu::kernel::THREADS;
use mokume_runtime::gpu::spec::{CHUNK, COLUMNS, FRAGMENT};

/// A thread per element. An index out of range tells the number of the node, and reads nothing.
pub(super) fn gather(build: &Build<'_>, name: &str, bytes: u8, wide: bool) -> Result<()> {
    let mut signature = params(3, 4);
    signature.extend(params(1, 1));
    let e = &Emit::new(build, name, &signature, THREADS);
    let (x, indices, y) = (e.address(), e.address(), e.address());
    let [len, size, count, inner] = e.sizes();
    let (fault, node) = (e.address(), e.size());
    let thread = e.global_thread(THREADS);
    e.when(thread.below(len), || {
        let number = thread.narrow();
        let (column, row) = ((number % inner.narrow()).widen(), number / inner.narrow());
        let (which, outer) = ((row % count.narrow()).widen(), (row / count.narrow()).widen());
        let (index, fits) = checked(build, indices, which, size, wide);
        e.when(fits.is(IntPredicate::EQ, fits.same(0)), || fault.store(e.int(0), Value::Int(node)));
        e.when(fits, || {
            let word = int_type(build, u32::from(bytes) * 8);
            y.store(thread, x.load(word.into(), (outer * size + index) * inner + column));
        });
    });
    e.end()
}

/// Index number `which` of an axis, counted from its front, and whether it is inside.
fn checked<'e, 'c>(
    build: &Build<'c>,
    indices: Memory<'e, 'c>,
    which: Int<'e, 'c>,
    size: Int<'e, 'c>,
    wide: bool,
) -> (Int<'e, 'c>, Int<'e, 'c>) {
    let index = match wide {
        true => indices.load(build.long().into(), which).int(),
        false => indices.load(build.int().into(), which).int().extended(64, true),
    };
    let index = index.is(IntPredicate::SLT, index.same(0)).choose(index + size, index);
    (index, index.below(size))
}

/// A thread per number of the rows of quantized weights. An index out of range tells the number of the node, and reads nothing.
pub(super) fn bit_gather(build: &Build<'_>, name: &str, (bits, step): (u8, u8), zeros: bool, wide: bool) -> Result<()> {
    let mut signature = params(5, 7);
    signature.extend(params(1, 1));
    let e = &Emit::new(build, name, &signature, THREADS);
    let (planes, scales, centers, indices, y) = (e.address(), e.address(), e.address(), e.address(), e.address());
    let [len, size, width, block, padded_block, columns, offset] = e.sizes();
    let (fault, node) = (e.address(), e.size());
    let thread = e.global_thread(THREADS);
    e.when(thread.below(len), || {
        let (k, which) = (thread.narrow() % width.narrow(), (thread.narrow() / width.narrow()).widen());
        let (row, fits) = checked(build, indices, which, size, wide);
        e.when(fits.is(IntPredicate::EQ, fits.same(0)), || fault.store(e.int(0), Value::Int(node)));
        e.when(fits, || {
            let group = (k / block.narrow()).widen();
            let at = group * padded_block + (k % block.narrow()).widen();
            let fragment = row / e.int(COLUMNS as i64);
            let code =
                code(build, planes.from((at / e.int(CHUNK as i64) * columns + fragment) * i64::from(bits), FRAGMENT as i64), row, at, bits);
            let number = group * columns * COLUMNS as i64 + row;
            let center = if zeros { centers.load(build.int().into(), number).int() } else { offset.narrow() };
            y.set(thread, (code * i64::from(step) + center).to_float() * scales.float(number));
        });
    });
    e.end()
}

/// The code of element `at` of a padded row, in the planes of its fragment.
fn code<'e, 'c>(build: &Build<'c>, planes: Memory<'e, 'c>, row: Int<'e, 'c>, at: Int<'e, 'c>, bits: u8) -> Int<'e, 'c> {
    let (line, in_word) = (row % row.same(COLUMNS as i64), at % at.same(32));
    let word = line * 4 + at % at.same(CHUNK as i64) / at.same(32);
    let bit = (in_word % in_word.same(4) * 8 + in_word / in_word.same(4)).narrow();
    let of_plane = |plane: u8| {
        let word = planes.load(build.int().into(), word + i64::from(plane) * (FRAGMENT / 4) as i64).int();
        let bit = word.down(bit);
        bit.and(bit.same(1)) * (1 << plane)
    };
    (1..bits).fold(of_plane(0), |code, plane| code + of_plane(plane))
}
