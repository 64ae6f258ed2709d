//! Products of rounded operands.

use super::calibrate::Range;
use super::mixed::stored::Activations;
use super::rounder::Format;
use super::sites::Site;
use super::weights::{self, Matrix};
use crate::canonicalize::movement::reshape_to;
use crate::query;
use crate::term::{Term, apply};
use mokume_ir::constant::Constant;
use mokume_ir::dim::Dim;
use mokume_ir::edit::Editor;
use mokume_ir::op::{BinaryKind, Dequantize, Matmul, Op, Quantize as QuantizeOp, Transpose};
use mokume_ir::quant::{Granularity, Levels, QuantType};
use mokume_ir::types::Elem;

/// The weight of a site, rounded to the nearest levels.
pub fn nearest_weight(editor: &Editor<'_>, site: &Site, Format { rounding, group }: Format) -> Constant {
    let constant = &editor.module().constants[site.weight];
    weights::quantize(Matrix { constant, rows: site.rows, cols: site.cols, taps: site.taps, transposed: site.transposed }, rounding, group)
}

/// The product of a weight in codes and activations `x`.
pub fn product(editor: &Editor<'_>, site: &Site, weight: Constant, x: Option<Term>) -> Term {
    let (node, x) = (&editor[site.node], x.unwrap_or(site.x.into()));
    let weight = apply(Dequantize {}, [Term::Const(weight)]);
    if !site.conv {
        return apply(Matmul { transpose_a: false, transpose_b: true }, [x, weight]);
    }
    let bias = node.inputs[2..].iter().map(|&bias| Term::Value(bias));
    apply(node.op.clone(), [x, filters(editor, site, weight)].into_iter().chain(bias))
}

/// A product with a number added to every output channel.
pub fn shifted(editor: &Editor<'_>, site: &Site, product: Term, bias: &[f32]) -> Term {
    let own = editor[site.node].inputs.get(2).map(|&own| query::constant(editor, own).and_then(Constant::to_f32s));
    match (product, own) {
        (Term::Apply(op @ Op::Conv(_), mut operands), None) => {
            operands.push(Constant::f32s(&[bias.len()], bias).into());
            Term::Apply(op, operands)
        }
        (Term::Apply(op @ Op::Conv(_), mut operands), Some(Some(own))) => {
            let sum: Vec<f32> = own.iter().zip(bias).map(|(own, bias)| own + bias).collect();
            operands[2] = Constant::f32s(&[sum.len()], &sum).into();
            Term::Apply(op, operands)
        }
        (product, _) => apply(Op::Binary(BinaryKind::Add), [product, Constant::f32s(&added(editor, site, bias), bias).into()]),
    }
}

/// The sizes of a number per output channel.
fn added(editor: &Editor<'_>, site: &Site, bias: &[f32]) -> Vec<usize> {
    let spatial = if site.conv { editor.ty(site.x).dims().map_or(0, |dims| dims.len().saturating_sub(2)) } else { 0 };
    [bias.len()].into_iter().chain(std::iter::repeat_n(1, spatial)).collect()
}

/// Rows of taps and channels as the weights of the convolution: channels, then kernel axes.
fn filters(editor: &Editor<'_>, site: &Site, weight: Term) -> Term {
    let mut dims: Vec<Dim> = editor.ty(editor[site.node].inputs[1]).dims().unwrap_or_default().to_vec();
    if site.taps == 1 {
        return reshape_to(weight, &dims);
    }
    dims[1..].rotate_left(1);
    let last = dims.len() as i64 - 1;
    let perm = [0, last].into_iter().chain(1..last).collect();
    apply(Transpose { perm }, [reshape_to(weight, &dims)])
}

/// The activations of a site, rounded: within `range` where something is known of it.
pub fn quantized(site: &Site, activations: Activations, range: Option<Range>) -> Term {
    let Activations { bits, levels, group } = activations;
    let granularity = match group {
        _ if site.conv => Granularity::Tensor,
        size if size == 0 || size >= site.cols => Granularity::Row,
        size => Granularity::RowBlock(size as u32),
    };
    let to = QuantType { bits, levels, granularity, zero_point: levels == Levels::Unsigned };
    let clip = if let Some(Range::Part(part)) = range { Some(part) } else { None };
    let mut operands = vec![Term::Value(site.x)];
    if let Some(Range::Fixed(low, high)) = range {
        let grid = activations.rounding().quantize(&[low, high], &mut [0; 2]);
        operands.push(Constant::f32s(&[], &[grid.scale]).into());
        if to.zero_point {
            operands.push(Constant::new(&[], Elem::I32, grid.zero_point.to_le_bytes().to_vec().into()).into());
        }
    }
    apply(Dequantize {}, [apply(Op::from(QuantizeOp { to, clip }), operands)])
}
