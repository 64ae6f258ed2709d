//! Turns products of dequantized operands into integer products, and rows of dequantized tables into `bit_gather`.
//!
//! Before  %1 = quantize %0 ; %2 = dequantize %1 ; %3 = dequantize @q ; %4 = matmul %2, %3 {transpose_b = true}
//!         %5 = add %4, @bias ; %6 = relu %5
//! After   %6 = bit_matmul %0, @q, @bias {epilogue = [bias, relu]}
//!
//! Before  %1 = dequantize @q ; %2 = gather %1, %ids
//! After   %2 = bit_gather @q, %ids
//!
//! Legal when  the activations are quantized per row, per group of a row, per tensor or with a constant scale; groups of the activations
//!             are multiples or parts of the blocks of the weights; what the epilogue takes in has no other reader.
//! Exactness   the sums become exact integers; what stays is the rounding of one scaling per block: within 1e-5 of the largest
//!             output of the unfused graph. Rows of tables are exact.
//! Cost        O(nodes). Requires `quantize`, or a model that comes with quantize and dequantize.

use super::epilogue;
use crate::pass::{Pass, PassContext, PassError};
use crate::query::{self, scalar};
use crate::term::{self, Term, apply};
use mokume_ir::edit::Editor;
use mokume_ir::graph::Node;
use mokume_ir::ids::{NodeId, ValueId};
use mokume_ir::op::{ActScale, BitConv, BitGather, BitMatmul, Conv, Op};
use mokume_ir::order::order;
use mokume_ir::quant::{Granularity, Levels, QuantType, common_block};
use mokume_ir::types::Elem;

options! {
    /// Fusion of quantize and dequantize into integer products.
    Fuse {
        /// take bias, residual and activation into the product
        epilogue: bool = true,
    }
}

impl Pass for Fuse {
    fn run(&self, editor: &mut Editor<'_>, cx: &mut PassContext<'_>) -> Result<(), PassError> {
        for id in order(editor) {
            match editor.node(id).map(|_| product(editor, id)) {
                Some(Ok(product)) if cx.take() => term::replace(editor, id, product)?,
                Some(Err(Miss::Skip(why))) => cx.remark(editor, id, why),
                _ => {}
            }
        }
        if self.epilogue { epilogue::fuse(editor, cx) } else { Ok(()) }
    }
}

/// Why a node does not become an integer product.
enum Miss {
    NoMatch,
    Skip(String),
}

/// Activations as an integer product takes them.
struct Activations {
    x: ValueId,
    ty: QuantType,
    scale: ActScale,
    group: Option<u32>,
    static_scale: f32,
    static_zero: i64,
    clip: Option<f32>,
}

/// The integer product, or the look-up, that the node at `id` is.
fn product(editor: &Editor<'_>, id: NodeId) -> Result<Term, Miss> {
    let node = &editor[id];
    if let Op::Gather(op) = &node.op {
        return table(editor, node, op.axis).ok_or(Miss::NoMatch);
    }
    let weight = match &node.op {
        Op::Matmul(op) if op.transpose_b && !op.transpose_a => dequantized(editor, node.inputs[1]),
        Op::Conv(_) => dequantized(editor, filter_rows(editor, node.inputs[1])?),
        _ => None,
    };
    let weight = weight.filter(|&weight| is_packed_weight(editor, weight)).ok_or(Miss::NoMatch)?;
    let Some(codes) = dequantized(editor, node.inputs[0]) else {
        return Err(Miss::Skip("the weight is quantized, the activations are float: it is dequantized at every run".into()));
    };
    let activations = activations(editor, codes)?;
    match &node.op {
        Op::Conv(op) => conv(editor, node, op, activations, weight),
        _ => matmul(editor, activations, weight),
    }
}

/// The rows that a gather takes from a dequantized table.
fn table(editor: &Editor<'_>, node: &Node, axis: i64) -> Option<Term> {
    let codes = dequantized(editor, node.inputs[0]).filter(|&codes| is_packed_weight(editor, codes))?;
    matches!(axis, 0 | -2).then(|| apply(BitGather {}, [codes, node.inputs[1]]))
}

/// The operand of the dequantize that makes `value`.
fn dequantized(editor: &Editor<'_>, value: ValueId) -> Option<ValueId> {
    let (_, node) = editor.producer(value)?;
    matches!(node.op, Op::Dequantize(_)).then(|| node.inputs[0])
}

/// The rows, tap by tap, of which the weights of a convolution are made.
fn filter_rows(editor: &Editor<'_>, weight: ValueId) -> Result<ValueId, Miss> {
    let (_, node) = editor.producer(weight).ok_or(Miss::NoMatch)?;
    let dims = editor.ty(weight).dims().unwrap_or_default();
    let last = dims.len() as i64 - 1;
    let by_tap: Vec<i64> = [0, last].into_iter().chain(1..last).collect();
    match &node.op {
        Op::Transpose(op) if op.perm == by_tap => reshaped(editor, node.inputs[0]).ok_or(Miss::NoMatch),
        Op::Reshape(_) if dims.iter().skip(2).all(|dim| dim.known() == Some(1)) => Ok(node.inputs[0]),
        _ => Err(Miss::NoMatch),
    }
}

