//! Products of f32 matrices, tile by tile through shared memory.

use super::emit::Emit;
use super::params;
use crate::gpu::build::{Axis, Build, Result};
use mokume_runtime::gpu::kernel::TILE;

/// A block per tile of the result, a thread per element of it.
pub(super) fn emit(build: &Build<'_>, name: &str) -> Result<()> {
    let e = &Emit::new(build, name, &params(3, 12), TILE * TILE);
    let (a, b, y) = (e.address(), e.address(), e.address());
    let [m, n, k, a_row, a_term, b_term, b_column, batches] = e.sizes();
    let [a_outer, a_inner, b_outer, b_inner] = e.sizes();
    let tile = i64::from(TILE);
    let (thread, batch) = (e.thread(), e.block(Axis::Z));
    let (line, column) = (thread / tile, thread % tile);
    let (outer, inner) = (batch / batches, batch % batches);
    let a = a.from(outer * a_outer + inner * a_inner, 4);
    let b = b.from(outer * b_outer + inner * b_inner, 4);
    let (row, col) = (e.block(Axis::Y) * tile + line, e.block(Axis::X) * tile + column);
    let a_tile = e.shared(&format!("{name}_a"), TILE * TILE);
    let b_tile = e.shared(&format!("{name}_b"), TILE * TILE);

    let [sum] = e.fold((e.int(0), k, e.int(tile)), [e.float(0.0)], |first, [sum]| {
        a_tile.set(thread, e.float(0.0));
        b_tile.set(thread, e.float(0.0));
        e.when(row.below(m).and((first + column).below(k)), || a_tile.set(thread, a.float(row * a_row + (first + column) * a_term)));
        e.when(col.below(n).and((first + line).below(k)), || b_tile.set(thread, b.float((first + line) * b_term + col * b_column)));
        e.barrier();
        let terms = (0..tile).fold(sum, |sum, i| sum + a_tile.float(line * tile + i) * b_tile.float(column + i * tile));
        e.barrier();
        [terms]
    });
    e.when(row.below(m).and(col.below(n)), || y.set((batch * m + row) * n + col, sum));
    e.end()
}
