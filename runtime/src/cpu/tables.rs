//! Tables of sums of activations, for kernels that look them up (layout: [`crate::cpu::spec`]).

use super::spec::{TABLE_SHIFT, Table, VECTOR};
#[cfg(target_arch = "x86_64")]
use crate::ops::simd::{Width, width};

/// Bytes of a table for the activations `4 t + r` of half a chunk, with one `r`.
const ENTRIES: usize = 16;
/// Activations of half a chunk.
const HALF: usize = 16;
/// Activations that an entry sums.
const TERMS: usize = 4;

/// Writes the tables of a row, `parts` per half chunk.
pub fn fill(bytes: &[i8], parts: usize, tables: &mut [Table]) {
    #[cfg(target_arch = "x86_64")]
    if width() == Width::Avx512 {
        // SAFETY: the machine has AVX-512.
        return unsafe { fill_wide(bytes, parts, tables) };
    }
    each_half(bytes, parts, tables, narrow);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw")]
fn fill_wide(bytes: &[i8], parts: usize, tables: &mut [Table]) {
    each_half(bytes, parts, tables, |half| wide(half));
}

/// Both parts of an activation are summed alike: what two tables hold adds up to the sum of the whole ones.
#[inline(always)]
fn each_half(bytes: &[i8], parts: usize, tables: &mut [Table], sums: impl Fn(&[i8; HALF]) -> Table) {
    for (half, tables) in bytes.as_chunks::<HALF>().0.iter().zip(tables.chunks_exact_mut(parts.max(1))) {
        match tables {
            [table] => *table = sums(half),
            [high, low] => {
                *high = sums(&half.map(|byte| byte >> TABLE_SHIFT));
                *low = sums(&half.map(|byte| byte & ((1 << TABLE_SHIFT) - 1)));
            }
            _ => {}
        }
    }
}

/// Whether the term `t` is part of the entry at `at`.
const fn counts(at: usize, t: usize) -> bool {
    (at % ENTRIES) >> t & 1 == 1
}

fn narrow(half: &[i8; HALF]) -> Table {
    let term = |at: usize, t: usize| if counts(at, t) { half[TERMS * t + at / ENTRIES] } else { 0 };
    Table(std::array::from_fn(|at| (0..TERMS).fold(0, |sum, t| i8::wrapping_add(sum, term(at, t)))))
}

/// Every entry takes its terms by one shuffle each, which gives 0 for those that do not count.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn wide(half: &[i8; HALF]) -> Table {
    use std::arch::x86_64::{
        _mm_loadu_si128, _mm512_add_epi8, _mm512_broadcast_i32x4, _mm512_load_si512, _mm512_shuffle_epi8, _mm512_store_si512,
    };
    let mut table = Table([0; VECTOR]);
    // SAFETY: the half has 16 bytes, and tables are aligned registers.
    unsafe {
        let half = _mm512_broadcast_i32x4(_mm_loadu_si128(half.as_ptr().cast()));
        let term = |t: usize| _mm512_shuffle_epi8(half, _mm512_load_si512(CHOICES[t].0.as_ptr().cast()));
        let sum = _mm512_add_epi8(_mm512_add_epi8(term(0), term(1)), _mm512_add_epi8(term(2), term(3)));
        _mm512_store_si512(table.0.as_mut_ptr().cast(), sum);
    }
    table
}

/// Where the term `t` of every entry is in its half chunk; negative where it does not count.
#[cfg(target_arch = "x86_64")]
static CHOICES: [Table; TERMS] = choices();

#[cfg(target_arch = "x86_64")]
const fn choices() -> [Table; TERMS] {
    let mut choices = [Table([-1; VECTOR]); TERMS];
    let mut i = 0;
    while i < TERMS * VECTOR {
        let (t, at) = (i / VECTOR, i % VECTOR);
        if counts(at, t) {
            choices[t].0[at] = (TERMS * t + at / ENTRIES) as i8;
        }
        i += 1;
    }
    choices
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_hold_the_sums_that_their_indices_choose() {
        let bytes: Vec<i8> = (0..64).map(|i| (i * 37 % 256) as u8 as i8).collect();
        let small: Vec<i8> = bytes.iter().map(|byte| byte >> 2).collect();
        let (mut one, mut two) = ([Table([0; VECTOR]); 4], [Table([0; VECTOR]); 8]);
        fill(&small, 1, &mut one);
        fill(&bytes, 2, &mut two);
        for (half, (one, two)) in one.iter().zip(two.as_chunks::<2>().0).enumerate() {
            for at in 0..VECTOR {
                let sum = |bytes: &[i8]| {
                    (0..TERMS).filter(|&t| counts(at, t)).map(|t| i32::from(bytes[16 * half + 4 * t + at / 16])).sum::<i32>()
                };
                assert_eq!(i32::from(one.0[at]), sum(&small), "entry {at}");
                assert_eq!(i32::from(two[0].0[at]) * 4 + i32::from(two[1].0[at]), sum(&bytes), "entry {at} in parts");
                assert_eq!(
                    narrow(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]).0[at],
                    (0..TERMS).filter(|&t| counts(at, t)).map(|t| 4 * t + at / 16).sum::<usize>() as i8
                );
            }
        }
    }
}
