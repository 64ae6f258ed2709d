//! From a budget to a width for every weight.

use super::allocate::{Allocation, Choice};
use super::backward::weigh;
use super::kept::Kept;
use super::loss::{LOGITS, Loss, TOKENS, surprise};
use super::stored::{Activations, stored_bits};
use super::table::{Table, Ways};
use super::weighing::Weighing;
use super::width;
use crate::executor::{Executor, Named};
use crate::pass::{PassContext, PassError};
use crate::quantize::calibrate::failed;
use crate::quantize::rounder::{Format, Rounder};
use crate::quantize::sites::{Site, WeightKey};
use crate::quantize::stream::{Planned, saved};
use mokume_ir::diag::Diagnostic;
use mokume_ir::graph::Module;
use std::collections::HashMap;

/// Calibration samples by which widths are chosen, evenly spread over all.
pub const SAMPLES: usize = 8;

/// What is asked for of all weights together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Goal {
    /// The least loss within so many bits per weight, a mean over all, with all that belongs to them.
    Bits(f64),
    /// The fewest bits with an expected perplexity of at most this on the calibration data.
    Perplexity(f64),
}

/// `budget=3.1`, `target_ppl=20`
impl std::fmt::Display for Goal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Goal::Bits(bits) => write!(f, "budget={bits}"),
            Goal::Perplexity(perplexity) => write!(f, "target_ppl={perplexity}"),
        }
    }
}

/// A goal, and what it is reached with.
pub struct Request<'r> {
    /// What is asked for.
    pub goal: Goal,
    /// The widths that weights may have.
    pub formats: Vec<Format>,
    /// How activations are rounded, if they are.
    pub activations: Option<Activations>,
    /// How widths are tried.
    pub rounder: &'r dyn Rounder,
    /// All options that losses depend on, as text.
    pub options: String,
}

/// What was decided about weights.
pub type Plan = HashMap<WeightKey, Planned>;

/// A weight and the products that read it.
struct Item {
    key: WeightKey,
    sites: Vec<usize>,
    elements: u64,
    choices: Vec<Choice>,
}

