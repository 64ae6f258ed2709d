//! Quantized weight constants: rows of codes, densely packed, with scales per row or block.
//!
//! Rows are quantized in parallel; the work is split by rows whatever the number of threads, so the bytes do not depend on it.

use super::round::{Grid, Rounding};
use mokume_ir::constant::{Constant, QuantData, packed_bytes};
use mokume_ir::quant::{Granularity, Levels, QuantType};
use mokume_ir::types::Elem;
use rayon::prelude::*;

/// A float weight read as a matrix of rows to be quantized.
#[derive(Clone, Copy)]
pub struct Matrix<'c> {
    /// f32 data.
    pub constant: &'c Constant,
    /// Number of rows: output channels.
    pub rows: usize,
    /// Elements per row: terms of a sum.
    pub cols: usize,
    /// Elements of the kernel of a convolution, whose rows are stored channel by channel and read tap by tap.
    pub taps: usize,
    /// The data is `[cols, rows]`.
    pub transposed: bool,
}

/// Rows handled by one task.
const CHUNK: usize = 16;

/// `matrix` in codes `[rows, cols]` with one scale per row, or per block of `group` columns where that is not 0.
pub fn quantize(matrix: Matrix<'_>, rounding: Rounding, group: usize) -> Constant {
    let ty = weight_type(rounding, group, matrix.cols);
    let group = if group >= matrix.cols { 0 } else { group };
    let row_bytes = packed_bytes(&[1, matrix.cols], Elem::Quant(ty)).unwrap_or_default();
    let blocks = if group == 0 { 1 } else { matrix.cols.div_ceil(group) };
    let mut data = vec![0u8; row_bytes * matrix.rows];
    let mut grids = vec![Grid { scale: 1.0, zero_point: 0 }; blocks * matrix.rows];
    let tasks = data.par_chunks_mut((row_bytes * CHUNK).max(1)).zip(grids.par_chunks_mut(blocks * CHUNK)).enumerate();
    tasks.for_each(|(task, (data, grids))| {
        let rows = read_rows(matrix, task * CHUNK, grids.len() / blocks);
        let mut codes = vec![0u8; matrix.cols];
        let outputs = data.chunks_mut(row_bytes.max(1)).zip(grids.chunks_mut(blocks));
        for (row, (packed, grids)) in rows.chunks(matrix.cols.max(1)).zip(outputs) {
            quantize_row(row, rounding, group, &mut codes, grids);
            pack(&codes, rounding.bits, packed);
        }
    });
    Constant::with_quant(&[matrix.rows, matrix.cols], Elem::Quant(ty), data.into(), Some(quant_data(&grids, ty.zero_point)))
}

/// A constant of given codes, `[rows, cols]`, and grids, `[rows, blocks]`.
pub fn constant(rows: usize, cols: usize, codes: &[u8], grids: &[Grid], rounding: Rounding, group: usize) -> Constant {
    let ty = weight_type(rounding, group, cols);
    let row_bytes = packed_bytes(&[1, cols], Elem::Quant(ty)).unwrap_or_default();
    let mut data = vec![0u8; row_bytes * rows];
    let packed = data.chunks_mut(row_bytes.max(1)).zip(codes.chunks(cols.max(1)));
    packed.for_each(|(packed, codes)| pack(codes, rounding.bits, packed));
    Constant::with_quant(&[rows, cols], Elem::Quant(ty), data.into(), Some(quant_data(grids, ty.zero_point)))
}

/// The type of codes in rows of `cols`.
pub fn weight_type(rounding: Rounding, group: usize, cols: usize) -> QuantType {
    let granularity = match group {
        0 => Granularity::Axis(0),
        size if size >= cols => Granularity::Axis(0),
        size => Granularity::Block { axis: 0, along: 1, size: size as u32 },
    };
    QuantType { bits: rounding.bits, levels: rounding.levels, granularity, zero_point: rounding.levels == Levels::Unsigned }
}

