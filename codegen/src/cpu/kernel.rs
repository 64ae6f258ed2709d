//! The loops of a kernel around its dot products: tiles, rows, blocks, chunks, and what happens at the end of a block.

use super::build::{Build, Result};
use super::{dot, lookup};
use crate::kernel::{CHUNK, KernelSpec, LANES, SHARED_ROWS, ScaleFormat, Store, Strategy, VECTOR};
use inkwell::IntPredicate;
use inkwell::values::{BasicValueEnum, FunctionValue, IntValue, PointerValue, VectorValue};
use mokume_runtime::cpu::abi::Field;
use mokume_runtime::cpu::isa::IsaLevel;

/// Chunks per block up to which the loop over them is written out.
const UNROLLED_CHUNKS: u64 = 4;
/// How far ahead weights are asked for. Few instructions read many weights, so a core does not come to later loads by itself
/// before it waits for the first.
const AHEAD: usize = 8192;
/// Pairs of planes up to which rows share planes, and chunks are written out.
const FEW_PAIRS: u8 = 16;

/// Emits the function of `spec` into the module.
pub(super) fn emit(build: &Build<'_>, spec: &KernelSpec) -> Result<()> {
    let function = declare(build, spec);
    build.at.position_at_end(build.context.append_basic_block(function, "entry"));
    let kernel = Kernel::new(build, spec, function)?;
    let [row_begin, row_end, tile_begin, tile_end] = [1, 2, 3, 4].map(|index| parameter(function, index));
    let strips = LANES as u64 / build.lanes() as u64;
    let begin = build.at.build_int_nuw_mul(tile_begin, build.i64(strips), "")?;
    let end = build.at.build_int_nuw_mul(tile_end, build.i64(strips), "")?;
    kernel.prefetch_first(tile_begin)?;
    build.repeat(begin, end, 1, &[], |strip, _| {
        let strip = kernel.strip(strip, strips)?;
        let mut row = row_begin;
        for &rows in row_groups(build.level, spec) {
            row = build.repeat(row, row_end, rows as u64, &[], |row, _| kernel.rows(&strip, row, rows).map(|()| vec![]))?.0;
        }
        Ok(vec![])
    })?;
    build.at.build_return(None)?;
    Ok(())
}

/// Rows that share unpacked weights: as many as there are registers for, then fewer for what is left.
fn row_groups(level: IsaLevel, spec: &KernelSpec) -> &'static [usize] {
    match (spec.strategy, level) {
        (Strategy::Planes, _) if has_many_pairs(spec) => &[1],
        (Strategy::Unpack | Strategy::Lookup, IsaLevel::Avx512 | IsaLevel::Neon) => &[2 * SHARED_ROWS, SHARED_ROWS, 1],
        _ => &[SHARED_ROWS, 1],
    }
}

/// Whether code for every pair of planes is long.
fn has_many_pairs(spec: &KernelSpec) -> bool {
    spec.strategy == Strategy::Planes && spec.w_bits * spec.a_bits > FEW_PAIRS
}

fn declare<'c>(build: &Build<'c>, spec: &KernelSpec) -> FunctionValue<'c> {
    let (pointer, word) = (build.pointer(), build.context.i64_type());
    let ty = build.context.void_type().fn_type(&[pointer.into(), word.into(), word.into(), word.into(), word.into()], false);
    let function = build.module.add_function(&spec.symbol(), ty, None);
    let nounwind = inkwell::attributes::Attribute::get_named_enum_kind_id("nounwind");
    function.add_attribute(inkwell::attributes::AttributeLoc::Function, build.context.create_enum_attribute(nounwind, 0));
    function
}

#[allow(clippy::expect_used, reason = "declared with five parameters")]
fn parameter(function: FunctionValue<'_>, index: u32) -> IntValue<'_> {
    function.get_nth_param(index).expect("five parameters").into_int_value()
}

/// What the whole function shares.
struct Kernel<'k, 'c> {
    build: &'k Build<'c>,
    spec: &'k KernelSpec,
    activations: PointerValue<'c>,
    row_bytes: IntValue<'c>,
    corrections: PointerValue<'c>,
    centers: PointerValue<'c>,
    scales: PointerValue<'c>,
    weights: PointerValue<'c>,
    tile_bytes: IntValue<'c>,
    /// Where the chunks of a tile begin.
    codes: IntValue<'c>,
    out: PointerValue<'c>,
    out_stride: IntValue<'c>,
    blocks: IntValue<'c>,
    chunks: IntValue<'c>,
    tables: PointerValue<'c>,
}

/// A register's width of columns.
struct Strip<'c> {
    /// Scales, and words of the headers, of block 0.
    scales: PointerValue<'c>,
    words: PointerValue<'c>,
    /// The first chunk.
    codes: PointerValue<'c>,
    /// Where the tile ends.
    end: PointerValue<'c>,
    out: PointerValue<'c>,
}

