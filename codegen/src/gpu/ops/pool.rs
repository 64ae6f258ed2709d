//! Pooling over windows.

use super::conv::Windows;
use super::emit::{Emit, Float, Value};
use super::params;
use crate::gpu::build::{Build, Result};
use inkwell::IntPredicate;
use mokume_runtime::gpu::kernel::THREADS;

/// A thread per window.
pub(super) fn emit(build: &Build<'_>, name: &str, mean: bool, padding: bool) -> Result<()> {
    let e = &Emit::new(build, name, &params(2, 15), THREADS);
    let (x, y, len) = (e.address(), e.address(), e.size());
    let windows = Windows::of(e);
    let end: [_; 2] = e.sizes();
    let index = e.global_thread(THREADS);
    e.when(index.below(len), || {
        let count = windows.output[0] * windows.output[1];
        let [plane, window] = Windows::split(index, [count, count]);
        let [wy, wx] = Windows::split(window, windows.output);
        let taps = windows.kernel[0] * windows.kernel[1];
        let start = plane * windows.input[0] * windows.input[1];
        // The value so far, and how many elements it is of.
        let ended = e.fold((e.int(0), taps, e.int(1)), [e.float(0.0), e.float(0.0)], |tap, [value, seen]| {
            let [ky, kx] = Windows::split(tap, windows.kernel);
            let (iy, ix) = (windows.position(0, wy, ky), windows.position(1, wx, kx));
            let inside = iy.below(windows.input[0]).and(ix.below(windows.input[1]));
            let element = x.float(inside.choose(start + iy * windows.input[1] + ix, e.int(0)));
            let counted = if padding {
                // Signed: before the input there is only padding.
                iy.is(IntPredicate::SLT, windows.input[0] + end[0]).and(ix.is(IntPredicate::SLT, windows.input[1] + end[1]))
            } else {
                inside
            };
            let more = counted.pick(seen + 1.0, seen);
            if mean {
                return [inside.pick(value + element, value), more];
            }
            let first = seen.is(inkwell::FloatPredicate::OEQ, seen.same(0.0));
            [inside.and(first.or(element.gt(value))).pick(element, value), more]
        });
        y.store(index, Value::Float(if mean { average(ended) } else { ended[0] }));
    });
    e.end()
}

/// 0 for a window of nothing.
fn average<'e, 'c>([sum, count]: [Float<'e, 'c>; 2]) -> Float<'e, 'c> {
    count.gt(count.same(0.0)).pick(sum / count, count)
}
