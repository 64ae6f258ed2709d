//! Which activations get more bits than the others: those where few bits lose most for every multiplication.

use super::kept::Kept;
use super::plan::{SAMPLES, spread, weighed};
use super::table::Table;
use crate::executor::Named;
use crate::pass::{PassContext, PassError};
use crate::quantize::calibrate::failed;
use crate::quantize::rounder::{Moments, Weight, row_energies};
use crate::quantize::sites::Site;
use crate::quantize::stream::cuts::{Group, cuts};
use crate::quantize::stream::streams::Streams;
use crate::quantize::stream::{evaluate, saved};
use crate::term::Term;
use mokume_ir::diag::Diagnostic;
use mokume_ir::graph::Module;
use mokume_ir::ids::ValueId;
use std::collections::HashSet;

/// What activations cost in few bits.
pub struct Escape<'e> {
    /// The float model.
    pub module: &'e Module,
    /// Products of its entry function, in canonical order.
    pub sites: &'e [Site],
    /// The activations of a product in few bits.
    pub activations: &'e dyn Fn(&Site) -> Option<Term>,
    /// All options that losses depend on, as text.
    pub options: String,
}

impl Escape<'_> {
    /// The activations that get more bits, where `part` of all multiplications may have them. Costs are remarked.
    ///
    /// Errors  when the model does not run on the calibration data.
    pub fn choose(&self, part: f64, cx: &mut PassContext<'_>) -> Result<HashSet<ValueId>, PassError> {
        let samples = spread(&cx.calibration, SAMPLES);
        let name = format!("{}-activations", saved::key(self.module, &self.options, &samples));
        let kept = Kept::get(&name, (self.sites.len(), 1), cx, |cx| self.measure(&samples, cx))?;
        let losses: Vec<f64> = kept.losses.iter().map(|losses| losses[0]).collect();
        for (site, loss) in self.sites.iter().zip(&losses) {
            cx.remark(self.module.main(), site.node, format!("few bits for its activations cost {loss:.2e}"));
        }
        let (chosen, saved) = largest(self.sites, &losses, part);
        let (count, total) = (chosen.len(), losses.iter().sum::<f64>());
        cx.note(format!("a_escape={part}: {count} activations get 8 bits, where few would cost {saved:.4} of {total:.4}; {}", kept.remark));
        Ok(chosen)
    }

    fn measure(&self, samples: &[Named], cx: &mut PassContext<'_>) -> Result<Kept, PassError> {
        let (weighings, remark) = weighed(self.module, self.sites, samples, cx);
        let table = Table { module: self.module, sites: self.sites, weighings: weighings.as_deref(), samples, executor: cx.executor };
        let losses = table.activation_losses(self.activations, &mut |done, groups| cx.progress(groups + done, 2 * groups))?;
        Ok(Kept { losses: losses.into_iter().map(|loss| vec![loss]).collect(), remark })
    }
}

/// The activations with most loss per multiplication, for at most `part` of all multiplications; and their loss.
fn largest(sites: &[Site], losses: &[f64], part: f64) -> (HashSet<ValueId>, f64) {
    let mut values: Vec<(ValueId, f64, f64)> = vec![];
    for (site, loss) in sites.iter().zip(losses) {
        match values.iter_mut().find(|(x, ..)| *x == site.x) {
            Some((_, sum, elements)) => (*sum, *elements) = (*sum + loss, *elements + site.elements()),
            None => values.push((site.x, *loss, site.elements())),
        }
    }
    let mut left = part * values.iter().map(|(.., elements)| elements).sum::<f64>();
    values.sort_by(|(_, a, a_size), (_, b, b_size)| (b / b_size).total_cmp(&(a / a_size)));
    let (mut chosen, mut saved) = (HashSet::new(), 0.0);
    for (x, loss, elements) in values {
        if elements <= left {
            (left, saved) = (left - elements, saved + loss);
            chosen.insert(x);
        }
    }
    (chosen, saved)
}

impl Table<'_> {
    /// The loss of every product when its activations are those of `activations`. `done` is told how many groups are over, of how many.
    ///
    /// Errors  when a sample does not run.
    fn activation_losses(
        &self,
        activations: &dyn Fn(&Site) -> Option<Term>,
        done: &mut dyn FnMut(usize, usize),
    ) -> Result<Vec<f64>, PassError> {
        let cuts = cuts(self.module.main(), self.sites);
        let mut streams = Streams::new(self.module, &cuts, self.samples).map_err(failed)?;
        let mut losses = vec![0.0; self.sites.len()];
        for (index, group) in cuts.groups.iter().enumerate() {
            streams.follow(self.module, index, self.executor).map_err(failed)?;
            for (number, site) in self.sites.iter().enumerate().filter(|(_, site)| group.sites.contains(site)) {
                if let Some(rounded) = activations(site) {
                    losses[number] = self.activation_loss(number, group, &streams, &rounded)?;
                }
            }
            done(index + 1, cuts.groups.len());
        }
        Ok(losses)
    }

    fn activation_loss(&self, number: usize, group: &Group, streams: &Streams<'_>, rounded: &Term) -> Result<f64, PassError> {
        let empty = || -> Vec<Moments> { (0..group.view.parts()).map(|_| Moments::new(self.sites[number].cols, false)).collect() };
        let (mut exact, mut errors) = (empty(), empty());
        for sample in 0..self.samples.len() {
            let x = self.read(group, streams, sample)?;
            let parts = self.split(group, x)?;
            let rounded = self.split(group, &evaluate(rounded, x, self.executor).map_err(failed)?)?;
            for (part, (x, rounded)) in parts.iter().zip(&rounded).enumerate() {
                let gap: Vec<f32> = x.iter().zip(rounded).map(|(x, rounded)| rounded - x).collect();
                errors[part].add(&self.weighed(number, sample, &gap), None).map_err(Diagnostic::from)?;
                if self.weighings.is_none() {
                    exact[part].add(x, None).map_err(Diagnostic::from)?;
                }
            }
        }
        let (site, values) = (&self.sites[number], self.values(number));
        let rows = site.rows / errors.len().max(1);
        let (mut loss, mut energy) = (0.0, 0.0);
        for (part, values) in values.chunks((rows * site.cols).max(1)).enumerate() {
            let weight = Weight { rows, cols: site.cols, values };
            loss += self.sum(number, part * rows, &row_energies(&weight, &errors[part]));
            energy += row_energies(&weight, &exact[part]).iter().sum::<f64>();
        }
        Ok(loss * self.unit(self.samples.len(), energy))
    }
}
