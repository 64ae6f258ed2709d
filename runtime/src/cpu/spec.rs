//! The description of a `bit_matmul` kernel, and the layout of its operands.
//!
//! Arithmetic. A weight is `level = step_w * u + offset_w` of an unsigned code `u`; an activation is
//! `level = step_a * b + center` of a small signed byte `b` ([`ByteCode`]). With `cw = offset_w - zero_w[n, g]` and
//! `ca = center - zero_a[m]` the sum over a scale block `g` is
//!
//! ```text
//! Σ (level_a - zero_a)(level_w - zero_w) = step_a step_w Σ b u  +  step_a cw Σ b  +  ca Σ (level_w - zero_w)
//! ```
//!
//! exact modulo 2^32, so exact when the left side fits ([`max_terms`]). The kernel computes `Σ b u`; `step_a [cw] Σ b` comes
//! with the activations ([`crate::cpu::abi::KernelArgs::corrections`]), `Σ (level_w - zero_w)` with the weights.
//!
//! Weights. Columns (output channels) come in tiles of [`LANES`], k in chunks of [`CHUNK`]; every scale block is padded with
//! code 0 to whole chunks. A tile is, for every block: [`LANES`] f32 scales; with weight zero points [`LANES`] i32 `cw`; with
//! centers [`LANES`] i32 `Σ (level_w - zero_w)`; then its chunks of `bits` vectors of 64 bytes:
//! - planes: vector `i` holds bit `i` of the codes, a 32-bit word per column, bit `k` of the word for `k` of the chunk;
//! - unpack: the code is split into [`parts`] of 8, 4, 2 or 1 bits. A part of `p` bits takes `p` vectors; byte `4 * column + r` of
//!   vector `v` holds, in the bits from `p * f`, the part of `k = 4 (v * 8 / p + f) + r`.
//!
//! Activations. A row is padded as the weights are, with `b = 0`. Unpack: the bytes. Planes: per chunk one 32-bit word per
//! bit of `b`, bit `k` of the word for `k` of the chunk.

use mokume_ir::quant::{Granularity, Levels, QuantType};
use std::fmt;

/// Columns of a weight tile.
pub const LANES: usize = 16;
/// Elements along k that are packed together.
pub const CHUNK: usize = 32;
/// Bytes of a vector of the packed weights.
pub const VECTOR: usize = 64;

/// How products are formed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Strategy {
    /// Population count of the and of bit planes, one per pair of bits.
    Planes,
    /// Codes unpacked to bytes in registers, then multiplied.
    Unpack,
}

impl Strategy {
    /// Both.
    pub const ALL: [Strategy; 2] = [Strategy::Planes, Strategy::Unpack];
    /// Its name in reports and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Strategy::Planes => "planes",
            Strategy::Unpack => "unpack",
        }
    }
    /// The strategy called `name`.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|strategy| strategy.name() == name)
    }
}

/// What a kernel stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Store {
    /// f32: `(Σ_g acc_g * scale_w[n, g]) * scale_a[m]`, blocks in order, every operation rounded by itself.
    Scaled,
    /// The i32 accumulator of every row, block and column.
    Raw,
}

/// A kernel: everything its machine code depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KernelSpec {
    /// Bits of a weight code, 1–8.
    pub w_bits: u8,
    /// Bits of an activation code, 1–8.
    pub a_bits: u8,
    /// How products are formed.
    pub strategy: Strategy,
    /// Whether the top bit of an activation byte counts negative (see [`ByteCode`]).
    pub a_signed: bool,
    /// log2 of the product of both level steps.
    pub shift: u8,
    /// Whether weights bring `cw` per column and block; otherwise it is one number, folded into the corrections.
    pub w_zero: bool,
    /// Whether rows bring `ca`; otherwise it is 0.
    pub a_center: bool,
    /// Elements per scale block along k; none for one scale per column.
    pub block: Option<u32>,
    /// What is stored.
    pub store: Store,
}

