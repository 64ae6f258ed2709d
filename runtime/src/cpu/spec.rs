//! The description of a `bit_matmul` kernel of a CPU, and the layout of its operands. What it computes: [`crate::bit_product`];
//! `step_a [cw] Σ b` are the [`crate::cpu::abi::KernelArgs::corrections`].
//!
//! Weights. Columns (output channels) come in tiles of [`LANES`], k in chunks of [`CHUNK`]; every scale block is padded with
//! code 0 to whole chunks. A tile begins with the headers of its blocks, padded with 0 to whole vectors: [`LANES`] scales; with
//! weight zero points [`LANES`] i32 `cw`; with centers [`LANES`] i32 `Σ (level_w - zero_w)`. Then come the chunks of all blocks, of
//! `bits` vectors of 64 bytes:
//! - planes: vector `i` holds bit `i` of the codes, a 32-bit word per column, bit `k` of the word for `k` of the chunk;
//! - unpack: the code is split into [`parts`] of 8, 4, 2 or 1 bits. A part of `p` bits takes `p` vectors; byte `4 * column + r` of
//!   vector `v` holds, in the bits from `p * f`, the part of `k = 4 (v * 8 / p + f) + r`;
//! - lookup: vector `i` holds bit `i` of the codes; bit `f` of byte `4 * column + r` is that of `k = 4 f + r`.
//!
//! Activations. A row is padded as the weights are, with `b = 0`. Unpack and lookup: the bytes. Planes: per chunk one 32-bit word per
//! bit of `b`, bit `k` of the word for `k` of the chunk. Lookup has besides, for the rows that are left over from groups of
//! [`SHARED_ROWS`], per half chunk `h` a [`Table`]: byte `16 r + n` is the sum of those `b` of `k = 16 h + 4 t + r` for which bit `t` of
//! `n` is set. Four bits of a byte of the weights are such an `n`. Where the sum may exceed a byte there are two tables: of all `b` over
//! 2^[`TABLE_SHIFT`], rounded down, and of what remains of them.

use super::isa::IsaLevel;
pub use crate::bit_product::{BitProduct, ByteCode, max_terms};
use std::fmt;
use std::ops::Deref;

/// Columns of a weight tile.
pub const LANES: usize = 16;
/// Elements along k that are packed together.
pub const CHUNK: usize = 32;
/// Bytes of a vector of the packed weights.
pub const VECTOR: usize = 64;

/// Rows that share every load of weights, or a multiple of that; rows left over are multiplied one by one.
pub const SHARED_ROWS: usize = 4;
/// Bits of an activation that the second of two tables sums.
pub const TABLE_SHIFT: u32 = 2;

/// Sums of activations by which of them count, in one register.
#[derive(Debug, Clone, Copy, PartialEq, Eq, bytemuck::Zeroable, bytemuck::Pod)]
#[repr(C, align(64))]
pub struct Table(pub [i8; VECTOR]);

/// How products are formed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Strategy {
    /// Population count of the and of bit planes, one per pair of bits.
    Planes,
    /// Codes unpacked to bytes in registers, then multiplied.
    Unpack,
    /// Sums of four activations looked up by four bits of the weights; several rows as by unpacking.
    Lookup,
}

impl Strategy {
    /// All of them.
    pub const ALL: [Strategy; 3] = [Strategy::Planes, Strategy::Unpack, Strategy::Lookup];
    /// Its name in reports and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Strategy::Planes => "planes",
            Strategy::Unpack => "unpack",
            Strategy::Lookup => "lookup",
        }
    }
    /// The strategy called `name`.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|strategy| strategy.name() == name)
    }
}

/// How scales of weights are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ScaleFormat {
    /// As they are.
    F32,
    /// As f16, which every scale of the weights is exactly, without a sign.
    F16,
}

impl ScaleFormat {
    /// Both.
    pub const ALL: [ScaleFormat; 2] = [ScaleFormat::F32, ScaleFormat::F16];
    /// The smallest format that holds `scales` exactly.
    pub fn of(scales: &[f32]) -> Self {
        let is_half = |&scale: &f32| scale.is_sign_positive() && scale.is_finite() && half::f16::from_f32(scale).to_f32() == scale;
        if scales.iter().all(is_half) { ScaleFormat::F16 } else { ScaleFormat::F32 }
    }
    /// Its name in files.
    pub fn name(self) -> &'static str {
        match self {
            ScaleFormat::F32 => "f32",
            ScaleFormat::F16 => "f16",
        }
    }
    /// The format called `name`.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name() == name)
    }
    /// Bytes of a scale.
    pub fn bytes(self) -> usize {
        match self {
            ScaleFormat::F32 => 4,
            ScaleFormat::F16 => 2,
        }
    }
}

/// What a kernel stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Store {
    /// f32: `(Σ_g acc_g * scale_w[n, g]) * scale_a[m]`, blocks in order, every operation rounded by itself; with a scale of the
    /// activations per block `Σ_g (acc_g * scale_w[n, g]) * scale_a[m, g]`.
    Scaled,
    /// The i32 accumulator of every row, block and column.
    Raw,
}

