//! Gather.

use super::emit::{Emit, Value, int_type};
use super::params;
use crate::gpu::build::{Build, Result};
use inkwell::IntPredicate;
use mokume_runtime::gpu::kernel::THREADS;

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
        let index = match wide {
            true => indices.load(build.long().into(), which).int(),
            false => indices.load(build.int().into(), which).int().extended(64, true),
        };
        let index = index.is(IntPredicate::SLT, e.int(0)).choose(index + size, index);
        let fits = index.below(size);
        e.when(fits.is(IntPredicate::EQ, fits.same(0)), || fault.store(e.int(0), Value::Int(node)));
        e.when(fits, || {
            let word = int_type(build, u32::from(bytes) * 8);
            y.store(thread, x.load(word.into(), (outer * size + index) * inner + column));
        });
    });
    e.end()
}
