//! Softmax and its logarithm along an axis.

use super::emit::{Emit, Value};
use super::{math, params};
use crate::gpu::build::{Axis, Build, Result};
use mokume_runtime::gpu::kernel::ROW_THREADS;

/// A block per line.
pub(super) fn emit(build: &Build<'_>, name: &str, log: bool) -> Result<()> {
    let e = &Emit::new(build, name, &params(2, 2), ROW_THREADS);
    let (x, y) = (e.address(), e.address());
    let [size, stride] = e.sizes();
    let (line, thread) = (e.block(Axis::X).narrow(), e.thread());
    let (column, outer) = ((line % stride.narrow()).widen(), (line / stride.narrow()).widen());
    let start = outer * size * stride + column;
    let range = (thread, size, e.int(ROW_THREADS.into()));
    let words = e.shared(&format!("{name}_words"), ROW_THREADS);

    let [most] = e.fold(range, [e.float(f32::NEG_INFINITY)], |i, [most]| [most.max(x.float(start + i * stride))]);
    let most = e.combine(words, ROW_THREADS, Value::Float(most), |a, b| Value::Float(a.float().max(b.float()))).float();
    let [sum] = e.fold(range, [e.float(0.0)], |i, [sum]| [sum + math::exp(x.float(start + i * stride) - most)]);
    let sum = e.combine(words, ROW_THREADS, Value::Float(sum), |a, b| Value::Float(a.float() + b.float())).float();
    let ln = if log { math::ln(sum) } else { sum };
    e.each(range, |i| {
        let at = start + i * stride;
        let x = x.float(at) - most;
        y.set(at, if log { x - ln } else { math::exp(x) / sum });
    });
    e.end()
}
