//! The description of a `bit_matmul` kernel of a GPU, and the layout of its operands. What it computes: [`crate::bit_product`].
//!
//! Along k, elements come in chunks of [`CHUNK`] made of four words of 32; every scale block is padded with code 0 (and `b = 0`) to
//! 32, 64 or a multiple of 128 elements, then the whole to chunks. In a word, bit `8 r + t` is element `4 t + r`, so that
//! `(word >> t) & 0x01010101` holds the bits of four neighbors as bytes.
//!
//! Weights: bit planes `[chunk][column / 8][plane][column % 8][word]`; f32 scales, i32 `cw` and i32 `Σ (level_w - zero_w)` each
//! `[block][column]`, with columns padded to a multiple of 8.
//!
//! Activations: `step_a [cw] Σ b` is `[row][block]`, `ca` and the scale `[row]`, or `[row][block]` too where groups of a row have scales.
//! The bytes `b` are
//! - for [`Lowering::Integer`] as they are, `[row][element]`;
//! - for [`Lowering::IntegerGroup`] in groups of eight rows, `[chunk][row / 8][unit][row % 8][16]`: byte `4 j + r` of unit `u` is element
//!   `32 j + 4 u + r` of the chunk;
//! - else bit planes `[chunk][row / tokens][fragment][8][word]`: the bits of a group of `tokens` rows, plane by plane and in a plane row
//!   by row, are the lines of `fragments` fragments; lines without plane are 0.

use crate::bit_product::BitProduct;
use std::fmt;
use std::ops::Deref;

/// Elements along k that one step of a kernel takes.
pub const CHUNK: usize = 128;
/// Columns of a fragment of weights.
pub const COLUMNS: usize = 8;
/// Bytes of a fragment: eight lines of a chunk of bits.
pub const FRAGMENT: usize = 128;
/// Threads of a warp.
pub const WARP: u32 = 32;

/// How products are formed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lowering {
    /// `mma` of bits: population count of the and of planes.
    Binary,
    /// `wgmma` of bits, by groups of four warps.
    BinaryGroup,
    /// `mma` of bytes, weights unpacked in registers.
    Integer,
    /// `wgmma` of bytes, by groups of four warps, weights unpacked in registers.
    IntegerGroup,
}

impl Lowering {
    /// All of them.
    pub const ALL: [Lowering; 4] = [Lowering::Binary, Lowering::BinaryGroup, Lowering::Integer, Lowering::IntegerGroup];
    /// Its name in reports and tuning tables.
    pub fn name(self) -> &'static str {
        match self {
            Lowering::Binary => "binary",
            Lowering::BinaryGroup => "group",
            Lowering::Integer => "integer",
            Lowering::IntegerGroup => "integer_group",
        }
    }
    /// Whether activations are bytes.
    pub fn takes_bytes(self) -> bool {
        matches!(self, Lowering::Integer | Lowering::IntegerGroup)
    }
    /// Whether groups of four warps work together.
    pub fn takes_groups(self) -> bool {
        matches!(self, Lowering::BinaryGroup | Lowering::IntegerGroup)
    }
    /// The lowering called `name`.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|lowering| lowering.name() == name)
    }
}

/// How a block of threads divides its part of the result.
///
/// A team is `warps_m * warps_n` warps that share what they load; `warps_k` teams each take a part of k.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tile {
    /// Rows of a group: 1, 2, 4 or 8; 8 for bytes.
    pub tokens: u8,
    /// Groups of rows of a warp.
    pub groups: u8,
    /// Fragments of eight columns of a warp; even for bytes.
    pub columns: u8,
    /// Warps along the rows.
    pub warps_m: u8,
    /// Warps along the columns.
    pub warps_n: u8,
    /// Teams along k; 1 where teams have several warps.
    pub warps_k: u8,
    /// Stages in shared memory, of which all but one are still arriving; at least 2.
    pub stages: u8,
}

impl Tile {
    /// Warps of a team.
    pub fn team(&self) -> u32 {
        u32::from(self.warps_m) * u32::from(self.warps_n)
    }
    /// Threads of a block.
    pub fn threads(&self) -> u32 {
        self.team() * u32::from(self.warps_k) * WARP
    }
    /// Groups of rows of a block.
    pub fn block_groups(&self) -> usize {
        self.groups as usize * self.warps_m as usize
    }
    /// Rows of a block.
    pub fn rows(&self) -> usize {
        self.tokens as usize * self.block_groups()
    }
    /// Fragments of columns of a block.
    pub fn block_columns(&self) -> usize {
        self.columns as usize * self.warps_n as usize
    }
}

/// `8x2 rows 4x8 columns 2x4x1 warps 3 stages`
impl fmt::Display for Tile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tile { tokens, groups, columns, warps_m, warps_n, warps_k, stages } = self;
        write!(f, "{tokens}x{groups} rows {columns}x8 columns {warps_m}x{warps_n}x{warps_k} warps {stages} stages")
    }
}

