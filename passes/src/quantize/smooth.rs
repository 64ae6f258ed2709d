//! Evens out the channels of activations before they are rounded: what is large in a norm's output is made small there, and its
//! column of the weights that follow large.
//!
//! Before  %1 = rms_norm %0, @g ; %2 = matmul %1, @w           // or %1 = swiglu %gate, %up with %up = matmul %x, @u
//! After   %1 = rms_norm %0, @g/s ; %2 = matmul %1, @w*s       // s per channel
//!
//! With `values`, also what attention gives to products, by way of the product that gives its values; with `keys`, keys against queries, with
//! one factor for both channels that positions turn into each other.
//!
//! Legal when  products with constant f32 weights, which nothing else reads, are the only readers of the norm, gate or attention. A gate takes
//!             factors through its linear side alone; no factor passes GELU or normalized heads.
//! Exactness   exact with powers of two; else the rounding of one product per weight.
//! Cost        O(weights), and one run of the calibration data; without any nothing happens. With `search`, 21 products of 64 rows
//!             per group.
//! Source      Xiao et al., "SmoothQuant: Accurate and Efficient Post-Training Quantization for Large Language Models", 2023; Lin et al.,
//!             "AWQ: Activation-aware Weight Quantization", 2024 (the search).

use super::calibrate;
use super::round::Rounding;
use super::sites::Site;
use crate::canonicalize::dce::release_constants;
use crate::canonicalize::fold_affine::scaled;
use crate::pass::{Pass, PassContext, PassError};
use crate::query::{self, callees_first};
use crate::transform::region::Slot;
use crate::transform::scale::{self, Group, Kinds};
use mokume_ir::constant::Constant;
use mokume_ir::edit::Editor;
use mokume_ir::graph::{Graph, Module};
use mokume_ir::ids::{FuncId, NodeId, ValueId};
use mokume_ir::order::order;
use mokume_ir::quant::Levels;
use rayon::prelude::*;
use std::collections::HashMap;

options! {
    /// Smoothing of activations.
    Smooth {
        /// how much of the difference between channels the weights take, 0 to 1
        alpha: f32 = 0.5,
        /// factors are powers of two, so that nothing is lost
        exact: bool = true,
        /// choose alpha for every group, by the error of its products in `w` and `a` bits
        search: bool = false,
        /// bits of weights in the search
        w: u8 = 4,
        /// bits of activations in the search; 16 or more leaves them float
        a: u8 = 16,
        /// weights that share a scale in the search; 0 is one scale per output channel
        group: usize = 0,
        /// smooth what attention gives to products
        values: bool = false,
        /// smooth keys against queries
        keys: bool = false,
    }
}

/// Factors stay within 2^-LIMIT and 2^LIMIT, far from overflow.
const LIMIT: f32 = 10.0;
/// Rows of activations that a search looks at.
const ROWS: usize = 64;
/// Steps of alpha in a search.
const STEPS: u8 = 20;

/// What a node gave on the calibration data.
#[derive(Default)]
struct Seen {
    /// Largest magnitude per channel.
    peaks: Vec<f32>,
    /// The first rows.
    rows: Vec<f32>,
}

type SeenByNode = HashMap<(FuncId, NodeId), Seen>;

impl Pass for Smooth {
    fn run(&self, _: &mut Editor<'_>, _: &mut PassContext<'_>) -> Result<(), PassError> {
        Ok(())
    }

    fn run_module(&self, module: &mut Module, cx: &mut PassContext<'_>) -> Result<(), PassError> {
        let groups = self.groups(module, cx);
        if groups.is_empty() || cx.calibration.is_empty() {
            return Ok(());
        }
        let seen = watch(module, &groups, cx)?;
        for (done, (function, group)) in groups.iter().enumerate() {
            cx.progress(done, groups.len());
            let mut editor = Editor::new(module, *function);
            let Some(factors) = self.factors_of(&editor, group, *function, &seen) else { continue };
            if !cx.take() {
                break;
            }
            smooth(&mut editor, group, &factors);
        }
        release_constants(module);
        Ok(())
    }
}

impl Smooth {
    /// The groups of every function; remarks about those that were asked for and do not exist.
    fn groups(&self, module: &mut Module, cx: &mut PassContext<'_>) -> Vec<(FuncId, Group)> {
        let kinds = Kinds { values: self.values, keys: self.keys };
        let mut groups = vec![];
        for function in callees_first(module) {
            let editor = Editor::new(module, function);
            for id in order(&editor) {
                for group in scale::groups(&editor, id, kinds) {
                    match group {
                        Ok(group) => groups.push((function, group)),
                        Err(why) => cx.remark(&editor, id, why),
                    }
                }
            }
        }
        groups
    }

