//! Rotates activations by Hadamard matrices, so that no channel is much larger than the others, and weights to match.
//!
//! Before  %1 = gather @e, %ids ; %2 = rms_norm %1, @1 ; %3 = matmul %2, @w ; … ; %8 = add %1, %7
//! After   the same with e' = e Q, w' = w Q along the sum, and what gives %7 times Q         // Q = H D/√n, D random signs
//!
//! `r1`  the residual streams: values that sums connect, with the embeddings, products and norms at their borders.
//!       The norm before a head that shares its weight with the embedding keeps its gain; `hadamard` nodes turn what it reads back and
//!       what it gives again, where signs cancel.
//! `r2`  values of attention, per head, between the product that gives them and the product that reads what is attended to.
//! `r3`  queries and keys of attention, per head, when they are computed: `hadamard` nodes, whose effects on scores cancel.
//! `r4`  what nonlinear functions give to products, such as the input of a down projection: a `hadamard` node, merged into the weight.
//!
//! Legal when  products with constant f32 weights, tables and constants are all that writes or reads the channels, norms among them have
//!             uniform gains (`fold-norm`), and what is kept between runs is declared state. Otherwise a remark says what is in
//!             the way. Where the width has no Hadamard matrix, blocks of the largest power of two in it rotate.
//! Exactness   weights are rotated in f64 and rounded once per rotation.
//! Cost        O(weights log width); with `seeds`, a run of the calibration data, and 64 rows per product and seed.
//! Source      Ashkboos et al., "QuaRot", 2024; Liu et al., "SpinQuant", 2024 (names of the rotations).

use super::online;
use super::peaks::{self, Rows};
use super::region::{self, Norms, Obstacle, Region, Rules};
use super::vectors::{Mapped, map_slot};
use crate::canonicalize::dce::release_constants;
use crate::pass::{Pass, PassContext, PassError};
use crate::query::callees_first;
use mokume_ir::edit::Editor;
use mokume_ir::graph::{Graph, Module};
use mokume_ir::hadamard::Hadamard;
use mokume_ir::ids::{NodeId, ValueId};
use mokume_ir::op::Op;
use mokume_ir::order::order;
use mokume_ir::random::Rng;
use std::collections::BTreeSet;

options! {
    /// Rotations.
    Rotate {
        /// rotate residual streams
        r1: bool = true,
        /// rotate values of attention, per head
        r2: bool = true,
        /// rotate queries and keys of attention when they are computed
        r3: bool = false,
        /// rotate what nonlinear functions give to products when it is computed
        r4: bool = true,
        /// keep the weight of a head that is the table of an embedding one with it: the norm before the head is turned back and again
        tied: bool = true,
        /// of the random signs
        seed: u64 = 0,
        /// choose signs among so many, where there is calibration data, by the peaks of what products read
        seeds: u64 = 1,
    }
}

impl Pass for Rotate {
    fn run(&self, editor: &mut Editor<'_>, cx: &mut PassContext<'_>) -> Result<(), PassError> {
        self.rotate(editor, &Rows::new(), cx)
    }

    fn run_module(&self, module: &mut Module, cx: &mut PassContext<'_>) -> Result<(), PassError> {
        let rows = if self.seeds > 1 { peaks::watch(module, cx)? } else { Rows::new() };
        callees_first(module).into_iter().try_for_each(|function| self.rotate(&mut Editor::new(module, function), &rows, cx))?;
        release_constants(module);
        Ok(())
    }
}

/// The operand of a norm: part of a residual stream.
fn stream_seed(graph: &Graph, id: NodeId) -> Option<ValueId> {
    let node = &graph[id];
    matches!(node.op, Op::RmsNorm(_) | Op::LayerNorm(_)).then(|| node.inputs[0])
}

/// The values that an attention weighs, or the right operand of a product with a softmax.
fn value_seed(graph: &Graph, id: NodeId) -> Option<ValueId> {
    let node = &graph[id];
    let after_softmax = || graph.producer(node.inputs[0]).is_some_and(|(_, node)| matches!(node.op, Op::Softmax(_)));
    match &node.op {
        Op::Attention(_) => Some(node.inputs[2]),
        Op::Matmul(op) if !op.transpose_b && !op.transpose_a && after_softmax() => Some(node.inputs[1]),
        _ => None,
    }
}

