//! Values from nothing: constants, fills, ranges.
//!
//! Specs <https://onnx.ai/onnx/operators/onnx__Constant.html>, ConstantOfShape, EyeLike, Range.
//! Opsets  Constant has one attribute of several kinds from 11 and 12 on. Range computes f16 and bf16 in f32 from 27.

use super::Row;
use crate::onnx::cx::{Cx, Fault, Outcome, one};
use crate::onnx::tensor;
use mokume_ir::constant::Constant;
use mokume_ir::dim::Dim;
use mokume_ir::ids::ValueId;
use mokume_ir::op::{self, BinaryKind};
use mokume_ir::types::Elem;

/// The family's table.
pub const ROWS: &[Row] = &[("Constant", constant), ("ConstantOfShape", constant_of_shape), ("EyeLike", eye_like), ("Range", range)];

fn constant(cx: &mut Cx<'_, '_, '_>) -> Outcome {
    let value = value(cx)?;
    one(cx.tensor(value))
}

fn value(cx: &mut Cx<'_, '_, '_>) -> Result<Constant, Fault> {
    if let Some(proto) = cx.attrs.tensor("value")? {
        return Ok(tensor::constant(proto, &cx.importer.external)?);
    }
    if let Some(proto) = cx.attrs.sparse_tensor("sparse_value")? {
        return Ok(tensor::dense(proto, &cx.importer.external)?);
    }
    if let Some(number) = cx.attrs.int("value_int")? {
        return Ok(Constant::i64s(&[], &[number]));
    }
    if let Some(numbers) = cx.attrs.ints("value_ints")? {
        return Ok(Constant::i64s(&[numbers.len()], &numbers));
    }
    if let Some(number) = cx.attrs.float("value_float")? {
        return Ok(Constant::f32s(&[], &[number]));
    }
    if let Some(numbers) = cx.attrs.floats("value_floats")? {
        return Ok(Constant::f32s(&[numbers.len()], &numbers));
    }
    if let Some(text) = cx.attrs.string("value_string")? {
        return Ok(tensor::texts(&[], &[text]));
    }
    let texts = cx.attrs.strings("value_strings")?.ok_or_else(|| Fault::input("no attribute gives the value"))?;
    Ok(tensor::texts(&[texts.len()], &texts))
}

fn constant_of_shape(cx: &mut Cx<'_, '_, '_>) -> Outcome {
    let shape = cx.input(0)?;
    let fill = match cx.attrs.tensor("value")? {
        Some(proto) => tensor::constant(proto, &cx.importer.external)?,
        None => Constant::f32s(&[], &[0.0]),
    };
    if fill.len() != 1 {
        return Err(Fault::input(format!("the value has {} elements, not one", fill.len())));
    }
    let scalar = cx.tensor(Constant::new(&[], fill.ty.elem, fill.data));
    let mut operands = vec![scalar];
    let shape = cx.ints(shape, &mut operands);
    one(cx.apply(op::Broadcast { shape }, &operands)?)
}

fn eye_like(cx: &mut Cx<'_, '_, '_>) -> Outcome {
    let x = cx.input(0)?;
    let elem = match cx.attrs.int("dtype")? {
        Some(number) => tensor::elem(i32::try_from(number).unwrap_or(-1))?,
        None => cx.elem(x)?,
    };
    let k = cx.attrs.int_or("k", 0)?;
    let [rows, columns] = <[Dim; 2]>::try_from(cx.need_dims(x)?).map_err(|_| Fault::input("the operand is not a matrix"))?;
    let row = iota(cx, rows)?;
    let column = iota(cx, columns)?;
    let row = cx.unsqueeze(row, &[1])?;
    let row = cx.with_number(BinaryKind::Add, row, k as f64)?;
    let on = cx.binary(BinaryKind::Eq, row, column)?;
    one(cx.cast(on, elem)?)
}

/// 0, 1, … as i64.
pub fn iota(cx: &mut Cx<'_, '_, '_>, len: Dim) -> Result<ValueId, Fault> {
    cx.apply(op::Iota { len, elem: Elem::I64 }, &[])
}

fn range(cx: &mut Cx<'_, '_, '_>) -> Outcome {
    let wide = cx.attrs.int_or("stash_type", 1)? == 1;
    let start = cx.input(0)?;
    let elem = cx.elem(start)?;
    let bounds = (0..3).map(|i| bound(cx, i, wide)).collect::<Result<Vec<_>, _>>()?;
    let y = cx.apply(op::Range {}, &bounds)?;
    one(cx.cast(y, elem)?)
}

/// Operand `index` as a scalar, in f32 when it is narrower and `wide`.
fn bound(cx: &mut Cx<'_, '_, '_>, index: usize, wide: bool) -> Result<ValueId, Fault> {
    let mut x = cx.input(index)?;
    if cx.rank(x).is_some_and(|rank| rank > 0) {
        x = cx.reshape(x, vec![])?;
    }
    match cx.elem(x)? {
        Elem::F16 | Elem::BF16 if wide => cx.cast(x, Elem::F32),
        _ => Ok(x),
    }
}