    fn factors_of(&self, editor: &Editor<'_>, group: &Group, function: FuncId, seen: &SeenByNode) -> Option<Vec<f32>> {
        let of = |value: ValueId| seen.get(&(function, editor.producer(value)?.0)).filter(|seen| !seen.peaks.is_empty());
        let own = of(group.value)?;
        if self.search && !group.readers.is_empty() {
            return Some(self.searched(editor, group, &own.rows));
        }
        let other = match group.against {
            Some(value) => gathered(&of(value)?.peaks, &group.channels),
            None => gathered(&column_peaks(editor, group), &group.reads),
        };
        Some(self.factors(&gathered(&own.peaks, &group.channels), &other))
    }

    /// Factors near `activations^alpha / weights^(1 - alpha)`, their mean exponent 0.
    pub(super) fn factors(&self, activations: &[f32], weights: &[f32]) -> Vec<f32> {
        let exponent = |(a, w): (&f32, &f32)| self.alpha * a.log2() - (1.0 - self.alpha) * w.log2();
        self.centered(activations.iter().zip(weights).map(exponent).collect())
    }

    /// 2 to the power of exponents around their mean; 1 where one is not finite.
    fn centered(&self, exponents: Vec<f32>) -> Vec<f32> {
        let known: Vec<f32> = exponents.iter().copied().filter(|exponent| exponent.is_finite()).collect();
        let mean = known.iter().sum::<f32>() / known.len().max(1) as f32;
        let round = |exponent: f32| if self.exact { exponent.round() } else { exponent };
        let factor = |exponent: f32| if exponent.is_finite() { round(exponent - mean).clamp(-LIMIT, LIMIT).exp2() } else { 1.0 };
        exponents.into_iter().map(factor).collect()
    }

    /// The factors `mean^alpha` whose rounded products are nearest to those of `rows`.
    fn searched(&self, editor: &Editor<'_>, group: &Group, rows: &[f32]) -> Vec<f32> {
        let width = group.channels.len();
        let means = gathered(&means(rows, width), &group.channels);
        let weights: Vec<Vec<f32>> = group.readers.iter().map(|site| dense(&editor.module().constants[site.weight], site)).collect();
        let candidates = (0..=STEPS).map(|step| {
            let alpha = f32::from(step) / f32::from(STEPS);
            self.centered(means.iter().map(|mean| alpha * mean.log2()).collect())
        });
        let scored = candidates.map(|factors| {
            let per_channel: Vec<f32> = group.reads.iter().map(|&factor| factors[factor]).collect();
            let error: f64 = weights.iter().map(|weight| self.error(rows, weight, &per_channel)).sum();
            (error, factors)
        });
        scored.min_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, factors)| factors).unwrap_or_default()
    }

    /// Squared error of the products of rounded rows and rounded weights.
    fn error(&self, rows: &[f32], weight: &[f32], factors: &[f32]) -> f64 {
        let width = factors.len();
        let divided: Vec<f32> = rows.iter().zip(factors.iter().cycle()).map(|(x, factor)| x / factor).collect();
        let rounded_rows = if self.a < 16 { rounded(&divided, width, self.a) } else { divided };
        let group = if self.group == 0 { width } else { self.group };
        let of_row = |row: &[f32]| {
            let scaled: Vec<f32> = row.iter().zip(factors).map(|(w, factor)| w * factor).collect();
            let scaled = rounded(&scaled, group, self.w);
            let products = rows.chunks_exact(width).zip(rounded_rows.chunks_exact(width));
            products.map(|(x, rounded)| f64::from(dot(x, row) - dot(rounded, &scaled)).powi(2)).sum::<f64>()
        };
        let errors: Vec<f64> = weight.par_chunks_exact(width).map(of_row).collect();
        errors.iter().sum()
    }
}

fn smooth(editor: &mut Editor<'_>, group: &Group, factors: &[f32]) {
    let inverses: Vec<f32> = group.writes.iter().map(|&factor| 1.0 / factors[factor]).collect();
    let factors: Vec<f32> = group.reads.iter().map(|&factor| factors[factor]).collect();
    group.divided.iter().for_each(|slot| scale_slot(editor, slot, &inverses));
    group.multiplied.iter().for_each(|slot| scale_slot(editor, slot, &factors));
}

fn scale_slot(editor: &mut Editor<'_>, slot: &Slot, factors: &[f32]) {
    let value = editor[slot.node].inputs[slot.operand];
    if let Some(constant) = query::constant(editor, value).and_then(|constant| scaled(constant, slot.axis, factors)) {
        let value = editor.constant_value(constant);
        editor.set_operand(slot.node, slot.operand, value);
    }
}

