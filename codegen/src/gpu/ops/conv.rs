//! Convolution as a product of filters and patches, tile by tile through shared memory.

use super::emit::{Emit, Int, Memory};
use super::params;
use crate::gpu::build::{Axis, Build, Result};
use mokume_runtime::gpu::kernel::TILE;

/// Where windows lie: pairs along both axes.
pub(super) struct Windows<'e, 'c> {
    pub(super) input: [Int<'e, 'c>; 2],
    pub(super) output: [Int<'e, 'c>; 2],
    pub(super) kernel: [Int<'e, 'c>; 2],
    pub(super) strides: [Int<'e, 'c>; 2],
    pub(super) dilations: [Int<'e, 'c>; 2],
    pub(super) begin: [Int<'e, 'c>; 2],
}

impl<'e, 'c> Windows<'e, 'c> {
    /// The next twelve parameters.
    pub(super) fn of(e: &'e Emit<'e, 'c>) -> Self {
        let [input, output, kernel] = [e.sizes(), e.sizes(), e.sizes()];
        let [strides, dilations, begin] = [e.sizes(), e.sizes(), e.sizes()];
        Windows { input, output, kernel, strides, dilations, begin }
    }
    /// Position in the input along an axis; beyond its size, unsigned, in the padding.
    pub(super) fn position(&self, axis: usize, window: Int<'e, 'c>, tap: Int<'e, 'c>) -> Int<'e, 'c> {
        window * self.strides[axis] + tap * self.dilations[axis] - self.begin[axis]
    }
    /// Quotient and remainder by the second size of a pair.
    pub(super) fn split(index: Int<'e, 'c>, sizes: [Int<'e, 'c>; 2]) -> [Int<'e, 'c>; 2] {
        let (index, size) = (index.narrow(), sizes[1].narrow());
        [(index / size).widen(), (index % size).widen()]
    }
}

/// A block per tile of the result, a thread per element of it.
pub(super) fn emit(build: &Build<'_>, name: &str, with_bias: bool) -> Result<()> {
    let e = &Emit::new(build, name, &params(3 + usize::from(with_bias), 16), TILE * TILE);
    let (x, w) = (e.address(), e.address());
    let bias = with_bias.then(|| e.address());
    let y = e.address();
    let [filters, depth, channels, groups] = e.sizes();
    let windows = Windows::of(e);
    let tile = i64::from(TILE);
    let (thread, batch) = (e.thread(), e.block(Axis::Z));
    let (line, column) = (thread / tile, thread % tile);
    let (group, count) = (batch % groups, windows.output[0] * windows.output[1]);
    let x = x.from(batch * channels * windows.input[0] * windows.input[1], 4);
    let (filter, window) = (e.block(Axis::Y) * tile + line, e.block(Axis::X) * tile + column);
    let number = group * filters + filter;
    let w_tile = e.shared(&format!("{name}_w"), TILE * TILE);
    let x_tile = e.shared(&format!("{name}_x"), TILE * TILE);

    let [sum] = e.fold((e.int(0), depth, e.int(tile)), [e.float(0.0)], |first, [sum]| {
        w_tile.set(thread, e.float(0.0));
        x_tile.set(thread, e.float(0.0));
        let term = first + column;
        e.when(filter.below(filters).and(term.below(depth)), || w_tile.set(thread, w.float(number * depth + term)));
        let term = first + line;
        e.when(window.below(count).and(term.below(depth)), || patch(e, &windows, x, (window, term), x_tile, thread));
        e.barrier();
        let terms = (0..tile).fold(sum, |sum, i| sum + w_tile.float(line * tile + i) * x_tile.float(column + i * tile));
        e.barrier();
        [terms]
    });
    e.when(filter.below(filters).and(window.below(count)), || {
        let sum = bias.map_or(sum, |bias| sum + bias.float(number));
        y.set((batch * filters + filter) * count + window, sum);
    });
    e.end()
}

/// Writes element `term` of the patch of a window, unless it lies in the padding.
fn patch<'e, 'c>(
    e: &'e Emit<'e, 'c>,
    windows: &Windows<'e, 'c>,
    x: Memory<'e, 'c>,
    (window, term): (Int<'e, 'c>, Int<'e, 'c>),
    to: Memory<'e, 'c>,
    place: Int<'e, 'c>,
) {
    let taps = windows.kernel[0] * windows.kernel[1];
    let [channel, tap] = Windows::split(term, [taps, taps]);
    let ([wy, wx], [ky, kx]) = (Windows::split(window, windows.output), Windows::split(tap, windows.kernel));
    let (iy, ix) = (windows.position(0, wy, ky), windows.position(1, wx, kx));
    let at = (channel * windows.input[0] + iy) * windows.input[1] + ix;
    e.when(iy.below(windows.input[0]).and(ix.below(windows.input[1])), || to.set(place, x.float(at)));
}