fn reshaped(editor: &Editor<'_>, value: ValueId) -> Option<ValueId> {
    let (_, node) = editor.producer(value)?;
    matches!(node.op, Op::Reshape(_)).then(|| node.inputs[0])
}

/// A quantized constant matrix with scales per tensor, row, or block along the sum.
fn is_packed_weight(editor: &Editor<'_>, value: ValueId) -> bool {
    let Some(constant) = query::constant(editor, value) else { return false };
    constant.dims().len() == 2 && constant.ty.elem.quant().is_some_and(|ty| ty.granularity.row_block().is_ok())
}

fn activations(editor: &Editor<'_>, codes: ValueId) -> Result<Activations, Miss> {
    let skip = |why: &str| Err(Miss::Skip(why.to_string()));
    let Some((_, node)) = editor.producer(codes) else { return skip("the activations are not quantized here") };
    let Op::Quantize(op) = &node.op else { return skip("the activations are not quantized here") };
    let (x, ty) = (node.inputs[0], op.to);
    if editor.ty(x).elem() != Some(Elem::F32) {
        return skip("the activations are not f32");
    }
    let given = |index: usize| node.inputs.get(index).map(|&operand| scalar(editor, operand));
    let (scale, static_scale, static_zero) = match (ty.granularity, given(1), given(2)) {
        (Granularity::Row | Granularity::RowBlock(_), None, None) => (ActScale::Row, 0.0, 0),
        (Granularity::Tensor, None, None) => (ActScale::Tensor, 0.0, 0),
        (Granularity::Tensor, Some(Some(scale)), zero) => match zero.unwrap_or(Some(0.0)) {
            Some(zero) => (ActScale::Static, scale as f32, zero as i64),
            None => return skip("the zero point of the activations is not one constant"),
        },
        _ => return skip("the activations have scales that no integer product takes"),
    };
    if op.clip.is_some() && scale != ActScale::Row {
        return skip("a part of the range of all activations is spanned: integer products take one of the range of a row");
    }
    let group = if let Granularity::RowBlock(size) = ty.granularity { Some(size) } else { None };
    match ty.zero_point == (ty.levels == Levels::Unsigned) {
        true => Ok(Activations { x, ty, scale, group, static_scale, static_zero, clip: op.clip }),
        false => skip("activations have a zero point exactly when they are unsigned"),
    }
}

fn matmul(editor: &Editor<'_>, activations: Activations, weight: ValueId) -> Result<Term, Miss> {
    let Activations { x, ty, scale, group, static_scale, static_zero, clip } = activations;
    let weights = editor.ty(weight);
    let blocks = weights.elem().and_then(Elem::quant).map_or(Ok(None), |weights| weights.granularity.row_block());
    blocks.and_then(|blocks| common_block(group, blocks)).map_err(Miss::Skip)?;
    let k = weights.dims().and_then(|dims| dims.last()?.known());
    let group = group.filter(|&size| k.is_none_or(|k| i64::from(size) < k));
    let op = BitMatmul {
        a_bits: ty.bits,
        a_levels: ty.levels,
        a_scale: scale,
        a_group: group,
        a_clip: clip,
        static_scale,
        static_zero,
        epilogue: vec![],
    };
    Ok(apply(op, [x, weight]))
}

fn conv(editor: &Editor<'_>, node: &Node, op: &Conv, activations: Activations, weight: ValueId) -> Result<Term, Miss> {
    let Activations { x, ty, scale, static_scale, static_zero, .. } = activations;
    if scale == ActScale::Row {
        return Err(Miss::Skip("the activations of a convolution are quantized per row".into()));
    }
    let kernel = editor.ty(node.inputs[1]).dims().and_then(|dims| dims.get(2..)?.iter().map(|dim| dim.known()).collect());
    let kernel = kernel.ok_or(Miss::NoMatch)?;
    let bias = node.inputs.get(2).copied();
    let op = BitConv {
        kernel,
        strides: op.strides.clone(),
        dilations: op.dilations.clone(),
        pads: op.pads.clone(),
        auto_pad: op.auto_pad,
        groups: op.groups,
        a_bits: ty.bits,
        a_levels: ty.levels,
        a_scale: scale,
        static_scale,
        static_zero,
        epilogue: bias.iter().map(|_| mokume_ir::op::Epilogue::Bias).collect(),
    };
    Ok(apply(op, [x, weight].into_iter().chain(bias)))
}
