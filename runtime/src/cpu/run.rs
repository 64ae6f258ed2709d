//! Runs `bit_matmul` and `bit_conv` by kernels; the same bits as [`crate::ops::bit`].

use super::call::Product;
use super::rows::{RowPacker, Rows};
use super::spec::ByteCode;
use crate::ops::bit::{conv_activation, conv_shape, matmul_activation};
use crate::ops::operands::operand_of;
use crate::ops::quantize::{Activation, code_of_zero, quantize_rows};
use crate::ops::shared::Shared;
use crate::ops::{OpContext, OpError, epilogue, patches};
use crate::tensor::{Dims, Tensor};
use mokume_ir::op::{BitConv, BitMatmul};
use mokume_ir::quant::Levels;
use mokume_ir::types::Elem;
use rayon::prelude::*;

/// Rows per task of packing.
const PACK_ROWS: usize = 16;
/// Windows per task of a convolution.
const WINDOWS: usize = 64;

/// `bit_matmul`; the operands are those of the op without the weights.
///
/// Errors  when they do not fit.
pub fn matmul(op: &BitMatmul, product: &Product, w_levels: Levels, inputs: &[&Tensor], cx: &OpContext<'_>) -> Result<Vec<Tensor>, OpError> {
    let x = operand_of(inputs, 0, Elem::F32)?;
    let (n, k) = (product.layout().n, product.layout().k);
    let mut dims: Dims = x.dims().into();
    match dims.last_mut() {
        Some(last) if *last == k => *last = n,
        _ => return Err(OpError::operands(format!("rows of {k} weights and activations {:?}", x.dims()))),
    }
    let rows = packed_rows(x.slice(), product, w_levels, &matmul_activation(op))?;
    let mut y = cx.alloc(&dims, Elem::F32)?;
    product.multiply(&rows, y.slice_mut());
    epilogue::apply(&op.epilogue, &inputs[1..], &dims, dims.len() - 1, y.slice_mut())?;
    Ok(vec![y])
}

/// Quantizes and packs rows.
fn packed_rows(x: &[f32], product: &Product, w_levels: Levels, how: &Activation) -> Result<Rows, OpError> {
    let (k, packer) = (product.layout().k, packer(product, w_levels, how));
    let quantized = quantize_rows(x, k, how)?;
    let mut rows = packer.rows(x.len() / k.max(1));
    let per_row = |m: usize| if quantized.scales.len() == 1 { 0 } else { m };
    let mut lines: Vec<_> = packer.split(&mut rows).collect();
    lines.par_chunks_mut(PACK_ROWS).enumerate().for_each(|(chunk, lines)| {
        let mut bytes = vec![0; k];
        for (i, line) in lines.iter_mut().enumerate() {
            let m = chunk * PACK_ROWS + i;
            packer.to_bytes(quantized.codes[m * k..(m + 1) * k].iter(), &mut bytes);
            packer.pack(&bytes, quantized.scales[per_row(m)], quantized.zeros[per_row(m)], line);
        }
    });
    Ok(rows)
}

fn packer(product: &Product, w_levels: Levels, how: &Activation) -> RowPacker {
    let offset = w_levels.affine(product.spec().w_bits).1;
    RowPacker::new(*product.spec(), *product.layout(), ByteCode::of(how.levels, how.bits), offset)
}

/// `bit_conv`; the operands are those of the op without the weights.
///
/// Errors  when they do not fit.
pub fn conv(op: &BitConv, products: &[Product], w_levels: Levels, inputs: &[&Tensor], cx: &OpContext<'_>) -> Result<Vec<Tensor>, OpError> {
    let x = operand_of(inputs, 0, Elem::F32)?;
    let layout = products.first().map(|product| *product.layout()).ok_or_else(|| OpError::operands("no groups"))?;
    let shape = conv_shape(op, x.dims(), (layout.n * products.len(), layout.k))?;
    let how = conv_activation(op)?;
    let quantized = quantize_rows(x.slice(), x.len(), &how)?;
    let (scale, zero) = (quantized.scales[0], quantized.zeros[0]);
    let pad = code_of_zero(&how, zero)?;
    let dims = shape.output_dims();
    let mut y = cx.alloc(&dims, Elem::F32)?;
    let out = Shared::new(y.slice_mut());
    shape.tasks(WINDOWS).into_par_iter().for_each(|(image, group, range)| {
        let (product, width) = (&products[group], range.len());
        let codes = &quantized.codes[shape.input_at(image, group)..][..shape.channels * shape.windows.plane()];
        let mut columns = vec![0u8; layout.k * width];
        patches::gather(codes, &shape.windows, range.clone(), pad, &mut columns);
        let packer = packer(product, w_levels, &how);
        let rows = packed_columns(&packer, &columns, width, (scale, zero));
        let mut tile = vec![0f32; width * layout.n];
        product.multiply(&rows, &mut tile);
        for filter in 0..layout.n {
            let start = shape.output_at(image, group) + filter * shape.windows.count() + range.start;
            // SAFETY: tasks cover disjoint windows of disjoint planes.
            let line = unsafe { out.part(start, width) };
            line.iter_mut().zip(tile.iter().skip(filter).step_by(layout.n)).for_each(|(y, &t)| *y = t);
        }
    });
    epilogue::apply(&op.epilogue, &inputs[1..], &dims, 1, y.slice_mut())?;
    Ok(vec![y])
}

/// Packs the columns of `codes [k, width]` as rows.
fn packed_columns(packer: &RowPacker, codes: &[u8], width: usize, (scale, zero): (f32, i32)) -> Rows {
    let mut rows = packer.rows(width);
    let mut bytes = vec![0; codes.len() / width.max(1)];
    for (i, mut row) in packer.split(&mut rows).enumerate() {
        packer.to_bytes(codes.iter().skip(i).step_by(width), &mut bytes);
        packer.pack(&bytes, scale, zero, &mut row);
    }
    rows
}
