//! What all kernels share: who computes what, copies to shared memory, the loop over chunks.
//!
//! Every team has a ring of stages; a stage is a chunk of the weights and activations of the team's part of the result. While a
//! chunk is multiplied, those of the other stages arrive.

use super::args::Args;
use super::{binary, group, integer, integer_group};
use crate::gpu::build::{Axis, Build, Result};
use inkwell::IntPredicate;
use inkwell::values::{BasicValueEnum, IntValue, PointerValue};
use mokume_runtime::gpu::spec::{CHUNK, FRAGMENT, Lowering, MatmulSpec, Store, WARP, padded_block};

/// Bytes of one copy.
const PIECE: usize = 16;

/// A kernel under construction.
pub(super) struct Kernel<'k, 'c> {
    pub(super) build: &'k Build<'c>,
    pub(super) spec: &'k MatmulSpec,
    pub(super) args: Args<'c>,
    pub(super) lane: IntValue<'c>,
    /// Thread of its team.
    pub(super) member: IntValue<'c>,
    /// The thread's team.
    pub(super) team: IntValue<'c>,
    /// Warp of its team, along the rows and along the columns.
    warp: (IntValue<'c>, IntValue<'c>),
    /// Fragments of columns.
    columns: IntValue<'c>,
    /// First fragment of columns of the warp.
    pub(super) first_column: IntValue<'c>,
    /// First group of rows of the warp.
    pub(super) first_group: IntValue<'c>,
}

/// A piece that a thread copies of every chunk: from where for chunk 0, how many bytes a chunk further is, to where in a chunk's part of
/// a stage, and whether at all.
struct Piece<'c> {
    from: PointerValue<'c>,
    stride: IntValue<'c>,
    to: IntValue<'c>,
    condition: Option<IntValue<'c>>,
}

/// Where a warp finds its operands in shared memory.
pub(super) struct Stage<'c> {
    pub(super) weights: PointerValue<'c>,
    pub(super) activations: PointerValue<'c>,
}

/// Emits the kernel.
pub(super) fn emit(build: &Build<'_>, spec: &MatmulSpec) -> Result<()> {
    let args = Args::begin(build, &spec.symbol(), spec.tile.threads());
    let kernel = Kernel::new(build, spec, args)?;
    let (begin, end) = kernel.part()?;
    let pieces = kernel.pieces()?;
    let ring = kernel.ring()?;
    kernel.fill(&pieces, ring, begin, end)?;
    let rows_of_blocks = if spec.block.is_some() { kernel.rows()? } else { kernel.no_rows() };
    let (slot, zero) = (build.i32(0), BasicValueEnum::from(build.i32(0)));
    let mut carried = vec![slot.into()];
    carried.extend(vec![zero; kernel.carried_sums()]);
    carried.extend(vec![BasicValueEnum::from(build.f32(-0.0)); kernel.carried_results()]);
    let last = build.repeat(begin, end, build.i32(spec.depth() as i32), &carried, |chunk, carried| {
        let slot = carried[0].into_int_value();
        build.wait_copies(u32::from(spec.tile.stages) - 2)?;
        kernel.team_barrier()?;
        kernel.refill(&pieces, ring, slot, chunk, end)?;
        let stage = build.offset(ring, slot)?;
        let mut next = vec![kernel.next_slot(slot)?.into()];
        next.extend(kernel.chunks(stage, (chunk, end), &rows_of_blocks, &carried[1..])?);
        Ok(next)
    })?;
    let (sums, results) = last[1..].split_at(kernel.carried_sums());
    let rows = if spec.block.is_some() { rows_of_blocks } else { kernel.rows()? };
    kernel.end(&rows, sums, results)?;
    build.end()
}

