//! Runs `bit_matmul` and `bit_conv` by kernels; the same bits as [`crate::ops::bit`].

use super::call::{Product, multiply};
use super::image::Image;
use super::rows::{RowMut, RowPacker, Rows};
use super::spec::{ByteCode, LANES};
use super::transpose::split_columns;
use crate::crew;
use crate::ops::bit::{conv_activation, conv_shape, matmul_activation};
use crate::ops::conv::Shape;
use crate::ops::epilogue::Steps;
use crate::ops::operands::operand_of;
use crate::ops::quantize::{Activation, RowCoder, code_of_zero, quantize_into};
use crate::ops::row_op::RowOp;
use crate::ops::shared::Shared;
use crate::ops::{OpContext, OpError, epilogue, scratch};
use crate::tensor::{Dims, Tensor};
use mokume_ir::op::{ActScale, BitConv, BitMatmul};
use mokume_ir::quant::Levels;
use mokume_ir::types::Elem;
use rayon::prelude::*;
use smallvec::SmallVec;
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

/// A `bit_matmul`, its kernel, and its operands without activations and weights.
pub struct Matmul<'a> {
    /// The op.
    pub op: &'a BitMatmul,
    /// Its kernel and weights.
    pub product: &'a Product,
    /// Levels of the weights.
    pub levels: Levels,
    /// Operands of the epilogue.
    pub operands: SmallVec<[Operand; 2]>,
}

/// Activations of matmuls.
pub struct Activations<'a> {
    /// Rows.
    pub x: &'a Tensor,
    /// What they go through first.
    pub before: Option<RowOp<'a>>,
}

/// An operand of an epilogue.
#[derive(Debug, Clone)]
pub enum Operand {
    /// A tensor that was there before.
    Tensor(Tensor),
    /// The result of an earlier matmul of those that run together.
    Earlier(usize),
}

impl Matmul<'_> {
    /// Whether both read activations that are packed alike.
    pub fn shares_rows_with(&self, other: &Matmul<'_>) -> bool {
        matmul_activation(self.op) == matmul_activation(other.op) && self.packer().packs_as(&other.packer())
    }
    fn packer(&self) -> RowPacker {
        packer(self.product, self.levels, &matmul_activation(self.op))
    }
    fn dims(&self, x: &Tensor) -> Result<Dims, OpError> {
        let (n, k) = (self.product.layout().n, self.product.layout().k);
        let mut dims: Dims = x.dims().into();
        match dims.last_mut() {
            Some(last) if *last == k => *last = n,
            _ => return Err(OpError::operands(format!("rows of {k} weights and activations {:?}", x.dims()))),
        }
        Ok(dims)
    }
}