impl KernelSpec {
    /// The kernel for weights of type `w` and activations of these codes; none when no kernel has such scales.
    pub fn of(w: &QuantType, a_bits: u8, a_levels: Levels, strategy: Strategy) -> Option<Self> {
        let block = match w.granularity {
            Granularity::Tensor | Granularity::Axis(0) => None,
            Granularity::Block { axis: 0, along: 1, size } if size > 0 => Some(size),
            _ => return None,
        };
        let code = ByteCode::of(a_levels, a_bits);
        let steps = (code.step * w.levels.affine(w.bits).0) as u32;
        Some(KernelSpec {
            w_bits: w.bits,
            a_bits,
            strategy,
            a_signed: code.signed,
            shift: steps.trailing_zeros() as u8,
            w_zero: w.zero_point,
            a_center: code.center != 0 || a_levels == Levels::Unsigned,
            block,
            store: Store::Scaled,
        })
    }
    /// Name of the function in object files: distinct for distinct kernels, the same everywhere.
    pub fn symbol(&self) -> String {
        let strategy = self.strategy.name();
        let flag = |on: bool, name: &'static str| if on { name } else { "" };
        let block = self.block.map_or(String::new(), |size| format!("_g{size}"));
        format!(
            "bit_matmul_{strategy}_w{}a{}{}_x{}{}{}{block}{}",
            self.w_bits,
            self.a_bits,
            flag(self.a_signed, "s"),
            1 << self.shift,
            flag(self.w_zero, "_wz"),
            flag(self.a_center, "_ac"),
            flag(self.store == Store::Raw, "_raw"),
        )
    }
    /// Layout of weights `[n, k]` and of rows of `k` activations.
    pub fn layout(&self, n: usize, k: usize) -> Layout {
        let block = self.block.map_or(k, |size| size as usize).max(1);
        let (blocks, chunks) = (k.div_ceil(block), block.div_ceil(CHUNK));
        let header = (1 + usize::from(self.w_zero) + usize::from(self.a_center)) * VECTOR;
        let tile_bytes = blocks * (header + chunks * self.w_bits as usize * VECTOR);
        let row_bytes = match self.strategy {
            Strategy::Unpack => blocks * chunks * CHUNK,
            Strategy::Planes => blocks * chunks * CHUNK / 8 * self.a_bits as usize,
        };
        Layout { n, k, block, blocks, chunks, header, tile_bytes, row_bytes }
    }
}

/// `unpack w4a8s x1 block 32`
impl fmt::Display for KernelSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} w{}a{}", self.strategy.name(), self.w_bits, self.a_bits)?;
        write!(f, "{} x{}", if self.a_signed { "s" } else { "u" }, 1 << self.shift)?;
        match self.block {
            Some(size) => write!(f, " block {size}")?,
            None => f.write_str(" per channel")?,
        }
        let flags = [(self.w_zero, " weight zeros"), (self.a_center, " centers"), (self.store == Store::Raw, " raw")];
        flags.iter().filter(|flag| flag.0).try_for_each(|flag| f.write_str(flag.1))
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
    /// Bytes before the chunks of a block of a tile.
    pub header: usize,
    /// Bytes of a weight tile.
    pub tile_bytes: usize,
    /// Bytes of a packed row of activations.
    pub row_bytes: usize,
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

/// The parts of a weight code for unpacking, lowest bits first: (first bit, width), widths 8, 4, 2, 1.
pub fn parts(bits: u8) -> impl Iterator<Item = (u8, u8)> {
    [8u8, 4, 2, 1].into_iter().filter(move |width| bits & width != 0).scan(0, |start, width| {
        let part = (*start, width);
        *start += width;
        Some(part)
    })
}

/// How an activation code `u` becomes the signed byte that kernels multiply: `b = u - bias`, `level = step * b + center`.
///
/// In `bits` bits, `b` is two's complement when `signed`, else unsigned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByteCode {
    /// Subtracted from the code.
    pub bias: i32,
    /// Levels per unit of `b`.
    pub step: i32,
    /// The level of `b = 0`.
    pub center: i32,
    /// Whether `b` may be negative.
    pub signed: bool,
}

impl ByteCode {
    /// The byte form of codes of these levels.
    pub fn of(levels: Levels, bits: u8) -> Self {
        let (step, offset) = levels.affine(bits);
        let bias = match levels {
            Levels::Signed | Levels::Odd => 1 << (bits - 1),
            Levels::Five | Levels::Ternary => -offset,
            Levels::Unsigned if bits == 8 => 128,
            Levels::Unsigned => 0,
        };
        ByteCode { bias, step, center: offset + step * bias, signed: bias != 0 }
    }
}

/// How many products of levels of these magnitudes an i32 always holds.
pub fn max_terms(a_magnitude: u32, w_magnitude: u32) -> usize {
    (i32::MAX as u64 / (a_magnitude as u64 * w_magnitude as u64).max(1)) as usize
}
