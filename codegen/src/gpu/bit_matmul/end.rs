//! From sums to results: corrections and scales of a block, the sum over teams, the ending, the store.

use super::frame::{Kernel, values};
use crate::gpu::build::{Axis, Build, Result};
use crate::gpu::math;
use inkwell::IntPredicate;
use inkwell::values::{BasicValueEnum, FloatValue, IntValue, PointerValue};
use mokume_runtime::gpu::spec::{Ending, Store, WARP};

/// The rows and columns of a thread's results.
pub(super) struct Rows<'c> {
    /// Every group's slots.
    rows: Vec<Row<'c>>,
    /// Whether the lane stores; others hold the same numbers.
    owns: IntValue<'c>,
}

/// A row.
struct Row<'c> {
    index: IntValue<'c>,
    exists: IntValue<'c>,
    /// The row, or the last one if there is none.
    clamped: IntValue<'c>,
}

/// What a column has for a block.
struct Column<'c> {
    scale: FloatValue<'c>,
    zero: Option<IntValue<'c>>,
    sum: Option<IntValue<'c>>,
}

impl<'c> Kernel<'_, 'c> {
    /// The rows of the thread's results.
    pub(super) fn rows(&self) -> Result<Rows<'c>> {
        let (build, tile) = (self.build, &self.spec.tile);
        let own = build.modulo(self.lane, 4)?;
        let mut rows = Vec::new();
        for group in 0..tile.groups as usize {
            let first = build.times(build.plus(self.first_group, group)?, tile.tokens.into())?;
            for slot in 0..self.spec.slots() {
                rows.push(self.row(build.add(first, self.token(own, slot)?)?)?);
            }
        }
        let owners = build.i32((i32::from(tile.tokens) / 2).max(1));
        Ok(Rows { rows, owns: build.below(own, owners)? })
    }
    /// No rows, for a loop that ends no blocks: what describes rows would only take registers in it.
    pub(super) fn no_rows(&self) -> Rows<'c> {
        Rows { rows: vec![], owns: self.build.context.bool_type().const_zero() }
    }
    /// The row of a group that is in a slot of the lanes `4 c + own`.
    fn token(&self, own: IntValue<'c>, slot: usize) -> Result<IntValue<'c>> {
        let build = self.build;
        match self.spec.tile.tokens {
            1 => Ok(build.i32(0)),
            2 => Ok(build.i32(slot as i32)),
            4 => build.plus(build.times(build.modulo(own, 2)?, 2)?, slot),
            _ => build.plus(build.times(own, 2)?, slot),
        }
    }
    fn row(&self, index: IntValue<'c>) -> Result<Row<'c>> {
        let build = self.build;
        let clamped = build.least(index, build.sub(self.args.m, build.i32(1))?)?;
        Ok(Row { index, exists: build.below(index, self.args.m)?, clamped })
    }
    /// The column of a fragment that the lane has.
    fn column(&self, fragment: usize) -> Result<IntValue<'c>> {
        let build = self.build;
        build.add(build.times(build.plus(self.first_column, fragment)?, 8)?, build.over(self.lane, 4)?)
    }
    fn exists(&self, column: IntValue<'c>) -> Result<IntValue<'c>> {
        self.build.below(column, self.args.n)
    }
    /// Ends a block whose sums are reduced: the next results, or none when sums are stored.
    pub(super) fn end_reduced(
        &self,
        rows: &Rows<'c>,
        block: IntValue<'c>,
        sums: &[IntValue<'c>],
        results: &[BasicValueEnum<'c>],
    ) -> Result<Vec<BasicValueEnum<'c>>> {
        if self.spec.store == Store::Raw {
            self.store_raw(rows, block, sums)?;
            return Ok(vec![]);
        }
        let terms = self.terms(rows, block, sums)?;
        let next = results.iter().zip(terms).map(|(result, term)| self.build.fadd(result.into_float_value(), term));
        next.map(|value| Ok(value?.into())).collect()
    }
    /// `acc * scale_w` of every result, times the scale that its row has for the block; row by row, so that few numbers of rows are held at once.
    fn terms(&self, rows: &Rows<'c>, block: IntValue<'c>, sums: &[IntValue<'c>]) -> Result<Vec<FloatValue<'c>>> {
        let build = self.build;
        let columns = (0..self.spec.tile.columns as usize).map(|fragment| self.load_column(self.column(fragment)?, block));
        let columns = columns.collect::<Result<Vec<_>>>()?;
        let mut terms = vec![build.f32(0.0); sums.len()];
        for (r, row) in rows.rows.iter().enumerate() {
            let (correction, center) = (self.correction(row, block)?, self.center(row, block)?);
            let scale = self.spec.a_blocks.then(|| self.scale(row.clamped, block)).transpose()?;
            for (fragment, column) in columns.iter().enumerate() {
                let i = fragment * rows.rows.len() + r;
                let acc = accumulator(build, self.spec.shift, sums[i], correction, center, column)?;
                let term = build.fmul(build.to_float(acc)?, column.scale)?;
                terms[i] = scale.map_or(Ok(term), |scale| build.fmul(term, scale))?;
            }
        }
        Ok(terms)
    }
    fn center(&self, row: &Row<'c>, block: IntValue<'c>) -> Result<Option<IntValue<'c>>> {
        let load = || self.build.load_int(self.of_row(self.args.centers, row.clamped, block)?);
        self.spec.a_center.then(load).transpose()
    }
    fn correction(&self, row: &Row<'c>, block: IntValue<'c>) -> Result<IntValue<'c>> {
        let index = by_block(self.build, row.clamped, self.args.blocks, block)?;
        self.build.load_int(self.build.word_at(self.args.corrections, index)?)
    }
    fn scale(&self, row: IntValue<'c>, block: IntValue<'c>) -> Result<FloatValue<'c>> {
        self.build.load_float(self.of_row(self.args.scales, row, block)?)
    }
    /// The number of a row, or of its block where it has one for each.
    fn of_row(&self, numbers: PointerValue<'c>, row: IntValue<'c>, block: IntValue<'c>) -> Result<PointerValue<'c>> {
        of_row(self.build, self.spec.a_blocks, numbers, (row, self.args.blocks, block))
    }
    fn load_column(&self, column: IntValue<'c>, block: IntValue<'c>) -> Result<Column<'c>> {
        let args = &self.args;
        let column = self.build.least(column, self.build.sub(args.n, self.build.i32(1))?)?;
        load_column(self.build, (args.w_scales, args.w_zeros, args.w_sums), (self.spec.w_zero, self.spec.a_center), args.n, column, block)
    }
    /// After the last chunk: sums without blocks, or results of all blocks.
    pub(super) fn end(&self, rows: &Rows<'c>, sums: &[BasicValueEnum<'c>], results: &[BasicValueEnum<'c>]) -> Result<()> {
        match (self.spec.block, self.spec.store) {
            (Some(_), Store::Raw) => Ok(()),
            (None, Store::Raw) => {
                let sums: Vec<IntValue<'c>> = sums.iter().map(|sum| sum.into_int_value()).collect();
                let part = self.build.group(Axis::Z)?;
                self.over_teams(&values(&self.reduce(&sums)?), |sums| self.store_raw(rows, part, &integers(sums)))
            }
            (None, Store::Scaled(ending)) => {
                let sums: Vec<IntValue<'c>> = sums.iter().map(|sum| sum.into_int_value()).collect();
                self.over_teams(&values(&self.reduce(&sums)?), |sums| {
                    let terms = self.terms(rows, self.build.i32(0), &integers(sums))?;
                    self.store_scaled(rows, &terms, ending)
                })
            }
            (Some(_), Store::Scaled(ending)) => self.over_teams(results, |results| {
                let results: Vec<FloatValue<'c>> = results.iter().map(|result| result.into_float_value()).collect();
                self.store_scaled(rows, &results, ending)
            }),
        }
    }
    /// Adds up what the teams have, in their order, and gives it to `last`, which the first team runs.
    fn over_teams(&self, own: &[BasicValueEnum<'c>], last: impl FnOnce(&[BasicValueEnum<'c>]) -> Result<()>) -> Result<()> {
        let (build, teams) = (self.build, usize::from(self.spec.tile.warps_k));
        if teams == 1 {
            return last(own);
        }
        let is_first = build.is(self.team, IntPredicate::EQ, build.i32(0))?;
        let is_other = build.is(self.team, IntPredicate::NE, build.i32(0))?;
        let place = self.handover(build.sub(self.team, build.i32(1))?)?;
        build.when(is_other, || own.iter().enumerate().try_for_each(|(i, &value)| build.store(self.entry(place, i)?, value)))?;
        build.barrier()?;
        build.when(is_first, || {
            let mut totals = own.to_vec();
            for team in 0..teams - 1 {
                let place = self.handover(build.i32(team as i32))?;
                for (i, total) in totals.iter_mut().enumerate() {
                    *total = add(build, *total, build.load(total.get_type(), self.entry(place, i)?)?)?;
                }
            }
            last(&totals)
        })
    }
    /// Where the thread's values of a team after the first are handed over.
    fn handover(&self, team: IntValue<'c>) -> Result<PointerValue<'c>> {
        let (build, spec) = (self.build, self.spec);
        let stages = spec.stage_bytes() * spec.tile.stages as usize * spec.tile.warps_k as usize;
        let bytes = (spec.tile.team() * WARP) as usize * 4 * spec.results();
        let at = build.add(build.times(team, bytes)?, build.times(self.member, 4)?)?;
        build.offset(build.offset_by(build.shared(), stages)?, at)
    }
    fn entry(&self, place: PointerValue<'c>, i: usize) -> Result<PointerValue<'c>> {
        self.build.offset_by(place, i * (self.spec.tile.team() * WARP) as usize * 4)
    }
    fn store_raw(&self, rows: &Rows<'c>, part: IntValue<'c>, sums: &[IntValue<'c>]) -> Result<()> {
        let build = self.build;
        let first = build.mul(part, self.args.m)?;
        self.store_each(rows, sums.len(), |i, row, column| self.store_at(build.add(first, row.index)?, column, sums[i].into()))
    }
    fn store_scaled(&self, rows: &Rows<'c>, results: &[FloatValue<'c>], ending: Ending) -> Result<()> {
        let build = self.build;
        self.store_each(rows, results.len(), |i, row, column| {
            let result = match self.spec.a_blocks {
                true => results[i],
                false => build.fmul(results[i], self.scale(row.index, build.i32(0))?)?,
            };
            self.store_at(row.index, column, end_result(build, result, ending, self.args.bias, column)?.into())
        })
    }
    /// Stores those of `count` results that exist.
    fn store_each(&self, rows: &Rows<'c>, count: usize, store: impl Fn(usize, &Row<'c>, IntValue<'c>) -> Result<()>) -> Result<()> {
        let build = self.build;
        for i in 0..count {
            let row = &rows.rows[i % rows.rows.len()];
            let column = self.column(i / rows.rows.len())?;
            let exists = build.and(build.and(rows.owns, row.exists)?, self.exists(column)?)?;
            build.when(exists, || store(i, row, column))?;
        }
        Ok(())
    }
    fn store_at(&self, row: IntValue<'c>, column: IntValue<'c>, value: BasicValueEnum<'c>) -> Result<()> {
        let build = self.build;
        let start = build.mul(build.widen(row)?, build.widen(self.args.n)?)?;
        build.store(build.word_at(self.args.out, build.add(start, build.widen(column)?)?)?, value)
    }
}

fn integers<'c>(values: &[BasicValueEnum<'c>]) -> Vec<IntValue<'c>> {
    values.iter().map(|value| value.into_int_value()).collect()
}

