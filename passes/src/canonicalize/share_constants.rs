//! Makes a weight and its transposed copy one constant.
//!
//! Before  %1 = gather @0, %ids ; %5 = matmul %4, @1        // @1 [k, n] holds @0 [n, k] transposed
//! After   %1 = gather @0, %ids ; %5 = matmul %4, @0 {transpose_b = true}
//!
//! Legal when  every element agrees bit for bit. Constants that are equal as they stand are one constant already.
//! Exactness   exact.
//! Cost        a few samples per pair of constants with swapped sizes, and one comparison per pair that shares.

use crate::pass::{Pass, PassContext, PassError};
use crate::query;
use crate::term::{self, apply};
use mokume_ir::constant::Constant;
use mokume_ir::edit::Editor;
use mokume_ir::graph::Def;
use mokume_ir::ids::{NodeId, ValueId};
use mokume_ir::op::{Matmul, Op};
use mokume_ir::order::order;

options! {
    /// Sharing of transposed constants.
    ShareConstants {
        /// constants with fewer elements stay apart
        min_elements: usize = 1024,
    }
}

impl Pass for ShareConstants {
    fn run(&self, editor: &mut Editor<'_>, cx: &mut PassContext<'_>) -> Result<(), PassError> {
        for id in order(editor) {
            let Some((op, twin)) = self.twin(editor, id) else { continue };
            if !cx.take() {
                break;
            }
            let op = Matmul { transpose_b: !op.transpose_b, ..op };
            let x = editor[id].inputs[0];
            term::replace(editor, id, apply(op, [x, twin]))?;
        }
        Ok(())
    }
}

impl ShareConstants {
    /// The matmul at `id` and the constant that holds its weight transposed.
    fn twin(&self, editor: &Editor<'_>, id: NodeId) -> Option<(Matmul, ValueId)> {
        let Op::Matmul(op) = &editor[id].op else { return None };
        let weight = query::constant(editor, editor[id].inputs[1])?;
        let [rows, cols] = weight.dims()[..] else { return None };
        if rows * cols < self.min_elements || weight.ty.elem.bits() % 8 != 0 || weight.quant.is_some() {
            return None;
        }
        let read = editor.value_ids().filter(|&value| matches!(editor[value].def, Def::Const(_)) && !editor[value].uses.is_empty());
        let twins = |other: &Constant| other.ty.elem == weight.ty.elem && other.dims() == [cols, rows] && is_transposed(weight, other);
        let twin = read.into_iter().find(|&value| query::constant(editor, value).is_some_and(twins))?;
        Some((op.clone(), twin))
    }
}

/// Whether `b` is `a` transposed, bit for bit. Most pairs differ in the first samples.
fn is_transposed(a: &Constant, b: &Constant) -> bool {
    let (rows, cols, width) = (a.dims()[0], a.dims()[1], a.ty.elem.bits() as usize / 8);
    let agree = |row: usize, col: usize| {
        let (i, j) = ((row * cols + col) * width, (col * rows + row) * width);
        a.data[i..i + width] == b.data[j..j + width]
    };
    let samples = (0..64).map(|i| (i * rows / 64, i * 7919 % cols));
    samples.into_iter().all(|(row, col)| agree(row, col)) && blocks(rows).all(|row| blocks(cols).all(|col| agree_in(&row, col, &agree)))
}

/// Tiles keep both sides of the comparison in the cache.
const TILE: usize = 32;

fn blocks(len: usize) -> impl Iterator<Item = std::ops::Range<usize>> {
    (0..len).step_by(TILE).map(move |start| start..(start + TILE).min(len))
}

fn agree_in(rows: &std::ops::Range<usize>, cols: std::ops::Range<usize>, agree: &dyn Fn(usize, usize) -> bool) -> bool {
    rows.clone().all(|row| cols.clone().all(|col| agree(row, col)))
}