impl Rotate {
    fn rotate(&self, editor: &mut Editor<'_>, rows: &Rows, cx: &mut PassContext<'_>) -> Result<(), PassError> {
        if self.r1 {
            self.rotate_regions(editor, rows, cx, stream_seed, Norms::Commute)?;
        }
        if self.r2 {
            self.rotate_regions(editor, rows, cx, value_seed, Norms::Foreign)?;
        }
        if self.r3 {
            online::rotate_keys(editor, cx)?;
        }
        if self.r4 {
            online::rotate_products(editor, cx)?;
        }
        Ok(())
    }

    /// The rotation, of those of all seeds, that leaves the lowest peaks.
    fn chosen(&self, editor: &Editor<'_>, rows: &Rows, region: &Region, first: Rotation, count: u64) -> Rotation {
        let read = peaks::of_region(editor, rows, region);
        let others = (1..self.seeds).filter_map(|seed| Rotation::new(first.signs.len(), mixed(self.seed.wrapping_add(seed), count)));
        let all = std::iter::once(first.clone()).chain(others).take(if read.is_empty() { 1 } else { usize::MAX });
        let scored = all.map(|rotation| (peaks::height(&read, rotation.signs.len(), &|x| rotation.apply(x)), rotation));
        scored.min_by(|a, b| a.0.total_cmp(&b.0)).map_or(first, |best| best.1)
    }

    /// Rotates the region of every seed.
    fn rotate_regions(
        &self,
        editor: &mut Editor<'_>,
        rows: &Rows,
        cx: &mut PassContext<'_>,
        seed_of: fn(&Graph, NodeId) -> Option<ValueId>,
        norms: Norms,
    ) -> Result<(), PassError> {
        let mut done: BTreeSet<ValueId> = BTreeSet::new();
        let mut count = 0;
        for id in order(editor) {
            let Some(seed) = seed_of(editor, id).filter(|seed| !done.contains(seed)) else { continue };
            let width = editor.ty(seed).dims().and_then(|dims| dims.last()?.known()).unwrap_or(0);
            let Some(rotation) = Rotation::new(width as usize, mixed(self.seed, count)) else {
                cx.remark(editor, id, format!("no rotation: there is no Hadamard matrix for any block of {width} channels"));
                continue;
            };
            match region::grow(editor, seed, Rules { block: width, norms, sums: true, tied: self.tied && norms == Norms::Commute }) {
                Ok(region) => {
                    if !cx.take() {
                        return Ok(());
                    }
                    let rotation = self.chosen(editor, rows, &region, rotation, count);
                    rotation.rotate(editor, &region)?;
                    done.extend(region.turned.keys().map(|&norm| editor[norm].inputs[0]));
                    done.extend(region.values);
                    count += 1;
                }
                Err(obstacle) => {
                    remark(editor, cx, id, &obstacle);
                    done.extend(obstacle.values);
                }
            }
        }
        Ok(())
    }
}

/// The seed of rotation number `count`.
fn mixed(seed: u64, count: u64) -> u64 {
    Rng::new(seed).bits().wrapping_add(count)
}

fn remark(graph: &Graph, cx: &mut PassContext<'_>, id: NodeId, obstacle: &Obstacle) {
    cx.remark(graph, id, format!("no rotation of its operand: {}", obstacle.describe(graph)));
}

/// Random signs, then a Hadamard matrix, in every block.
#[derive(Clone)]
struct Rotation {
    signs: Vec<f64>,
    hadamard: Hadamard,
}

impl Rotation {
    /// A rotation of `width` channels; none where only blocks of one would be.
    fn new(width: usize, seed: u64) -> Option<Self> {
        let hadamard = Hadamard::new(Hadamard::block_of(width)).filter(|hadamard| hadamard.order() > 1)?;
        let mut rng = Rng::new(seed);
        let signs = (0..width).map(|_| if rng.bits() & 1 == 0 { 1.0 } else { -1.0 }).collect();
        Some(Rotation { signs, hadamard })
    }
    /// Rotates the values of a region, by way of the constants at its borders.
    fn rotate(&self, editor: &mut Editor<'_>, region: &Region) -> Result<(), PassError> {
        let mut mapped = Mapped::new();
        let heads = region.turned.values().flatten();
        region.slots.iter().chain(heads).for_each(|slot| map_slot(editor, slot, &mut mapped, &|x| self.apply(x)));
        for &norm in region.turned.keys() {
            online::turn_operand(editor, norm, &self.hadamard)?;
            online::turn(editor, editor[norm].outputs[0], &self.hadamard)?;
        }
        Ok(())
    }
    fn apply(&self, x: &mut [f64]) {
        x.iter_mut().zip(self.signs.iter().cycle()).for_each(|(x, sign)| *x *= sign);
        x.chunks_exact_mut(self.hadamard.order()).for_each(|block| self.hadamard.apply(block));
    }
}
