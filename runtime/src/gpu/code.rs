//! What codegen makes of a module for devices: code per architecture, weights in the layout of kernels.

use super::arch::Arch;
use super::spec::Layout;
use super::tuning::Tuning;
use crate::bit_product::BitProduct;
use bytes::Bytes;
use mokume_ir::ids::ConstId;
use mokume_ir::quant::{Levels, QuantType};
use std::collections::BTreeMap;

/// Code and weights for devices.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeviceCode {
    /// PTX, one text per architecture.
    pub ptx: Vec<(Arch, Bytes)>,
    /// Weights of quantized products, the same for every architecture.
    pub weights: BTreeMap<ConstId, DeviceWeights>,
    /// What the kernels were chosen by, beside the cost model.
    pub tuning: Tuning,
}

/// A quantized constant as [`super::spec`] lays it out; numbers are little endian.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeviceWeights {
    /// Bit planes.
    pub planes: Bytes,
    /// f32 per block and padded column.
    pub scales: Bytes,
    /// i32 `cw` per block and padded column, or empty.
    pub zeros: Bytes,
    /// i32 `Σ (level_w - zero_w)` per block and padded column, or empty.
    pub sums: Bytes,
}

impl DeviceWeights {
    /// Bytes of all parts.
    pub fn byte_len(&self) -> usize {
        self.planes.len() + self.scales.len() + self.zeros.len() + self.sums.len()
    }
    /// Whether the parts have the sizes that a matrix `[n, k]` of this type asks for.
    pub(crate) fn check(&self, quant: &QuantType, (n, k): (usize, usize)) -> Result<(), String> {
        let product = BitProduct::of(quant, 8, Levels::Unsigned).ok_or("no kernel has weights with such scales")?;
        let layout = Layout::of(&product, n, k);
        let numbers = layout.blocks * layout.padded_n() * 4;
        let want = [layout.weight_bytes(), numbers, if quant.zero_point { numbers } else { 0 }, numbers];
        let got = [&self.planes, &self.scales, &self.zeros, &self.sums].map(|part| part.len());
        if got == want { Ok(()) } else { Err(format!("weights of {n} by {k} for a GPU have {got:?} bytes, not {want:?}")) }
    }
}

impl DeviceCode {
    /// The architecture of this name whose code fits a device of this compute capability best.
    pub fn arch_for(&self, capability: (u32, u32)) -> Option<Arch> {
        self.ptx.iter().map(|(arch, _)| *arch).filter(|arch| arch.runs_on(capability)).max()
    }
}
