//! Evens out the channels that convolutions read before they are rounded: what is large is divided where it is computed, and its
//! weights multiplied.
//!
//! Before  %1 = conv %0, @w, @b ; %2 = relu %1 ; %3 = conv %2, @v
//! After   %1 = conv %0, @w/s, @b/s ; %2 = relu %1 ; %3 = conv %2, @v*s     // s per channel
//! Where something else reads the channels too, or nothing before them takes factors:
//! Before  %2 = add %0, %1 ; %3 = conv %2, @v
//! After   %2 = add %0, %1 ; %4 = mul %2, @1/s ; %3 = conv %4, @v*s
//!
//! Legal when  the convolution has one group and a constant f32 weight. Inputs of the graph are left as they are: pixels are whole numbers of
//!             one scale.
//! Exactness   exact with powers of two; else the rounding of one product per weight.
//! Cost        O(weights), and one run of the calibration data; without any nothing happens. At run time one multiplication per element
//!             that is divided by itself.
//! Source      Xiao et al., "SmoothQuant: Accurate and Efficient Post-Training Quantization for Large Language Models", 2023; Nagel et al.,
//!             "Data-Free Quantization Through Weight Equalization and Bias Correction", 2019.

use super::calibrate;
use super::sites;
use super::smooth::Smooth;
use crate::canonicalize::dce::release_constants;
use crate::pass::{Pass, PassContext, PassError};
use crate::query::{self, callees_first};
use crate::transform::equalize::{is_homogeneous, reach, scale};
use crate::transform::region::Slot;
use mokume_ir::constant::Constant;
use mokume_ir::edit::Editor;
use mokume_ir::graph::{Def, Module, Use};
use mokume_ir::ids::{FuncId, NodeId, ValueId};
use mokume_ir::op::{BinaryKind, Op};
use mokume_ir::order::order;
use std::collections::HashMap;

options! {
    /// Smoothing of what convolutions read.
    SmoothConv {
        /// how much of the difference between channels the weights take, 0 to 1
        alpha: f32 = 0.5,
        /// factors are powers of two, so that nothing is lost
        exact: bool = true,
        /// multiply at run time where nothing before takes the factors
        insert: bool = true,
    }
}

/// The least factor: small channels are enlarged by no more than that, and by no more than there are samples, as what was small in few of them
/// may be large elsewhere and then take the levels of all other channels.
const LEAST: f32 = 0.25;

/// Convolutions that read the same channels.
struct Channels {
    x: ValueId,
    count: usize,
    readers: Vec<NodeId>,
}

/// Largest magnitude per channel, by value.
type Peaks = HashMap<(FuncId, ValueId), Vec<f32>>;

impl Pass for SmoothConv {
    fn run(&self, _: &mut Editor<'_>, _: &mut PassContext<'_>) -> Result<(), PassError> {
        Ok(())
    }

    fn run_module(&self, module: &mut Module, cx: &mut PassContext<'_>) -> Result<(), PassError> {
        if cx.calibration.is_empty() {
            return Ok(());
        }
        let mut found = vec![];
        for function in callees_first(module) {
            found.extend(channels(&Editor::new(module, function), cx).into_iter().map(|channels| (function, channels)));
        }
        let peaks = watch(module, &found, cx)?;
        let least = LEAST.max(1.0 / cx.calibration.len() as f32);
        for (function, channels) in &found {
            let Some(peaks) = peaks.get(&(*function, channels.x)).filter(|peaks| peaks.len() == channels.count) else { continue };
            let mut editor = Editor::new(module, *function);
            let factors = self.factors(&editor, channels, peaks, least);
            let giver = giver(&editor, channels);
            if factors.iter().all(|&factor| factor == 1.0) {
                continue;
            }
            if giver.is_none() && !self.insert {
                cx.remark(&editor, channels.readers[0], "no factors for what it reads: no convolution gives it alone");
                continue;
            }
            if !cx.take() {
                break;
            }
            even_out(&mut editor, channels, &factors, giver)?;
        }
        release_constants(module);
        Ok(())
    }
}

impl SmoothConv {
    /// Factors of channels whose largest magnitudes are `peaks`, none below `least`.
    fn factors(&self, editor: &Editor<'_>, channels: &Channels, peaks: &[f32], least: f32) -> Vec<f32> {
        let mut weights = vec![0f32; channels.count];
        for reach in channels.readers.iter().filter_map(|&id| reach(editor, &read(id))) {
            weights.iter_mut().zip(reach).for_each(|(weight, reach)| *weight = weight.max(reach));
        }
        let factors = Smooth { alpha: self.alpha, exact: self.exact, ..Smooth::default() }.factors(peaks, &weights);
        factors.into_iter().map(|factor| factor.max(least)).collect()
    }
}

