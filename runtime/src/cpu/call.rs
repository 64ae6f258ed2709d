//! A kernel with its weights, ready to be called.

use super::abi::{KernelArgs, KernelFn};
use super::isa::IsaLevel;
use super::rows::{Rows, RowsRef};
use super::spec::{KernelSpec, LANES, Layout, SHARED_ROWS, Store};
use crate::crew;
use crate::ops::scratch;
use crate::ops::shared::Shared;
use bytes::Bytes;
use smallvec::SmallVec;
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
/// Tasks of a product per thread.
const TASKS_PER_THREAD: usize = 2;
/// Bytes of weights per task, times its rows: as many as that gives, within these bounds. Long runs of memory are read faster.
const TASK_BYTES: Range<usize> = 1 << 14..1 << 18;

/// Computes f32 results `y [rows, n]` of all `rows` for every product, split among the threads.
///
/// Panics  when a kernel stores accumulators, or an operand is too small.
pub fn multiply<'p>(products: impl IntoIterator<Item = (&'p Product, &'p mut [f32])>, rows: &Rows) {
    let count = rows.count;
    let all: SmallVec<[_; 3]> = products.into_iter().map(|(product, y)| (product, product.results(count, y))).collect();
    let tasks = all.iter().enumerate().flat_map(|(i, (product, _))| product.tasks(count).map(move |task| (i, task)));
    let tasks: SmallVec<[_; 32]> = tasks.collect();
    crew::for_each(tasks.len(), |task| {
        let (i, (range, tiles)) = &tasks[task];
        let (product, out) = &all[*i];
        let n = product.layout.n;
        if tiles.end * LANES > n {
            return product.multiply_last(rows, out);
        }
        let start = out.at(range.start * n + tiles.start * LANES);
        // SAFETY: tasks write disjoint whole tiles of columns below `n`.
        unsafe { product.run(rows.view(), range.clone(), tiles.clone(), start.cast(), n) }
    });
}

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
    /// The product with code of this level, for which rows have tables only if it reads them.
    pub fn at_level(mut self, level: IsaLevel) -> Self {
        if !self.spec.reads_tables(level) {
            self.layout.tables = 0;
        }
        self
    }
    fn results<'y>(&self, count: usize, y: &'y mut [f32]) -> Shared<'y, f32> {
        assert_eq!(self.spec.store, Store::Scaled, "kernel {}", self.spec);
        assert_eq!(y.len(), count * self.layout.n, "results of {count} rows");
        Shared::new(y)
    }
    /// The kernel.
    pub fn spec(&self) -> &KernelSpec {
        &self.spec
    }
    /// Sizes of the operands.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }
    /// The packed weights.
    pub fn weights(&self) -> &Bytes {
        &self.weights
    }
    /// Computes f32 results of all `rows` on this thread, in lines of whole tiles.
    ///
    /// Panics  as [`multiply`].
    pub fn fill(&self, rows: RowsRef<'_>, y: &mut [f32]) {
        let (count, stride) = (rows.count, self.layout.tiles() * LANES);
        assert_eq!(self.spec.store, Store::Scaled, "kernel {}", self.spec);
        assert_eq!(y.len(), count * stride, "results of {count} rows");
        // SAFETY: the output has whole tiles.
        unsafe { self.run(rows, 0..count, 0..self.layout.tiles(), y.as_mut_ptr().cast(), stride) }
    }
    /// The last tile, which has columns that do not exist.
    fn multiply_last(&self, rows: &Rows, out: &Shared<'_, f32>) {
        let (count, n, tile) = (rows.count, self.layout.n, self.layout.n / LANES);
        let columns = n % LANES;
        scratch::with(count * LANES, |last: &mut [f32]| {
            // SAFETY: `last` has a whole tile of columns.
            unsafe { self.run(rows.view(), 0..count, tile..tile + 1, last.as_mut_ptr().cast(), LANES) }
            for (m, row) in last.chunks_exact(LANES).enumerate() {
                // SAFETY: no other task writes these columns.
                unsafe { out.part(m * n + tile * LANES, columns) }.copy_from_slice(&row[..columns]);
            }
        });
    }
    /// Rows and tiles of every task; a last tile that is not whole is a task of its own, with all rows.
    fn tasks(&self, count: usize) -> impl Iterator<Item = (Range<usize>, Range<usize>)> + use<> {
        let tiles = self.layout.n / LANES;
        let bytes = (self.layout.weight_bytes() / TASKS_PER_THREAD / crew::threads()).clamp(TASK_BYTES.start, TASK_BYTES.end);
        let step = bytes.div_ceil(self.layout.tile_bytes.max(1)).div_ceil(count.clamp(1, TASK_ROWS)).max(1);
        let starts = (0..count).step_by(TASK_ROWS).flat_map(move |row| (0..tiles).step_by(step).map(move |tile| (row, tile)));
        let whole = starts.map(move |(row, tile)| (row..(row + TASK_ROWS).min(count), tile..(tile + step).min(tiles)));
        let last = (tiles < self.layout.tiles() && count > 0).then_some((0..count, tiles..tiles + 1));
        whole.chain(last)
    }
    /// Computes the accumulators of all `rows`, per row and block, in lines of whole tiles.
    ///
    /// Panics  when the kernel stores f32, or an operand is too small.
    pub fn accumulators(&self, rows: &Rows) -> Vec<i32> {
        assert_eq!(self.spec.store, Store::Raw, "kernel {}", self.spec);
        let (count, tiles) = (rows.count, self.layout.tiles());
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
        assert_eq!(rows.bytes.len(), rows.count * layout.row_bytes, "rows do not fit {}", self.spec);
        let left_over = rows.count % SHARED_ROWS;
        assert_eq!(rows.tables.len(), left_over * layout.tables, "tables do not fit {}", self.spec);
        let whole = range.start.is_multiple_of(SHARED_ROWS) && (range.end == rows.count || range.len().is_multiple_of(SHARED_ROWS));
        assert!(whole || layout.tables == 0, "rows {range:?} are no groups of those with tables");
        let scales = range.start * layout.row_scales..range.end * layout.row_scales;
        let args = KernelArgs {
            activations: rows.bytes[range.start * layout.row_bytes..].as_ptr(),
            row_bytes: layout.row_bytes as u64,
            corrections: rows.corrections[range.start * layout.blocks..range.end * layout.blocks].as_ptr(),
            centers: rows.centers[scales.clone()].as_ptr(),
            scales: rows.scales[scales].as_ptr(),
            weights: self.weights[tiles.start * layout.tile_bytes..].as_ptr(),
            tile_bytes: layout.tile_bytes as u64,
            codes: layout.codes as u64,
            out,
            out_stride: stride as u64,
            blocks: layout.blocks as u64,
            chunks: layout.chunks as u64,
            tables: rows.tables.as_ptr().cast(),
        };
        // SAFETY: the operands have the sizes that the kernel reads and writes, by the checks above, in `new`, and the
        // promise of the caller.
        unsafe { (self.function)(&args, 0, range.len() as u64, 0, tiles.len() as u64) }
    }
}