/// Matmuls of the same activations, which are computed and packed once; the rows of all are packed alike. Epilogues run in order.
///
/// Errors  when operands do not fit.
pub fn matmuls(all: &[Matmul<'_>], activations: &Activations<'_>, cx: &OpContext<'_>) -> Result<Vec<Tensor>, OpError> {
    let Some(first) = all.first() else { return Ok(vec![]) };
    let x = operand_of(&[activations.x], 0, Elem::F32)?;
    let outputs = all.iter().map(|matmul| cx.alloc(&matmul.dims(x)?, Elem::F32)).collect::<Result<Vec<_>, _>>();
    let mut outputs = outputs?;
    let packer = first.packer();
    packer.with_rows(x.len() / first.product.layout().k.max(1), |rows| {
        pack(activations, &packer, &matmul_activation(first.op), rows)?;
        let products: SmallVec<[_; 3]> = all.iter().zip(&mut outputs).map(|(one, y)| (one.product, y.slice_mut())).collect();
        multiply(products, rows);
        Ok::<_, OpError>(())
    })?;
    for (i, matmul) in all.iter().enumerate() {
        let (earlier, rest) = outputs.split_at_mut(i);
        let mut operands: SmallVec<[&Tensor; 2]> = SmallVec::new();
        for operand in &matmul.operands {
            operands.push(match operand {
                Operand::Tensor(tensor) => tensor,
                Operand::Earlier(index) => earlier.get(*index).ok_or_else(|| OpError::operands("a result of a later product"))?,
            });
        }
        let dims: Dims = rest[0].dims().into();
        epilogue::apply(&matmul.op.epilogue, &operands, &dims, rest[0].slice_mut())?;
    }
    Ok(outputs)
}

/// Quantizes and packs rows; each is computed, quantized and packed while it is in cache, where that does not take all of them.
fn pack(from: &Activations<'_>, packer: &RowPacker, how: &Activation, rows: &mut Rows) -> Result<(), OpError> {
    match (how.scale, &from.before) {
        (ActScale::Row, before) => pack_each(from.x.slice(), before.as_ref(), packer, (RowCoder::of_activations(how)?, how.group), rows),
        (_, None) => return pack_rows(from.x.slice(), packer, how, rows),
        (_, Some(_)) => return Err(OpError::unsupported("a norm or rotation of activations that share a scale")),
    }
    Ok(())
}

/// Quantizes and packs rows with a scale each, or one per group of elements.
fn pack_each(x: &[f32], before: Option<&RowOp<'_>>, packer: &RowPacker, (coder, group): (RowCoder, Option<u32>), rows: &mut Rows) {
    let (k, bias, (size, scales)) = (packer.k(), packer.code().bias as u8, packer.groups(group));
    if !packer.is_plain() {
        rows.bytes.fill(0);
    }
    let mut lines: SmallVec<[RowMut<'_>; PACK_ROWS]> = packer.split(rows).collect();
    let count = lines.len();
    let lines = Shared::new(&mut lines);
    crew::for_each(count.div_ceil(PACK_ROWS), |chunk| {
        let first = chunk * PACK_ROWS;
        // SAFETY: chunks do not overlap.
        let lines = unsafe { lines.part(first, PACK_ROWS.min(count - first)) };
        scratch::with(k + k.div_ceil(4), |memory: &mut [f32]| {
            let (row, bytes) = memory.split_at_mut(k);
            let bytes: &mut [u8] = &mut bytemuck::cast_slice_mut(bytes)[..k];
            for (x, line) in x[first * k..].chunks_exact(k.max(1)).zip(lines) {
                let x = before.map_or(x, |before| {
                    before.row(x, row);
                    row
                });
                for (g, (x, bytes)) in x.chunks(size).zip(bytes.chunks_mut(size)).enumerate() {
                    let (scale, zero) = coder.code(x, bias, bytes);
                    packer.scale(g * scales..(g + 1) * scales, scale, zero, line);
                }
                packer.pack(bytemuck::cast_slice(bytes), line);
            }
        });
    });
}

/// Quantizes and packs rows that share a scale.
fn pack_rows(x: &[f32], packer: &RowPacker, how: &Activation, rows: &mut Rows) -> Result<(), OpError> {
    let (k, bias) = (packer.k(), packer.code().bias as u8);
    scratch::with(x.len(), |bytes: &mut [u8]| {
        let (scales, zeros) = quantize_into(x, k, how, bias, bytes)?;
        if !packer.is_plain() {
            rows.bytes.fill(0);
        }
        let mut lines: SmallVec<[RowMut<'_>; PACK_ROWS]> = packer.split(rows).collect();
        lines.par_chunks_mut(PACK_ROWS).enumerate().for_each(|(chunk, lines)| {
            for (i, line) in lines.iter_mut().enumerate() {
                let m = chunk * PACK_ROWS + i;
                packer.scale(0..1, scales[0], zeros[0], line);
                packer.pack(bytemuck::cast_slice(&bytes[m * k..(m + 1) * k]), line);
            }
        });
        Ok(())
    })
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
                self.packer.scale(0..1, scale, zero, &mut row);
                self.packer.pack(bytemuck::cast_slice(patch), &mut row);
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
