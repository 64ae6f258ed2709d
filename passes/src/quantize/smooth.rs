//! Evens out the channels of activations before they are rounded: what is large in a norm's output is made small there, and its
//! column of the weights that follow large.
//!
//! Before  %1 = rms_norm %0, @g ; %2 = matmul %1, @w           // or %1 = swiglu %gate, %up with %up = matmul %x, @u
//! After   %1 = rms_norm %0, @g/s ; %2 = matmul %1, @w*s       // s per channel
//!
//! Legal when  products with constant f32 weights, which nothing else reads, are the only readers of the norm or gate.
//! Exactness   exact: every factor is a power of two.
//! Cost        O(weights), and one run of the calibration data; without any nothing happens.
//! Source      Xiao et al., "SmoothQuant: Accurate and Efficient Post-Training Quantization for Large Language Models", 2023.

use super::calibrate;
use super::sites::{self, Site};
use crate::canonicalize::dce::release_constants;
use crate::canonicalize::fold_affine::scaled;
use crate::pass::{Pass, PassContext, PassError};
use crate::query::{self, callees_first};
use mokume_ir::constant::Constant;
use mokume_ir::edit::Editor;
use mokume_ir::graph::{Module, Use};
use mokume_ir::ids::{FuncId, NodeId, ValueId};
use mokume_ir::op::Op;
use mokume_ir::order::order;
use std::collections::HashMap;

options! {
    /// Smoothing of activations.
    Smooth {
        /// how much of the difference between channels the weights take, 0 to 1
        alpha: f32 = 0.5,
    }
}

/// Factors stay within 2^-LIMIT and 2^LIMIT, far from overflow.
const LIMIT: f32 = 10.0;

/// Largest magnitude per channel of what a node gives.
type Peaks = HashMap<(FuncId, NodeId), Vec<f32>>;

impl Pass for Smooth {
    fn run(&self, _: &mut Editor<'_>, _: &mut PassContext<'_>) -> Result<(), PassError> {
        Ok(())
    }

    fn run_module(&self, module: &mut Module, cx: &mut PassContext<'_>) -> Result<(), PassError> {
        let mut groups: Vec<(FuncId, Group)> = vec![];
        for function in callees_first(module) {
            let editor = Editor::new(module, function);
            groups.extend(order(&editor).into_iter().filter_map(|id| Some((function, group(&editor, id)?))));
        }
        if groups.is_empty() || cx.calibration.is_empty() {
            return Ok(());
        }
        let peaks = peaks(module, &groups, cx)?;
        for (function, group) in groups {
            let Some(peaks) = peaks.get(&(function, group.source)) else { continue };
            if !cx.take() {
                break;
            }
            self.smooth(&mut Editor::new(module, function), &group, peaks);
        }
        release_constants(module);
        Ok(())
    }
}

/// Constants that scale the channels of a value, and the products that read it.
struct Group {
    /// The node that makes the value.
    source: NodeId,
    /// Operands to divide: node, operand, axis of the channels.
    divided: Vec<(NodeId, usize, usize)>,
    /// The readers.
    readers: Vec<Site>,
}

/// The group of the value that `id` makes.
fn group(editor: &Editor<'_>, id: NodeId) -> Option<Group> {
    let value = query::output(&editor[id])?;
    let divided = divided(editor, id)?;
    let read = |usage: &Use| match *usage {
        Use::Operand(node, 0) => sites::find(editor, node).ok().filter(|site| !site.conv && is_own(editor, node, 1)),
        _ => None,
    };
    let readers = editor[value].uses.iter().map(read).collect::<Option<Vec<Site>>>()?;
    (!readers.is_empty()).then_some(Group { source: id, divided, readers })
}

/// The constants that scale the channels of what `id` gives.
fn divided(editor: &Editor<'_>, id: NodeId) -> Option<Vec<(NodeId, usize, usize)>> {
    let node = &editor[id];
    match &node.op {
        Op::RmsNorm(_) | Op::LayerNorm(_) => {
            let vector = |index: usize| query::constant(editor, node.inputs[index]).is_some_and(|constant| constant.dims().len() == 1);
            let operands = 1..node.inputs.len();
            operands.map(|index| vector(index).then_some((id, index, 0))).collect()
        }
        Op::Swiglu(_) => {
            let up = node.inputs[1];
            let (product, _) = editor.producer(up)?;
            let site = sites::find(editor, product).ok().filter(|site| !site.conv)?;
            let own = editor.single_user(up) == Some(id) && is_own(editor, product, 1);
            own.then(|| vec![(product, 1, usize::from(site.transposed))])
        }
        _ => None,
    }
}