/// The last step of an epilogue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Activation {
    /// max(x, 0).
    Relu,
    /// x / (1 + e^-x).
    Silu,
    /// x min(max(x/6 + 1/2, 0), 1).
    HardSwish,
}

impl Activation {
    /// All of them.
    pub const ALL: [Activation; 3] = [Activation::Relu, Activation::Silu, Activation::HardSwish];
    /// Its name in symbols.
    pub fn name(self) -> &'static str {
        match self {
            Activation::Relu => "relu",
            Activation::Silu => "silu",
            Activation::HardSwish => "hard_swish",
        }
    }
}

/// What follows the scaled sums.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ending {
    /// Whether a number per column is added.
    pub bias: bool,
    /// What is applied then.
    pub activation: Option<Activation>,
}

impl Ending {
    fn symbol(&self) -> String {
        let activation = self.activation.map_or(String::new(), |activation| format!("_{}", activation.name()));
        format!("{}{activation}", if self.bias { "_bias" } else { "" })
    }
}

/// What a kernel stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Store {
    /// f32 results `[row][column]`: `(Σ_g acc_g * scale_w[n, g]) * scale_a[m]`, every operation rounded by itself, then the ending; with
    /// groups of activations `Σ_g (acc_g * scale_w[n, g]) * scale_a[m, g]`.
    /// Blocks are summed in order; with several teams, those of every team first.
    Scaled(Ending),
    /// i32 `Σ b u`, `[part][row][column]`: a part is a scale block, or without blocks what one block of threads along k sums up.
    Raw,
}

/// A kernel: everything its machine code depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MatmulSpec {
    /// What it computes.
    pub product: BitProduct,
    /// How products are formed.
    pub lowering: Lowering,
    /// How threads divide the work.
    pub tile: Tile,
    /// What is stored.
    pub store: Store,
}

impl Deref for MatmulSpec {
    type Target = BitProduct;
    fn deref(&self) -> &BitProduct {
        &self.product
    }
}

impl MatmulSpec {
    /// Name of the kernel: distinct for distinct kernels, the same everywhere.
    pub fn symbol(&self) -> String {
        let Tile { tokens, groups, columns, warps_m, warps_n, warps_k, stages } = self.tile;
        let store = match self.store {
            Store::Scaled(ending) => ending.symbol(),
            Store::Raw => "_raw".into(),
        };
        let (lowering, product) = (self.lowering.name(), self.product.symbol());
        format!("bit_matmul_{lowering}_{product}_t{tokens}x{groups}_n{columns}_w{warps_m}x{warps_n}x{warps_k}_s{stages}{store}")
    }
    /// Fragments of activations of a group of rows.
    pub fn fragments(&self) -> usize {
        fragments(self.a_bits, self.tile.tokens)
    }
    /// Bytes that a chunk of the activations of a group of rows takes.
    pub fn group_bytes(&self) -> usize {
        match self.lowering {
            Lowering::Integer | Lowering::IntegerGroup => self.tile.tokens as usize * CHUNK,
            Lowering::Binary | Lowering::BinaryGroup => self.fragments() * FRAGMENT,
        }
    }
    /// Chunks of a stage.
    pub fn depth(&self) -> usize {
        if self.lowering == Lowering::BinaryGroup { 2 } else { 1 }
    }
    /// Bytes of one stage of a team.
    pub fn stage_bytes(&self) -> usize {
        self.depth() * self.chunk_bytes()
    }
    /// Bytes of one chunk of a team: weights, then activations.
    pub fn chunk_bytes(&self) -> usize {
        self.tile.block_columns() * self.w_bits as usize * FRAGMENT + self.tile.block_groups() * self.group_bytes()
    }
    /// Results that a thread holds.
    pub fn results(&self) -> usize {
        self.tile.columns as usize * self.tile.groups as usize * self.slots()
    }
    /// Rows of a group that a thread holds results of.
    pub fn slots(&self) -> usize {
        self.tile.tokens.min(2).into()
    }
    /// Bytes of shared memory: the stages of all teams, then what teams hand to the first.
    pub fn shared_bytes(&self) -> u32 {
        let (teams, threads) = (self.tile.warps_k as usize, self.tile.team() as usize * WARP as usize);
        let stages = self.stage_bytes() * self.tile.stages as usize * teams;
        (stages + (teams - 1) * threads * self.results() * 4) as u32
    }
    /// Blocks of threads for `m` rows; `parts` along k.
    pub fn grid(&self, layout: &Layout, m: usize, parts: usize) -> [u32; 3] {
        let columns = layout.columns().div_ceil(self.tile.block_columns());
        [columns as u32, m.div_ceil(self.tile.rows()) as u32, parts as u32]
    }
    /// Layout of weights `[n, k]`.
    pub fn layout(&self, n: usize, k: usize) -> Layout {
        Layout::of(&self.product, n, k)
    }
    /// Bytes of packed activations of `m` rows.
    pub fn row_bytes(&self, layout: &Layout, m: usize) -> usize {
        match self.lowering {
            Lowering::Integer => m * layout.chunks * CHUNK,
            _ => layout.chunks * m.div_ceil(self.tile.tokens.into()) * self.group_bytes(),
        }
    }
    /// Where the blocks of every team begin and the last ends, for one block of threads along k; without scale blocks all are one.
    pub fn team_bounds(&self, layout: &Layout) -> Vec<usize> {
        if self.block.is_none() {
            return vec![0, 1];
        }
        let (per_chunk, unit) = ((CHUNK / layout.padded_block).max(1), (layout.padded_block / CHUNK).max(1));
        let (units, teams) = (layout.chunks / unit, self.tile.warps_k as usize);
        (0..=teams).map(|team| (units * team / teams * per_chunk).min(layout.blocks)).collect()
    }
    /// Parts that [`Store::Raw`] stores, when `parts` blocks of threads share k.
    pub fn raw_parts(&self, layout: &Layout, parts: usize) -> usize {
        if self.block.is_some() { layout.blocks } else { parts }
    }
}

