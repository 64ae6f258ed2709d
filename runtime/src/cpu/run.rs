//! Runs `bit_matmul` and `bit_conv` by kernels; the same bits as [`crate::ops::bit`].

use super::call::Product;
use super::image::Image;
use super::rows::{RowPacker, Rows};
use super::spec::{ByteCode, LANES};
use super::transpose::split_columns;
use crate::ops::bit::{conv_activation, conv_shape, matmul_activation};
use crate::ops::conv::Shape;
use crate::ops::epilogue::Steps;
use crate::ops::operands::operand_of;
use crate::ops::quantize::{Activation, code_of_zero, quantize_into};
use crate::ops::shared::Shared;
use crate::ops::{OpContext, OpError, epilogue, scratch};
use crate::tensor::{Dims, Tensor};
use mokume_ir::op::{BitConv, BitMatmul};
use mokume_ir::quant::Levels;
use mokume_ir::types::Elem;
use rayon::prelude::*;
use std::ops::Range;

/// Rows per task of packing.
const PACK_ROWS: usize = 16;
/// Bytes of patches per task of a convolution.
const PATCH_BYTES: usize = 1 << 17;
/// Bytes of results per task of a convolution.
const TILE_BYTES: usize = 1 << 15;
/// Windows per task of a convolution, if there are as many.
const WINDOWS: Range<usize> = 32..256;
/// Tasks of a convolution, if it has enough windows.
const TASKS: usize = 8;

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
    epilogue::apply(&op.epilogue, &inputs[1..], &dims, y.slice_mut())?;
    Ok(vec![y])
}

/// Quantizes and packs rows.
fn packed_rows(x: &[f32], product: &Product, w_levels: Levels, how: &Activation) -> Result<Rows, OpError> {
    let (k, packer) = (product.layout().k, packer(product, w_levels, how));
    let mut bytes = vec![0; x.len()];
    let (scales, zeros) = quantize_into(x, k, how, packer.code().bias as u8, &mut bytes)?;
    let mut rows = packer.rows(x.len() / k.max(1));
    let per_row = |m: usize| if scales.len() == 1 { 0 } else { m };
    let mut lines: Vec<_> = packer.split(&mut rows).collect();
    lines.par_chunks_mut(PACK_ROWS).enumerate().for_each(|(chunk, lines)| {
        for (i, line) in lines.iter_mut().enumerate() {
            let m = chunk * PACK_ROWS + i;
            packer.pack(bytemuck::cast_slice(&bytes[m * k..(m + 1) * k]), scales[per_row(m)], zeros[per_row(m)], line);
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
    let first = products.first().ok_or_else(|| OpError::operands("no groups"))?;
    let (n, k) = (first.layout().n, first.layout().k);
    let shape = conv_shape(op, x.dims(), (n * products.len(), k))?;
    let how = conv_activation(op)?;
    let packer = packer(first, w_levels, &how);
    let (image, images, scale) = quantized(x, &shape, &how, packer.code().bias as u8, cx)?;
    let dims = shape.output_dims();
    let steps = Steps::new(&op.epilogue, &inputs[1..], &dims, 1)?;
    let mut y = cx.alloc(&dims, Elem::F32)?;
    let out = Shared::new(y.slice_mut());
    let conv = Convolution { shape: &shape, image, images: images.slice(), packer, scale, steps };
    shape.tasks(windows_per_task(&shape)).into_par_iter().for_each(|(image, group, range)| {
        conv.task(&products[group], (image, group), range, &out);
    });
    Ok(vec![y])
}

/// Images of the bytes of `x`, with their scale and zero point.
fn quantized(x: &Tensor, shape: &Shape, how: &Activation, bias: u8, cx: &OpContext<'_>) -> Result<(Image, Tensor, (f32, i32)), OpError> {
    let mut codes = cx.alloc(&[x.len()], Elem::U8)?;
    let (scales, zeros) = quantize_into(x.slice(), x.len(), how, bias, codes.slice_mut())?;
    let pad = code_of_zero(how, zeros[0])?.wrapping_sub(bias);
    let image = Image::new(shape)?;
    let mut images = cx.alloc(&[shape.n, image.bytes()], Elem::U8)?;
    image.fill(codes.slice(), pad, images.slice_mut());
    Ok((image, images, (scales[0], zeros[0])))
}

/// As many as share weights well while patches stay in the second cache and results in the first, and there are tasks for all.
fn windows_per_task(shape: &Shape) -> usize {
    let (patches, results) = (PATCH_BYTES / shape.depth().max(1), TILE_BYTES / (4 * shape.filters.max(1)));
    let fits = patches.min(results.max(2 * WINDOWS.start)).clamp(WINDOWS.start, WINDOWS.end);
    fits.min((shape.n * shape.windows.count() / TASKS).max(WINDOWS.start))
}

/// A convolution whose input is quantized.
struct Convolution<'a> {
    shape: &'a Shape,
    image: Image,
    images: &'a [u8],
    packer: RowPacker,
    /// Scale and zero point of the activations.
    scale: (f32, i32),
    steps: Steps<'a>,
}

impl Convolution<'_> {
    /// The windows `range` of one image and group.
    fn task(&self, product: &Product, (image, group): (usize, usize), range: Range<usize>, out: &Shared<'_, f32>) {
        let bytes = &self.images[image * self.image.bytes()..][..self.image.bytes()];
        let (width, stride) = (range.len(), product.layout().tiles() * LANES);
        self.packer.with_rows(width, |rows| {
            let fits = |rows: &&[u8]| self.packer.is_plain() && rows.len() == width * product.layout().row_bytes;
            let in_place = self.image.rows(bytes, &range).filter(fits);
            match in_place {
                Some(bytes) => self.packer.correct(bytes, self.scale.0, self.scale.1, rows),
                None => self.pack(product, bytes, group, range.clone(), rows),
            }
            let rows = in_place.map_or_else(|| rows.view(), |bytes| rows.with_bytes(bytes));
            scratch::with(width * stride, |tile| {
                product.fill(rows, tile);
                self.store(tile, stride, (image, group), range, out);
            });
        });
    }
    fn pack(&self, product: &Product, bytes: &[u8], group: usize, range: Range<usize>, rows: &mut Rows) {
        let (scale, zero) = self.scale;
        if self.packer.is_plain() {
            let mut patches = std::mem::take(&mut rows.bytes);
            self.image.patches(bytes, group, range, &mut patches);
            self.packer.end_rows(&mut patches);
            self.packer.correct(&patches, scale, zero, rows);
            rows.bytes = patches;
            return;
        }
        let k = product.layout().k;
        scratch::with(range.len() * k, |patches: &mut [u8]| {
            self.image.patches(bytes, group, range, patches);
            rows.bytes.fill(0);
            for (patch, mut row) in patches.chunks_exact(k.max(1)).zip(self.packer.split(rows)) {
                self.packer.pack(bytemuck::cast_slice(patch), scale, zero, &mut row);
            }
        });
    }
    /// Writes `tile [windows, stride]` to the planes of its filters.
    fn store(&self, tile: &[f32], stride: usize, (image, group): (usize, usize), range: Range<usize>, out: &Shared<'_, f32>) {
        let filters = self.shape.filters;
        let start = |filter: usize| self.shape.output_at(image, group) + filter * self.shape.windows.count() + range.start;
        // SAFETY: tasks cover disjoint windows of disjoint planes.
        let line = |filter: usize| unsafe { out.part(start(filter), range.len()) };
        split_columns(tile, stride, filters, line);
        for filter in 0..filters {
            self.steps.line(group * filters + filter, start(filter), line(filter));
        }
    }
}
