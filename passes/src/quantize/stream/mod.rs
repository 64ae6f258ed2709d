//! Rounding with calibration data, group after group of products, in bounded memory.
//!
//! The model runs twice side by side: as it is, and as far as it is rounded. Both stop before every group of products that read
//! the same activations (queries, keys and values of a block; gate and up). There the second moments of the group's inputs are
//! taken in both, a rounder chooses codes for the group's weights, and both go on, one through the float products and the other
//! through the rounded ones. So every product is rounded for the inputs that it will see, errors of all earlier ones included.
//!
//! Every fourth sample, or of less than four the last quarter of each, is held out at first: of several rounders the one whose weights do best there is taken, product by product,
//! and rounds for all samples.
//!
//! Memory  two sets of live values at one cut for all samples, beside one part of the model and the moments of one group.
//! Time    two runs of the calibration data up to the last product, whatever the number of groups. Groups that a checkpoint holds
//!         cost nothing; the runs are made up for in one go when the first group comes that it does not hold.
//! Source  Frantar et al., "GPTQ", 2023, for the order; Li et al., "GPTAQ", 2025, for moments of both streams.

pub mod collect;
pub mod cuts;
pub mod named;
pub mod outcome;
pub mod rows;
pub mod saved;
pub mod segment;
pub mod streams;

use self::collect::collect;
use self::cuts::{Group, cuts};
use self::outcome::Outcome;
use self::saved::Saved;
use self::streams::Streams;
use super::calibrate::failed;
use super::rounder::{Format, Rounder};
use super::sites::{Site, WeightKey};
use crate::executor::{Executor, Named};
use crate::pass::{PassContext, PassError};
use crate::term::Term;
use mokume_ir::constant::Constant;
use mokume_ir::edit::Editor;
use mokume_ir::graph::Module;
use std::collections::HashMap;

/// What to round, and how.
pub struct Job<'j> {
    /// Products of the entry function, in canonical order.
    pub sites: &'j [Site],
    /// Ways to round; with more than one, each product takes the one that does best on held out samples.
    pub rounders: &'j [Box<dyn Rounder>],
    /// What codes and scales of a product look like.
    pub planned: &'j dyn Fn(&Site) -> Planned,
    /// All options, as text: a checkpoint is only for them.
    pub options: String,
    /// The activations as the product will read them, if they are rounded.
    pub activations: &'j dyn Fn(&Site) -> Option<Term>,
    /// Puts a rounded weight into the graph.
    pub place: &'j dyn Fn(&mut Editor<'_>, &Site, &Outcome) -> Result<(), PassError>,
}

/// What was decided about a weight before it is rounded.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Planned {
    /// What codes and scales look like.
    pub format: Format,
    /// Bits that an artifact holds of it, per weight.
    pub stored: f64,
    /// By how much it is expected to raise the loss of the model, where its width was chosen by that.
    pub predicted: Option<f64>,
}

/// Weights that are rounded: products that share one take what was rounded for the inputs of the first.
type Done = HashMap<WeightKey, Outcome>;

/// Rounds the products of the entry function.
///
/// Errors  when a sample does not run, or a rounder cannot work with what it sees.
pub fn round(module: &mut Module, job: &Job<'_>, cx: &mut PassContext<'_>) -> Result<(), PassError> {
    let (exact, samples) = (module.clone(), cx.calibration.clone());
    let cuts = cuts(exact.main(), job.sites);
    if let (Some(why), Some(first)) = (&cuts.whole, job.sites.first()) {
        cx.remark(exact.main(), first.node, format!("every group of products runs the model from its inputs: {why}"));
    }
    let streams = Streams::new(&exact, &cuts, &samples).map_err(failed)?;
    let saved = Saved::new(&exact, job, &samples, cx.checkpoint);
    let mut work = Work { exact: &exact, job, streams, saved, executor: cx.executor, done: Done::new() };
    for (index, group) in cuts.groups.iter().enumerate() {
        cx.progress(index, cuts.groups.len());
        let outcomes = work.group(module, index, group, cx)?;
        if !work.place(module, group, outcomes, cx)? {
            break;
        }
    }
    Ok(())
}

