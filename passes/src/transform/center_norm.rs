//! Makes LayerNorm an RMSNorm: what writes to a residual stream gives no mean any more, so that none has to be subtracted.
//!
//! Before  %1 = gather @e, %ids ; %2 = layer_norm %1, @g, @b ; … ; %8 = add %1, %7
//! After   %1 = gather @e', %ids ; %3 = rms_norm %1, @g ; %2 = add %3, @b ; …     // rows of e', columns of the other weights: mean 0
//!
//! Legal when  products with constant f32 weights, tables and constants are all that writes the stream, and LayerNorms are all that reads
//!             it: anything else would miss the mean.
//! Exactness   means are subtracted in f64 and rounded once.
//! Cost        O(weights that write). Enables `rotate`.
//! Source      Ashkboos et al., "SliceGPT", 2024, section 3.1.

use super::region::{self, Norms, Region, Rules};
use super::vectors::{Mapped, map_slot};
use crate::canonicalize::dce::release_constants;
use crate::pass::{Pass, PassContext, PassError};
use crate::query::callees_first;
use mokume_ir::edit::Editor;
use mokume_ir::graph::Module;
use mokume_ir::ids::{NodeId, ValueId};
use mokume_ir::op::{BinaryKind, Op, RmsNorm};
use mokume_ir::order::order;
use std::collections::BTreeSet;

options! {
    /// Centering of residual streams.
    CenterNorm {}
}

impl Pass for CenterNorm {
    fn run(&self, editor: &mut Editor<'_>, cx: &mut PassContext<'_>) -> Result<(), PassError> {
        let mut done: BTreeSet<ValueId> = BTreeSet::new();
        for id in order(editor) {
            let Some(width) = layer_norm(editor, id).filter(|_| !done.contains(&editor[id].inputs[0])) else { continue };
            match region::grow(editor, editor[id].inputs[0], Rules { block: width, norms: Norms::Center, sums: true, tied: false }) {
                Ok(region) => {
                    if !cx.take() {
                        break;
                    }
                    center(editor, width as usize, &region)?;
                    done.extend(region.values);
                }
                Err(obstacle) => {
                    cx.remark(editor, id, format!("its mean stays: {}", obstacle.describe(editor)));
                    done.extend(obstacle.values);
                }
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

/// Channels of a LayerNorm over the last axis.
fn layer_norm(editor: &Editor<'_>, id: NodeId) -> Option<i64> {
    let node = &editor[id];
    let Op::LayerNorm(_) = node.op else { return None };
    let width = editor.ty(node.inputs[0]).dims()?.last()?.known()?;
    region::is_norm_of(editor, node, width).map(|_| width)
}

fn center(editor: &mut Editor<'_>, width: usize, region: &Region) -> Result<(), PassError> {
    let mut mapped = Mapped::new();
    let centered = |x: &mut [f64]| {
        for block in x.chunks_exact_mut(width) {
            let mean = block.iter().sum::<f64>() / width as f64;
            block.iter_mut().for_each(|x| *x -= mean);
        }
    };
    region.slots.iter().for_each(|slot| map_slot(editor, slot, &mut mapped, &centered));
    region.norms.iter().try_for_each(|&norm| without_mean(editor, norm))
}

/// Makes a LayerNorm an RMSNorm and the sum with its bias.
fn without_mean(editor: &mut Editor<'_>, id: NodeId) -> Result<(), PassError> {
    let node = editor[id].clone();
    let Op::LayerNorm(op) = node.op else { return Ok(()) };
    let rms = RmsNorm { axis: op.axis, epsilon: op.epsilon };
    match node.inputs.get(2) {
        None => editor.rewrite(id, rms, &node.inputs)?,
        Some(&bias) => {
            let scaled = editor.apply(rms, &node.inputs[..2], node.loc)?;
            editor.rewrite(id, Op::Binary(BinaryKind::Add), &[scaled, bias])?;
        }
    }
    Ok(())
}
