//! Matrix products of one warp.
//!
//! Source  PTX ISA, "Matrix Fragments for mma". With registers as 32-bit words along k, every shape has one layout: lane
//! `l = 4 g + t` holds of A `[m, k]` the words `(g, t), (g + 8, t), (g, t + 4), (g + 8, t + 4)`, as far as they exist, of B `[k, 8]`
//! the words `t, t + 4` of column `g`, and of C the elements `(g, 2 t), (g, 2 t + 1), (g + 8, 2 t), (g + 8, 2 t + 1)`.

use super::block::Call;
use super::op::{Mma, MmaKind};
use super::thread_op::dot_bytes;
use super::warp::Lanes;
use half::{bf16, f16};

/// Adds the product to C, for all lanes.
pub(super) fn run(lanes: &Lanes, shape: Mma) {
    let a = words::<16>(lanes, 0, shape.m / 8, shape.words / 4);
    let b = words::<8>(lanes, a_registers(shape), 1, shape.words / 4);
    let first = a_registers(shape) + usize::from(shape.words / 4);
    for (lane, call) in lanes.iter().enumerate() {
        let Some(call) = call else { continue };
        for i in 0..usize::from(shape.m / 4) {
            let (row, column) = (lane / 4 + 8 * (i / 2), 2 * (lane % 4) + i % 2);
            let words = usize::from(shape.words);
            call.give(i, element(shape.kind, &a[row][..words], &b[column][..words], call, first + i).into());
        }
    }
}

fn a_registers(shape: Mma) -> usize {
    usize::from(shape.m / 8 * (shape.words / 4))
}

/// The words of a matrix of up to `R` lines, from the registers that begin with operand `first`.
fn words<const R: usize>(lanes: &Lanes, first: usize, line_groups: u8, word_groups: u8) -> [[u32; 8]; R] {
    let mut words = [[0; 8]; R];
    for (lane, call) in lanes.iter().enumerate() {
        let Some(call) = call else { continue };
        for w in 0..usize::from(word_groups) {
            for r in 0..usize::from(line_groups) {
                words[lane / 4 + 8 * r][lane % 4 + 4 * w] = call.word(first + w * usize::from(line_groups) + r);
            }
        }
    }
    words
}

/// One element of the product, added to operand `c`. Floats are added in f64 and rounded once; a device rounds partial sums in an
/// order of its own.
fn element(kind: MmaKind, a: &[u32], b: &[u32], call: &Call, c: usize) -> u32 {
    let pairs = || a.iter().copied().zip(b.iter().copied());
    let integer = |sum: i32| (call.word(c) as i32).wrapping_add(sum) as u32;
    let float = |sum: f64| ((f64::from(call.float(c)) + sum) as f32).to_bits();
    match kind {
        MmaKind::And => integer(pairs().map(|(a, b)| (a & b).count_ones() as i32).sum()),
        MmaKind::Xor => integer(pairs().map(|(a, b)| (a ^ b).count_ones() as i32).sum()),
        MmaKind::Bytes { a_signed, b_signed } => integer(pairs().map(|(a, b)| dot_bytes(a, b, a_signed, b_signed)).sum()),
        MmaKind::Half => float(pairs().map(|(a, b)| dot_halves(a, b, |bits| f16::from_bits(bits).to_f64())).sum()),
        MmaKind::BFloat => float(pairs().map(|(a, b)| dot_halves(a, b, |bits| bf16::from_bits(bits).to_f64())).sum()),
        MmaKind::TFloat => float(pairs().map(|(a, b)| tfloat(a) * tfloat(b)).sum()),
    }
}

fn dot_halves(a: u32, b: u32, wide: impl Fn(u16) -> f64) -> f64 {
    wide(a as u16) * wide(b as u16) + wide((a >> 16) as u16) * wide((b >> 16) as u16)
}

/// The 19 bits of a tf32; a device ignores the others.
fn tfloat(bits: u32) -> f64 {
    f64::from(f32::from_bits(bits & !0x1fff))
}