impl Request<'_> {
    /// The width of every weight that `sites` of the entry function read. What every width would cost is remarked.
    ///
    /// Errors  when no choice is within the budget, or the model does not run on the calibration data.
    pub fn plan(&self, module: &Module, sites: &[Site], cx: &mut PassContext<'_>) -> Result<Plan, PassError> {
        let samples = spread(&cx.calibration, SAMPLES);
        let losses = self.losses(module, sites, &samples, cx)?;
        let items = self.items(sites, &losses);
        let elements: u64 = items.iter().map(|item| item.elements).sum();
        let choices: Vec<Vec<Choice>> = items.iter().map(|item| item.choices.clone()).collect();
        let picked = match self.goal {
            Goal::Bits(bits) => {
                let within = Allocation::new(&choices, (bits * elements as f64).floor() as u64);
                within.and_then(|within| within.least_loss()).ok_or_else(|| self.too_little(&items))?
            }
            Goal::Perplexity(perplexity) => {
                let room = self.room(module, sites, &samples, perplexity, cx)?;
                let widest = items.iter().filter_map(|item| item.choices.iter().map(|choice| choice.size).max()).sum();
                let within = Allocation::new(&choices, widest);
                within.and_then(|within| within.least_size(room)).ok_or_else(|| self.too_good(&items, room))?
            }
        };
        self.explain(module, sites, &items, &picked, cx);
        Ok(items.iter().zip(&picked).map(|(item, &number)| (item.key, self.planned(item, number))).collect())
    }

    fn planned(&self, item: &Item, number: usize) -> Planned {
        let Choice { size, loss } = item.choices[number];
        Planned { format: self.formats[number], stored: size as f64 / item.elements.max(1) as f64, predicted: Some(loss) }
    }

    /// What every width of every product costs, from the checkpoint if it is there.
    fn losses(&self, module: &Module, sites: &[Site], samples: &[Named], cx: &mut PassContext<'_>) -> Result<Vec<Vec<f64>>, PassError> {
        let name = format!("{}-widths", saved::key(module, &self.options, samples));
        let kept = Kept::get(&name, (sites.len(), self.formats.len()), cx, |cx| self.measure(module, sites, samples, cx))?;
        self.say(module, sites, &kept.remark, cx);
        Ok(kept.losses)
    }

    fn measure(&self, module: &Module, sites: &[Site], samples: &[Named], cx: &mut PassContext<'_>) -> Result<Kept, PassError> {
        let (weighings, remark) = weighed(module, sites, samples, cx);
        let table = Table { module, sites, weighings: weighings.as_deref(), samples, executor: cx.executor };
        let ways = Ways { formats: &self.formats, rounder: self.rounder };
        let losses = table.losses(&ways, &mut |done, groups| cx.progress(groups + done, 2 * groups))?;
        Ok(Kept { losses, remark })
    }

    fn items(&self, sites: &[Site], losses: &[Vec<f64>]) -> Vec<Item> {
        let mut items: Vec<Item> = vec![];
        for (index, (site, losses)) in sites.iter().zip(losses).enumerate() {
            let known = items.iter_mut().find(|item| item.key == site.key());
            match known {
                Some(item) => {
                    item.sites.push(index);
                    item.choices.iter_mut().zip(losses).for_each(|(choice, loss)| choice.loss += loss);
                }
                None => items.push(self.item(index, site, losses)),
            }
        }
        items
    }

    fn item(&self, index: usize, site: &Site, losses: &[f64]) -> Item {
        let choice = |(format, &loss): (&Format, &f64)| Choice { size: stored_bits(site, format, self.activations), loss };
        let choices = self.formats.iter().zip(losses).map(choice).collect();
        Item { key: site.key(), sites: vec![index], elements: (site.rows * site.cols) as u64, choices }
    }

    /// By how much the loss may grow.
    ///
    /// Errors  when the float model is not better than what is asked for, or is no language model.
    fn room(&self, module: &Module, sites: &[Site], samples: &[Named], goal: f64, cx: &mut PassContext<'_>) -> Result<f64, PassError> {
        let exact = nats(module, samples, cx.executor)?;
        let room = goal.ln() - exact;
        if room <= 0.0 {
            let message =
                format!("pass `quantize` cannot reach {}: the float model has {:.3} on the calibration data", self.goal, exact.exp());
            return Err(Diagnostic::input("quantize::perplexity", message).into());
        }
        self.say(module, sites, &format!("the float model has {:.4} on the calibration data", exact.exp()), cx);
        Ok(room)
    }

    fn too_good(&self, items: &[Item], room: f64) -> Diagnostic {
        let least = |item: &Item| item.choices.iter().map(|choice| choice.loss).min_by(f64::total_cmp).unwrap_or_default();
        let least: f64 = items.iter().map(least).sum();
        let message = format!(
            "pass `quantize` cannot reach {}: even the best of `widths` are expected to cost {least:.4} nats, not {room:.4}",
            self.goal
        );
        Diagnostic::input("quantize::perplexity", message).help("give a larger perplexity, smaller groups or wider widths")
    }

    fn too_little(&self, items: &[Item]) -> Diagnostic {
        let least: u64 = items.iter().filter_map(|item| item.choices.iter().map(|choice| choice.size).min()).sum();
        let elements: u64 = items.iter().map(|item| item.elements).sum();
        let least = least as f64 / elements.max(1) as f64;
        let message = format!("pass `quantize` cannot keep {}: with the narrowest of `widths`, weights take {least:.3} bits", self.goal);
        Diagnostic::input("quantize::budget", message).help("give a larger budget, larger groups or narrower widths")
    }

    /// The table: a remark per weight, and one on all.
    fn explain(&self, module: &Module, sites: &[Site], items: &[Item], picked: &[usize], cx: &mut PassContext<'_>) {
        for (item, &picked) in items.iter().zip(picked) {
            let cost = |(format, choice): (&Format, &Choice)| {
                let bits = choice.size as f64 / item.elements.max(1) as f64;
                format!("{} ({bits:.3} bits) {:.2e}", width::name(&format.rounding), choice.loss)
            };
            let costs: Vec<String> = self.formats.iter().zip(&item.choices).map(cost).collect();
            let chosen = width::name(&self.formats[picked].rounding);
            let node = sites[item.sites[0]].node;
            cx.remark(module.main(), node, format!("{chosen} of {}", costs.join(", ")));
        }
        let choices = || items.iter().zip(picked).map(|(item, &picked)| item.choices[picked]);
        let elements: u64 = items.iter().map(|item| item.elements).sum();
        let bits = choices().map(|choice| choice.size).sum::<u64>() as f64 / elements.max(1) as f64;
        let loss: f64 = choices().map(|choice| choice.loss).sum();
        cx.note(format!("{}: {} weights take {bits:.4} bits per number and are expected to cost {loss:.4}", self.goal, items.len()));
    }

    /// A remark on all products.
    fn say(&self, module: &Module, sites: &[Site], what: &str, cx: &mut PassContext<'_>) {
        if let Some(first) = sites.first() {
            cx.remark(module.main(), first.node, format!("{}: {what}", self.goal));
        }
    }
}

