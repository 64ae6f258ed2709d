//! Layer norm, RMS norm and group norm.

use super::emit::{Emit, Value};
use super::params;
use crate::gpu::build::{Axis, Build, Param, Result};
use mokume_runtime::gpu::kernel::ROW_THREADS;

/// A block per row.
pub(super) fn emit(build: &Build<'_>, name: &str, center: bool, with_bias: bool) -> Result<()> {
    let signature = [params(3 + usize::from(with_bias), 2), vec![Param::F32]].concat();
    let e = &Emit::new(build, name, &signature, ROW_THREADS);
    let (x, scale) = (e.address(), e.address());
    let bias = with_bias.then(|| e.address());
    let (y, size, period, epsilon) = (e.address(), e.size(), e.size(), e.number());
    let (start, thread) = (e.block(Axis::X) * size, e.thread());
    let range = (thread, size, e.int(ROW_THREADS.into()));
    let words = e.shared(&format!("{name}_words"), ROW_THREADS);
    let total = |sum| e.combine(words, ROW_THREADS, Value::Float(sum), |a, b| Value::Float(a.float() + b.float())).float();
    let count = size.to_float();

    let mean = if center {
        let [sum] = e.fold(range, [e.float(0.0)], |i, [sum]| [sum + x.float(start + i)]);
        total(sum) / count
    } else {
        e.float(0.0)
    };
    let [sum] = e.fold(range, [e.float(0.0)], |i, [sum]| {
        let x = x.float(start + i) - mean;
        [sum + x * x]
    });
    let factor = e.float(1.0) / (total(sum) / count + epsilon).call("llvm.sqrt");
    e.each(range, |i| {
        let own = i % period;
        let scaled = (x.float(start + i) - mean) * factor * scale.float(own);
        y.set(start + i, bias.map_or(scaled, |bias| scaled + bias.float(own)));
    });
    e.end()
}

/// Group norm: a block per group.
pub(super) fn emit_group(build: &Build<'_>, name: &str) -> Result<()> {
    let signature = [params(4, 4), vec![Param::F32]].concat();
    let e = &Emit::new(build, name, &signature, ROW_THREADS);
    let (x, scale, bias, y) = (e.address(), e.address(), e.address(), e.address());
    let [size, plane, channels, groups] = e.sizes();
    let epsilon = e.number();
    let (block, thread) = (e.block(Axis::X), e.thread());
    let start = block * size;
    let range = (thread, size, e.int(ROW_THREADS.into()));
    let words = e.shared(&format!("{name}_words"), ROW_THREADS);
    let total = |sum| e.combine(words, ROW_THREADS, Value::Float(sum), |a, b| Value::Float(a.float() + b.float())).float();
    let share = e.float(1.0) / size.to_float();

    let [sum] = e.fold(range, [e.float(0.0)], |i, [sum]| [sum + x.float(start + i)]);
    let mean = total(sum) * share;
    let [sum] = e.fold(range, [e.float(0.0)], |i, [sum]| {
        let x = x.float(start + i) - mean;
        [sum + x * x]
    });
    let factor = e.float(1.0) / (total(sum) * share + epsilon).call("llvm.sqrt");
    let first = block % groups * channels;
    e.each((e.int(0), channels, e.int(1)), |channel| {
        let (scale, bias) = (scale.float(first + channel), bias.float(first + channel));
        let start = start + channel * plane;
        e.each((thread, plane, e.int(ROW_THREADS.into())), |i| y.set(start + i, (x.float(start + i) - mean) * factor * scale + bias));
    });
    e.end()
}
