//! Moments of what a group of products reads, over all samples.

use super::cuts::Group;
use super::streams::Streams;
use super::{evaluate, first_held_out};
use crate::executor::Executor;
use crate::pass::PassError;
use crate::quantize::calibrate::failed;
use crate::quantize::rounder::Moments;
use crate::quantize::sites::Site;
use crate::term::Term;
use mokume_ir::constant::Constant;
use mokume_ir::diag::Diagnostic;
use mokume_ir::graph::Module;

/// Rows of one call of [`Moments::add`], whose products are summed in f32.
const ROWS: usize = 512;

/// Moments of one part of the channels.
pub struct Split {
    /// Of what ways to round are tried on.
    pub train: Moments,
    /// Of what is held out, by which ways are judged; none when there is too little.
    pub heldout: Option<Moments>,
    /// Of all samples, where some are held out: the way that was chosen rounds for them.
    pub all: Option<Moments>,
}

/// The moments of every part of what `group` reads: floats as they are, against activations as they will be.
///
/// Errors  when activations cannot be rounded, or hold what is no number.
pub fn collect(
    exact: &Module,
    group: &Group,
    streams: &Streams<'_>,
    activations: &dyn Fn(&Site) -> Option<Term>,
    executor: &dyn Executor,
) -> Result<Vec<Split>, PassError> {
    let (site, samples) = (&group.sites[0], streams.samples());
    let cols = site.cols;
    let empty = || Split { train: Moments::new(cols, true), heldout: Some(Moments::new(cols, true)), all: None };
    let mut splits: Vec<Split> = (0..group.view.parts()).map(|_| empty()).collect();
    let term = activations(site);
    let fixed = exact.main().constant(group.x).map(|id| &exact.constants[id]);
    for sample in 0..samples {
        let pair = fixed.map(|fixed| (fixed, fixed)).or_else(|| streams.pair(sample, group.x));
        let (float, rounded) = pair.ok_or_else(|| failed(format!("the activations of {} were not computed", exact.main()[site.node])))?;
        let read = match &term {
            Some(term) => evaluate(term, rounded, executor).map_err(failed)?,
            None => rounded.clone(),
        };
        let (Some(float), Some(read)) = (rows(group, float), rows(group, &read)) else {
            return Err(failed(format!("the activations of {} are no f32 rows of {cols}", exact.main()[site.node])).into());
        };
        for ((split, float), read) in splits.iter_mut().zip(float).zip(read) {
            let held = first_held_out(sample, samples, read.len() / cols) * cols;
            let added = add(&mut split.train, &read[..held], &float[..held]);
            let added = added.and_then(|()| split.heldout.iter_mut().try_for_each(|heldout| add(heldout, &read[held..], &float[held..])));
            added.map_err(|why| why.at(exact.main()[site.node].loc.to_string()))?;
        }
    }
    for split in &mut splits {
        split.heldout = split.heldout.take().filter(|heldout| heldout.tokens > 0.0);
        split.all = split.heldout.as_ref().map(|heldout| split.train.clone().plus(heldout));
    }
    Ok(splits)
}

fn rows(group: &Group, x: &Constant) -> Option<Vec<Vec<f32>>> {
    let rows = group.view.rows(x)?;
    rows.iter().all(|rows| rows.len().is_multiple_of(group.sites[0].cols)).then_some(rows)
}

fn add(moments: &mut Moments, read: &[f32], float: &[f32]) -> Result<(), Diagnostic> {
    let size = ROWS * moments.k.max(1);
    read.chunks(size).zip(float.chunks(size)).try_for_each(|(read, float)| Ok(moments.add(read, Some(float))?))
}
