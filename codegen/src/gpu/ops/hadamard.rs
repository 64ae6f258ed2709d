//! Hadamard transforms.
//!
//! The core of the matrix comes first, from the operand to the result: a thread takes one element of every run of neighbors and
//! gives one of every run. Then butterflies in place, with a barrier before each stage. Sums have the order of the CPU.

use super::emit::{Emit, Float};
use super::params;
use crate::error::CodegenError;
use crate::gpu::build::{Axis, Build, Result};
use mokume_ir::hadamard::Hadamard;
use mokume_runtime::gpu::kernel::ROW_THREADS;

/// A block of threads per block of elements.
pub(super) fn emit(build: &Build<'_>, name: &str, block: u32) -> Result<()> {
    let Some(matrix) = Hadamard::new(block as usize) else {
        return Err(CodegenError::Missing(format!("a Hadamard matrix of order {block}")));
    };
    let e = &Emit::new(build, name, &params(2, 0), ROW_THREADS);
    let (x, y) = (e.address(), e.address());
    let start = e.block(Axis::X) * i64::from(block);
    let (x, y) = (x.from(start, 4), y.from(start, 4));
    let twos = (matrix.order() / matrix.core()) as i64;
    let scale = (1.0 / f64::from(block).sqrt()) as f32;
    let up_to = |end: i64| (e.thread(), e.int(end), e.int(ROW_THREADS.into()));

    e.each(up_to(twos), |i| {
        let own: Vec<Float<'_, '_>> = (0..matrix.core() as i64).map(|run| x.float(i + run * twos)).collect();
        for (run, signs) in matrix.core_signs().chunks_exact(matrix.core()).enumerate() {
            let sum = signs.iter().zip(&own).fold(e.float(0.0), |sum, (&sign, &x)| if sign > 0 { sum + x } else { sum - x });
            y.set(i + run as i64 * twos, sum * scale);
        }
    });
    let mut half = 1;
    while half < twos {
        e.barrier();
        e.each(up_to(i64::from(block) / 2), |i| {
            let first = i / half * (2 * half) + i % half;
            let (a, b) = (y.float(first), y.float(first + half));
            y.set(first, a + b);
            y.set(first + half, a - b);
        });
        half *= 2;
    }
    e.end()
}
