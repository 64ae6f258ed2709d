//! Embedding tables in few bits. With 8 rows of bytes with one scale each, looked up and scaled; with fewer in blocks like weights.
//!
//! Before  %1 = gather @table, %ids : tensor<… x d x f32>
//! After   %1 = mul (cast (gather @codes, %ids)), (gather @scales, %ids)                         // 8 bits
//!         %1 = gather (dequantize @q : !quant<4, signed, block(0, 1, 64)>), %ids                // fewer
//!
//! Exactness   with 8 bits each element within half of its row's absmax/127; with fewer approximate.

use super::round::Rounding;
use super::weights::{self, Matrix};
use crate::query;
use crate::term::{Term, apply};
use mokume_ir::constant::Constant;
use mokume_ir::edit::Editor;
use mokume_ir::ids::NodeId;
use mokume_ir::op::{BinaryKind, Cast, Dequantize, Op};
use mokume_ir::quant::Levels;
use mokume_ir::types::Elem;
use rayon::prelude::*;

/// Tables with fewer elements stay float.
const MIN_ELEMENTS: usize = 1 << 16;

/// What a look-up in a large constant table becomes, with so many bits, and below 8 in blocks of `group` (0 is the row).
pub fn find(editor: &Editor<'_>, id: NodeId, bits: u8, group: usize) -> Option<Term> {
    let node = &editor[id];
    let Op::Gather(gather) = &node.op else { return None };
    let table = query::constant(editor, node.inputs[0]).filter(|table| table.ty.elem == Elem::F32)?;
    let [rows, cols] = table.dims()[..] else { return None };
    if gather.axis != 0 || rows * cols < MIN_ELEMENTS {
        return None;
    }
    if bits < 8 {
        let rounding = Rounding { bits, levels: Levels::Signed, search: true, half_scales: group > 0 };
        let codes = weights::quantize(Matrix { constant: table, rows, cols, taps: 1, transposed: false }, rounding, group);
        return Some(apply(gather.clone(), [apply(Dequantize {}, [Term::Const(codes)]), node.inputs[1].into()]));
    }
    let (codes, scales) = byte_rows(table, rows, cols);
    let look_up = |table: Constant| apply(gather.clone(), [Term::Const(table), node.inputs[1].into()]);
    let cast = apply(Cast { to: Elem::F32, saturate: false }, [look_up(codes)]);
    Some(apply(Op::Binary(BinaryKind::Mul), [cast, look_up(scales)]))
}

/// i8 rows and their f32 scales `[rows, 1]`.
fn byte_rows(table: &Constant, rows: usize, cols: usize) -> (Constant, Constant) {
    let rounding = Rounding { bits: 8, levels: Levels::Signed, search: false, half_scales: false };
    let mut codes = vec![0u8; rows * cols];
    let mut scales = vec![0f32; rows];
    let data = table.data.par_chunks(4 * cols);
    data.zip(codes.par_chunks_mut(cols)).zip(scales.par_iter_mut()).for_each(|((row, codes), scale)| {
        let row: Vec<f32> = row.as_chunks::<4>().0.iter().map(|&b| f32::from_le_bytes(b)).collect();
        *scale = rounding.quantize(&row, codes).scale;
        // A code is the level with its top bit flipped; the table holds the level itself.
        codes.iter_mut().for_each(|code| *code ^= 0x80);
    });
    (Constant::new(&[rows, cols], Elem::I8, codes.into()), Constant::f32s(&[rows, 1], &scales))
}