/// Divides the channels, in what gives them or by themselves, and multiplies the weights that read them.
fn even_out(editor: &mut Editor<'_>, channels: &Channels, factors: &[f32], giver: Option<NodeId>) -> Result<(), PassError> {
    let inverses: Vec<f32> = factors.iter().map(|factor| 1.0 / factor).collect();
    match giver {
        Some(giver) => given(editor, giver).iter().for_each(|slot| scale(editor, slot, &inverses)),
        None => multiply(editor, channels, &inverses)?,
    }
    channels.readers.iter().for_each(|&id| scale(editor, &read(id), factors));
    Ok(())
}

/// What the convolutions of a graph read, in canonical order.
fn channels(editor: &Editor<'_>, cx: &mut PassContext<'_>) -> Vec<Channels> {
    let mut found: Vec<Channels> = vec![];
    for id in order(editor) {
        let Some(x) = sites::find(editor, id).ok().filter(|site| site.conv).map(|site| site.x) else { continue };
        let weight = query::constant(editor, editor[id].inputs[1]).map(Constant::dims).unwrap_or_default();
        match (&editor[id].op, editor[x].def) {
            (Op::Conv(op), _) if op.groups != 1 => cx.remark(editor, id, "no factors for what it reads: it has several groups"),
            (_, Def::Node(..)) => match found.iter_mut().find(|channels| channels.x == x) {
                Some(channels) => channels.readers.push(id),
                None => found.push(Channels { x, count: weight[1], readers: vec![id] }),
            },
            _ => {}
        }
    }
    found
}

/// The weight with which a convolution reads channels.
fn read(id: NodeId) -> Slot {
    Slot { node: id, operand: 1, axis: 1, reads: true }
}

/// The weight and bias with which a convolution gives channels.
fn given(editor: &Editor<'_>, id: NodeId) -> Vec<Slot> {
    (1..editor[id].inputs.len()).map(|operand| Slot { node: id, operand, axis: 0, reads: false }).collect()
}

/// The convolution that gives the channels, if nothing else reads them or what lies between, and factors pass that.
fn giver(editor: &Editor<'_>, channels: &Channels) -> Option<NodeId> {
    let own = |usage: &Use| matches!(usage, Use::Operand(node, 0) if channels.readers.contains(node));
    let mut x = channels.x;
    if !editor[x].uses.iter().all(own) {
        return None;
    }
    loop {
        let (id, node) = editor.producer(x)?;
        match &node.op {
            Op::Conv(_) => return node.inputs[1..].iter().all(|&input| is_f32(editor, input)).then_some(id),
            op if is_homogeneous(op) => x = node.inputs[0],
            _ => return None,
        }
        editor.single_user(x)?;
    }
}

fn is_f32(editor: &Editor<'_>, value: ValueId) -> bool {
    query::constant(editor, value).is_some_and(|constant| constant.to_f32s().is_some())
}

/// Multiplies the channels at run time.
fn multiply(editor: &mut Editor<'_>, channels: &Channels, inverses: &[f32]) -> Result<(), PassError> {
    let spatial = editor.ty(channels.x).dims().map_or(0, |dims| dims.len().saturating_sub(2));
    let dims: Vec<usize> = [1, channels.count].into_iter().chain(std::iter::repeat_n(1, spatial)).collect();
    let by = editor.constant_value(Constant::f32s(&dims, inverses));
    let loc = editor[channels.readers[0]].loc.clone();
    let scaled = editor.apply(Op::Binary(BinaryKind::Mul), &[channels.x, by], loc)?;
    channels.readers.iter().for_each(|&id| editor.set_operand(id, 0, scaled));
    Ok(())
}

/// Peaks of all channels on the calibration data.
fn watch(module: &Module, found: &[(FuncId, Channels)], cx: &PassContext<'_>) -> Result<Peaks, PassError> {
    let mut wanted: HashMap<(FuncId, NodeId), Vec<(usize, ValueId)>> = HashMap::new();
    for (function, channels) in found {
        if let Def::Node(id, output) = module[*function][channels.x].def {
            wanted.entry((*function, id)).or_default().push((output as usize, channels.x));
        }
    }
    let mut peaks = Peaks::new();
    let mut observe = |function, node, outputs: &[Constant]| {
        for &(output, x) in wanted.get(&(function, node)).into_iter().flatten() {
            outputs.get(output).into_iter().for_each(|tensor| raise(peaks.entry((function, x)).or_default(), tensor));
        }
    };
    for sample in &cx.calibration {
        cx.executor.run(module, sample, &mut observe).map_err(calibrate::failed)?;
    }
    Ok(peaks)
}

/// Makes every peak at least the magnitudes of its channel of `[n, c, …]`.
fn raise(peaks: &mut Vec<f32>, tensor: &Constant) {
    let (numbers, dims) = (tensor.to_f32s().unwrap_or_default(), tensor.dims());
    let [_, count, ref spatial @ ..] = dims[..] else { return };
    let plane: usize = spatial.iter().product();
    peaks.resize(count, 0.0);
    for (at, plane) in numbers.chunks(plane.max(1)).enumerate() {
        let peak = &mut peaks[at % count.max(1)];
        *peak = plane.iter().fold(*peak, |peak, x| peak.max(x.abs()));
    }
}
