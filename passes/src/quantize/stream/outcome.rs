//! The rounded weight of one product.

use super::collect::Split;
use super::{Job, Planned};
use crate::layer::LayerReport;
use crate::pass::PassError;
use crate::quantize::rounder::{Format, Moments, Nearest, Rounded, Rounder, Weight, heldout};
use crate::quantize::sites::Site;
use crate::quantize::weights::{self, Matrix};
use mokume_ir::constant::Constant;
use mokume_ir::diag::Diagnostic;
use mokume_ir::graph::{Graph, Module};

/// A weight in codes, and what was found out about it.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The codes, `[rows, cols]`.
    pub weight: Constant,
    /// What to add to every output.
    pub bias: Option<Vec<f32>>,
    /// How far the outputs moved.
    pub report: LayerReport,
    /// What the user should know.
    pub remarks: Vec<String>,
}

/// One way to round one part of the channels, tried.
struct Candidate {
    rounded: Rounded,
    rounder: String,
    heldout: Option<f64>,
}

impl Outcome {
    /// `site` rounded in the way that does best on what was held out, or on all where nothing was.
    ///
    /// Errors  when a rounder cannot work with the weight or the moments.
    pub(super) fn best(exact: &Module, site: &Site, splits: &[Split], job: &Job<'_>) -> Result<Self, PassError> {
        let (planned, constant) = ((job.planned)(site), &exact.constants[site.weight]);
        let matrix = Matrix { constant, rows: site.rows, cols: site.cols, taps: site.taps, transposed: site.transposed };
        let values = weights::read_rows(matrix, 0, site.rows);
        let rows = site.rows / splits.len().max(1);
        let mut parts = vec![];
        for (split, values) in splits.iter().zip(values.chunks(rows * site.cols)) {
            let weight = Weight { rows, cols: site.cols, values };
            let best = best_of(&weight, split, job, &planned.format).map_err(|error| error.at(exact.main()[site.node].loc.to_string()))?;
            parts.push(best);
        }
        Ok(Self::join(exact.main(), site, parts, &planned))
    }
    /// The same weight in another product.
    pub(super) fn renamed(mut self, graph: &Graph, site: &Site) -> Self {
        self.report.name = name(graph, site);
        self
    }
    fn join(graph: &Graph, site: &Site, parts: Vec<Candidate>, planned: &Planned) -> Self {
        let Format { rounding, group } = planned.format;
        let count = parts.len().max(1) as f64;
        let mean = |of: fn(&Candidate) -> Option<f64>| parts.iter().map(of).sum::<Option<f64>>().map(|sum| sum / count);
        let report = LayerReport {
            name: name(graph, site),
            rows: site.rows,
            cols: site.cols,
            bits: rounding.bits,
            levels: rounding.levels.name().to_string(),
            stored: planned.stored,
            predicted: planned.predicted,
            rounder: parts.first().map(|part| part.rounder.clone()).unwrap_or_default(),
            loss: mean(|part| Some(part.rounded.loss)).unwrap_or_default(),
            heldout: mean(|part| part.heldout),
        };
        let has_bias = parts.iter().any(|part| part.rounded.bias.is_some());
        let rows = site.rows / parts.len().max(1);
        let bias = |part: &Candidate| part.rounded.bias.clone().unwrap_or_else(|| vec![0.0; rows]);
        let bias = has_bias.then(|| parts.iter().flat_map(bias).collect());
        let (mut codes, mut grids, mut remarks) = (vec![], vec![], vec![]);
        for part in parts {
            codes.extend(part.rounded.codes);
            grids.extend(part.rounded.grids);
            remarks.extend(part.rounded.remarks);
        }
        Outcome { weight: weights::constant(site.rows, site.cols, &codes, &grids, rounding, group), bias, report, remarks }
    }
}

fn name(graph: &Graph, site: &Site) -> String {
    let node = &graph[site.node];
    node.loc.first().map_or_else(|| format!("{} {}", node.op.name(), site.node), str::to_string)
}

/// What the rounder gives for all samples that does best, or whose scout does, on those held out when it has seen only the others.
///
/// Where nothing could be held out, a few rows are all that is known: then the nearest levels, as every way fits those rows alone.
fn best_of(weight: &Weight<'_>, split: &Split, job: &Job<'_>, format: &Format) -> Result<Candidate, Diagnostic> {
    if split.heldout.is_none() {
        let mut nearest = tried(weight, split, &Nearest {}, format)?;
        let rows = split.train.tokens;
        nearest.rounded.remarks.push(format!("the nearest levels: too few rows of calibration data to choose others by, {rows}"));
        return Ok(nearest);
    }
    let mut best: Option<(Candidate, &dyn Rounder)> = None;
    for rounder in job.rounders {
        let scout = rounder.scout();
        let tried = tried(weight, split, scout.as_deref().unwrap_or(&**rounder), format)?;
        if best.as_ref().is_none_or(|(best, _)| tried.score() < best.score()) {
            best = Some((tried, &**rounder));
        }
    }
    let (tried, chosen) = best.ok_or_else(|| Diagnostic::input("quantize::rounder", "there is no way to round"))?;
    match &split.all {
        None if chosen.scout().is_none() => Ok(tried),
        all => {
            let rounded = chosen.round(weight, all.as_ref().unwrap_or(&split.train), format)?;
            Ok(Candidate { rounded, rounder: chosen.name(), heldout: tried.heldout })
        }
    }
}

fn tried(weight: &Weight<'_>, split: &Split, rounder: &dyn Rounder, format: &Format) -> Result<Candidate, Diagnostic> {
    let rounded = rounder.round(weight, &split.train, format)?;
    let measure = |moments: &Moments| heldout(weight, &rounded, format, moments);
    let heldout = split.heldout.as_ref().map(measure).transpose()?;
    Ok(Candidate { rounded, rounder: rounder.name(), heldout })
}

impl Candidate {
    fn score(&self) -> f64 {
        self.heldout.unwrap_or(self.rounded.loss)
    }
}
