//! Conversions.
//!
//! Specs <https://onnx.ai/onnx/operators/onnx__Cast.html>, CastLike, BitCast.
//! Opsets  Cast takes a name up to 5 and a number from 6; `saturate` (8-bit floats) from 19; `round_mode` (f8e8m0) from 24.

use super::Row;
use crate::onnx::cx::{Cx, Fault, Outcome, one};
use crate::onnx::tensor;
use mokume_ir::op;
use mokume_ir::types::Elem;

/// The family's table.
pub const ROWS: &[Row] = &[("Cast", cast), ("CastLike", cast_like), ("BitCast", bit_cast)];

fn cast(cx: &mut Cx<'_, '_, '_>) -> Outcome {
    if cx.opset < 6 {
        return Err(Fault::unsupported("Cast of an opset below 6 is not supported"));
    }
    let to = target(cx)?;
    convert(cx, to)
}

fn cast_like(cx: &mut Cx<'_, '_, '_>) -> Outcome {
    let like = cx.input(1)?;
    let to = cx.elem(like)?;
    convert(cx, to)
}

fn target(cx: &mut Cx<'_, '_, '_>) -> Result<Elem, Fault> {
    let to = cx.attrs.need_int("to")?;
    Ok(tensor::elem(i32::try_from(to).unwrap_or(-1))?)
}

fn convert(cx: &mut Cx<'_, '_, '_>, to: Elem) -> Outcome {
    let x = cx.input(0)?;
    let saturate = cx.attrs.int_or("saturate", 1)? != 0;
    let mode = cx.attrs.string_or("round_mode", "up")?;
    let from = cx.elem(x)?;
    if to == Elem::F8E8M0 && mode != "up" {
        return Err(Fault::unsupported(format!("round_mode \"{mode}\" is not supported")));
    }
    if from == to {
        return one(x);
    }
    if from == Elem::String || to == Elem::String {
        return Err(Fault::unsupported("conversion between text and numbers is not supported"));
    }
    one(cx.apply(op::Cast { to, saturate }, &[x])?)
}

fn bit_cast(cx: &mut Cx<'_, '_, '_>) -> Outcome {
    let (to, x) = (target(cx)?, cx.input(0)?);
    one(cx.apply(op::Bitcast { to }, &[x])?)
}
