//! What the tests of ops share.

use super::OpContext;
use crate::tensor::Tensor;
use mokume_ir::op::Op;

fn with_context<R>(body: impl FnOnce(&OpContext<'_>) -> R) -> R {
    body(&OpContext { alloc: &|dims, elem| Tensor::zeros(dims, elem), size_of: &|_| None })
}

/// The outputs of `op`.
pub fn run(op: impl Into<Op>, inputs: &[Tensor]) -> Vec<Tensor> {
    with_context(|cx| super::run(&op.into(), &inputs.iter().collect::<Vec<_>>(), cx)).unwrap()
}

/// True when `op` gives an error.
pub fn refuses(op: impl Into<Op>, inputs: &[Tensor]) -> bool {
    with_context(|cx| super::run(&op.into(), &inputs.iter().collect::<Vec<_>>(), cx)).is_err()
}

/// Seeded numbers in -1..1.
pub fn numbers(dims: &[usize], seed: u64) -> Tensor {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    Tensor::f32s(dims, &(0..dims.iter().product()).map(|_| next()).collect::<Vec<_>>())
}

/// Checks that the largest difference is below `tolerance` times the largest magnitude.
#[track_caller]
pub fn assert_close(got: &[f32], want: &[f32], tolerance: f32) {
    assert_eq!(got.len(), want.len());
    let most = want.iter().fold(1e-30f32, |most, x| most.max(x.abs()));
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        assert!((got - want).abs() <= tolerance * most, "element {i}: {got} for {want}");
    }
}
