//! Rotary position embedding.

use super::emit::Emit;
use super::strided;
use crate::gpu::build::{Build, Result};
use inkwell::IntPredicate;
use mokume_runtime::gpu::kernel::THREADS;

/// A thread per element.
pub(super) fn emit(build: &Build<'_>, name: &str, interleaved: bool, whole: bool) -> Result<()> {
    let e = &Emit::new(build, name, &strided(4, 3, 2), THREADS);
    let (x, cosines, sines, y) = (e.address(), e.address(), e.address(), e.address());
    let [len, row, half] = e.sizes();
    let (dims, strides) = (e.sizes(), e.sizes());
    let index = e.global_thread(THREADS);
    e.when(index.below(len), || {
        let (column, number) = ((index.narrow() % row.narrow()).widen(), (index.narrow() / row.narrow()).widen());
        let own = x.float(index);
        let turns = column.below(half * 2);
        e.when(turns.is(IntPredicate::EQ, turns.same(0)), || y.set(index, own));
        e.when(turns, || {
            let [angles] = e.place(number, dims, [strides]);
            let first = match interleaved {
                true => (column % 2).is(IntPredicate::EQ, e.int(0)),
                false => column.below(half),
            };
            let distance = if interleaved { e.int(1) } else { half };
            let pair = if interleaved { column / 2 } else { first.choose(column, column - half) };
            let at = angles + if whole { column } else { pair };
            let other = x.float(first.choose(index + distance, index - distance));
            let (straight, across) = (own * cosines.float(at), other * sines.float(at));
            y.set(index, first.pick(straight - across, straight + across));
        });
    });
    e.end()
}