/// Whether only this operand reads the value.
fn is_own(editor: &Editor<'_>, node: NodeId, operand: usize) -> bool {
    editor[editor[node].inputs[operand]].uses.len() == 1
}

fn peaks(module: &Module, groups: &[(FuncId, Group)], cx: &PassContext<'_>) -> Result<Peaks, PassError> {
    let channels = |(function, group): &(FuncId, Group)| ((*function, group.source), vec![0f32; group.readers[0].cols]);
    let mut peaks: Peaks = groups.iter().map(channels).collect();
    let mut observe = |function, node, outputs: &[Constant]| {
        let (Some(peaks), [output]) = (peaks.get_mut(&(function, node)), outputs) else { return };
        let numbers = output.to_f32s().unwrap_or_default();
        raise(peaks, &numbers);
    };
    for sample in &cx.calibration {
        cx.executor.run(module, sample, &mut observe).map_err(calibrate::failed)?;
    }
    Ok(peaks)
}

/// Makes every peak at least the magnitudes in its column of `rows`.
pub(super) fn raise(peaks: &mut [f32], rows: &[f32]) {
    for row in rows.chunks_exact(peaks.len().max(1)) {
        peaks.iter_mut().zip(row).for_each(|(peak, x)| *peak = peak.max(x.abs()));
    }
}

impl Smooth {
    fn smooth(&self, editor: &mut Editor<'_>, group: &Group, activations: &[f32]) {
        let mut weights = vec![0f32; activations.len()];
        for site in &group.readers {
            let constant = &editor.module().constants[site.weight];
            columns(constant, site).iter().zip(&mut weights).for_each(|(column, peak)| *peak = peak.max(*column));
        }
        let factors = self.factors(activations, &weights);
        let inverses: Vec<f32> = factors.iter().map(|factor| 1.0 / factor).collect();
        for &(node, operand, axis) in &group.divided {
            scale_operand(editor, node, operand, axis, &inverses);
        }
        for site in &group.readers {
            scale_operand(editor, site.node, 1, usize::from(!site.transposed), &factors);
        }
    }

    /// Powers of two near `activations^alpha / weights^(1 - alpha)`, their mean exponent 0.
    fn factors(&self, activations: &[f32], weights: &[f32]) -> Vec<f32> {
        let exponent = |(a, w): (&f32, &f32)| {
            let exponent = self.alpha * a.log2() - (1.0 - self.alpha) * w.log2();
            exponent.is_finite().then_some(exponent)
        };
        let exponents: Vec<Option<f32>> = activations.iter().zip(weights).map(exponent).collect();
        let known: Vec<f32> = exponents.iter().flatten().copied().collect();
        let mean = known.iter().sum::<f32>() / known.len().max(1) as f32;
        exponents.iter().map(|exponent| exponent.map_or(1.0, |e| (e - mean).round().clamp(-LIMIT, LIMIT).exp2())).collect()
    }
}

/// Largest magnitude per column of a weight.
fn columns(constant: &Constant, site: &Site) -> Vec<f32> {
    let numbers = constant.to_f32s().unwrap_or_default();
    let mut peaks = vec![0f32; site.cols];
    match site.transposed {
        false => raise(&mut peaks, &numbers),
        true => {
            let rows = numbers.chunks_exact(site.rows.max(1));
            peaks.iter_mut().zip(rows).for_each(|(peak, row)| *peak = row.iter().fold(0.0, |peak, x| peak.max(x.abs())));
        }
    }
    peaks
}

fn scale_operand(editor: &mut Editor<'_>, node: NodeId, operand: usize, axis: usize, factors: &[f32]) {
    let value: ValueId = editor[node].inputs[operand];
    if let Some(constant) = query::constant(editor, value).and_then(|constant| scaled(constant, axis, factors)) {
        let value = editor.constant_value(constant);
        editor.set_operand(node, operand, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_are_powers_of_two_around_one() {
        let smooth = Smooth { alpha: 0.5 };
        assert_eq!(smooth.factors(&[16.0, 1.0, 1.0, 0.0], &[1.0, 1.0, 16.0, 1.0]), [4.0, 1.0, 0.25, 1.0]);
        assert_eq!(smooth.factors(&[0.0], &[0.0]), [1.0]);
    }
}