/// Nats per token of a language model on samples.
///
/// Errors  when a sample does not run, or has no tokens with logits.
pub fn nats(module: &Module, samples: &[Named], executor: &dyn Executor) -> Result<f64, PassError> {
    let (mut sum, mut count) = (0.0, 0);
    for sample in samples {
        let outputs = executor.outputs(module, sample).map_err(failed)?;
        let logits = outputs.iter().find(|(name, _)| name == LOGITS).map(|(_, tensor)| tensor);
        let tokens = sample.iter().find(|(name, _)| name == TOKENS).map(|(_, tensor)| tensor);
        let found = logits.zip(tokens).and_then(|(logits, tokens)| surprise(logits, tokens));
        let missing =
            || Diagnostic::input("quantize::perplexity", format!("option `target_ppl` needs a model of \"{TOKENS}\" to \"{LOGITS}\""));
        let (nats, tokens) = found.ok_or_else(missing)?;
        (sum, count) = (sum + nats, count + tokens);
    }
    Ok(sum / (count.max(1) as f64))
}

/// How much errors of every product count, if that can be known, and what losses are then.
pub(super) fn weighed(module: &Module, sites: &[Site], samples: &[Named], cx: &mut PassContext<'_>) -> (Option<Vec<Weighing>>, String) {
    let (executor, total) = (cx.executor, samples.len());
    let found = match Loss::of(module.main()) {
        None => Err("it has no output of f32".to_string()),
        Some(loss) => {
            let mut progress = |done| cx.progress(done, 2 * total);
            weigh(module, sites, samples, &loss, executor, &mut progress).map(|weighings| (weighings, loss.unit()))
        }
    };
    match found {
        Ok((weighings, unit)) => (Some(weighings), format!("losses are {unit}, to second order")),
        Err(why) => (None, format!("every product counts alike, by its squared error over its squared outputs; no gradients: {why}")),
    }
}

/// At most `count` of `samples`, evenly spread.
pub fn spread(samples: &[Named], count: usize) -> Vec<Named> {
    let taken = samples.len().min(count);
    (0..taken).map(|index| samples[index * samples.len() / taken].clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_spread() {
        let samples: Vec<Named> = (0..20).map(|i| vec![(i.to_string(), mokume_ir::constant::Constant::i64s(&[0], &[]))]).collect();
        let names = |count| spread(&samples, count).iter().map(|sample| sample[0].0.clone()).collect::<Vec<_>>().join(" ");
        assert_eq!(names(4), "0 5 10 15");
        assert_eq!(names(30).split(' ').count(), 20);
        assert!(spread(&[], 4).is_empty());
    }
}
