//! A kernel with its weights, ready to be called.

use super::abi::{KernelArgs, KernelFn};
use super::rows::Rows;
use super::spec::{KernelSpec, LANES, Layout, Store};
use bytes::Bytes;
use std::ops::Range;

/// A compiled kernel and packed weights that fit it.
#[derive(Debug, Clone)]
pub struct Product {
    function: KernelFn,
    spec: KernelSpec,
    layout: Layout,
    weights: Bytes,
}

/// Where a kernel writes: whole tiles of columns, rows `stride` elements apart.
pub struct Output<'a, T> {
    /// The elements.
    pub elements: &'a mut [T],
    /// Elements between the first columns of rows (of blocks, for raw accumulators).
    pub stride: usize,
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
    /// The kernel.
    pub fn spec(&self) -> &KernelSpec {
        &self.spec
    }
    /// Sizes of the operands.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }
    /// Computes f32 results of all `rows` for `tiles`; column 0 of the output is the first of the tiles.
    ///
    /// Panics  when the kernel stores accumulators, or an operand is too small.
    pub fn scaled(&self, rows: &Rows, tiles: Range<usize>, out: Output<'_, f32>) {
        assert_eq!(self.spec.store, Store::Scaled, "kernel {}", self.spec);
        self.run(rows, tiles, rows.scales.len(), out.stride, bytemuck::cast_slice_mut(out.elements));
    }
    /// Computes the accumulators of all `rows` for `tiles`, per row and block.
    ///
    /// Panics  when the kernel stores f32, or an operand is too small.
    pub fn raw(&self, rows: &Rows, tiles: Range<usize>, out: Output<'_, i32>) {
        assert_eq!(self.spec.store, Store::Raw, "kernel {}", self.spec);
        self.run(rows, tiles, rows.scales.len() * self.layout.blocks, out.stride, bytemuck::cast_slice_mut(out.elements));
    }
    /// `lines` are the runs of columns that are written.
    fn run(&self, rows: &Rows, tiles: Range<usize>, lines: usize, stride: usize, out: &mut [u8]) {
        let (count, layout) = (rows.scales.len(), &self.layout);
        if count == 0 || tiles.is_empty() {
            return;
        }
        assert!(tiles.end <= layout.tiles(), "tiles {tiles:?} of {}", layout.tiles());
        let fits = rows.bytes.len() >= count * layout.row_bytes && rows.corrections.len() >= count * layout.blocks;
        assert!(fits && rows.centers.len() >= count, "rows do not fit {}", self.spec);
        assert!(lines == 0 || out.len() >= ((lines - 1) * stride + tiles.len() * LANES) * 4, "output too small for {}", self.spec);
        let args = KernelArgs {
            activations: rows.bytes.as_ptr(),
            row_bytes: layout.row_bytes as u64,
            corrections: rows.corrections.as_ptr(),
            centers: rows.centers.as_ptr(),
            scales: rows.scales.as_ptr(),
            weights: self.weights[tiles.start * layout.tile_bytes..].as_ptr(),
            tile_bytes: layout.tile_bytes as u64,
            out: out.as_mut_ptr(),
            out_stride: stride as u64,
            blocks: layout.blocks as u64,
            chunks: layout.chunks as u64,
        };
        // SAFETY: the operands have the sizes that the kernel reads and writes, by the checks above and in `new`.
        unsafe { (self.function)(&args, 0, count as u64, 0, tiles.len() as u64) }
    }
}
