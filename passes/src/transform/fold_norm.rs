//! Moves the gain of norms, and the bias of LayerNorm, into the products that read them.
//!
//! Before  %1 = layer_norm %0, @g, @b ; %2 = matmul %1, @w
//! After   %1 = layer_norm %0, @1 ; %3 = matmul %1, @w' ; %2 = add %3, @c     // w' = g w along the sum, c = b w
//!
//! Legal when  products with constant f32 weights are the only readers, through moves that leave the channels together. A weight that
//!             something else reads as well is copied; before a head that shares its weight with an embedding the gain stays, unless
//!             `tied=false` asks for the copy.
//! Exactness   the rounding of one product per weight.
//! Cost        O(weights). Enables `rotate`.
//! Source      Ashkboos et al., "SliceGPT", 2024, section 3.1.

use super::region::{self, Norms, Region, Rules, Slot};
use super::tied;
use super::vectors::{Mapped, map_slot, uniform};
use crate::canonicalize::dce::release_constants;
use crate::pass::{Pass, PassContext, PassError};
use crate::query::{self, callees_first};
use mokume_ir::constant::Constant;
use mokume_ir::edit::Editor;
use mokume_ir::graph::Module;
use mokume_ir::ids::NodeId;
use mokume_ir::op::{BinaryKind, Op};
use mokume_ir::order::order;

options! {
    /// Folding of gains.
    FoldNorm {
        /// leave the gain before a head that has the table of an embedding as its weight, which is stored once then
        tied: bool = true,
    }
}

impl Pass for FoldNorm {
    fn run(&self, editor: &mut Editor<'_>, cx: &mut PassContext<'_>) -> Result<(), PassError> {
        for id in order(editor) {
            let Some(norm) = norm(editor, id) else { continue };
            if self.tied && tied::heads(editor, id, norm.gain.len() as i64).is_some() {
                cx.remark(editor, id, "its gain stays: what reads it shares its weight with an embedding (tied)");
                continue;
            }
            match readers(editor, id, &norm) {
                Ok(region) if cx.take() => fold(editor, id, &norm, &region)?,
                Ok(_) => break,
                Err(why) => cx.remark(editor, id, why),
            }
        }
        Ok(())
    }

    fn run_module(&self, module: &mut Module, cx: &mut PassContext<'_>) -> Result<(), PassError> {
        callees_first(module).into_iter().try_for_each(|function| self.run(&mut Editor::new(module, function), cx))?;
        release_constants(module);
        Ok(())
    }
}

/// What a norm does to its channels.
struct Norm {
    gain: Vec<f32>,
    bias: Option<Vec<f32>>,
}

/// The norm at `id`, unless it has neither gain nor bias.
fn norm(editor: &Editor<'_>, id: NodeId) -> Option<Norm> {
    let node = &editor[id];
    let gain = query::constant(editor, *node.inputs.get(1)?)?;
    let width = gain.len();
    region::is_norm_of(editor, node, width as i64)?;
    let bias = match node.inputs.get(2) {
        Some(&bias) => Some(query::constant(editor, bias).filter(|bias| bias.len() == width)?.to_f32s()?),
        None => None,
    };
    let plain = bias.is_none() && uniform(gain) == Some(1.0);
    (!plain).then_some(Norm { gain: gain.to_f32s()?, bias })
}

/// The products that read the norm.
///
/// Errors  with what else reads it.
fn readers(editor: &Editor<'_>, id: NodeId, norm: &Norm) -> Result<Region, String> {
    let rules = Rules { block: norm.gain.len() as i64, norms: Norms::Foreign, sums: false, tied: false };
    let output = editor[id].outputs[0];
    let region = region::grow_from(editor, output, rules).map_err(|obstacle| obstacle.describe(editor))?;
    if region.slots.iter().any(|slot| !slot.reads) {
        return Err("a product gives what is read with it".into());
    }
    let makers = region.values.iter().filter(|&&value| value != output).filter_map(|&value| editor.producer(value));
    match norm.bias.is_some().then(|| makers.map(|(_, node)| node).find(|node| !is_move(&node.op))).flatten() {
        Some(node) => Err(format!("its bias does not pass {node}")),
        None => Ok(region),
    }
}