/// Rounding in progress.
struct Work<'w> {
    exact: &'w Module,
    job: &'w Job<'w>,
    streams: Streams<'w>,
    saved: Saved<'w>,
    executor: &'w dyn Executor,
    done: Done,
}

impl Work<'_> {
    /// The weights of a group in codes: from the checkpoint, else rounded for what the group reads.
    fn group(&mut self, module: &Module, index: usize, group: &Group, cx: &mut PassContext<'_>) -> Result<Vec<Outcome>, PassError> {
        if let Some(outcomes) = self.saved.load(index, group, self.exact, cx)? {
            return Ok(outcomes);
        }
        self.streams.advance(self.exact, module, index, self.executor).map_err(failed)?;
        let outcomes = self.round(group)?;
        self.saved.store(index, &outcomes)?;
        Ok(outcomes)
    }

    fn round(&self, group: &Group) -> Result<Vec<Outcome>, PassError> {
        let (mut moments, mut fresh) = (None, Done::new());
        for site in &group.sites {
            if self.done.contains_key(&site.key()) || fresh.contains_key(&site.key()) {
                continue;
            }
            let splits = match &moments {
                Some(splits) => splits,
                None => moments.insert(collect(self.exact, group, &self.streams, self.job.activations, self.executor)?),
            };
            fresh.insert(site.key(), Outcome::best(self.exact, site, splits, self.job)?);
        }
        let outcome = |site: &Site| Some(fresh.get(&site.key()).or(self.done.get(&site.key()))?.clone().renamed(self.exact.main(), site));
        Ok(group.sites.iter().filter_map(outcome).collect())
    }

    /// Puts the weights of a group into the graph; false when no more edits may be made.
    fn place(&mut self, module: &mut Module, group: &Group, outcomes: Vec<Outcome>, cx: &mut PassContext<'_>) -> Result<bool, PassError> {
        let mut editor = Editor::new(module, self.exact.entry);
        for (site, outcome) in group.sites.iter().zip(outcomes) {
            if !cx.take() {
                return Ok(false);
            }
            (self.job.place)(&mut editor, site, &outcome)?;
            outcome.remarks.iter().for_each(|why| cx.remark(self.exact.main(), site.node, why));
            cx.layer(outcome.report.clone());
            self.done.insert(site.key(), outcome);
        }
        Ok(true)
    }
}

/// The number that a term is, in `executor`'s arithmetic.
pub(super) fn evaluate(term: &Term, x: &Constant, executor: &dyn Executor) -> Result<Constant, String> {
    match term {
        Term::Value(_) => Ok(x.clone()),
        Term::Const(constant) => Ok(constant.clone()),
        Term::Apply(op, operands) => {
            let operands = operands.iter().map(|operand| evaluate(operand, x, executor)).collect::<Result<Vec<_>, _>>()?;
            let outputs = executor.eval(op, &operands.iter().collect::<Vec<_>>())?;
            outputs.into_iter().next().ok_or_else(|| format!("`{}` gives nothing", op.name()))
        }
    }
}

/// Of so many samples one is held out; where there are fewer, the last of so many parts of each.
pub(super) const HELD_OUT: usize = 4;

/// Whether a sample is held out, of so many.
pub(super) fn is_held_out(sample: usize, samples: usize) -> bool {
    samples >= HELD_OUT && sample % HELD_OUT == HELD_OUT - 1
}

/// The first of `rows` rows of a sample that are held out.
fn first_held_out(sample: usize, samples: usize, rows: usize) -> usize {
    match samples {
        0..HELD_OUT => rows - rows / HELD_OUT,
        _ if is_held_out(sample, samples) => 0,
        _ => rows,
    }
}

/// Named tensors of every sample.
type Samples = [Named];
