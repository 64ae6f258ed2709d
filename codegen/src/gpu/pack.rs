//! Packs weights for device kernels, into the layout that [`mokume_runtime::gpu::spec`] describes.

use crate::kernel::pack::Weights;
use mokume_runtime::bit_product::BitProduct;
use mokume_runtime::gpu::spec::{CHUNK, COLUMNS, FRAGMENT, Layout, bit_of};
use rayon::prelude::*;

/// Weights as kernels read them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DeviceWeights {
    /// Bit planes.
    pub planes: Vec<u8>,
    /// Per block and padded column.
    pub scales: Vec<f32>,
    /// `cw` per block and padded column; empty when the product has no weight zero points.
    pub zeros: Vec<i32>,
    /// `Σ (level_w - zero_w)` per block and padded column; empty when the product has no centers.
    pub sums: Vec<i32>,
}

/// Packs weights.
///
/// Panics  when scales or codes are fewer than `n` and `k` ask for.
pub fn pack(product: &BitProduct, weights: &Weights<'_>) -> DeviceWeights {
    let layout = Layout::of(product, weights.n, weights.k);
    let (count, none) = (layout.blocks * layout.padded_n(), |needed: bool, count: usize| vec![0; if needed { count } else { 0 }]);
    let mut packed = DeviceWeights {
        planes: planes(&layout, weights),
        scales: vec![0.0; count],
        zeros: none(product.w_zero, count),
        sums: none(product.a_center, count),
    };
    let (step, offset) = weights.levels.affine(product.w_bits);
    for n in 0..layout.n {
        for g in 0..layout.blocks {
            let (at, k) = (g * layout.padded_n() + n, layout.block_range(g).start);
            let center = offset - weights.zero(n, k);
            packed.scales[at] = weights.scale(n, k);
            if product.w_zero {
                packed.zeros[at] = center;
            }
            if product.a_center {
                packed.sums[at] = layout.block_range(g).map(|k| step * weights.code(product.w_bits, n, k) as i32 + center).sum();
            }
        }
    }
    packed
}

fn planes(layout: &Layout, weights: &Weights<'_>) -> Vec<u8> {
    let mut planes = vec![0u8; layout.weight_bytes()];
    let chunk_bytes = layout.columns() * layout.w_bits * FRAGMENT;
    let positions: Vec<usize> = (0..layout.k).map(|k| layout.padded(k)).collect();
    planes.par_chunks_mut(chunk_bytes.max(1)).enumerate().for_each(|(chunk, bytes)| {
        let begin = positions.partition_point(|&at| at < chunk * CHUNK);
        let end = positions.partition_point(|&at| at < (chunk + 1) * CHUNK);
        for n in 0..layout.n {
            let fragments = &mut bytes[n / COLUMNS * layout.w_bits * FRAGMENT..][..layout.w_bits * FRAGMENT];
            for (&at, k) in positions[begin..end].iter().zip(begin..) {
                put(fragments, n % COLUMNS, at % CHUNK, weights.code(layout.w_bits as u8, n, k));
            }
        }
    });
    planes
}

/// Sets the bits of a code in the planes of a fragment of columns.
fn put(fragments: &mut [u8], column: usize, k: usize, code: u32) {
    let (word, bit) = bit_of(k);
    for (plane, fragment) in fragments.chunks_exact_mut(FRAGMENT).enumerate() {
        let byte = &mut fragment[(column * 4 + word) * 4 + bit as usize / 8];
        *byte |= ((code >> plane & 1) << (bit % 8)) as u8;
    }
}
