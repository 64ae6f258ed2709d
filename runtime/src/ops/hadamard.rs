//! Hadamard transforms of blocks of the last axis, in O(n log n).
//!
//! Only sums, differences and one product per element, in one order: every vector width gives the same bits.

use super::operands::{at_least_rank, no_code, operand};
use super::simd::vectorized;
use super::{OpContext, OpError};
use crate::tensor::Tensor;
use mokume_ir::hadamard;
use mokume_ir::op::Hadamard;
use mokume_ir::types::Elem;
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

/// Every block of the last axis times H/√block.
pub fn hadamard(op: &Hadamard, inputs: &[&Tensor], cx: &OpContext<'_>) -> Result<Vec<Tensor>, OpError> {
    let x = operand(inputs, 0)?;
    at_least_rank(x, 1)?;
    let matrix = matrix(op, x.dims()[x.rank() - 1])?;
    let block = matrix.order();
    let mut y = cx.alloc(x.dims(), x.elem())?;
    let task = block.max(1 << 13) / block * block;
    match x.elem() {
        Elem::F32 => {
            let tasks = y.slice_mut::<f32>().par_chunks_mut(task).zip(x.slice::<f32>().par_chunks(task));
            tasks.for_each(|(y, x)| y.chunks_exact_mut(block).zip(x.chunks_exact(block)).for_each(|(y, x)| transform(&matrix, x, y)));
        }
        Elem::F64 => {
            y.slice_mut::<f64>().copy_from_slice(x.slice::<f64>());
            y.slice_mut::<f64>().par_chunks_exact_mut(block).for_each(|y| matrix.apply(y));
        }
        other => return no_code("hadamard", other),
    }
    Ok(vec![y])
}

/// The matrix of an op on rows of `row` elements; made once in a process.
///
/// Errors  when there is none, or rows are no whole blocks.
pub fn matrix(op: &Hadamard, row: usize) -> Result<Arc<hadamard::Hadamard>, OpError> {
    static MADE: RwLock<BTreeMap<usize, Arc<hadamard::Hadamard>>> = RwLock::new(BTreeMap::new());
    let unknown = || OpError::operands(format!("no Hadamard matrix of order {} is known", op.block));
    let block = usize::try_from(op.block).map_err(|_| unknown())?;
    if block == 0 || !row.is_multiple_of(block) {
        return Err(OpError::operands(format!("a last axis of {row} in blocks of {block}")));
    }
    if let Some(matrix) = MADE.read().unwrap_or_else(PoisonError::into_inner).get(&block) {
        return Ok(matrix.clone());
    }
    let matrix = Arc::new(hadamard::Hadamard::new(block).ok_or_else(unknown)?);
    MADE.write().unwrap_or_else(PoisonError::into_inner).insert(block, matrix.clone());
    Ok(matrix)
}

/// `y = H x/√n`, both of n elements.
pub fn transform(matrix: &hadamard::Hadamard, x: &[f32], y: &mut [f32]) {
    let scale = (1.0 / (matrix.order() as f64).sqrt()) as f32;
    mix(matrix.core_signs(), matrix.core(), scale, x, y);
    y.chunks_exact_mut(matrix.order() / matrix.core()).for_each(butterflies);
}

vectorized! {
    /// The core of a matrix and the scale, across runs of neighbors.
    fn mix<const FMA: bool>(signs: &[i8], core: usize, scale: f32, x: &[f32], y: &mut [f32]) {
        let run = x.len() / core;
        for (row, y) in signs.chunks_exact(core).zip(y.chunks_exact_mut(run)) {
            y.fill(0.0);
            for (&sign, x) in row.iter().zip(x.chunks_exact(run)) {
                match sign {
                    1 => y.iter_mut().zip(x).for_each(|(y, x)| *y += x),
                    _ => y.iter_mut().zip(x).for_each(|(y, x)| *y -= x),
                }
            }
            y.iter_mut().for_each(|y| *y *= scale);
        }
    }
}

/// Elements that are combined within registers.
const NEAR: usize = 16;

vectorized! {
    /// A run of a power of two times H_2 ⊗ … ⊗ H_2.
    fn butterflies<const FMA: bool>(y: &mut [f32]) {
        let (blocks, rest) = y.as_chunks_mut::<NEAR>();
        blocks.iter_mut().for_each(|block| *block = near(*block));
        few(rest);
        let mut half = NEAR;
        while half < y.len() {
            for pair in y.chunks_exact_mut(2 * half) {
                let (a, b) = pair.split_at_mut(half);
                a.iter_mut().zip(b).for_each(|(a, b)| (*a, *b) = (*a + *b, *a - *b));
            }
            half *= 2;
        }
    }
}

#[inline(always)]
fn near(mut block: [f32; NEAR]) -> [f32; NEAR] {
    for half in [1, 2, 4, 8] {
        let own = block;
        for i in 0..NEAR {
            let other = own[i ^ half];
            block[i] = if i & half == 0 { own[i] + other } else { other - own[i] };
        }
    }
    block
}

/// Fewer elements than [`NEAR`].
#[inline(always)]
fn few(y: &mut [f32]) {
    let mut half = 1;
    while half < y.len() {
        for pair in y.chunks_exact_mut(2 * half) {
            for i in 0..half {
                (pair[i], pair[i + half]) = (pair[i] + pair[i + half], pair[i] - pair[i + half]);
            }
        }
        half *= 2;
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_close, numbers, refuses, run};
    use super::*;

    #[test]
    fn blocks_are_multiplied_and_twice_is_nothing() {
        for (block, last) in [(1, 3), (2, 6), (4, 8), (8, 8), (12, 24), (16, 16), (64, 192), (576, 576), (1536, 1536)] {
            let x = numbers(&[5, last], block as u64);
            let y = run(Hadamard { block }, std::slice::from_ref(&x));
            let matrix = hadamard::Hadamard::new(block as usize).unwrap();
            let mut want: Vec<f64> = x.slice::<f32>().iter().map(|&x| x.into()).collect();
            want.chunks_exact_mut(block as usize).for_each(|block| matrix.apply(block));
            let want: Vec<f32> = want.iter().map(|&x| x as f32).collect();
            assert_close(y[0].slice(), &want, 2e-6);
            assert_close(run(Hadamard { block }, &y)[0].slice(), x.slice(), 4e-6);
        }
    }

    #[test]
    fn sizes_are_checked() {
        assert!(refuses(Hadamard { block: 4 }, &[numbers(&[2, 6], 1)]));
        assert!(refuses(Hadamard { block: 3 }, &[numbers(&[2, 6], 1)]));
        assert!(refuses(Hadamard { block: 0 }, &[numbers(&[2, 6], 1)]));
        assert!(refuses(Hadamard { block: 1 }, &[Tensor::i64s(&[2], &[1, 2])]));
        assert_eq!(run(Hadamard { block: 4 }, &[numbers(&[0, 8], 1)])[0].dims(), [0, 8]);
    }
}
