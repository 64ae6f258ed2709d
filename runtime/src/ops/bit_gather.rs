//! Rows of quantized matrices as the numbers that they are, computed as by [`super::quantize::dequantize`].

use super::index::positions;
use super::lanes::for_rows;
use super::layout::{operands, volume};
use super::quantize::Reals;
use super::{OpContext, OpError};
use crate::tensor::{Dims, Tensor};
use mokume_ir::op::BitGather;
use mokume_ir::types::Elem;

/// The rows of w `[n, k]` at indices.
///
/// Errors  when w is no quantized matrix, or an index lies outside.
pub fn bit_gather(_: &BitGather, inputs: &[&Tensor], cx: &OpContext<'_>) -> Result<Vec<Tensor>, OpError> {
    let [w, indices] = operands(inputs)?;
    let &[n, k] = w.dims() else { return Err(OpError::operands(format!("rows of {w:?}"))) };
    let reals = Reals::new("bit_gather", w)?;
    rows((n, k), indices, cx, |row, out| out.iter_mut().zip(row * k..).for_each(|(out, at)| *out = reals.at(at)))
}

/// The rows of a matrix `[n, k]` at indices; `read` writes a row.
///
/// Errors  when an index lies outside.
pub fn rows(
    (n, k): (usize, usize),
    indices: &Tensor,
    cx: &OpContext<'_>,
    read: impl Fn(usize, &mut [f32]) + Sync,
) -> Result<Vec<Tensor>, OpError> {
    let (positions, dims) = (positions(indices, n)?, Dims::from([indices.dims(), &[k]].concat()));
    volume(&dims)?;
    let mut out = cx.alloc(&dims, Elem::F32)?;
    for_rows(out.slice_mut(), k, |row, out| read(positions[row], out));
    Ok(vec![out])
}

#[cfg(test)]
mod tests {
    use super::super::testing::{numbers, refuses, run};
    use super::*;
    use mokume_ir::op::{Dequantize, Gather, Quantize};
    use mokume_ir::quant::{Granularity, Levels, QuantType};

    fn weights(bits: u8, levels: Levels, granularity: Granularity, zero_point: bool) -> Tensor {
        run(Quantize { to: QuantType { bits, levels, granularity, zero_point }, clip: None }, &[numbers(&[5, 70], 7)]).remove(0)
    }

    #[test]
    fn rows_are_those_of_the_dequantized_matrix() {
        let indices = Tensor::i64s(&[2, 3], &[4, 0, -1, 2, 2, -5]);
        let block = Granularity::Block { axis: 0, along: 1, size: 32 };
        for (bits, levels, granularity, zero_point) in [
            (4, Levels::Signed, block, false),
            (3, Levels::Unsigned, block, true),
            (2, Levels::Odd, Granularity::Axis(0), false),
            (8, Levels::Signed, Granularity::Tensor, false),
        ] {
            let w = weights(bits, levels, granularity, zero_point);
            let whole = run(Dequantize {}, std::slice::from_ref(&w)).remove(0);
            let want = run(Gather { axis: 0 }, &[whole, indices.clone()]);
            let got = run(BitGather {}, &[w, indices.clone()]);
            assert_eq!((got[0].dims(), got[0].slice::<f32>()), (&[2, 3, 70][..], want[0].slice::<f32>()));
        }
    }

    #[test]
    fn indices_outside_and_other_operands_are_refused() {
        let w = weights(4, Levels::Signed, Granularity::Axis(0), false);
        assert!(refuses(BitGather {}, &[w.clone(), Tensor::i64s(&[1], &[5])]));
        assert!(refuses(BitGather {}, &[w.clone(), Tensor::i64s(&[1], &[-6])]));
        assert!(refuses(BitGather {}, &[w.clone(), w]));
        assert!(refuses(BitGather {}, &[numbers(&[5, 70], 1), Tensor::i64s(&[1], &[0])]));
    }
}
