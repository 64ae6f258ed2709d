//! `Σ b u` over one chunk, added to i32 accumulators: the inner part of every kernel.

use super::build::{Build, Result};
use super::lookup;
use super::unpack::Packed;
use crate::kernel::{CHUNK, KernelSpec, Strategy, VECTOR};
use inkwell::values::{PointerValue, VectorValue};
use mokume_runtime::cpu::isa::IsaLevel;

/// The largest sum of two products that an i16 lane may hold.
const SHORT_MAX: u32 = i16::MAX as u32;

/// Adds a chunk to the accumulators of some rows.
///
/// `weights` and `rows` point at the chunk in the weight tile and in every row, or its tables; there are
/// `accs.len() / rows.len()` accumulators per row, whose sum counts.
pub(super) fn chunk<'c>(
    build: &Build<'c>,
    spec: &KernelSpec,
    weights: PointerValue<'c>,
    rows: &[PointerValue<'c>],
    accs: &mut [VectorValue<'c>],
) -> Result<()> {
    match spec.strategy {
        Strategy::Planes => planes(build, spec, weights, rows, accs),
        Strategy::Lookup if lookup::reads_tables(build, spec, rows.len()) => lookup::sums(build, spec, weights, rows[0], accs),
        Strategy::Unpack | Strategy::Lookup => {
            let packed = Packed::load(build, spec, weights)?;
            match build.level {
                IsaLevel::Neon => signed_dots(build, spec, &packed, rows, accs),
                IsaLevel::Avx512 => vnni(build, spec, &packed, rows, accs),
                IsaLevel::Avx2 => multiply_bytes(build, spec, &packed, rows, accs),
                IsaLevel::X86_64 => multiply_shorts(build, spec, &packed, rows, accs),
            }
        }
    }
}

/// Bytes of a chunk in a row, or in its tables.
pub(super) fn row_chunk_bytes(build: &Build<'_>, spec: &KernelSpec, rows: usize) -> usize {
    match spec.strategy {
        Strategy::Planes => CHUNK / 8 * spec.a_bits as usize,
        Strategy::Lookup if lookup::reads_tables(build, spec, rows) => lookup::CHUNK_TABLES * spec.tables() * VECTOR,
        Strategy::Unpack | Strategy::Lookup => CHUNK,
    }
}

/// Accumulators per row: four hide the latency of a single row's chain of `vpdpbusd` or `sdot`.
pub(super) fn accumulators(build: &Build<'_>, spec: &KernelSpec, rows: usize) -> usize {
    let chains = matches!(build.level, IsaLevel::Avx512 | IsaLevel::Neon);
    if rows == 1 && spec.strategy != Strategy::Planes && chains { 4 } else { 1 }
}

/// Four products and their sum per lane and instruction, in i32.
fn vnni<'c>(
    build: &Build<'c>,
    spec: &KernelSpec,
    packed: &Packed<'c>,
    rows: &[PointerValue<'c>],
    accs: &mut [VectorValue<'c>],
) -> Result<()> {
    let ways = accs.len() / rows.len();
    for quad in 0..CHUNK / 4 {
        let codes = packed.codes(build, quad, 0, spec.w_bits)?;
        for (r, &row) in rows.iter().enumerate() {
            let bytes = quad_of(build, row, quad)?;
            let acc = &mut accs[r * ways + quad % ways];
            *acc = build.intrinsic("llvm.x86.avx512.vpdpbusd.512", &[*acc, codes, bytes])?;
        }
    }
    Ok(())
}

/// Four products of signed bytes and their sum per lane and instruction (`sdot`). Of 8-bit codes the top bit is a digit of its own.
fn signed_dots<'c>(
    build: &Build<'c>,
    spec: &KernelSpec,
    packed: &Packed<'c>,
    rows: &[PointerValue<'c>],
    accs: &mut [VectorValue<'c>],
) -> Result<()> {
    let ways = accs.len() / rows.len();
    let mut tops = vec![build.splat_int(0); if spec.w_bits == 8 { rows.len() } else { 0 }];
    for quad in 0..CHUNK / 4 {
        let low = packed.codes(build, quad, 0, spec.w_bits.min(7))?;
        let top = (!tops.is_empty()).then(|| packed.codes(build, quad, 7, 1)).transpose()?;
        for (r, &row) in rows.iter().enumerate() {
            let bytes = quad_of(build, row, quad)?;
            let acc = &mut accs[r * ways + quad % ways];
            *acc = sdot(build, *acc, low, bytes)?;
            if let Some(top) = top {
                tops[r] = sdot(build, tops[r], top, bytes)?;
            }
        }
    }
    for (r, top) in tops.into_iter().enumerate() {
        let top = build.at.build_left_shift(top, build.splat_int(7), "")?;
        accs[r * ways] = build.at.build_int_add(accs[r * ways], top, "")?;
    }
    Ok(())
}

pub(super) fn sdot<'c>(build: &Build<'c>, acc: VectorValue<'c>, codes: VectorValue<'c>, bytes: VectorValue<'c>) -> Result<VectorValue<'c>> {
    let operands = [acc, build.cast(codes, build.bytes())?, build.cast(bytes, build.bytes())?];
    build.overloaded("llvm.aarch64.neon.sdot", &[build.ints(), build.bytes()], &operands)
}

/// Four neighboring bytes of a row in every lane.
fn quad_of<'c>(build: &Build<'c>, row: PointerValue<'c>, quad: usize) -> Result<VectorValue<'c>> {
    build.load_splat(build.ints(), build.offset_by(row, quad * 4)?)
}

/// Pairs of products in i16 (`vpmaddubsw`), collected as long as they fit, then widened. 8-bit codes are two digits of 4 bits.
fn multiply_bytes<'c>(
    build: &Build<'c>,
    spec: &KernelSpec,
    packed: &Packed<'c>,
    rows: &[PointerValue<'c>],
    accs: &mut [VectorValue<'c>],
) -> Result<()> {
    let digits: &[(u8, u8)] = if spec.w_bits == 8 { &[(0, 4), (4, 4)] } else { &[(0, spec.w_bits)] };
    let fits = digits.iter().map(|digit| SHORT_MAX / (((1 << digit.1) - 1) * 256)).min().unwrap_or(1) as usize;
    for first in (0..CHUNK / 4).step_by(fits.min(CHUNK / 4)) {
        let quads = first..(first + fits).min(CHUNK / 4);
        for &(from, bits) in digits {
            let sums = short_sums(build, packed, rows, quads.clone(), (from, bits))?;
            for (acc, sum) in accs.iter_mut().zip(sums) {
                let wide = build.intrinsic("llvm.x86.avx2.pmadd.wd", &[sum, build.splat_short(1 << from)])?;
                *acc = build.at.build_int_add(*acc, build.cast(wide, build.ints())?, "")?;
            }
        }
    }
    Ok(())
}

/// Per row the i16 sums of one digit's products over some quads.
fn short_sums<'c>(
    build: &Build<'c>,
    packed: &Packed<'c>,
    rows: &[PointerValue<'c>],
    quads: std::ops::Range<usize>,
    (from, bits): (u8, u8),
) -> Result<Vec<VectorValue<'c>>> {
    let mut sums: Vec<Option<VectorValue<'c>>> = vec![None; rows.len()];
    for quad in quads {
        let codes = packed.codes(build, quad, from, bits)?;
        for (sum, &row) in sums.iter_mut().zip(rows) {
            let bytes = quad_of(build, row, quad)?;
            let pairs = build.intrinsic("llvm.x86.avx2.pmadd.ub.sw", &[codes, bytes])?;
            *sum = Some(match *sum {
                None => pairs,
                Some(sum) => build.at.build_int_add(sum, pairs, "")?,
            });
        }
    }
    Ok(sums.into_iter().map(|sum| sum.unwrap_or_else(|| build.splat_short(0))).collect())
}

/// Even and odd bytes as i16, multiplied and added in pairs to i32 (`pmaddwd`).
fn multiply_shorts<'c>(
    build: &Build<'c>,
    spec: &KernelSpec,
    packed: &Packed<'c>,
    rows: &[PointerValue<'c>],
    accs: &mut [VectorValue<'c>],
) -> Result<()> {
    let eight = build.splat_short(8);
    for quad in 0..CHUNK / 4 {
        let codes = build.cast(packed.codes(build, quad, 0, spec.w_bits)?, build.shorts())?;
        let even = build.at.build_and(codes, build.splat_short(0xff), "")?;
        let odd = build.at.build_right_shift(codes, eight, false, "")?;
        for (acc, &row) in accs.iter_mut().zip(rows) {
            let bytes = quad_of(build, row, quad)?;
            let bytes = build.cast(bytes, build.shorts())?;
            let low = build.at.build_left_shift(bytes, eight, "")?;
            for (codes, bytes) in [(even, low), (odd, bytes)] {
                let bytes = build.at.build_right_shift(bytes, eight, true, "")?;
                let products = build.intrinsic("llvm.x86.sse2.pmadd.wd", &[codes, bytes])?;
                *acc = build.at.build_int_add(*acc, build.cast(products, build.ints())?, "")?;
            }
        }
    }
    Ok(())
}

/// `Σ ± 2^(i+j) popcount(w_i & b_j)`, by Horner's rule over the powers of two.
fn planes<'c>(
    build: &Build<'c>,
    spec: &KernelSpec,
    weights: PointerValue<'c>,
    rows: &[PointerValue<'c>],
    accs: &mut [VectorValue<'c>],
) -> Result<()> {
    let plane = |i: u8| build.load_ints(build.offset_by(weights, i as usize * VECTOR)?);
    let planes = (0..spec.w_bits).map(plane).collect::<Result<Vec<_>>>()?;
    for (acc, &row) in accs.iter_mut().zip(rows) {
        let word = |j: u8| quad_of(build, row, j as usize);
        let words = (0..spec.a_bits).map(word).collect::<Result<Vec<_>>>()?;
        let mut sum = build.splat_int(0);
        for power in (0..planes.len() + words.len() - 1).rev() {
            sum = build.at.build_left_shift(sum, build.splat_int(1), "")?;
            sum = add_power(build, spec, &planes, &words, power, sum)?;
        }
        *acc = build.at.build_int_add(*acc, sum, "")?;
    }
    Ok(())
}

/// Adds the counts of all pairs of planes with `i + j = power`; those of a sign plane are subtracted.
fn add_power<'c>(
    build: &Build<'c>,
    spec: &KernelSpec,
    planes: &[VectorValue<'c>],
    words: &[VectorValue<'c>],
    power: usize,
    mut sum: VectorValue<'c>,
) -> Result<VectorValue<'c>> {
    for (i, &plane) in planes.iter().enumerate() {
        let Some(j) = power.checked_sub(i).filter(|j| *j < words.len()) else { continue };
        let count = build.popcount(build.at.build_and(plane, words[j], "")?)?;
        let negative = spec.a_signed && j + 1 == words.len();
        sum = if negative { build.at.build_int_sub(sum, count, "")? } else { build.at.build_int_add(sum, count, "")? };
    }
    Ok(sum)
}