impl<'k, 'c> Kernel<'k, 'c> {
    fn new(build: &'k Build<'c>, spec: &'k KernelSpec, function: FunctionValue<'c>) -> Result<Self> {
        #[allow(clippy::expect_used, reason = "declared with five parameters")]
        let args = function.get_first_param().expect("five parameters").into_pointer_value();
        let field = |field: Field| build.offset_by(args, field as usize * 8);
        let pointer = |at: Field| -> Result<_> { Ok(build.load(build.pointer(), field(at)?)?.into_pointer_value()) };
        let word = |at: Field| -> Result<_> { Ok(build.load(build.context.i64_type(), field(at)?)?.into_int_value()) };
        let constant_chunks = spec.block.map(|size| build.i64((size as usize).div_ceil(CHUNK) as u64));
        Ok(Kernel {
            build,
            spec,
            activations: pointer(Field::Activations)?,
            row_bytes: word(Field::RowBytes)?,
            corrections: pointer(Field::Corrections)?,
            centers: pointer(Field::Centers)?,
            scales: pointer(Field::Scales)?,
            weights: pointer(Field::Weights)?,
            tile_bytes: word(Field::TileBytes)?,
            codes: word(Field::Codes)?,
            out: pointer(Field::Out)?,
            out_stride: build.at.build_int_nuw_mul(word(Field::OutStride)?, build.i64(4), "")?,
            blocks: word(Field::Blocks)?,
            chunks: constant_chunks.map_or_else(|| word(Field::Chunks), Ok)?,
            tables: pointer(Field::Tables)?,
        })
    }
    /// Asks for the first chunks of the first tile, for which nothing asked ahead.
    fn prefetch_first(&self, tile: IntValue<'c>) -> Result<()> {
        let codes = self.build.offset(self.build.index(self.weights, tile, self.tile_bytes)?, self.codes)?;
        (0..AHEAD).step_by(VECTOR).try_for_each(|bytes| self.build.prefetch(self.build.address(codes, bytes)?))
    }
    /// Addresses of strip number `strip`, of `strips` per tile.
    fn strip(&self, strip: IntValue<'c>, strips: u64) -> Result<Strip<'c>> {
        let build = self.build;
        let tile = build.at.build_int_unsigned_div(strip, build.i64(strips), "")?;
        let part = build.at.build_int_unsigned_rem(strip, build.i64(strips), "")?;
        let width = build.i64(4 * build.lanes() as u64);
        let tile = build.index(self.weights, tile, self.tile_bytes)?;
        let inside = |start: PointerValue<'c>, bytes: u64| build.index(start, part, build.i64(bytes * build.lanes() as u64));
        let scale_bytes = self.spec.scales.bytes();
        Ok(Strip {
            scales: inside(tile, scale_bytes as u64)?,
            words: inside(build.offset_by(tile, scale_bytes * LANES)?, 4)?,
            codes: inside(build.offset(tile, self.codes)?, 4)?,
            end: build.offset(tile, self.tile_bytes)?,
            out: build.index(self.out, strip, width)?,
        })
    }
    /// `count` rows from `row` on, against one strip.
    fn rows(&self, strip: &Strip<'c>, row: IntValue<'c>, count: usize) -> Result<()> {
        let rows = (0..count).map(|r| self.row(strip, row, r, count)).collect::<Result<Vec<_>>>()?;
        let mut carried: Vec<BasicValueEnum<'c>> = vec![strip.codes.into()];
        carried.extend(rows.iter().map(|row| BasicValueEnum::from(row.activations)));
        if self.spec.store == Store::Scaled {
            carried.extend(rows.iter().map(|_| BasicValueEnum::from(self.build.no_sum())));
        }
        let zero = self.build.i64(0);
        let (_, last) = self.build.repeat(zero, self.blocks, 1, &carried, |block, carried| self.block(strip, &rows, block, carried))?;
        if self.spec.store == Store::Scaled {
            rows.iter().zip(&last[1 + count..]).try_for_each(|(row, sum)| self.store(row, sum.into_vector_value()))?;
        }
        Ok(())
    }
    /// Addresses of row `first + r`, one of `count` together.
    fn row(&self, strip: &Strip<'c>, first: IntValue<'c>, r: usize, count: usize) -> Result<Row<'c>> {
        let build = self.build;
        let row = build.at.build_int_nuw_add(first, build.i64(r as u64), "")?;
        let four = build.i64(4);
        let per_block = build.at.build_int_nuw_mul(self.blocks, four, "")?;
        let per_row = if self.spec.a_blocks { per_block } else { four };
        let out_bytes = match self.spec.store {
            Store::Scaled => self.out_stride,
            Store::Raw => build.at.build_int_nuw_mul(self.out_stride, self.blocks, "")?,
        };
        Ok(Row {
            activations: self.activations(row, count)?,
            corrections: build.index(self.corrections, row, per_block)?,
            center: build.index(self.centers, row, per_row)?,
            scale: build.index(self.scales, row, per_row)?,
            out: build.index(strip.out, row, out_bytes)?,
        })
    }
    /// The bytes of a row, or its tables if it is one that is left over and sums are looked up.
    fn activations(&self, row: IntValue<'c>, count: usize) -> Result<PointerValue<'c>> {
        let build = self.build;
        if !lookup::reads_tables(build, self.spec, count) {
            return build.index(self.activations, row, self.row_bytes);
        }
        let chunks = build.at.build_int_nuw_mul(self.blocks, self.chunks, "")?;
        let bytes = build.at.build_int_nuw_mul(chunks, build.i64(dot::row_chunk_bytes(build, self.spec, count) as u64), "")?;
        build.index(self.tables, build.at.build_and(row, build.i64(SHARED_ROWS as u64 - 1), "")?, bytes)
    }
    /// One scale block: carried are the address of its chunks, the rows' addresses, and their f32 sums.
    fn block(
        &self,
        strip: &Strip<'c>,
        rows: &[Row<'c>],
        block: IntValue<'c>,
        carried: &[BasicValueEnum<'c>],
    ) -> Result<Vec<BasicValueEnum<'c>>> {
        let (mut results, accs) = self.chunks(strip, carried[0].into_pointer_value(), rows, &carried[1..=rows.len()])?;
        let header = self.build.at.build_int_nuw_mul(block, self.build.i64(self.spec.layout(1, 1).header as u64), "")?;
        let words = self.build.offset(strip.words, header)?;
        self.build.prefetch(self.build.address_at(self.build.offset(strip.scales, header)?, self.tile_bytes)?)?;
        let scale = self.scale(self.build.offset(strip.scales, header)?)?;
        for (r, row) in rows.iter().enumerate() {
            let acc = self.corrected(row, block, words, accs[r])?;
            match self.spec.store {
                Store::Scaled => {
                    let sum = carried[1 + rows.len() + r].into_vector_value();
                    results.push(self.scaled((scale, row, block), acc, sum)?.into());
                }
                Store::Raw => self.build.store(self.build.index(row.out, block, self.out_stride)?, acc)?,
            }
        }
        Ok(results)
    }
    fn scale(&self, at: PointerValue<'c>) -> Result<VectorValue<'c>> {
        match self.spec.scales {
            ScaleFormat::F32 => Ok(self.build.load(self.build.floats(), at)?.into_vector_value()),
            ScaleFormat::F16 => self.build.load_halves(at),
        }
    }
    /// All chunks of a block; gives the addresses after it, and an accumulator per row.
    fn chunks(
        &self,
        strip: &Strip<'c>,
        weights: PointerValue<'c>,
        rows: &[Row<'c>],
        addresses: &[BasicValueEnum<'c>],
    ) -> Result<(Vec<BasicValueEnum<'c>>, Vec<VectorValue<'c>>)> {
        let ways = dot::accumulators(self.build, self.spec, rows.len());
        let mut state: Vec<BasicValueEnum<'c>> = vec![weights.into()];
        state.extend(addresses);
        state.extend(vec![BasicValueEnum::from(self.build.splat_int(0)); rows.len() * ways]);
        let limit = if has_many_pairs(self.spec) { 1 } else { UNROLLED_CHUNKS };
        match self.chunks.get_zero_extended_constant().filter(|chunks| *chunks <= limit) {
            Some(chunks) => {
                for _ in 0..chunks {
                    state = self.chunk(strip, rows.len(), &state)?;
                }
            }
            None => {
                state = self.build.repeat(self.build.i64(0), self.chunks, 1, &state, |_, state| self.chunk(strip, rows.len(), state))?.1
            }
        }
        let accs = state.split_off(1 + rows.len());
        let sums = accs.chunks(ways).map(|ways| self.sum(ways)).collect::<Result<_>>()?;
        Ok((state, sums))
    }
    /// One chunk: the state is the weight address, the rows' addresses, the accumulators.
    fn chunk(&self, strip: &Strip<'c>, rows: usize, state: &[BasicValueEnum<'c>]) -> Result<Vec<BasicValueEnum<'c>>> {
        let weights = state[0].into_pointer_value();
        let addresses: Vec<_> = state[1..=rows].iter().map(|address| address.into_pointer_value()).collect();
        let mut accs: Vec<_> = state[1 + rows..].iter().map(|acc| acc.into_vector_value()).collect();
        let ahead = self.ahead(strip, weights)?;
        for vector in 0..self.spec.w_bits as usize {
            self.build.prefetch(self.build.address(ahead, vector * VECTOR)?)?;
        }
        dot::chunk(self.build, self.spec, weights, &addresses, &mut accs)?;
        let mut next = vec![self.build.offset_by(weights, self.spec.w_bits as usize * VECTOR)?.into()];
        for address in addresses {
            next.push(self.build.offset_by(address, dot::row_chunk_bytes(self.build, self.spec, rows))?.into());
        }
        next.extend(accs.into_iter().map(BasicValueEnum::from));
        Ok(next)
    }
    /// What follows the chunk at `weights` by [`AHEAD`] bytes of chunks: behind the header, if it is in the next tile.
    fn ahead(&self, strip: &Strip<'c>, weights: PointerValue<'c>) -> Result<PointerValue<'c>> {
        let build = self.build;
        let here = build.address(weights, AHEAD)?;
        let inside = build.at.build_int_compare(IntPredicate::ULT, here, strip.end, "")?;
        let next = build.address_at(here, self.codes)?;
        Ok(build.at.build_select(inside, here, next, "")?.into_pointer_value())
    }
    fn sum(&self, values: &[BasicValueEnum<'c>]) -> Result<VectorValue<'c>> {
        let mut sum = values[0].into_vector_value();
        for value in &values[1..] {
            sum = self.build.at.build_int_add(sum, value.into_vector_value(), "")?;
        }
        Ok(sum)
    }
    /// `step acc + correction [* cw] [+ ca * Σ (level_w - zero_w)]`
    fn corrected(&self, row: &Row<'c>, block: IntValue<'c>, words: PointerValue<'c>, acc: VectorValue<'c>) -> Result<VectorValue<'c>> {
        let build = self.build;
        let mut words = (0..).map(|index| build.load_ints(build.offset_by(words, index * VECTOR)?));
        let mut word = || words.next().unwrap_or_else(|| Ok(build.splat_int(0)));
        let mut correction = build.load_splat(build.ints(), build.index(row.corrections, block, build.i64(4))?)?;
        if self.spec.w_zero {
            correction = build.at.build_int_mul(correction, word()?, "")?;
        }
        let acc = build.at.build_left_shift(acc, build.splat_int(self.spec.shift.into()), "")?;
        let mut acc = build.at.build_int_add(acc, correction, "")?;
        if self.spec.a_center {
            let center = build.load_splat(build.ints(), self.of_row(row.center, block)?)?;
            acc = build.at.build_int_add(acc, build.at.build_int_mul(center, word()?, "")?, "")?;
        }
        Ok(acc)
    }
    /// The number of a row, or of its block where it has one for each.
    fn of_row(&self, numbers: PointerValue<'c>, block: IntValue<'c>) -> Result<PointerValue<'c>> {
        if self.spec.a_blocks { self.build.index(numbers, block, self.build.i64(4)) } else { Ok(numbers) }
    }
    /// `sum + acc as f32 * scale [* the row's scale of the block]`, rounded after each operation.
    fn scaled(
        &self,
        (scale, row, block): (VectorValue<'c>, &Row<'c>, IntValue<'c>),
        acc: VectorValue<'c>,
        sum: VectorValue<'c>,
    ) -> Result<VectorValue<'c>> {
        let build = self.build;
        let acc = build.at.build_signed_int_to_float(acc, build.floats(), "")?;
        let mut product = build.at.build_float_mul(acc, scale, "")?;
        if self.spec.a_blocks {
            let scale = build.load_splat(build.floats(), self.of_row(row.scale, block)?)?;
            product = build.at.build_float_mul(product, scale, "")?;
        }
        Ok(build.at.build_float_add(sum, product, "")?)
    }
    fn store(&self, row: &Row<'c>, sum: VectorValue<'c>) -> Result<()> {
        if self.spec.a_blocks {
            return self.build.store(row.out, sum);
        }
        let scale = self.build.load_splat(self.build.floats(), row.scale)?;
        self.build.store(row.out, self.build.at.build_float_mul(sum, scale, "")?)
    }
}

/// Addresses of a row's operands and results.
struct Row<'c> {
    activations: PointerValue<'c>,
    corrections: PointerValue<'c>,
    center: PointerValue<'c>,
    scale: PointerValue<'c>,
    out: PointerValue<'c>,
}