impl<'k, 'c> Kernel<'k, 'c> {
    fn new(build: &'k Build<'c>, spec: &'k MatmulSpec, args: Args<'c>) -> Result<Self> {
        let tile = &spec.tile;
        let thread = build.thread()?;
        let team_threads = (tile.team() * WARP) as usize;
        let member = build.modulo(thread, team_threads)?;
        let warp = build.over(member, WARP as usize)?;
        let warp = (build.over(warp, tile.warps_n.into())?, build.modulo(warp, tile.warps_n.into())?);
        let first = |axis, warps: u8, warp, each: u8| -> Result<IntValue<'c>> {
            let warp = build.add(build.times(build.group(axis)?, warps.into())?, warp)?;
            build.times(warp, each.into())
        };
        Ok(Kernel {
            build,
            spec,
            args,
            lane: build.lane()?,
            member,
            team: build.over(thread, team_threads)?,
            warp,
            columns: build.shr(build.plus(args.n, 7)?, 3)?,
            first_column: first(Axis::X, tile.warps_n, warp.1, tile.columns)?,
            first_group: first(Axis::Y, tile.warps_m, warp.0, tile.groups)?,
        })
    }
    /// Chunks of a scale block; none without blocks or if a chunk has several.
    fn block_chunks(&self) -> Option<usize> {
        self.spec.block.map(|size| padded_block(size as usize).div_ceil(CHUNK)).filter(|_| self.blocks_per_chunk() == 1)
    }
    /// Scale blocks of a chunk; 1 without blocks.
    pub(super) fn blocks_per_chunk(&self) -> usize {
        self.spec.block.map_or(1, |size| (CHUNK / padded_block(size as usize)).max(1))
    }
    /// The chunks of the thread's team: whole blocks, as evenly as they go.
    fn part(&self) -> Result<(IntValue<'c>, IntValue<'c>)> {
        let build = self.build;
        let (unit, teams) = (self.block_chunks().unwrap_or(1), self.spec.tile.warps_k);
        let units = build.over(self.args.chunks, unit)?;
        let parts = build.times(build.groups(Axis::Z)?, teams.into())?;
        let part = build.add(build.times(build.group(Axis::Z)?, teams.into())?, self.team)?;
        let bound = |part| build.times(build.udiv(build.mul(units, part)?, parts)?, unit);
        Ok((bound(part)?, bound(build.plus(part, 1)?)?))
    }
    /// The team's stages.
    fn ring(&self) -> Result<PointerValue<'c>> {
        let bytes = self.spec.stage_bytes() * self.spec.tile.stages as usize;
        self.build.offset(self.build.shared(), self.build.times(self.team, bytes)?)
    }
    /// What the thread copies of a chunk.
    fn pieces(&self) -> Result<Vec<Piece<'c>>> {
        let tile = &self.spec.tile;
        let weights = tile.block_columns() * self.spec.w_bits as usize * FRAGMENT / PIECE;
        let activations = tile.block_groups() * self.spec.group_bytes() / PIECE;
        let mut pieces = self.numbers(weights).map(|number| self.weight_piece(number?)).collect::<Result<Vec<_>>>()?;
        for number in self.numbers(activations) {
            pieces.push(match self.spec.lowering {
                Lowering::Integer => self.byte_piece(number?),
                _ => self.plane_piece(number?),
            }?);
        }
        Ok(pieces)
    }
    /// The thread's share of `count` pieces, each with a condition where only some threads have one.
    fn numbers(&self, count: usize) -> impl Iterator<Item = Result<(IntValue<'c>, Option<IntValue<'c>>)>> + '_ {
        let threads = (self.spec.tile.team() * WARP) as usize;
        (0..count.div_ceil(threads)).map(move |turn| {
            let number = self.build.plus(self.member, turn * threads)?;
            let partial = (turn + 1) * threads > count;
            let condition = partial.then(|| self.build.below(number, self.build.i32(count as i32))).transpose()?;
            Ok((number, condition))
        })
    }
    fn weight_piece(&self, (number, condition): (IntValue<'c>, Option<IntValue<'c>>)) -> Result<Piece<'c>> {
        let (build, bytes) = (self.build, self.spec.w_bits as usize * FRAGMENT);
        let first = build.times(build.group(Axis::X)?, self.spec.tile.block_columns())?;
        let column = build.add(first, build.over(number, bytes / PIECE)?)?;
        let column = build.least(column, build.sub(self.columns, build.i32(1))?)?;
        let rest = build.times(build.modulo(number, bytes / PIECE)?, PIECE)?;
        let start = build.add(build.times(build.widen(column)?, bytes)?, build.widen(rest)?)?;
        Ok(Piece {
            from: build.offset(self.args.weights, start)?,
            stride: build.times(build.widen(self.columns)?, bytes)?,
            to: build.times(number, PIECE)?,
            condition,
        })
    }
    fn plane_piece(&self, (number, condition): (IntValue<'c>, Option<IntValue<'c>>)) -> Result<Piece<'c>> {
        let (build, bytes, tokens) = (self.build, self.spec.group_bytes(), self.spec.tile.tokens as usize);
        let groups = build.over(build.plus(self.args.m, tokens - 1)?, tokens)?;
        let first = build.times(build.group(Axis::Y)?, self.spec.tile.block_groups())?;
        let group = build.add(first, build.over(number, bytes / PIECE)?)?;
        let group = build.least(group, build.sub(groups, build.i32(1))?)?;
        let rest = build.times(build.modulo(number, bytes / PIECE)?, PIECE)?;
        let start = build.add(build.times(build.widen(group)?, bytes)?, build.widen(rest)?)?;
        Ok(Piece {
            from: build.offset(self.args.activations, start)?,
            stride: build.times(build.widen(groups)?, bytes)?,
            to: build.plus(build.times(number, PIECE)?, self.weight_stage_bytes())?,
            condition,
        })
    }
    /// Of odd rows, neighboring pieces change places, so that the loads of a warp meet all banks.
    fn byte_piece(&self, (number, condition): (IntValue<'c>, Option<IntValue<'c>>)) -> Result<Piece<'c>> {
        let (build, per_row) = (self.build, CHUNK / PIECE);
        let (line, unit) = (build.over(number, per_row)?, build.modulo(number, per_row)?);
        let row = build.add(build.times(build.group(Axis::Y)?, self.spec.tile.rows())?, line)?;
        let row = build.least(row, build.sub(self.args.m, build.i32(1))?)?;
        let row_bytes = build.times(build.widen(self.args.chunks)?, CHUNK)?;
        let start = build.add(build.mul(build.widen(row)?, row_bytes)?, build.widen(build.times(unit, PIECE)?)?)?;
        let place = build.xor(unit, build.and(line, build.i32(1))?)?;
        let to = build.add(build.times(line, CHUNK)?, build.times(place, PIECE)?)?;
        Ok(Piece {
            from: build.offset(self.args.activations, start)?,
            stride: build.i64(CHUNK as i64),
            to: build.plus(to, self.weight_stage_bytes())?,
            condition,
        })
    }
    fn weight_stage_bytes(&self) -> usize {
        self.spec.tile.block_columns() * self.spec.w_bits as usize * FRAGMENT
    }
    /// Starts the copies of the first chunks.
    fn fill(&self, pieces: &[Piece<'c>], ring: PointerValue<'c>, begin: IntValue<'c>, end: IntValue<'c>) -> Result<()> {
        for stage in 0..self.spec.tile.stages as usize - 1 {
            let chunk = self.build.plus(begin, stage * self.spec.depth())?;
            let slot = self.build.i32((stage * self.spec.stage_bytes()) as i32);
            self.build.when(self.build.below(chunk, end)?, || self.copy(pieces, ring, slot, chunk))?;
            self.build.commit_copies()?;
        }
        Ok(())
    }
    /// Starts the copies of the chunk that takes the place of the last one.
    fn refill(
        &self,
        pieces: &[Piece<'c>],
        ring: PointerValue<'c>,
        slot: IntValue<'c>,
        chunk: IntValue<'c>,
        end: IntValue<'c>,
    ) -> Result<()> {
        let build = self.build;
        let (bytes, stages) = (self.spec.stage_bytes(), self.spec.tile.stages as usize);
        let is_first = build.is(slot, IntPredicate::EQ, build.i32(0))?;
        let before = build.sub(slot, build.i32(bytes as i32))?;
        let freed = build.select(is_first, build.i32((bytes * (stages - 1)) as i32), before)?;
        let next = build.plus(chunk, (stages - 1) * self.spec.depth())?;
        build.when(build.below(next, end)?, || self.copy(pieces, ring, freed, next))?;
        build.commit_copies()
    }
    /// Starts the copies of a stage that begins with a chunk; what would be after the last is the last again.
    fn copy(&self, pieces: &[Piece<'c>], ring: PointerValue<'c>, slot: IntValue<'c>, chunk: IntValue<'c>) -> Result<()> {
        let build = self.build;
        let stage = build.offset(ring, slot)?;
        self.copy_chunk(pieces, stage, chunk)?;
        (1..self.spec.depth()).try_for_each(|half| {
            let next = build.least(build.plus(chunk, half)?, build.sub(self.args.chunks, build.i32(1))?)?;
            self.copy_chunk(pieces, build.offset_by(stage, half * self.spec.chunk_bytes())?, next)
        })
    }
    fn copy_chunk(&self, pieces: &[Piece<'c>], to: PointerValue<'c>, chunk: IntValue<'c>) -> Result<()> {
        let (build, chunk) = (self.build, self.build.widen(chunk)?);
        pieces.iter().try_for_each(|piece| {
            let start = || {
                let from = build.offset(piece.from, build.mul(chunk, piece.stride)?)?;
                build.copy16(build.offset(to, piece.to)?, from)
            };
            match piece.condition {
                Some(condition) => build.when(condition, start),
                None => start(),
            }
        })
    }
    fn next_slot(&self, slot: IntValue<'c>) -> Result<IntValue<'c>> {
        let (build, bytes) = (self.build, self.spec.stage_bytes());
        let last = build.i32((bytes * (self.spec.tile.stages as usize - 1)) as i32);
        let is_last = build.is(slot, IntPredicate::EQ, last)?;
        build.select(is_last, build.i32(0), build.plus(slot, bytes)?)
    }
    fn team_barrier(&self) -> Result<()> {
        if self.spec.lowering.takes_groups() {
            self.build.show_copies()?;
        }
        if self.spec.tile.team() == 1 { self.build.warp_barrier() } else { self.build.barrier() }
    }
    /// The warp's share of a stage.
    fn stage(&self, stage: PointerValue<'c>) -> Result<Stage<'c>> {
        let (build, tile) = (self.build, &self.spec.tile);
        let columns = build.times(self.warp.1, tile.columns as usize * self.spec.w_bits as usize * FRAGMENT)?;
        let groups = build.times(self.warp.0, tile.groups as usize * self.spec.group_bytes())?;
        let activations = build.offset_by(stage, self.weight_stage_bytes())?;
        Ok(Stage { weights: build.offset(stage, columns)?, activations: build.offset(activations, groups)? })
    }
    /// Integers that the loop carries: sums that are not over.
    fn carried_sums(&self) -> usize {
        if self.blocks_per_chunk() > 1 || self.block_chunks() == Some(1) { 0 } else { self.n_sums() }
    }
    /// Results that the loop carries: of the blocks so far.
    fn carried_results(&self) -> usize {
        if self.spec.block.is_some() && self.spec.store != Store::Raw { self.spec.results() } else { 0 }
    }
    fn n_sums(&self) -> usize {
        match self.spec.lowering {
            Lowering::Integer | Lowering::IntegerGroup => integer::n_sums(self.spec),
            Lowering::Binary | Lowering::BinaryGroup => binary::n_sums(self.spec),
        }
    }
    /// Multiplies the chunks of a stage that begins with the first of `chunk`, up to the second: the next of what the loop carries.
    fn chunks(
        &self,
        stage: PointerValue<'c>,
        (chunk, end): (IntValue<'c>, IntValue<'c>),
        rows: &super::end::Rows<'c>,
        carried: &[BasicValueEnum<'c>],
    ) -> Result<Vec<BasicValueEnum<'c>>> {
        let build = self.build;
        let first = self.stage(stage)?;
        if self.spec.depth() == 1 {
            return self.chunk(&first, chunk, rows, carried);
        }
        let second = self.stage(build.offset_by(stage, self.spec.chunk_bytes())?)?;
        let next = build.plus(chunk, 1)?;
        let exists = build.below(next, end)?;
        if self.spec.block.is_none() {
            let sums: Vec<IntValue<'c>> = carried.iter().map(|sum| sum.into_int_value()).collect();
            return Ok(values(&group::step(self, (&first, Some((&second, exists))), None, &sums)?));
        }
        let carried = self.chunk(&first, chunk, rows, carried)?;
        build.change(exists, &carried, |carried| self.chunk(&second, next, rows, carried))
    }
    /// Multiplies one chunk, and ends the blocks that it ends: the next of what the loop carries.
    fn chunk(
        &self,
        stage: &Stage<'c>,
        chunk: IntValue<'c>,
        rows: &super::end::Rows<'c>,
        carried: &[BasicValueEnum<'c>],
    ) -> Result<Vec<BasicValueEnum<'c>>> {
        let build = self.build;
        let (sums, results) = carried.split_at(self.carried_sums());
        let none: Vec<IntValue<'c>> = vec![build.i32(0); self.n_sums()];
        match (self.block_chunks(), self.blocks_per_chunk()) {
            (None, 1) => {
                let sums: Vec<IntValue<'c>> = sums.iter().map(|sum| sum.into_int_value()).collect();
                Ok(values(&self.step(stage, None, &sums)?))
            }
            (Some(1), _) => {
                let sums = self.step(stage, None, &none)?;
                self.end_block(rows, chunk, &sums, results)
            }
            (Some(chunks), _) => self.chunk_of_block(stage, chunk, chunks, rows, carried),
            (None, blocks) => {
                let mut results = results.to_vec();
                for part in 0..blocks {
                    let sums = self.step(stage, Some(self.mask(part, blocks)?), &none)?;
                    let block = build.plus(build.times(chunk, blocks)?, part)?;
                    results = self.end_padded_block(rows, block, &sums, &results)?;
                }
                Ok(results)
            }
        }
    }
    /// One of several chunks of a block.
    fn chunk_of_block(
        &self,
        stage: &Stage<'c>,
        chunk: IntValue<'c>,
        chunks: usize,
        rows: &super::end::Rows<'c>,
        carried: &[BasicValueEnum<'c>],
    ) -> Result<Vec<BasicValueEnum<'c>>> {
        let build = self.build;
        let (sums, results) = carried.split_at(self.carried_sums());
        let sums: Vec<IntValue<'c>> = sums.iter().map(|sum| sum.into_int_value()).collect();
        let sums = self.step_of_block(stage, &sums)?;
        let is_last = build.is(build.modulo(chunk, chunks)?, IntPredicate::EQ, build.i32(chunks as i32 - 1))?;
        let next = [values(&sums), results.to_vec()].concat();
        build.change(is_last, &next, |_| {
            let results = self.end_block(rows, build.over(chunk, chunks)?, &sums, results)?;
            Ok([vec![build.i32(0).into(); sums.len()], results].concat())
        })
    }
    /// Adds the products of one of several chunks. Accumulators of groups of warps are not to be reset under a condition, so products
    /// begin with 0 there.
    fn step_of_block(&self, stage: &Stage<'c>, sums: &[IntValue<'c>]) -> Result<Vec<IntValue<'c>>> {
        if !self.spec.lowering.takes_groups() {
            return self.step(stage, None, sums);
        }
        let products = self.step(stage, None, &vec![self.build.i32(0); sums.len()])?;
        products.into_iter().zip(sums).map(|(product, &sum)| self.build.add(product, sum)).collect()
    }
    /// The last blocks of the last chunk may not exist.
    fn end_padded_block(
        &self,
        rows: &super::end::Rows<'c>,
        block: IntValue<'c>,
        sums: &[IntValue<'c>],
        results: &[BasicValueEnum<'c>],
    ) -> Result<Vec<BasicValueEnum<'c>>> {
        let sums = self.reduce(sums)?;
        let exists = self.build.below(block, self.args.blocks)?;
        self.build.change(exists, results, |results| self.end_reduced(rows, block, &sums, results))
    }
    fn end_block(
        &self,
        rows: &super::end::Rows<'c>,
        block: IntValue<'c>,
        sums: &[IntValue<'c>],
        results: &[BasicValueEnum<'c>],
    ) -> Result<Vec<BasicValueEnum<'c>>> {
        self.end_reduced(rows, block, &self.reduce(sums)?, results)
    }
    /// All bits in lanes that hold words of part `part` of `parts` of a chunk.
    fn mask(&self, part: usize, parts: usize) -> Result<IntValue<'c>> {
        let build = self.build;
        let words = 4 / parts;
        let own = build.over(build.modulo(self.lane, 4)?, words)?;
        let holds = build.is(own, IntPredicate::EQ, build.i32(part as i32))?;
        build.select(holds, build.i32(-1), build.i32(0))
    }
    /// Adds the products of a chunk, of the words in `mask`.
    fn step(&self, stage: &Stage<'c>, mask: Option<IntValue<'c>>, sums: &[IntValue<'c>]) -> Result<Vec<IntValue<'c>>> {
        match self.spec.lowering {
            Lowering::Integer => integer::step(self, stage, mask, sums),
            Lowering::Binary => binary::step(self, stage, mask, sums),
            Lowering::BinaryGroup => group::step(self, (stage, None), mask, sums),
            Lowering::IntegerGroup => integer_group::step(self, stage, mask, sums),
        }
    }
    /// `Σ b u` of every result of the thread: column by column of fragments, group by group, slot by slot.
    pub(super) fn reduce(&self, sums: &[IntValue<'c>]) -> Result<Vec<IntValue<'c>>> {
        match self.spec.lowering {
            Lowering::Integer | Lowering::IntegerGroup => Ok(integer::reduce(self.spec, sums)),
            Lowering::Binary | Lowering::BinaryGroup => binary::reduce(self, sums),
        }
    }
}

/// As values of any type.
pub(super) fn values<'c>(integers: &[IntValue<'c>]) -> Vec<BasicValueEnum<'c>> {
    integers.iter().map(|&value| value.into()).collect()
}
