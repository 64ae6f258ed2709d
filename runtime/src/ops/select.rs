//! Choice between two operands, element by element.

use super::elementwise::{BLOCK, View};
use super::lanes::for_chunks;
use super::layout::{broadcast, operands};
use super::strided::{by_width, words, words_mut};
use super::{OpContext, OpError};
use crate::tensor::Tensor;
use bytemuck::Pod;
use mokume_ir::types::Elem;

/// Runs a select.
pub fn select(inputs: &[&Tensor], cx: &OpContext<'_>) -> Result<Vec<Tensor>, OpError> {
    let [cond, a, b] = operands(inputs)?;
    if cond.elem() != Elem::Bool || a.elem() != b.elem() {
        return Err(OpError::operands(format!("select of {}, {} and {}", cond.elem(), a.elem(), b.elem())));
    }
    let mut out = cx.alloc(&broadcast(&[cond.dims(), a.dims(), b.dims()])?, a.elem())?;
    by_width!(a.elem(), T => choose::<T>(cond, a, b, &mut out));
    Ok(vec![out])
}

fn choose<T: Pod + Send + Sync>(cond: &Tensor, a: &Tensor, b: &Tensor, out: &mut Tensor) {
    let dims: Vec<usize> = out.dims().to_vec();
    let cond = View::new(cond.slice::<u8>(), cond.dims(), &dims);
    let (a, b) = (View::new(words::<T>(a), a.dims(), &dims), View::new(words::<T>(b), b.dims(), &dims));
    for_chunks(words_mut::<T>(out), 16 * BLOCK, |offset, part| {
        let (mut flags, mut left, mut right) = ([0; BLOCK], [T::zeroed(); BLOCK], [T::zeroed(); BLOCK]);
        for (i, block) in part.chunks_mut(BLOCK).enumerate() {
            let (start, len) = (offset + i * BLOCK, block.len());
            let flags = cond.read(start, len, &mut flags);
            let operands = a.read(start, len, &mut left).iter().zip(b.read(start, len, &mut right));
            for ((out, (&a, &b)), &flag) in block.iter_mut().zip(operands).zip(flags) {
                *out = if flag != 0 { a } else { b };
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::tests::run_op as run;
    use mokume_ir::op::Select;

    #[test]
    fn broadcasts_three_operands() {
        let cond = Tensor::of(&[2, 1], Elem::Bool, &[1u8, 0]);
        let (a, b) = (Tensor::i64s(&[3], &[1, 2, 3]), Tensor::i64s(&[], &[9]));
        let out = run(Select {}, &[&cond, &a, &b]).remove(0);
        assert_eq!((out.dims(), out.slice::<i64>()), (&[2, 3][..], &[1, 2, 3, 9, 9, 9][..]));
        assert!(crate::ops::tests::fails(Select {}, &[&a, &a, &b]));
    }
}