fn quantize_row(row: &[f32], rounding: Rounding, group: usize, codes: &mut [u8], grids: &mut [Grid]) {
    let size = if group == 0 { row.len().max(1) } else { group };
    for ((block, codes), grid) in row.chunks(size).zip(codes.chunks_mut(size)).zip(grids) {
        *grid = rounding.quantize(block, codes);
    }
}

/// Rows `first .. first + count` as f32.
pub fn read_rows(matrix: Matrix<'_>, first: usize, count: usize) -> Vec<f32> {
    let data = matrix.constant.data.as_chunks::<4>().0;
    if !matrix.transposed {
        let rows = data[first * matrix.cols..(first + count) * matrix.cols].chunks_exact(matrix.cols.max(1));
        return rows.flat_map(|row| by_tap(row, matrix.taps)).map(f32::from_le_bytes).collect();
    }
    let mut rows = vec![0f32; count * matrix.cols];
    for col in 0..matrix.cols {
        for (row, &b) in data[col * matrix.rows + first..][..count].iter().enumerate() {
            rows[row * matrix.cols + col] = f32::from_le_bytes(b);
        }
    }
    rows
}

/// A row of `[channels, taps]`, tap by tap.
fn by_tap(row: &[[u8; 4]], taps: usize) -> impl Iterator<Item = [u8; 4]> {
    (0..taps).flat_map(move |tap| row[tap..].iter().step_by(taps).copied())
}

/// Codes side by side, first in the low bits.
pub fn pack(codes: &[u8], bits: u8, packed: &mut [u8]) {
    let (mut buffer, mut filled, mut at) = (0u32, 0u32, 0usize);
    for &code in codes {
        buffer |= u32::from(code) << filled;
        filled += u32::from(bits);
        while filled >= 8 {
            packed[at] = buffer as u8;
            (buffer, filled, at) = (buffer >> 8, filled - 8, at + 1);
        }
    }
    if filled > 0 {
        packed[at] = buffer as u8;
    }
}

fn quant_data(grids: &[Grid], zero_points: bool) -> QuantData {
    let scales: Vec<u8> = grids.iter().flat_map(|grid| grid.scale.to_le_bytes()).collect();
    let zeros: Vec<u8> = grids.iter().filter(|_| zero_points).flat_map(|grid| grid.zero_point.to_le_bytes()).collect();
    QuantData { scales: scales.into(), zero_points: zeros.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_layouts_of_a_weight_give_the_same_bytes() {
        let (rows, cols) = (37, 50);
        let value = |row: usize, col: usize| ((row * 31 + col * 17) % 101) as f32 - 50.0;
        let straight: Vec<f32> = (0..rows * cols).map(|i| value(i / cols, i % cols)).collect();
        let across: Vec<f32> = (0..rows * cols).map(|i| value(i % rows, i / rows)).collect();
        let (straight, across) = (Constant::f32s(&[rows, cols], &straight), Constant::f32s(&[cols, rows], &across));
        for group in [0, 16, 64] {
            let rounding = Rounding { bits: 3, levels: Levels::Signed, search: true, half_scales: true };
            let a = quantize(Matrix { constant: &straight, rows, cols, taps: 1, transposed: false }, rounding, group);
            let b = quantize(Matrix { constant: &across, rows, cols, taps: 1, transposed: true }, rounding, group);
            assert_eq!(a.hash, b.hash);
            let scales = if group == 16 { 4 * rows } else { rows };
            assert_eq!(a.quant.map(|q| q.scales.len()), Some(4 * scales));
        }
    }

    #[test]
    fn rows_of_convolutions_go_tap_by_tap() {
        let channels_first = Constant::f32s(&[1, 2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let matrix = Matrix { constant: &channels_first, rows: 1, cols: 6, taps: 3, transposed: false };
        assert_eq!(read_rows(matrix, 0, 1), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
    }

    #[test]
    fn packing_starts_in_the_low_bits() {
        let mut packed = [0; 2];
        pack(&[1, 2, 3, 7], 3, &mut packed);
        assert_eq!(packed, [0b11_010_001, 0b1110]);
    }
}
