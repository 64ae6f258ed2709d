//! Products of bytes by groups of four warps: `wgmma` of bytes, 128 elements at once.
//!
//! Every warp unpacks sixteen columns of its own to registers, as for [`super::integer`], which are sixteen of the 64 rows; the
//! activations of all four warps come from shared memory. Sums lie as those of [`super::integer`] do.

use super::frame::{Kernel, Stage};
use super::group::matrix;
use super::integer::weights;
use crate::gpu::build::Result;
use inkwell::values::{BasicValueEnum, IntValue};
use mokume_runtime::gpu::spec::{CHUNK, FRAGMENT};

/// Groups of eight rows that one product may take, most first.
const SIZES: [usize; 8] = [16, 12, 8, 6, 4, 3, 2, 1];

/// Adds the products of a chunk.
pub(super) fn step<'c>(
    kernel: &Kernel<'_, 'c>,
    stage: &Stage<'c>,
    mask: Option<IntValue<'c>>,
    sums: &[IntValue<'c>],
) -> Result<Vec<IntValue<'c>>> {
    let (build, groups) = (kernel.build, kernel.spec.tile.groups as usize);
    let pairs = 0..kernel.spec.tile.columns as usize / 2;
    let rows = pairs.map(|pair| registers(kernel, stage, pair, mask)).collect::<Result<Vec<_>>>()?;
    build.group_products(|| {
        let mut next = Vec::with_capacity(sums.len());
        for (a, sums) in rows.iter().zip(sums.chunks(4 * groups)) {
            let mut start = 0;
            while start < groups {
                let size = SIZES.into_iter().find(|&size| size <= groups - start).unwrap_or(1);
                let begin = build.offset_by(stage.activations, start * 8 * CHUNK)?;
                let descriptor = matrix(kernel, begin, FRAGMENT, 8 * CHUNK)?;
                let sums = &sums[4 * start..4 * (start + size)];
                let operands: Vec<BasicValueEnum<'c>> = a.iter().chain([&descriptor]).chain(sums).map(|&value| value.into()).collect();
                next.extend(build.symbol(&format!("wgmma.m64k128.u8.s8.n{}", 8 * size), &operands, 4 * size)?);
                start += size;
            }
        }
        Ok(next)
    })
}

/// The registers of A for a chunk: four for each of its four products.
fn registers<'c>(kernel: &Kernel<'_, 'c>, stage: &Stage<'c>, pair: usize, mask: Option<IntValue<'c>>) -> Result<Vec<IntValue<'c>>> {
    let (low, high) = (weights(kernel, stage.weights, 2 * pair)?, weights(kernel, stage.weights, 2 * pair + 1)?);
    let quads = low.chunks(2).zip(high.chunks(2)).flat_map(|(low, high)| [low[0], high[0], low[1], high[1]]);
    quads.map(|word| mask.map_or(Ok(word), |mask| kernel.build.and(word, mask))).collect()
}
