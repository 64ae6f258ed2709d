//! Weighted sums along an axis.

use super::emit::Emit;
use super::params;
use crate::gpu::build::{Build, Param, Result};
use inkwell::IntPredicate;
use mokume_runtime::gpu::kernel::THREADS;

/// A thread per element.
pub(super) fn emit(build: &Build<'_>, name: &str) -> Result<()> {
    let signature = [params(5, 5), vec![Param::F32]].concat();
    let e = &Emit::new(build, name, &signature, THREADS);
    let (x, counts, sources, weights, y) = (e.address(), e.address(), e.address(), e.address(), e.address());
    let [len, input, output, inner, width] = e.sizes();
    let outside = e.number();
    let index = e.global_thread(THREADS);
    e.when(index.below(len), || {
        let (column, row) = ((index.narrow() % inner.narrow()).widen(), index.narrow() / inner.narrow());
        let (at, outer) = ((row % output.narrow()).widen(), (row / output.narrow()).widen());
        let count = counts.load(build.int().into(), at).int().widen();
        let [sum] = e.fold((e.int(0), count, e.int(1)), [e.float(0.0)], |tap, [sum]| {
            let place = at * width + tap;
            let source = sources.load(build.int().into(), place).int().widen();
            [sum + weights.float(place) * x.float((outer * input + source) * inner + column)]
        });
        y.set(index, count.is(IntPredicate::EQ, e.int(0)).pick(outside, sum));
    });
    e.end()
}
