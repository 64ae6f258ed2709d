//! A way to round in full: scales, codes, scales again, and what remains of the mean.

use super::descent::descend;
use super::gptq::gptq;
use super::heldout::{heldout, total};
use super::problem::{Aim, Choice, Problem};
use super::refit::refit;
use super::soft::Soft;
use super::{Format, Moments, RoundError, Rounded, Rounder, Weight, scales};
use serde::Deserialize;

/// Passes of coordinate descent where it is all there is; it ends before, as a rule.
const DESCENT: usize = 50;

/// How codes are chosen for given scales.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// The nearest level.
    Nearest,
    /// Errors move into columns that are still to come.
    Gptq,
    /// One code at a time, from the nearest level.
    Descent,
    /// Drawn to levels step by step.
    Soft(Soft),
}

impl Method {
    /// Codes for the scales of `nearest`, row by row never worse than it; soft rounding may change scales too.
    fn codes(&self, problem: &Problem, mut nearest: Choice) -> Result<Choice, RoundError> {
        match self {
            Method::Nearest => {}
            Method::Gptq => drop(nearest.improve(problem, &gptq(problem, &nearest)?)),
            Method::Descent => descend(problem, &mut nearest, DESCENT),
            Method::Soft(soft) => return soft.round(problem, &nearest),
        }
        Ok(nearest)
    }
}

/// What to do, in order.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Recipe {
    /// How codes are chosen for given scales.
    pub method: Method,
    /// Added to the diagonal of the moments, as a part of its mean.
    pub damping: f64,
    /// Aim at the outputs of the float model, where its inputs are known.
    pub retarget: bool,
    /// Add a bias to every output that corrects its mean.
    pub bias: bool,
    /// How often scales are fitted to codes and codes to scales.
    pub refits: usize,
    /// Passes of coordinate descent between two fits.
    pub sweeps: usize,
}

impl Default for Recipe {
    fn default() -> Self {
        Recipe { method: Method::Soft(Soft::default()), damping: 0.03, retarget: false, bias: false, refits: 3, sweeps: 4 }
    }
}

impl Rounder for Recipe {
    fn name(&self) -> String {
        let method = match self.method {
            Method::Nearest => "nearest",
            Method::Gptq => "gptq",
            Method::Descent => "descent",
            Method::Soft(_) => "soft",
        };
        let part = |wanted: bool, name: &'static str| wanted.then_some(name);
        let damping = format!("damping {}", self.damping);
        let parts = [Some(method), part(self.retarget, "re-targeted"), part(self.bias, "bias"), Some(damping.as_str())];
        parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
    fn scout(&self) -> Option<Box<dyn Rounder>> {
        let scout = Recipe { method: Method::Gptq, refits: 0, ..*self };
        (scout != *self).then(|| Box::new(scout) as Box<dyn Rounder>)
    }
    fn round(&self, weight: &Weight<'_>, moments: &Moments, format: &Format) -> Result<Rounded, RoundError> {
        let aim = Aim { damping: self.damping, retarget: self.retarget, centered: self.bias };
        let problem = Problem::new(weight, moments, format, aim)?;
        let mut choice = self.method.codes(&problem, scales::nearest(&problem))?;
        for _ in 0..self.refits {
            let better = refit(&problem, &mut choice);
            descend(&problem, &mut choice, self.sweeps);
            if !better {
                break;
            }
        }
        self.finish(weight, moments, &problem, choice)
    }
}

impl Recipe {
    /// With this method, in the ways among which a product takes what is best on held-out tokens.
    ///
    /// Aiming at the float model fits more numbers to the tokens: where these are few, it loses elsewhere what it gains on them.
    pub fn ways(method: Method) -> Vec<Recipe> {
        let way = |(retarget, damping)| Recipe { method, retarget, damping, ..Recipe::default() };
        [(false, 0.03), (true, 0.03), (true, 0.1)].map(way).to_vec()
    }
    fn finish(&self, weight: &Weight<'_>, moments: &Moments, problem: &Problem, choice: Choice) -> Result<Rounded, RoundError> {
        let bias = self.bias.then(|| mean_error(weight, moments, &problem.decode(&choice)));
        let Choice { codes, grids, .. } = choice;
        let mut rounded = Rounded { codes, grids, bias, loss: 0.0, remarks: problem.remarks.clone() };
        rounded.loss = heldout(weight, &rounded, &problem.format, moments)?;
        Ok(rounded)
    }
}

/// `mean(W y) - mean(Ŵ x)` of every output.
fn mean_error(weight: &Weight<'_>, moments: &Moments, found: &[f32]) -> Vec<f32> {
    let float = moments.float.as_ref().map_or(&moments.mean, |float| &float.mean);
    let rows = weight.values.chunks(weight.cols.max(1)).zip(found.chunks(weight.cols.max(1)));
    rows.map(|(exact, found)| ((total(exact, float) - total(found, &moments.mean)) / moments.tokens.max(1.0)) as f32).collect()
}