fn add<'c>(build: &Build<'c>, a: BasicValueEnum<'c>, b: BasicValueEnum<'c>) -> Result<BasicValueEnum<'c>> {
    match a {
        BasicValueEnum::FloatValue(a) => Ok(build.fadd(a, b.into_float_value())?.into()),
        _ => Ok(build.add(a.into_int_value(), b.into_int_value())?.into()),
    }
}

/// Index of a block of a row among the blocks of all.
fn by_block<'c>(build: &Build<'c>, row: IntValue<'c>, blocks: IntValue<'c>, block: IntValue<'c>) -> Result<IntValue<'c>> {
    build.add(build.mul(build.widen(row)?, build.widen(blocks)?)?, build.widen(block)?)
}

/// The number of a row, or of its block where rows have one for each.
fn of_row<'c>(
    build: &Build<'c>,
    a_blocks: bool,
    numbers: PointerValue<'c>,
    (row, blocks, block): (IntValue<'c>, IntValue<'c>, IntValue<'c>),
) -> Result<PointerValue<'c>> {
    let index = if a_blocks { by_block(build, row, blocks, block)? } else { row };
    build.word_at(numbers, index)
}

type Addresses<'c> = (PointerValue<'c>, PointerValue<'c>, PointerValue<'c>);

/// Scale, zero point and sum of a column; `n` columns, padded to fragments.
fn load_column<'c>(
    build: &Build<'c>,
    (scales, zeros, sums): Addresses<'c>,
    (has_zero, has_sum): (bool, bool),
    n: IntValue<'c>,
    column: IntValue<'c>,
    block: IntValue<'c>,
) -> Result<Column<'c>> {
    let padded = build.and(build.plus(n, 7)?, build.i32(-8))?;
    let index = build.add(build.mul(build.widen(block)?, build.widen(padded)?)?, build.widen(column)?)?;
    let load = |present: bool, from| present.then(|| build.load_int(build.word_at(from, index)?)).transpose();
    Ok(Column { scale: build.load_float(build.word_at(scales, index)?)?, zero: load(has_zero, zeros)?, sum: load(has_sum, sums)? })
}

