//! The call interface of kernels.

use super::device::Address;

/// Operands of a `bit_matmul` kernel, in the order of its parameters: addresses, then i32.
///
/// What a kernel does not read may be 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MatmulArgs {
    /// Packed activations.
    pub activations: Address,
    /// i32 `step_a [cw] Σ b` per row and block.
    pub corrections: Address,
    /// i32 `ca` per row; read when the kernel has centers.
    pub centers: Address,
    /// f32 activation scale per row.
    pub scales: Address,
    /// Planes of the weights.
    pub weights: Address,
    /// f32 scale per block and padded column.
    pub w_scales: Address,
    /// i32 `cw` per block and padded column; read when weights have zero points.
    pub w_zeros: Address,
    /// i32 `Σ (level_w - zero_w)` per block and padded column; read when the kernel has centers.
    pub w_sums: Address,
    /// f32 per column; read when the kernel adds it.
    pub bias: Address,
    /// Results; of the kernel that finishes raw sums, the sums are its `activations`.
    pub out: Address,
    /// Rows.
    pub m: u32,
    /// Columns.
    pub n: u32,
    /// Chunks along k; of the kernel that finishes raw sums, their parts.
    pub chunks: u32,
    /// Scale blocks along k.
    pub blocks: u32,
}

impl MatmulArgs {
    /// Addresses among the parameters.
    pub const ADDRESSES: usize = 10;
    /// Integers among the parameters.
    pub const NUMBERS: usize = 4;
    /// The parameters of a launch.
    pub fn words(&self) -> [u64; Self::ADDRESSES + Self::NUMBERS] {
        let numbers = [self.m, self.n, self.chunks, self.blocks].map(u64::from);
        let [m, n, chunks, blocks] = numbers;
        let MatmulArgs { activations, corrections, centers, scales, weights, w_scales, w_zeros, w_sums, bias, out, .. } = *self;
        [activations, corrections, centers, scales, weights, w_scales, w_zeros, w_sums, bias, out, m, n, chunks, blocks]
    }
}
