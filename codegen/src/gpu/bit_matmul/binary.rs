//! Products of bit planes: `mma` of bits, planes of weights on the rows, bits of activations on the columns.
//!
//! Two planes of eight columns are the sixteen rows of an `mma`, the last of an odd number the eight rows of a smaller one. Lane
//! `4 c + j` so has sums of column `c` for lines `2 j` and `2 j + 1` of a fragment of activations; all planes of an output are in
//! the lanes of one column, where they are added with their weights.

use super::frame::{Kernel, Stage};
use crate::gpu::build::Result;
use inkwell::IntPredicate;
use inkwell::values::IntValue;
use mokume_runtime::gpu::spec::{FRAGMENT, MatmulSpec};

/// Sums of a thread: two for every plane, fragment of columns and fragment of activations.
pub(super) fn n_sums(spec: &MatmulSpec) -> usize {
    spec.tile.columns as usize * spec.tile.groups as usize * spec.fragments() * spec.w_bits as usize * 2
}

/// Adds the products of a chunk.
pub(super) fn step<'c>(
    kernel: &Kernel<'_, 'c>,
    stage: &Stage<'c>,
    mask: Option<IntValue<'c>>,
    sums: &[IntValue<'c>],
) -> Result<Vec<IntValue<'c>>> {
    let (build, spec) = (kernel.build, kernel.spec);
    let planes = spec.w_bits as usize;
    let fragments = spec.tile.groups as usize * spec.fragments();
    let line = |fragment: usize| {
        let word = load(kernel, stage.activations, fragment)?;
        mask.map_or(Ok(word), |mask| build.and(word, mask))
    };
    let lines = (0..fragments).map(line).collect::<Result<Vec<_>>>()?;
    let mut next = Vec::with_capacity(sums.len());
    for (column, sums) in sums.chunks(planes * fragments * 2).enumerate() {
        let plane = |plane: usize| load(kernel, stage.weights, column * planes + plane);
        let weights = (0..planes).map(plane).collect::<Result<Vec<_>>>()?;
        for (line, sums) in lines.iter().zip(sums.chunks(planes * 2)) {
            for (weights, sums) in weights.chunks(2).zip(sums.chunks(4)) {
                let shape = if weights.len() == 2 { "m16n8k128" } else { "m8n8k128" };
                next.extend(build.mma(&format!("and.popc.{shape}.row.col.b1"), weights, &[*line], sums)?);
            }
        }
    }
    Ok(next)
}

/// The lane's word of a fragment.
pub(super) fn load<'c>(kernel: &Kernel<'_, 'c>, base: inkwell::values::PointerValue<'c>, fragment: usize) -> Result<IntValue<'c>> {
    let build = kernel.build;
    let fragment = build.offset_by(base, fragment * FRAGMENT)?;
    build.load_int(build.word_at(fragment, kernel.lane)?)
}

/// Sums over the planes of both operands.
pub(super) fn reduce<'c>(kernel: &Kernel<'_, 'c>, sums: &[IntValue<'c>]) -> Result<Vec<IntValue<'c>>> {
    let (spec, planes) = (kernel.spec, kernel.spec.w_bits as usize);
    let weighted = sums.chunks(planes * 2).map(|sums| over_weights(kernel, sums)).collect::<Result<Vec<_>>>()?;
    let groups = weighted.chunks(spec.fragments());
    Ok(groups.map(|fragments| over_activations(kernel, fragments)).collect::<Result<Vec<_>>>()?.concat())
}

/// Both lines of a fragment, over the planes of the weights.
fn over_weights<'c>(kernel: &Kernel<'_, 'c>, sums: &[IntValue<'c>]) -> Result<[IntValue<'c>; 2]> {
    let build = kernel.build;
    let mut total = [sums[0], sums[1]];
    for (plane, sums) in sums.chunks(2).enumerate().skip(1) {
        for (total, &sum) in total.iter_mut().zip(sums) {
            *total = build.add(*total, build.shl(sum, plane as u32)?)?;
        }
    }
    Ok(total)
}

/// The slots of a group, over the planes of the activations.
fn over_activations<'c>(kernel: &Kernel<'_, 'c>, fragments: &[[IntValue<'c>; 2]]) -> Result<Vec<IntValue<'c>>> {
    let (build, tokens) = (kernel.build, kernel.spec.tile.tokens);
    let mut slots: Vec<Option<IntValue<'c>>> = vec![None; kernel.spec.slots()];
    for (fragment, lines) in fragments.iter().enumerate() {
        for (e, &line) in lines.iter().enumerate() {
            let slot = &mut slots[e % kernel.spec.slots()];
            let product = build.mul(line, weight(kernel, fragment, e)?)?;
            *slot = Some(slot.map_or(Ok(product), |sum| build.add(sum, product))?);
        }
    }
    let lanes: &[i32] = match tokens {
        1 | 2 => &[1, 2],
        4 => &[2],
        _ => &[],
    };
    let over_lanes = |sum: IntValue<'c>| lanes.iter().try_fold(sum, |sum, &mask| build.add(sum, build.shuffle(sum, mask)?));
    slots.into_iter().flatten().map(over_lanes).collect()
}

/// What line `2 j + e` of a fragment counts, for the lane's `j`: ±2^plane, or 0 for a line without plane.
fn weight<'c>(kernel: &Kernel<'_, 'c>, fragment: usize, e: usize) -> Result<IntValue<'c>> {
    let build = kernel.build;
    let of = |j: usize| build.i32(plane_weight(kernel.spec, (8 * fragment + 2 * j + e) / kernel.spec.tile.tokens as usize));
    let own = build.modulo(kernel.lane, 4)?;
    (1..4).try_fold(of(0), |weight, j| {
        let is_own = build.is(own, IntPredicate::EQ, build.i32(j as i32))?;
        build.select(is_own, of(j), weight)
    })
}

fn plane_weight(spec: &MatmulSpec, plane: usize) -> i32 {
    match spec.a_bits as usize {
        bits if plane >= bits => 0,
        bits if plane + 1 == bits && spec.a_signed => -(1 << plane),
        _ => 1 << plane,
    }
}
