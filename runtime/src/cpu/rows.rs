//! Rows of activations as kernels read them: packed bytes or bit planes, tables, corrections, centers, scales.

use super::spec::{ByteCode, CHUNK, KernelSpec, Layout, SHARED_ROWS, Strategy, Table};
use super::tables;
use crate::ops::simd::vectorized;
use std::cell::Cell;
use std::ops::Range;

/// What turns the bytes of a row into a kernel operand.
#[derive(Debug, Clone, Copy)]
pub struct RowPacker {
    spec: KernelSpec,
    layout: Layout,
    code: ByteCode,
    /// `step_a [cw]`: what a block's sum of bytes is multiplied by.
    factor: i32,
}

/// Packed rows.
#[derive(Debug, Clone, Default)]
pub struct Rows {
    /// How many there are.
    pub count: usize,
    /// Activations, `row_bytes` per row.
    pub bytes: Vec<u8>,
    /// Those of the rows left over from groups of [`SHARED_ROWS`].
    pub tables: Vec<Table>,
    /// One per row and block.
    pub corrections: Vec<i32>,
    /// One per row, or per row and block.
    pub centers: Vec<i32>,
    /// As many.
    pub scales: Vec<f32>,
}

/// Packed rows as a kernel reads them.
#[derive(Debug, Clone, Copy)]
pub struct RowsRef<'a> {
    /// How many there are.
    pub count: usize,
    /// Activations.
    pub bytes: &'a [u8],
    /// Those of the rows left over from groups of [`SHARED_ROWS`].
    pub tables: &'a [Table],
    /// One per row and block.
    pub corrections: &'a [i32],
    /// One per row, or per row and block.
    pub centers: &'a [i32],
    /// As many.
    pub scales: &'a [f32],
}

impl Rows {
    /// The rows.
    pub fn view(&self) -> RowsRef<'_> {
        self.with_bytes(&self.bytes)
    }
    /// The rows, whose activations lie elsewhere.
    pub fn with_bytes<'a>(&'a self, bytes: &'a [u8]) -> RowsRef<'a> {
        let Rows { count, tables, corrections, centers, scales, .. } = self;
        RowsRef { count: *count, bytes, tables, corrections, centers, scales }
    }
}

/// One row of [`Rows`], to be written.
pub struct RowMut<'a> {
    bytes: &'a mut [u8],
    tables: &'a mut [Table],
    corrections: &'a mut [i32],
    centers: &'a mut [i32],
    scales: &'a mut [f32],
}