/// Whether every element of the result is an element of the operand.
fn is_move(op: &Op) -> bool {
    use Op::*;
    matches!(op, Reshape(_) | Squeeze(_) | Unsqueeze(_) | Transpose(_) | Broadcast(_) | Slice(_) | Split(_) | Gather(_) | Concat(_))
}

fn fold(editor: &mut Editor<'_>, id: NodeId, norm: &Norm, region: &Region) -> Result<(), PassError> {
    let mut mapped = Mapped::new();
    let gain: Vec<f64> = norm.gain.iter().map(|&gain| f64::from(gain)).collect();
    for slot in &region.slots {
        let node = match &norm.bias {
            Some(bias) => shift(editor, slot, bias)?,
            None => slot.node,
        };
        let by_gain = |row: &mut [f64]| row.iter_mut().zip(gain.iter().cycle()).for_each(|(w, gain)| *w *= gain);
        map_slot(editor, &Slot { node, ..*slot }, &mut mapped, &by_gain);
    }
    let ones = editor.constant_value(Constant::f32s(&[gain.len()], &vec![1.0; gain.len()]));
    let (op, x) = (editor[id].op.clone(), editor[id].inputs[0]);
    Ok(editor.rewrite(id, op, &[x, ones])?)
}

/// Adds to the product of `slot` what it makes of the bias, and gives the node that is the product then.
fn shift(editor: &mut Editor<'_>, slot: &Slot, bias: &[f32]) -> Result<NodeId, PassError> {
    let weight = query::constant(editor, editor[slot.node].inputs[slot.operand]);
    let Some(sums) = weight.and_then(|weight| product(weight, slot.axis, bias)) else { return Ok(slot.node) };
    if let Some((add, operand, old)) = added(editor, slot.node) {
        let sums: Vec<f32> = old.iter().zip(&sums).map(|(old, sum)| old + sum).collect();
        let constant = editor.constant_value(Constant::f32s(&[sums.len()], &sums));
        editor.set_operand(add, operand, constant);
        return Ok(slot.node);
    }
    let constant = editor.constant_value(Constant::f32s(&[sums.len()], &sums));
    let node = editor[slot.node].clone();
    let product = editor.insert(node.op, &node.inputs, node.loc)?;
    let y = editor[product].outputs[0];
    editor.rewrite(slot.node, Op::Binary(BinaryKind::Add), &[y, constant])?;
    Ok(product)
}

/// The only reader of a product, if that adds a constant vector: the node, the operand and the vector.
fn added(editor: &Editor<'_>, product: NodeId) -> Option<(NodeId, usize, Vec<f32>)> {
    let y = editor[product].outputs[0];
    let id = editor.single_user(y)?;
    let node = &editor[id];
    if node.op != Op::Binary(BinaryKind::Add) || !query::same_type(editor, node.outputs[0], y) {
        return None;
    }
    let operand = usize::from(node.inputs[0] == y);
    let constant = query::constant(editor, node.inputs[operand])?;
    let width = editor.ty(y).dims()?.last()?.known()?;
    (constant.dims() == [width as usize]).then(|| Some((id, operand, constant.to_f32s()?)))?
}

/// A vector times a matrix, summed over `axis` of the matrix.
fn product(weight: &Constant, axis: usize, vector: &[f32]) -> Option<Vec<f32>> {
    let (dims, numbers) = (weight.dims(), weight.to_f32s()?);
    let &[rows, cols] = &dims[..] else { return None };
    let mut sums = vec![0f64; if axis == 0 { cols } else { rows }];
    for (at, &w) in numbers.iter().enumerate() {
        let (term, sum) = if axis == 0 { (at / cols, at % cols) } else { (at % cols, at / cols) };
        sums[sum] += f64::from(w) * f64::from(vector[term % vector.len()]);
    }
    Some(sums.into_iter().map(|sum| sum as f32).collect())
}
