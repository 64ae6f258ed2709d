//! The call interface of kernels.

/// Operands of a kernel; the fields are read by machine code, in this order.
///
/// Rows are counted over the whole operand, tiles are [`LANES`](super::spec::LANES) columns.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct KernelArgs {
    /// Packed activations, `row_bytes` per row.
    pub activations: *const u8,
    /// Bytes of a packed row.
    pub row_bytes: u64,
    /// `step_a [cw] Σ b` per row and block.
    pub corrections: *const i32,
    /// `ca` per row (and block, when the kernel has groups of activations); read when the kernel has centers.
    pub centers: *const i32,
    /// Activation scale per row (and block, as centers); read when the kernel stores f32.
    pub scales: *const f32,
    /// Packed weights, `tile_bytes` per tile.
    pub weights: *const u8,
    /// Bytes of a tile.
    pub tile_bytes: u64,
    /// Where the chunks of a tile begin.
    pub codes: u64,
    /// f32 results, row by row, or i32 results, row by row and in a row block by block.
    pub out: *mut u8,
    /// Elements between results of one row (of one block, for i32) and of the next; whole tiles are written.
    pub out_stride: u64,
    /// Scale blocks along k.
    pub blocks: u64,
    /// Chunks of a block.
    pub chunks: u64,
    /// Tables of the rows left over from groups of [`SHARED_ROWS`](super::spec::SHARED_ROWS); read when the kernel looks sums up.
    pub tables: *const u8,
}

/// Index of a field of [`KernelArgs`] in units of 8 bytes.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs, reason = "named after the fields")]
pub enum Field {
    Activations,
    RowBytes,
    Corrections,
    Centers,
    Scales,
    Weights,
    TileBytes,
    Codes,
    Out,
    OutStride,
    Blocks,
    Chunks,
    Tables,
}

/// A kernel: computes rows `row_begin..row_end` of tiles `tile_begin..tile_end`.
#[cfg(not(target_arch = "x86_64"))]
pub type KernelFn = unsafe extern "C" fn(args: *const KernelArgs, row_begin: u64, row_end: u64, tile_begin: u64, tile_end: u64);
/// A kernel: computes rows `row_begin..row_end` of tiles `tile_begin..tile_end`.
#[cfg(target_arch = "x86_64")]
pub type KernelFn = unsafe extern "sysv64" fn(args: *const KernelArgs, row_begin: u64, row_end: u64, tile_begin: u64, tile_end: u64);
