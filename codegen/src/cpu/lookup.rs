//! `Σ b u` over one chunk by looking up the sums of four activations that four bits of the weights choose.
//!
//! A byte of a bit vector holds two such indices. Of a table of 64 bytes, one instruction looks up 16 bytes per residue of k, the
//! residue being that of the byte's place; one dot product with the worth of the bit then adds the four bytes of a column.

use super::build::{Build, Result};
use super::dot::sdot;
use crate::kernel::{KernelSpec, TABLE_SHIFT, VECTOR};
use inkwell::values::{PointerValue, VectorValue};
use mokume_runtime::cpu::isa::IsaLevel;

/// Half chunks, each with tables of its own.
pub(super) const CHUNK_TABLES: usize = 2;
/// Where the tables of the four residues of k begin.
const RESIDUES: u32 = 0x3020_1000;
/// The largest power of two that multiplies a byte of a table in one instruction.
const MAX_WORTH: u32 = 128;

/// Whether so many rows together are multiplied by tables: only single ones.
pub(super) fn reads_tables(build: &Build<'_>, spec: &KernelSpec, rows: usize) -> bool {
    rows == 1 && spec.reads_tables(build.level)
}

/// Adds a chunk of one row, whose tables are at `tables`, to the accumulators.
pub(super) fn sums<'c>(
    build: &Build<'c>,
    spec: &KernelSpec,
    weights: PointerValue<'c>,
    tables: PointerValue<'c>,
    accs: &mut [VectorValue<'c>],
) -> Result<()> {
    let count = spec.tables();
    let tables = (0..CHUNK_TABLES * count).map(|i| Looked::load(build, build.offset_by(tables, i * VECTOR)?));
    let tables = tables.collect::<Result<Vec<_>>>()?;
    for bit in 0..spec.w_bits {
        let vector = build.load_ints(build.offset_by(weights, bit as usize * VECTOR)?)?;
        for (half, tables) in tables.chunks(count).enumerate() {
            let index = index(build, vector, half)?;
            for (i, table) in tables.iter().enumerate() {
                let shift = if count == 2 && i == 0 { TABLE_SHIFT } else { 0 };
                let acc = &mut accs[(half * count + i) % accs.len()];
                *acc = add(build, *acc, table.at(build, index)?, 1 << (u32::from(bit) + shift))?;
            }
        }
    }
    Ok(())
}

/// The indices of half a chunk, with the residues of their bytes.
fn index<'c>(build: &Build<'c>, vector: VectorValue<'c>, half: usize) -> Result<VectorValue<'c>> {
    let moved = if half == 0 { vector } else { build.at.build_right_shift(vector, build.splat_int(4), false, "")? };
    let index = build.at.build_and(moved, build.splat_int(0x0f0f_0f0f), "")?;
    Ok(build.at.build_or(index, build.splat_int(RESIDUES), "")?)
}

/// `acc + worth * Σ` of the four signed bytes of every lane.
fn add<'c>(build: &Build<'c>, mut acc: VectorValue<'c>, bytes: VectorValue<'c>, worth: u32) -> Result<VectorValue<'c>> {
    let factor = build.splat_int(worth.min(MAX_WORTH) * 0x0101_0101);
    for _ in 0..worth.div_ceil(MAX_WORTH) {
        acc = match build.level {
            IsaLevel::Neon => sdot(build, acc, factor, bytes)?,
            _ => build.intrinsic("llvm.x86.avx512.vpdpbusd.512", &[acc, factor, bytes])?,
        };
    }
    Ok(acc)
}

/// A table in registers.
struct Looked<'c> {
    registers: Vec<VectorValue<'c>>,
}

impl<'c> Looked<'c> {
    fn load(build: &Build<'c>, table: PointerValue<'c>) -> Result<Self> {
        let size = 4 * build.lanes() as usize;
        let register = |at: usize| Ok(build.load(build.bytes(), build.offset_by(table, at)?)?.into_vector_value());
        Ok(Looked { registers: (0..VECTOR).step_by(size).map(register).collect::<Result<_>>()? })
    }
    /// The bytes at `index`.
    fn at(&self, build: &Build<'c>, index: VectorValue<'c>) -> Result<VectorValue<'c>> {
        let operands = [&self.registers[..], &[build.cast(index, build.bytes())?]].concat();
        match build.level {
            IsaLevel::Neon => build.overloaded("llvm.aarch64.neon.tbl4", &[build.bytes()], &operands),
            _ => build.intrinsic("llvm.x86.avx512.permvar.qi.512", &operands),
        }
    }
}
