//! Rounding with calibration data, group after group of products, in bounded memory.
//!
//! The model runs twice side by side: as it is, and as far as it is rounded. Both stop before every group of products that read
//! the same activations (queries, keys and values of a block; gate and up). There the second moments of the group's inputs are
//! taken in both, a rounder chooses codes for the group's weights, and both go on, one through the float products and the other
//! through the rounded ones. So every product is rounded for the inputs that it will see, errors of all earlier ones included.
//!
//! Every fourth sample is held out: of several rounders the one whose weights do best there is taken, product by product.
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

use self::collect::{Split, collect};
use self::cuts::{Group, cuts};
use self::outcome::Outcome;
use self::saved::Saved;
use self::streams::Streams;
use super::calibrate::failed;
use super::rounder::{Format, Rounder};
use super::sites::Site;
use crate::executor::{Executor, Named};
use crate::pass::{PassContext, PassError};
use crate::term::Term;
use mokume_ir::constant::Constant;
use mokume_ir::edit::Editor;
use mokume_ir::graph::Module;
use mokume_ir::ids::ConstId;
use std::collections::HashMap;

/// What to round, and how.
pub struct Job<'j> {
    /// Products of the entry function, in canonical order.
    pub sites: &'j [Site],
    /// Ways to round; with more than one, each product takes the one that does best on held out samples.
    pub rounders: &'j [Box<dyn Rounder>],
    /// What codes and scales look like.
    pub format: Format,
    /// All options, as text: a checkpoint is only for them.
    pub options: String,
    /// The activations as the product will read them, if they are rounded.
    pub activations: &'j dyn Fn(&Site) -> Option<Term>,
    /// Puts a rounded weight into the graph.
    pub place: &'j dyn Fn(&mut Editor<'_>, &Site, &Outcome) -> Result<(), PassError>,
}

/// Weights by constant, columns and layout: products that share one are rounded once, for the inputs of the first.
type Done = HashMap<(ConstId, usize, bool), Outcome>;

/// Rounds the products of the entry function.
///
/// Errors  when a sample does not run, or a rounder cannot work with what it sees.
pub fn round(module: &mut Module, job: &Job<'_>, cx: &mut PassContext<'_>) -> Result<(), PassError> {
    let (exact, samples, executor) = (module.clone(), cx.calibration.clone(), cx.executor);
    let cuts = cuts(exact.main(), job.sites);
    if let (Some(why), Some(first)) = (&cuts.whole, job.sites.first()) {
        cx.remark(exact.main(), first.node, format!("every group of products runs the model from its inputs: {why}"));
    }
    let saved = Saved::new(&exact, job, &samples, cx.checkpoint);
    let mut streams = Streams::new(&exact, &cuts, &samples).map_err(failed)?;
    let mut done = Done::new();
    for (index, group) in cuts.groups.iter().enumerate() {
        cx.progress(index, cuts.groups.len());
        let outcomes = match saved.load(index, group, &exact, cx)? {
            Some(outcomes) => outcomes,
            None => {
                streams.advance(&exact, module, index, executor).map_err(failed)?;
                let outcomes = round_group(&exact, job, group, &streams, &done, executor)?;
                saved.store(index, &outcomes)?;
                outcomes
            }
        };
        let mut editor = Editor::new(module, exact.entry);
        for (site, outcome) in group.sites.iter().zip(outcomes) {
            if !cx.take() {
                return Ok(());
            }
            (job.place)(&mut editor, site, &outcome)?;
            outcome.remarks.iter().for_each(|why| cx.remark(exact.main(), site.node, why));
            cx.layer(outcome.report.clone());
            done.insert(key(site), outcome);
        }
    }
    Ok(())
}

fn key(site: &Site) -> (ConstId, usize, bool) {
    (site.weight, site.cols, site.transposed)
}

/// The weights of a group in codes.
fn round_group(
    exact: &Module,
    job: &Job<'_>,
    group: &Group,
    streams: &Streams<'_>,
    done: &Done,
    executor: &dyn Executor,
) -> Result<Vec<Outcome>, PassError> {
    let mut split: Option<Vec<Split>> = None;
    let mut outcomes: Vec<Outcome> = vec![];
    for site in &group.sites {
        let shared = group.sites.iter().zip(&outcomes).find(|(other, _)| key(other) == key(site)).map(|(_, outcome)| outcome);
        if let Some(outcome) = done.get(&key(site)).or(shared) {
            let outcome = outcome.clone().renamed(exact.main(), site);
            outcomes.push(outcome);
            continue;
        }
        let split = match &split {
            Some(split) => split,
            None => split.insert(collect(exact, group, streams, &|site| (job.activations)(site), executor)?),
        };
        outcomes.push(Outcome::best(exact, site, split, job)?);
    }
    Ok(outcomes)
}

/// The number that a term is, in `executor`'s arithmetic.
fn evaluate(term: &Term, x: &Constant, executor: &dyn Executor) -> Result<Constant, String> {
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

/// Whether a sample is held out, of so many.
fn is_held_out(sample: usize, samples: usize) -> bool {
    samples >= 4 && sample % 4 == 3
}

/// Named tensors of every sample.
type Samples = [Named];