impl RowPacker {
    /// A packer for activations of this byte code; `w_offset` is `cw` of weights without zero points.
    pub fn new(spec: KernelSpec, layout: Layout, code: ByteCode, w_offset: i32) -> Self {
        let factor = if spec.w_zero { code.step } else { code.step.wrapping_mul(w_offset) };
        RowPacker { spec, layout, code, factor }
    }
    /// Elements of a row.
    pub fn k(&self) -> usize {
        self.layout.k
    }
    /// Whether both write the same for the same rows.
    pub fn packs_as(&self, other: &RowPacker) -> bool {
        let shape = |layout: &Layout| (layout.k, layout.block, layout.chunks, layout.row_bytes, layout.row_scales, layout.tables);
        let how = |packer: &RowPacker| (packer.spec.strategy, packer.spec.a_bits, packer.code, packer.factor);
        shape(&self.layout) == shape(&other.layout) && how(self) == how(other)
    }
    /// The byte code.
    pub fn code(&self) -> ByteCode {
        self.code
    }
    /// Memory for `count` rows.
    pub fn rows(&self, count: usize) -> Rows {
        Rows {
            count,
            bytes: vec![0; count * self.layout.row_bytes],
            tables: vec![Table([0; _]); count % SHARED_ROWS * self.layout.tables],
            corrections: vec![0; count * self.layout.blocks],
            centers: vec![0; count * self.layout.row_scales],
            scales: vec![1.0; count * self.layout.row_scales],
        }
    }
    /// Calls `body` with memory for `count` rows, of unspecified contents, that is kept per thread.
    pub fn with_rows<R>(&self, count: usize, body: impl FnOnce(&mut Rows) -> R) -> R {
        let mut rows = KEPT.take();
        rows.count = count;
        rows.bytes.resize(count * self.layout.row_bytes, 0);
        rows.tables.resize(count % SHARED_ROWS * self.layout.tables, Table([0; _]));
        rows.corrections.resize(count * self.layout.blocks, 0);
        rows.centers.resize(count * self.layout.row_scales, 0);
        rows.scales.resize(count * self.layout.row_scales, 0.0);
        let result = body(&mut rows);
        KEPT.set(rows);
        result
    }
    /// Whether packed rows begin with their `k` bytes as they are, and hold 0 behind them.
    pub fn is_plain(&self) -> bool {
        let whole = self.layout.blocks <= 1 || self.layout.block.is_multiple_of(CHUNK);
        self.spec.strategy != Strategy::Planes && whole
    }
    /// Writes 0 behind the `k` bytes of plain rows.
    pub fn end_rows(&self, bytes: &mut [u8]) {
        bytes.chunks_exact_mut(self.layout.row_bytes.max(1)).for_each(|row| row[self.layout.k..].fill(0));
    }
    /// Writes what belongs to plain rows of these bytes.
    pub fn correct(&self, bytes: &[u8], scale: f32, zero: i32, rows: &mut Rows) {
        rows.scales.fill(scale);
        rows.centers.fill(self.code.center.wrapping_sub(zero));
        let block = self.layout.chunks * CHUNK;
        block_sums(bytemuck::cast_slice(bytes), block, self.factor, &mut rows.corrections);
        let left_over = &bytes[rows.count / SHARED_ROWS * SHARED_ROWS * self.layout.row_bytes..];
        tables::fill(bytemuck::cast_slice(left_over), self.spec.tables(), &mut rows.tables);
    }
    /// The rows, one by one.
    pub fn split<'a>(&self, rows: &'a mut Rows) -> impl Iterator<Item = RowMut<'a>> + use<'a> {
        let bytes = rows.bytes.chunks_exact_mut(self.layout.row_bytes.max(1));
        let corrections = rows.corrections.chunks_exact_mut(self.layout.blocks.max(1));
        let shared = rows.count / SHARED_ROWS * SHARED_ROWS;
        let no_tables = || std::iter::repeat_with(|| &mut [][..]);
        let tables = no_tables().take(shared).chain(rows.tables.chunks_exact_mut(self.layout.tables.max(1))).chain(no_tables());
        let numbers = self.layout.row_scales.max(1);
        let numbers = rows.centers.chunks_exact_mut(numbers).zip(rows.scales.chunks_exact_mut(numbers));
        let rows = bytes.zip(tables).zip(corrections).zip(numbers);
        rows.map(|(((bytes, tables), corrections), (centers, scales))| RowMut { bytes, tables, corrections, centers, scales })
    }
    /// The bytes of codes.
    pub fn to_bytes<'c>(&self, codes: impl Iterator<Item = &'c u8>, bytes: &mut [i8]) {
        bytes.iter_mut().zip(codes).for_each(|(byte, &code)| *byte = code.wrapping_sub(self.code.bias as u8) as i8);
    }
    /// Elements of a row that share a scale, of activations in groups of this size, and in how many scales of the row that is written.
    pub fn groups(&self, size: Option<u32>) -> (usize, usize) {
        size.map_or((self.layout.k, 1), |size| (size as usize, size as usize / self.layout.block))
    }
    /// Writes scale and zero point of a row, or of some of its blocks.
    pub fn scale(&self, at: Range<usize>, scale: f32, zero: i32, row: &mut RowMut<'_>) {
        let at = at.start..at.end.min(row.scales.len());
        row.scales[at.clone()].fill(scale);
        row.centers[at].fill(self.code.center.wrapping_sub(zero));
    }
    /// Writes what else belongs to one row from its `k` bytes, into zeros if rows are not plain.
    pub fn pack(&self, bytes: &[i8], row: &mut RowMut<'_>) {
        block_sums(bytes, self.layout.block, self.factor, row.corrections);
        self.pack_bytes(bytes, row.bytes);
        if !row.tables.is_empty() {
            tables::fill(bytemuck::cast_slice(row.bytes), self.spec.tables(), row.tables);
        }
    }
    fn pack_bytes(&self, bytes: &[i8], out: &mut [u8]) {
        if self.is_plain() {
            let (row, end) = out.split_at_mut(bytes.len());
            row.copy_from_slice(bytemuck::cast_slice(bytes));
            return end.fill(0);
        }
        for g in 0..self.layout.blocks {
            let block = &bytes[self.layout.block_range(g)];
            self.pack_block(block, self.layout.padded_start(g), out);
        }
    }
    /// Writes the bytes of one block; what follows them up to the next stays 0.
    fn pack_block(&self, block: &[i8], start: usize, out: &mut [u8]) {
        match self.spec.strategy {
            Strategy::Unpack | Strategy::Lookup => out[start..start + block.len()].copy_from_slice(bytemuck::cast_slice(block)),
            Strategy::Planes => {
                let chunk_bytes = CHUNK / 8 * self.spec.a_bits as usize;
                let out = &mut out[start / CHUNK * chunk_bytes..];
                for (chunk, out) in block.chunks(CHUNK).zip(out.chunks_exact_mut(chunk_bytes)) {
                    pack_planes(chunk, out);
                }
            }
        }
    }
}

thread_local! {
    static KEPT: Cell<Rows> = const { Cell::new(Rows { count: 0, bytes: vec![], tables: vec![], corrections: vec![], centers: vec![], scales: vec![] }) };
}

vectorized! {
    /// The sum of every block times `factor`.
    fn block_sums<const FMA: bool>(bytes: &[i8], block: usize, factor: i32, sums: &mut [i32]) -> () {
        for (sum, block) in sums.iter_mut().zip(bytes.chunks(block)) {
            let (chunks, tail) = block.as_chunks::<CHUNK>();
            let mut lanes = [0i32; CHUNK];
            for chunk in chunks {
                for i in 0..CHUNK {
                    lanes[i] += i32::from(chunk[i]);
                }
            }
            let mut total = 0;
            for lane in lanes {
                total += lane;
            }
            for &byte in tail {
                total += i32::from(byte);
            }
            *sum = total.wrapping_mul(factor);
        }
    }
}

/// Word `j` of `out` gets bit `j` of every byte.
fn pack_planes(bytes: &[i8], out: &mut [u8]) {
    for (eighth, bytes) in bytes.chunks(8).enumerate() {
        let mut padded = [0u8; 8];
        padded[..bytes.len()].copy_from_slice(bytemuck::cast_slice(bytes));
        let bytes = u64::from_le_bytes(padded);
        for (bit, word) in out.chunks_exact_mut(4).enumerate() {
            word[eighth] = gather_bits(bytes >> bit);
        }
    }
}

/// The low bits of eight bytes as one byte.
fn gather_bits(bytes: u64) -> u8 {
    ((bytes & 0x0101_0101_0101_0101).wrapping_mul(0x0102_0408_1020_4080) >> 56) as u8
}