/// `(Σ b u << shift) + correction [cw] + ca Σ (level_w - zero_w)`.
fn accumulator<'c>(
    build: &Build<'c>,
    shift: u8,
    sum: IntValue<'c>,
    correction: IntValue<'c>,
    center: Option<IntValue<'c>>,
    column: &Column<'c>,
) -> Result<IntValue<'c>> {
    let correction = column.zero.map_or(Ok(correction), |zero| build.mul(correction, zero))?;
    let acc = build.add(build.shl(sum, shift.into())?, correction)?;
    match (center, column.sum) {
        (Some(center), Some(sum)) => build.add(acc, build.mul(center, sum)?),
        _ => Ok(acc),
    }
}

/// Bias and activation.
fn end_result<'c>(
    build: &Build<'c>,
    result: FloatValue<'c>,
    ending: Ending,
    bias: PointerValue<'c>,
    column: IntValue<'c>,
) -> Result<FloatValue<'c>> {
    let biased = match ending.bias {
        true => build.fadd(result, build.load_float(build.word_at(bias, column)?)?)?,
        false => result,
    };
    ending.activation.map_or(Ok(biased), |activation| math::activate(build, activation, biased))
}

/// One thread's result from raw sums, as the kernel that finishes them computes it.
pub(super) struct Finish<'f, 'c> {
    pub(super) build: &'f Build<'c>,
    pub(super) spec: &'f mokume_runtime::gpu::spec::FinishSpec,
    pub(super) args: super::args::Args<'c>,
    pub(super) row: IntValue<'c>,
    pub(super) column: IntValue<'c>,
}

