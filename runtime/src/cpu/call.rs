//! A kernel with its weights, ready to be called.

use super::abi::{KernelArgs, KernelFn};
use super::rows::{Rows, RowsRef};
use super::spec::{KernelSpec, LANES, Layout, Store};
use crate::ops::shared::Shared;
use bytes::Bytes;
use rayon::prelude::*;
use std::ops::Range;

/// A compiled kernel and packed weights that fit it.
#[derive(Debug, Clone)]
pub struct Product {
    function: KernelFn,
    spec: KernelSpec,
    layout: Layout,
    weights: Bytes,
}

/// Rows per task.
const TASK_ROWS: usize = 64;
/// Bytes of weights per task, divided by its rows.
const TASK_BYTES: usize = 1 << 16;

impl Product {
    /// A product with weights `[n, k]`.
    ///
    /// Errors  when the weights have not the size that the layout asks for.
    ///
    /// # Safety
    /// `function` is the code of `spec`, and lives as long as the product.
    pub unsafe fn new(function: KernelFn, spec: KernelSpec, (n, k): (usize, usize), weights: Bytes) -> Result<Self, String> {
        let layout = spec.layout(n, k);
        if weights.len() != layout.weight_bytes() {
            return Err(format!("packed weights of {n} by {k} ({spec}) have {} bytes, not {}", weights.len(), layout.weight_bytes()));
        }
        Ok(Product { function, spec, layout, weights })
    }
    /// The kernel.
    pub fn spec(&self) -> &KernelSpec {
        &self.spec
    }
    /// Sizes of the operands.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }
    /// Computes f32 results of all `rows`: `y [rows, n]`, split among the threads.
    ///
    /// Panics  when the kernel stores accumulators, or an operand is too small.
    pub fn multiply(&self, rows: &Rows, y: &mut [f32]) {
        let (count, n) = (rows.scales.len(), self.layout.n);
        assert_eq!(self.spec.store, Store::Scaled, "kernel {}", self.spec);
        assert_eq!(y.len(), count * n, "results of {count} rows");
        let whole = n / LANES;
        let out = Shared::new(y);
        self.tasks(count, whole).into_par_iter().for_each(|(range, tiles)| {
            let start = out.at(range.start * n + tiles.start * LANES);
            // SAFETY: tasks write disjoint whole tiles of columns below `n`.
            unsafe { self.run(rows.view(), range, tiles, start.cast(), n) }
        });
        if n % LANES > 0 {
            self.multiply_last(rows, whole, &out);
        }
    }
    /// Computes f32 results of all `rows` on this thread, in lines of whole tiles.
    ///
    /// Panics  as [`Product::multiply`].
    pub fn fill(&self, rows: RowsRef<'_>, y: &mut [f32]) {
        let (count, stride) = (rows.scales.len(), self.layout.tiles() * LANES);
        assert_eq!(self.spec.store, Store::Scaled, "kernel {}", self.spec);
        assert_eq!(y.len(), count * stride, "results of {count} rows");
        // SAFETY: the output has whole tiles.
        unsafe { self.run(rows, 0..count, 0..self.layout.tiles(), y.as_mut_ptr().cast(), stride) }
    }
    /// The last tile, which has columns that do not exist.
    fn multiply_last(&self, rows: &Rows, tile: usize, out: &Shared<'_, f32>) {
        let (count, n) = (rows.scales.len(), self.layout.n);
        let mut last = vec![0f32; count * LANES];
        // SAFETY: `last` has a whole tile of columns.
        unsafe { self.run(rows.view(), 0..count, tile..tile + 1, last.as_mut_ptr().cast(), LANES) }
        for (m, row) in last.chunks_exact(LANES).enumerate() {
            let columns = n % LANES;
            // SAFETY: nothing else writes while this runs.
            unsafe { out.part(m * n + tile * LANES, columns) }.copy_from_slice(&row[..columns]);
        }
    }
    /// Rows and tiles of every task.
    fn tasks(&self, count: usize, tiles: usize) -> Vec<(Range<usize>, Range<usize>)> {
        let step = (TASK_BYTES / self.layout.tile_bytes.max(1) / count.clamp(1, TASK_ROWS)).max(1);
        let starts = (0..count).step_by(TASK_ROWS).flat_map(|row| (0..tiles).step_by(step).map(move |tile| (row, tile)));
        starts.map(|(row, tile)| (row..(row + TASK_ROWS).min(count), tile..(tile + step).min(tiles))).collect()
    }
    /// Computes the accumulators of all `rows`, per row and block, in lines of whole tiles.
    ///
    /// Panics  when the kernel stores f32, or an operand is too small.
    pub fn accumulators(&self, rows: &Rows) -> Vec<i32> {
        assert_eq!(self.spec.store, Store::Raw, "kernel {}", self.spec);
        let (count, tiles) = (rows.scales.len(), self.layout.tiles());
        let mut out = vec![0i32; count * self.layout.blocks * tiles * LANES];
        // SAFETY: the output has whole tiles.
        unsafe { self.run(rows.view(), 0..count, 0..tiles, out.as_mut_ptr().cast(), tiles * LANES) }
        out
    }
    /// # Safety
    /// `out` is the first column of the tiles in row 0 (of block 0) of the range, and has room for all rows and whole tiles.
    unsafe fn run(&self, rows: RowsRef<'_>, range: Range<usize>, tiles: Range<usize>, out: *mut u8, stride: usize) {
        let layout = &self.layout;
        if range.is_empty() || tiles.is_empty() {
            return;
        }
        assert!(tiles.end <= layout.tiles(), "tiles {tiles:?} of {}", layout.tiles());
        assert_eq!(rows.bytes.len(), rows.scales.len() * layout.row_bytes, "rows do not fit {}", self.spec);
        let args = KernelArgs {
            activations: rows.bytes[range.start * layout.row_bytes..].as_ptr(),
            row_bytes: layout.row_bytes as u64,
            corrections: rows.corrections[range.start * layout.blocks..range.end * layout.blocks].as_ptr(),
            centers: rows.centers[range.clone()].as_ptr(),
            scales: rows.scales[range.clone()].as_ptr(),
            weights: self.weights[tiles.start * layout.tile_bytes..].as_ptr(),
            tile_bytes: layout.tile_bytes as u64,
            out,
            out_stride: stride as u64,
            blocks: layout.blocks as u64,
            chunks: layout.chunks as u64,
        };
        // SAFETY: the operands have the sizes that the kernel reads and writes, by the checks above, in `new`, and the
        // promise of the caller.
        unsafe { (self.function)(&args, 0, range.len() as u64, 0, tiles.len() as u64) }
    }
}
