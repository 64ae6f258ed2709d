//! Codes and packs the values of a row, and sums up the bytes of every scale block.

use super::Row;
use super::code::{Coder, Line};
use super::range;
use super::source::Values;
use crate::gpu::build::Result;
use inkwell::IntPredicate;
use inkwell::values::{BasicValueEnum, IntValue};
use mokume_runtime::gpu::quantize::{Form, QuantizeSpec};
use mokume_runtime::gpu::spec::{CHUNK, FRAGMENT, WARP, padded_block};

const WARPS: u32 = QuantizeSpec::THREADS / WARP;
/// Elements of a word.
const WORD: usize = 32;

/// Emits what codes and packs.
pub(super) fn emit<'c>(row: &Row<'_, 'c>, values: &Values<'_, '_, 'c>, line: &Line<'c>) -> Result<()> {
    match row.spec.padded_block() {
        Some(size) => by_blocks(row, values, |_| Ok(*line), size),
        None => whole(row, values, line),
    }
}

/// Emits what finds the scale of every group of a row, codes and packs.
pub(super) fn groups<'c>(row: &Row<'_, 'c>, values: &Values<'_, '_, 'c>, coder: &Coder, (group, block): (u32, u32)) -> Result<()> {
    let build = row.build;
    let line = |number: IntValue<'c>| {
        let first = build.times(build.over(number, (group / block) as usize)?, group as usize)?;
        let end = build.least(build.plus(first, group as usize)?, row.args.k)?;
        let elements = (build.add(first, build.lane()?)?, end, build.i32(WARP as i32));
        let (scale, zero) = coder.scale(build, row.clipped(range::of_warp(build, elements, |i| values.at(i))?)?)?;
        let writes = build.and(is_zero(row, build.lane()?)?, build.below(number, row.args.blocks)?)?;
        build.when(build.and(writes, row.exists)?, || row.write(coder, scale, zero, block_index(row, number)?))?;
        coder.line(build, scale, zero)
    };
    by_blocks(row, values, line, padded_block(block as usize))
}

/// Every warp takes whole blocks, also those that only fill the last chunk.
fn by_blocks<'c>(
    row: &Row<'_, 'c>,
    values: &Values<'_, '_, 'c>,
    line: impl FnOnce(IntValue<'c>) -> Result<Line<'c>>,
    size: usize,
) -> Result<()> {
    let build = row.build;
    let words = size / WORD;
    let blocks = build.over(words_of(row)?, words)?;
    build.repeat(warp(row)?, blocks, build.i32(WARPS as i32), &[], |block, _| {
        let (line, first) = (line(block)?, build.times(block, words)?);
        let last = build.plus(first, words)?;
        let sum = build.repeat(first, last, build.i32(1), &[build.i32(0).into()], |word, sum| add_word(row, values, &line, word, sum))?;
        let total = over_warp(row, sum[0].into_int_value())?;
        let writes = build.and(is_zero(row, build.lane()?)?, build.below(block, row.args.blocks)?)?;
        build.when(build.and(writes, row.exists)?, || store_correction(row, block, total))?;
        Ok(vec![])
    })?;
    Ok(())
}

/// Without blocks, warps take words in turn.
fn whole<'c>(row: &Row<'_, 'c>, values: &Values<'_, '_, 'c>, line: &Line<'c>) -> Result<()> {
    let build = row.build;
    let sum = build.repeat(warp(row)?, words_of(row)?, build.i32(WARPS as i32), &[build.i32(0).into()], |word, sum| {
        add_word(row, values, line, word, sum)
    })?;
    let total = over_warp(row, sum[0].into_int_value())?;
    let shared = build.own_shared(&format!("{}.sums", row.spec.symbol()), WARPS);
    let place = |warp: IntValue<'c>| build.offset(shared, build.times(warp, 4)?);
    build.when(is_zero(row, build.lane()?)?, || build.store(place(warp(row)?)?, total))?;
    build.barrier()?;
    build.when(build.and(is_zero(row, row.thread)?, row.exists)?, || {
        let sums = (0..WARPS as i32).map(|warp| build.load_int(place(build.i32(warp))?));
        let total = sums.reduce(|sum, next| build.add(sum?, next?)).unwrap_or(Ok(total))?;
        store_correction(row, build.i32(0), total)
    })
}

fn warp<'c>(row: &Row<'_, 'c>) -> Result<IntValue<'c>> {
    row.build.over(row.thread, WARP as usize)
}

fn words_of<'c>(row: &Row<'_, 'c>) -> Result<IntValue<'c>> {
    row.build.times(row.args.chunks, CHUNK / WORD)
}

fn is_zero<'c>(row: &Row<'_, 'c>, value: IntValue<'c>) -> Result<IntValue<'c>> {
    row.build.is(value, IntPredicate::EQ, row.build.i32(0))
}

fn over_warp<'c>(row: &Row<'_, 'c>, sum: IntValue<'c>) -> Result<IntValue<'c>> {
    [16, 8, 4, 2, 1].iter().try_fold(sum, |sum, &mask| row.build.add(sum, row.build.shuffle(sum, mask)?))
}

fn store_correction<'c>(row: &Row<'_, 'c>, block: IntValue<'c>, sum: IntValue<'c>) -> Result<()> {
    let build = row.build;
    build.store(build.word_at(row.args.corrections, block_index(row, block)?)?, build.mul(sum, row.args.factor)?)
}

