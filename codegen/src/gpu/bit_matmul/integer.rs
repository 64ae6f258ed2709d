//! Products of bytes: weights are unpacked from their planes in registers, sixteen columns on the rows of an `mma`.
//!
//! Lane `4 c + j` holds word `j` of column `c`, so that the elements of an `mma` are not neighbors: in step `s` of a chunk the lane
//! multiplies elements `32 j + 8 s ..` of its word, as it does for the activations.

use super::frame::{Kernel, Stage};
use crate::gpu::build::{Build, Result};
use inkwell::values::{IntValue, PointerValue};
use mokume_runtime::gpu::spec::{CHUNK, FRAGMENT, MatmulSpec};

/// The product of unsigned weights and signed activations.
const MMA: &str = "m16n8k32.row.col.u8.s8";
/// Steps of a chunk.
const STEPS: usize = 4;

/// Sums of a thread: four for sixteen columns and eight rows.
pub(super) fn n_sums(spec: &MatmulSpec) -> usize {
    spec.tile.columns as usize / 2 * spec.tile.groups as usize * 4
}

/// Adds the products of a chunk.
pub(super) fn step<'c>(
    kernel: &Kernel<'_, 'c>,
    stage: &Stage<'c>,
    mask: Option<IntValue<'c>>,
    sums: &[IntValue<'c>],
) -> Result<Vec<IntValue<'c>>> {
    let (build, spec) = (kernel.build, kernel.spec);
    let groups = (0..spec.tile.groups as usize).map(|group| bytes(kernel, stage.activations, group, mask));
    let groups = groups.collect::<Result<Vec<_>>>()?;
    let mut next = Vec::with_capacity(sums.len());
    for (pair, sums) in sums.chunks(4 * groups.len()).enumerate() {
        let (low, high) = (weights(kernel, stage.weights, 2 * pair)?, weights(kernel, stage.weights, 2 * pair + 1)?);
        for (bytes, sums) in groups.iter().zip(sums.chunks(4)) {
            let sum = (0..STEPS).try_fold(sums.to_vec(), |sum, s| {
                let a = [low[2 * s], high[2 * s], low[2 * s + 1], high[2 * s + 1]];
                build.mma(MMA, &a, &bytes[2 * s..2 * s + 2], &sum)
            })?;
            next.extend(sum);
        }
    }
    Ok(next)
}

/// The lane's 32 activations of its row in a group, four to a word.
fn bytes<'c>(kernel: &Kernel<'_, 'c>, base: PointerValue<'c>, group: usize, mask: Option<IntValue<'c>>) -> Result<Vec<IntValue<'c>>> {
    let build = kernel.build;
    let (line, own) = (build.over(kernel.lane, 4)?, build.modulo(kernel.lane, 4)?);
    let start = build.add(build.times(line, CHUNK)?, build.times(own, 32)?)?;
    let turn = build.times(build.and(line, build.i32(1))?, 16)?;
    let group = build.offset_by(base, group * 8 * CHUNK)?;
    let mut words = Vec::with_capacity(8);
    for half in [0, 16] {
        let place = build.xor(turn, build.i32(half))?;
        words.extend(build.load_four(build.offset(group, build.add(start, place)?)?)?);
    }
    match mask {
        Some(mask) => words.into_iter().map(|word| build.and(word, mask)).collect(),
        None => Ok(words),
    }
}

/// The lane's 32 weights of a column, four to a word.
pub(super) fn weights<'c>(kernel: &Kernel<'_, 'c>, base: PointerValue<'c>, column: usize) -> Result<Vec<IntValue<'c>>> {
    let (build, bits) = (kernel.build, kernel.spec.w_bits as usize);
    let load = |plane: usize| {
        let fragment = build.offset_by(base, (column * bits + plane) * FRAGMENT)?;
        build.load_int(build.word_at(fragment, kernel.lane)?)
    };
    let planes = (0..bits).map(load).collect::<Result<Vec<_>>>()?;
    unpack(build, &planes)
}

/// Fields of `width` bits: in every byte of the word, from bit 0 on, those of the quads in the list.
struct Fields<'c> {
    word: IntValue<'c>,
    width: u32,
    quads: Vec<usize>,
}

/// Eight words of four bytes from the bits in `planes`: bit `t` of every byte belongs to word `t`.
///
/// Planes are merged pairwise to fields of 2, then 4, then 8 bits, which takes a third of the instructions that single bits would.
fn unpack<'c>(build: &Build<'c>, planes: &[IntValue<'c>]) -> Result<Vec<IntValue<'c>>> {
    let mut level: Vec<Vec<Fields<'c>>> = planes.iter().map(|&word| vec![Fields { word, width: 1, quads: (0..8).collect() }]).collect();
    while level.len() > 1 {
        if level.len() % 2 == 1 {
            let zero = |fields: &Fields<'c>| Fields { word: build.i32(0), width: fields.width, quads: fields.quads.clone() };
            let zeros = level[0].iter().map(zero).collect();
            level.push(zeros);
        }
        let pairs = level.chunks(2).map(|pair| merge(build, &pair[0], &pair[1]));
        level = pairs.collect::<Result<_>>()?;
    }
    let mut quads = vec![build.i32(0); 8];
    for fields in &level[0] {
        for (i, &quad) in fields.quads.iter().enumerate() {
            quads[quad] = build.and(build.shr(fields.word, i as u32 * fields.width)?, splat(build, mask(fields.width)))?;
        }
    }
    Ok(quads)
}

/// Fields of twice the width, low bits from `low`.
fn merge<'c>(build: &Build<'c>, low: &[Fields<'c>], high: &[Fields<'c>]) -> Result<Vec<Fields<'c>>> {
    let mut merged = Vec::new();
    for (low, high) in low.iter().zip(high) {
        let width = low.width;
        let even = splat(build, (0..8).step_by(2 * width as usize).fold(0, |bits, at| bits | mask(width) << at));
        let odd = build.shl(even, width)?;
        let quads = |odd: usize| low.quads.iter().copied().skip(odd).step_by(2).collect();
        let first = build.or(build.and(low.word, even)?, build.and(build.shl(high.word, width)?, odd)?)?;
        let second = build.or(build.and(build.shr(low.word, width)?, even)?, build.and(high.word, odd)?)?;
        merged.push(Fields { word: first, width: 2 * width, quads: quads(0) });
        merged.push(Fields { word: second, width: 2 * width, quads: quads(1) });
    }
    Ok(merged)
}

/// `width` ones.
fn mask(width: u32) -> u32 {
    (1 << width) - 1
}

/// Every byte of a word.
fn splat<'c>(build: &Build<'c>, byte: u32) -> IntValue<'c> {
    build.i32(byte.wrapping_mul(0x0101_0101) as i32)
}

/// Sums by fragment of columns, group and slot.
pub(super) fn reduce<'c>(spec: &MatmulSpec, sums: &[IntValue<'c>]) -> Vec<IntValue<'c>> {
    let pairs = sums.chunks(4 * spec.tile.groups as usize);
    let half =
        |pair: &[IntValue<'c>], half: usize| pair.chunks(4).flat_map(|sums| [sums[2 * half], sums[2 * half + 1]]).collect::<Vec<_>>();
    pairs.flat_map(|pair| [half(pair, 0), half(pair, 1)].concat()).collect()
}