/// A kernel: everything its machine code depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KernelSpec {
    /// What it computes.
    pub product: BitProduct,
    /// How products are formed.
    pub strategy: Strategy,
    /// How scales of weights are stored.
    pub scales: ScaleFormat,
    /// What is stored.
    pub store: Store,
}

impl Deref for KernelSpec {
    type Target = BitProduct;
    fn deref(&self) -> &BitProduct {
        &self.product
    }
}

impl KernelSpec {
    /// The kernel of a product with results in f32.
    pub fn of(product: BitProduct, strategy: Strategy, scales: ScaleFormat) -> Self {
        KernelSpec { product, strategy, scales, store: Store::Scaled }
    }
    /// Name of the function in object files: distinct for distinct kernels, the same everywhere.
    pub fn symbol(&self) -> String {
        let raw = if self.store == Store::Raw { "_raw" } else { "" };
        format!("bit_matmul_{}_{}_{}{raw}", self.strategy.name(), self.product.symbol(), self.scales.name())
    }
    /// Layout of weights `[n, k]` and of rows of `k` activations.
    pub fn layout(&self, n: usize, k: usize) -> Layout {
        let block = self.block.map_or(k, |size| size as usize).max(1);
        let (blocks, chunks) = (k.div_ceil(block), block.div_ceil(CHUNK));
        let header = self.scales.bytes() * LANES + (usize::from(self.w_zero) + usize::from(self.a_center)) * VECTOR;
        let codes = (blocks * header).next_multiple_of(VECTOR);
        let tile_bytes = codes + blocks * chunks * self.w_bits as usize * VECTOR;
        let row_bytes = match self.strategy {
            Strategy::Unpack | Strategy::Lookup => blocks * chunks * CHUNK,
            Strategy::Planes => blocks * chunks * CHUNK / 8 * self.a_bits as usize,
        };
        let tables = blocks * chunks * 2 * self.tables();
        let row_scales = if self.a_blocks { blocks } else { 1 };
        Layout { n, k, block, blocks, chunks, header, codes, tile_bytes, row_bytes, row_scales, tables }
    }
    /// Whether kernels of a level read tables: where looking 64 bytes up pays.
    pub fn reads_tables(&self, level: IsaLevel) -> bool {
        let pays = match level {
            IsaLevel::Avx512 => true,
            IsaLevel::Neon => self.w_bits == 1 && self.tables() == 1,
            IsaLevel::X86_64 | IsaLevel::Avx2 => false,
        };
        self.strategy == Strategy::Lookup && pays
    }
    /// Tables per half chunk of a row.
    pub fn tables(&self) -> usize {
        if self.strategy == Strategy::Lookup { tables(&self.product) } else { 0 }
    }
}

/// `unpack w4a8s x1 block 32 f16 scales`
impl fmt::Display for KernelSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let raw = if self.store == Store::Raw { " raw" } else { "" };
        write!(f, "{} {} {} scales{raw}", self.strategy.name(), self.product, self.scales.name())
    }
}

/// Sizes of the operands of one kernel call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Columns.
    pub n: usize,
    /// Elements along k.
    pub k: usize,
    /// Elements of a scale block (all but the last).
    pub block: usize,
    /// Scale blocks along k.
    pub blocks: usize,
    /// Chunks of every block.
    pub chunks: usize,
    /// Bytes of the header of a block of a tile.
    pub header: usize,
    /// Where the chunks of a tile begin.
    pub codes: usize,
    /// Bytes of a weight tile.
    pub tile_bytes: usize,
    /// Bytes of a packed row of activations.
    pub row_bytes: usize,
    /// Scales of a row, and centers.
    pub row_scales: usize,
    /// Tables of a row that has them.
    pub tables: usize,
}

impl Layout {
    /// Weight tiles.
    pub fn tiles(&self) -> usize {
        self.n.div_ceil(LANES)
    }
    /// Bytes of all weight tiles.
    pub fn weight_bytes(&self) -> usize {
        self.tiles() * self.tile_bytes
    }
    /// Elements of a row with padding.
    pub fn padded_k(&self) -> usize {
        self.blocks * self.chunks * CHUNK
    }
    /// The elements of block `g`.
    pub fn block_range(&self, g: usize) -> std::ops::Range<usize> {
        g * self.block..((g + 1) * self.block).min(self.k)
    }
    /// Where block `g` begins in a padded row.
    pub fn padded_start(&self, g: usize) -> usize {
        g * self.chunks * CHUNK
    }
}

/// Tables per half chunk for a product by looking up: two where a sum of four activations may exceed a signed byte.
pub fn tables(product: &BitProduct) -> usize {
    let magnitude_bits = if product.a_signed { product.a_bits - 1 } else { product.a_bits };
    if magnitude_bits <= 5 { 1 } else { 2 }
}

/// The parts of a weight code for unpacking, lowest bits first: (first bit, width), widths 8, 4, 2, 1.
pub fn parts(bits: u8) -> impl Iterator<Item = (u8, u8)> {
    [8u8, 4, 2, 1].into_iter().filter(move |width| bits & width != 0).scan(0, |start, width| {
        let part = (*start, width);
        *start += width;
        Some(part)
    })
}