impl<'c> Finish<'_, 'c> {
    /// The sum of a part of k.
    pub(super) fn raw(&self, part: IntValue<'c>) -> Result<IntValue<'c>> {
        let (build, args) = (self.build, &self.args);
        let line = build.widen(build.add(build.mul(part, args.m)?, self.row)?)?;
        let index = build.add(build.mul(line, build.widen(args.n)?)?, build.widen(self.column)?)?;
        build.load_int(build.word_at(args.activations, index)?)
    }
    /// `acc * scale_w` of a block, times the scale that the row has for it.
    pub(super) fn term(&self, block: IntValue<'c>, sum: IntValue<'c>) -> Result<FloatValue<'c>> {
        let (build, args, product) = (self.build, &self.args, &self.spec.product);
        let addresses = (args.w_scales, args.w_zeros, args.w_sums);
        let column = load_column(build, addresses, (product.w_zero, product.a_center), args.n, self.column, block)?;
        let correction = build.load_int(build.word_at(args.corrections, by_block(build, self.row, args.blocks, block)?)?)?;
        let center = product.a_center.then(|| build.load_int(self.of_row(args.centers, block)?)).transpose()?;
        let acc = accumulator(build, product.shift, sum, correction, center, &column)?;
        let term = build.fmul(build.to_float(acc)?, column.scale)?;
        if product.a_blocks { build.fmul(term, build.load_float(self.of_row(args.scales, block)?)?) } else { Ok(term) }
    }
    fn of_row(&self, numbers: PointerValue<'c>, block: IntValue<'c>) -> Result<PointerValue<'c>> {
        of_row(self.build, self.spec.product.a_blocks, numbers, (self.row, self.args.blocks, block))
    }
    /// Scales, ends and stores.
    pub(super) fn store(&self, result: FloatValue<'c>) -> Result<()> {
        let (build, args) = (self.build, &self.args);
        let result = match self.spec.product.a_blocks {
            true => result,
            false => build.fmul(result, build.load_float(build.word_at(args.scales, self.row)?)?)?,
        };
        let result = end_result(build, result, self.spec.ending, args.bias, self.column)?;
        let index = build.add(build.mul(build.widen(self.row)?, build.widen(args.n)?)?, build.widen(self.column)?)?;
        build.store(build.word_at(args.out, index)?, result)
    }
}