/// Index of a block of the row among the blocks of all.
fn block_index<'c>(row: &Row<'_, 'c>, block: IntValue<'c>) -> Result<IntValue<'c>> {
    let build = row.build;
    build.add(build.mul(build.widen(row.index)?, build.widen(row.args.blocks)?)?, build.widen(block)?)
}

/// Packs a word of the padded row; adds the lane's byte to the sum.
fn add_word<'c>(
    row: &Row<'_, 'c>,
    values: &Values<'_, '_, 'c>,
    line: &Line<'c>,
    word: IntValue<'c>,
    sum: &[BasicValueEnum<'c>],
) -> Result<Vec<BasicValueEnum<'c>>> {
    let build = row.build;
    let lane = build.lane()?;
    let in_word = match row.spec.form {
        Form::Bytes | Form::Groups => lane,
        Form::Planes(_) => build.add(build.times(build.modulo(lane, 8)?, 4)?, build.over(lane, 8)?)?,
    };
    let place = build.add(build.times(word, WORD)?, in_word)?;
    let byte = byte(row, values, line, place)?;
    match row.spec.form {
        Form::Bytes => store_byte(row, place, byte)?,
        Form::Groups => store_in_group(row, word, byte)?,
        Form::Planes(tokens) => store_planes(row, word, byte, tokens.into())?,
    }
    let signed = build.at.build_right_shift(build.shl(byte, 24)?, build.i32(24), true, "")?;
    Ok(vec![build.add(sum[0].into_int_value(), signed)?.into()])
}

/// The byte at a place of the padded row; 0 where there is no element.
fn byte<'c>(row: &Row<'_, 'c>, values: &Values<'_, '_, 'c>, line: &Line<'c>, place: IntValue<'c>) -> Result<IntValue<'c>> {
    let build = row.build;
    let (element, inside) = match (row.spec.padded_block(), row.spec.block) {
        (Some(padded), Some(size)) if padded != size as usize => {
            let (block, offset) = (build.over(place, padded)?, build.modulo(place, padded)?);
            (build.add(build.times(block, size as usize)?, offset)?, Some(build.below(offset, build.i32(size as i32))?))
        }
        _ => (place, None),
    };
    let below = build.below(element, row.args.k)?;
    let exists = build.and(inside.map_or(Ok(below), |inside| build.and(inside, below))?, row.exists)?;
    let coded = build.change(exists, &[build.i32(0).into()], |_| Ok(vec![line.byte(build, values.at(element)?)?.into()]))?;
    Ok(coded[0].into_int_value())
}

fn store_byte<'c>(row: &Row<'_, 'c>, place: IntValue<'c>, byte: IntValue<'c>) -> Result<()> {
    let build = row.build;
    let start = build.mul(build.widen(row.index)?, build.times(build.widen(row.args.chunks)?, CHUNK)?)?;
    let to = build.offset(row.args.activations, build.add(start, build.widen(place)?)?)?;
    build.store(to, build.at.build_int_truncate(byte, build.context.i8_type(), "")?)
}

/// Element `4 u + r` of word `j` is byte `4 j + r` of its row in unit `u`.
fn store_in_group<'c>(row: &Row<'_, 'c>, word: IntValue<'c>, byte: IntValue<'c>) -> Result<()> {
    let build = row.build;
    let (unit, rest) = (build.over(build.lane()?, 4)?, build.modulo(build.lane()?, 4)?);
    let groups = build.over(build.plus(row.args.m, 7)?, 8)?;
    let chunk = build.widen(build.over(word, CHUNK / WORD)?)?;
    let group = build.add(build.mul(chunk, build.widen(groups)?)?, build.widen(build.over(row.index, 8)?)?)?;
    let line = build.add(build.times(unit, 128)?, build.times(build.modulo(row.index, 8)?, 16)?)?;
    let in_line = build.add(build.times(build.modulo(word, CHUNK / WORD)?, 4)?, rest)?;
    let at = build.add(build.times(group, 8 * CHUNK)?, build.widen(build.add(line, in_line)?)?)?;
    let to = build.offset(row.args.activations, at)?;
    build.store(to, build.at.build_int_truncate(byte, build.context.i8_type(), "")?)
}

/// Lane `p` stores the word of plane `p`; lines without a plane get zeros.
fn store_planes<'c>(row: &Row<'_, 'c>, word: IntValue<'c>, byte: IntValue<'c>, tokens: usize) -> Result<()> {
    let (build, fragments) = (row.build, row.spec.fragments());
    let lane = build.lane()?;
    let mut own = build.i32(0);
    for plane in 0..u32::from(row.spec.bits) {
        let bit = is_zero(row, build.and(byte, build.i32(1 << plane))?)?;
        let word = build.ballot(build.at.build_not(bit, "")?)?;
        own = build.select(build.is(lane, IntPredicate::EQ, build.i32(plane as i32))?, word, own)?;
    }
    let groups = build.over(build.plus(row.args.m, tokens - 1)?, tokens)?;
    let chunk = build.widen(build.over(word, CHUNK / WORD)?)?;
    let group = build.add(build.mul(chunk, build.widen(groups)?)?, build.widen(build.over(row.index, tokens)?)?)?;
    let line = build.add(build.times(lane, tokens)?, build.modulo(row.index, tokens)?)?;
    let in_group = build.add(build.times(line, 16)?, build.times(build.modulo(word, CHUNK / WORD)?, 4)?)?;
    let at = build.add(build.times(group, fragments * FRAGMENT)?, build.widen(in_group)?)?;
    let lines = build.i32((8 * fragments / tokens) as i32);
    build.when(build.below(lane, lines)?, || build.store(build.offset(row.args.activations, at)?, own))
}