/// `binary w4a8s x1 block 32, 1x1 rows 2x8 columns 1x1x8 warps 4 stages`
impl fmt::Display for MatmulSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}, {}", self.lowering.name(), self.product, self.tile)?;
        match self.store {
            Store::Raw => f.write_str(", raw"),
            Store::Scaled(ending) => f.write_str(&ending.symbol().replace('_', " ")),
        }
    }
}

/// The kernel that makes results of raw sums.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FinishSpec {
    /// What was computed.
    pub product: BitProduct,
    /// What follows.
    pub ending: Ending,
}

impl FinishSpec {
    /// Threads of a block, each for one column of one row.
    pub const THREADS: u32 = 128;
    /// Name of the kernel.
    pub fn symbol(&self) -> String {
        format!("bit_matmul_finish_{}{}", self.product.symbol(), self.ending.symbol())
    }
    /// Blocks of threads for `m` rows of `n` columns.
    pub fn grid(&self, m: usize, n: usize) -> [u32; 3] {
        [n.div_ceil(Self::THREADS as usize) as u32, m as u32, 1]
    }
}

/// Fragments of eight lines for the planes of `tokens` rows.
pub fn fragments(a_bits: u8, tokens: u8) -> usize {
    (a_bits as usize * tokens as usize).div_ceil(8)
}

/// Sizes of the operands of a kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Columns.
    pub n: usize,
    /// Elements along k.
    pub k: usize,
    /// Bits of a weight.
    pub w_bits: usize,
    /// Elements of a scale block (all but the last).
    pub block: usize,
    /// Elements of a scale block with padding.
    pub padded_block: usize,
    /// Scale blocks along k.
    pub blocks: usize,
    /// Chunks along k.
    pub chunks: usize,
    /// Scales of a row of activations.
    pub row_scales: usize,
}

impl Layout {
    /// The layout of weights `[n, k]` of this product.
    pub fn of(product: &BitProduct, n: usize, k: usize) -> Self {
        let block = product.block.map_or(k, |size| size as usize).max(1);
        let (padded_block, blocks) = (padded_block(block), k.div_ceil(block));
        let chunks = (blocks * padded_block).div_ceil(CHUNK);
        let row_scales = if product.a_blocks { blocks } else { 1 };
        Layout { n, k, w_bits: product.w_bits.into(), block, padded_block, blocks, chunks, row_scales }
    }
    /// Fragments of columns.
    pub fn columns(&self) -> usize {
        self.n.div_ceil(COLUMNS)
    }
    /// Columns with padding.
    pub fn padded_n(&self) -> usize {
        self.columns() * COLUMNS
    }
    /// Bytes of the planes of the weights.
    pub fn weight_bytes(&self) -> usize {
        self.chunks * self.columns() * self.w_bits * FRAGMENT
    }
    /// Where element `k` lies in a padded row.
    pub fn padded(&self, k: usize) -> usize {
        k / self.block * self.padded_block + k % self.block
    }
    /// The elements of block `g`.
    pub fn block_range(&self, g: usize) -> std::ops::Range<usize> {
        g * self.block..((g + 1) * self.block).min(self.k)
    }
}

/// Where in a group of eight rows of a chunk, for [`Lowering::IntegerGroup`], element `k` of row `row` lies.
pub fn byte_of(row: usize, k: usize) -> usize {
    let (j, u, r) = (k / 32, k % 32 / 4, k % 4);
    u * 128 + row % 8 * 16 + 4 * j + r
}

/// Elements that a scale block of `size` takes.
pub fn padded_block(size: usize) -> usize {
    match size {
        0..=32 => 32,
        33..=64 => 64,
        _ => size.next_multiple_of(CHUNK),
    }
}

/// Word of a chunk, and bit of the word, of element `k` of the chunk.
pub fn bit_of(k: usize) -> (usize, u32) {
    let in_word = k % 32;
    (k / 32, (8 * (in_word % 4) + in_word / 4) as u32)
}