fn watch(module: &Module, groups: &[(FuncId, Group)], cx: &PassContext<'_>) -> Result<SeenByNode, PassError> {
    let mut seen = SeenByNode::new();
    for (function, group) in groups {
        let graph: &Graph = &module[*function];
        let values = [Some(group.value), group.against].into_iter().flatten();
        let nodes = values.filter_map(|value| graph.producer(value).map(|(id, _)| id));
        nodes.for_each(|id| drop(seen.insert((*function, id), Seen { peaks: vec![0.0; group.channels.len()], rows: vec![] })));
    }
    let mut observe = |function, node, outputs: &[Constant]| {
        let (Some(seen), [output]) = (seen.get_mut(&(function, node)), outputs) else { return };
        seen.add(&output.to_f32s().unwrap_or_default());
    };
    for sample in &cx.calibration {
        cx.executor.run(module, sample, &mut observe).map_err(calibrate::failed)?;
    }
    Ok(seen)
}

impl Seen {
    fn add(&mut self, numbers: &[f32]) {
        raise(&mut self.peaks, numbers);
        let missing = (ROWS * self.peaks.len()).saturating_sub(self.rows.len());
        self.rows.extend(&numbers[..missing.min(numbers.len())]);
    }
}

/// Makes every peak at least the magnitudes in its column of `rows`.
pub(super) fn raise(peaks: &mut [f32], rows: &[f32]) {
    for row in rows.chunks_exact(peaks.len().max(1)) {
        peaks.iter_mut().zip(row).for_each(|(peak, x)| *peak = peak.max(x.abs()));
    }
}

/// Mean magnitude per column.
fn means(rows: &[f32], width: usize) -> Vec<f32> {
    let mut sums = vec![0f32; width];
    rows.chunks_exact(width.max(1)).for_each(|row| sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += x.abs()));
    let count = (rows.len() / width.max(1)).max(1) as f32;
    sums.iter().map(|sum| sum / count).collect()
}

/// The largest number of each factor's channels.
fn gathered(peaks: &[f32], factor_of: &[usize]) -> Vec<f32> {
    let count = factor_of.iter().max().map_or(0, |last| last + 1);
    let mut largest = vec![0f32; count];
    peaks.iter().zip(factor_of).for_each(|(peak, &factor)| largest[factor] = largest[factor].max(*peak));
    largest
}

/// Largest magnitude per column of all weights that read a group.
fn column_peaks(editor: &Editor<'_>, group: &Group) -> Vec<f32> {
    let mut peaks = vec![0f32; group.reads.len()];
    for site in &group.readers {
        let constant = &editor.module().constants[site.weight];
        columns(constant, site).iter().zip(&mut peaks).for_each(|(column, peak)| *peak = peak.max(*column));
    }
    peaks
}

/// Largest magnitude per column of a weight.
pub(super) fn columns(constant: &Constant, site: &Site) -> Vec<f32> {
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

/// The weight of a site, row by row.
fn dense(constant: &Constant, site: &Site) -> Vec<f32> {
    let numbers = constant.to_f32s().unwrap_or_default();
    match site.transposed {
        false => numbers,
        true => (0..site.rows * site.cols).map(|at| numbers[at % site.cols * site.rows + at / site.cols]).collect(),
    }
}

/// Numbers rounded to nearest in groups.
fn rounded(numbers: &[f32], group: usize, bits: u8) -> Vec<f32> {
    let rounding = Rounding { bits, levels: Levels::Signed, search: false, half_scales: false };
    let mut codes = vec![0u8; group];
    let round = |chunk: &[f32]| {
        let grid = rounding.quantize(chunk, &mut codes[..chunk.len()]);
        codes[..chunk.len()].iter().map(|&code| rounding.decode(code, grid)).collect::<Vec<f32>>()
    };
    numbers.chunks(group.max(1)).flat_map(round).collect()
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_are_powers_of_two_around_one() {
        let smooth = Smooth::default();
        assert_eq!(smooth.factors(&[16.0, 1.0, 1.0, 0.0], &[1.0, 1.0, 16.0, 1.0]), [4.0, 1.0, 0.25, 1.0]);
        assert_eq!(smooth.factors(&[0.0], &[0.0]), [1.0]);
        let inexact = Smooth { exact: false, ..Smooth::default() };
        assert_eq!(inexact.factors(&[8.0, 2.0], &[1.0, 1.0]), [2f32.sqrt(), 0.5f32.sqrt()]);
    }

    #[test]
    fn rounding_spares_what_factors_enlarge() {
        let smooth = Smooth { exact: false, ..Smooth::default() };
        let (rows, weight) = ([100.0, 0.1], [0.03, 1.0]);
        assert!(smooth.error(&rows, &weight, &[8.0, 0.5]) < smooth.error(&rows, &weight, &[1.0, 1.0]));
    }
}
