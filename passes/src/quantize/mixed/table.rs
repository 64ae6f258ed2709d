//! What every width of every product costs: how far its outputs move, weighed by how much that counts.

use super::weighing::Weighing;
use crate::executor::{Executor, Named};
use crate::pass::PassError;
use crate::quantize::calibrate::failed;
use crate::quantize::rounder::{Format, Moments, Rounder, Weight, row_energies, row_errors};
use crate::quantize::sites::Site;
use crate::quantize::stream::cuts::{Group, cuts};
use crate::quantize::stream::is_held_out;
use crate::quantize::stream::streams::Streams;
use crate::quantize::weights::{self, Matrix};
use mokume_ir::constant::Constant;
use mokume_ir::diag::Diagnostic;
use mokume_ir::graph::Module;

/// What is compared.
pub struct Table<'t> {
    /// The float model.
    pub module: &'t Module,
    /// Products of its entry function, in canonical order.
    pub sites: &'t [Site],
    /// How much errors of each count; none where every product counts alike.
    pub weighings: Option<&'t [Weighing]>,
    /// Calibration data. Where some of it is held out, weights are rounded for the others and errors taken of it.
    pub samples: &'t [Named],
    /// Runs the model.
    pub executor: &'t dyn Executor,
}

/// What is tried on weights.
pub struct Ways<'w> {
    /// The widths.
    pub formats: &'w [Format],
    /// How they are tried.
    pub rounder: &'w dyn Rounder,
}

/// Moments of what one product reads, every position as it counts, part by part of the channels.
type Judge = Vec<Moments>;

impl Table<'_> {
    /// The loss of every width of every product, in their order. `done` is told how many groups are over, of how many.
    ///
    /// Errors  when a sample does not run, or the rounder cannot work with what it sees.
    pub fn losses(&self, ways: &Ways<'_>, done: &mut dyn FnMut(usize, usize)) -> Result<Vec<Vec<f64>>, PassError> {
        let cuts = cuts(self.module.main(), self.sites);
        let mut streams = Streams::new(self.module, &cuts, self.samples).map_err(failed)?;
        let mut losses = vec![vec![]; self.sites.len()];
        for (index, group) in cuts.groups.iter().enumerate() {
            streams.follow(self.module, index, self.executor).map_err(failed)?;
            let numbers: Vec<usize> = group.sites.iter().filter_map(|site| self.sites.iter().position(|other| other == site)).collect();
            let (train, judges) = self.moments(group, &numbers, &streams)?;
            for (&number, judge) in numbers.iter().zip(&judges) {
                losses[number] = self.of_site(ways, number, &train, judge)?;
            }
            done(index + 1, cuts.groups.len());
        }
        Ok(losses)
    }

    /// What weights are rounded for, and by what each is judged.
    fn moments(&self, group: &Group, numbers: &[usize], streams: &Streams<'_>) -> Result<(Vec<Moments>, Vec<Judge>), PassError> {
        let (cols, count) = (group.sites[0].cols, self.samples.len());
        let empty = || -> Vec<Moments> { (0..group.view.parts()).map(|_| Moments::new(cols, false)).collect() };
        let (mut train, mut judges) = (empty(), vec![empty(); numbers.len()]);
        let holds_out = (0..count).any(|sample| is_held_out(sample, count));
        for sample in 0..count {
            let parts = self.rows(group, streams, sample)?;
            if !is_held_out(sample, count) {
                train.iter_mut().zip(&parts).try_for_each(|(moments, rows)| moments.add(rows, None)).map_err(Diagnostic::from)?;
            }
            if holds_out && !is_held_out(sample, count) {
                continue;
            }
            for (&number, judge) in numbers.iter().zip(&mut judges) {
                let mut weighed = judge.iter_mut().zip(&parts);
                let add = |(moments, rows): (&mut Moments, &Vec<f32>)| moments.add(&self.weighed(number, sample, rows), None);
                weighed.try_for_each(add).map_err(Diagnostic::from)?;
            }
        }
        Ok((train, judges))
    }

    fn rows(&self, group: &Group, streams: &Streams<'_>, sample: usize) -> Result<Vec<Vec<f32>>, PassError> {
        self.read(group, streams, sample).and_then(|x| self.split(group, x))
    }

    /// What `group` reads in a sample.
    pub(super) fn read<'s>(&'s self, group: &Group, streams: &'s Streams<'_>, sample: usize) -> Result<&'s Constant, PassError> {
        let main = self.module.main();
        let fixed = main.constant(group.x).map(|id| &self.module.constants[id]);
        let x = fixed.or_else(|| Some(streams.pair(sample, group.x)?.0));
        x.ok_or_else(|| failed(format!("the activations of {} were not computed", main[group.sites[0].node])).into())
    }

    /// The rows of every part of the channels.
    pub(super) fn split(&self, group: &Group, x: &Constant) -> Result<Vec<Vec<f32>>, PassError> {
        let (main, site) = (self.module.main(), &group.sites[0]);
        let rows = group.view.rows(x).filter(|parts| parts.iter().all(|rows| rows.len().is_multiple_of(site.cols)));
        rows.ok_or_else(|| failed(format!("the activations of {} are no f32 rows of {}", main[site.node], site.cols)).into())
    }

    /// Rows as they count.
    pub(super) fn weighed(&self, number: usize, sample: usize, rows: &[f32]) -> Vec<f32> {
        let Some(weighings) = self.weighings else { return rows.to_vec() };
        let cols = self.sites[number].cols.max(1);
        let scales = weighings[number].scales(sample, rows.len() / cols);
        rows.chunks_exact(cols).zip(scales).flat_map(|(row, scale)| row.iter().map(move |x| x * scale)).collect()
    }

    fn of_site(&self, ways: &Ways<'_>, number: usize, train: &[Moments], judge: &[Moments]) -> Result<Vec<f64>, PassError> {
        let (site, values) = (&self.sites[number], self.values(number));
        let rows = site.rows / train.len().max(1);
        let mut losses = vec![0.0; ways.formats.len()];
        let mut energy = 0.0;
        for (part, values) in values.chunks((rows * site.cols).max(1)).enumerate() {
            let weight = Weight { rows, cols: site.cols, values };
            energy += row_energies(&weight, &judge[part]).iter().sum::<f64>();
            for (loss, format) in losses.iter_mut().zip(ways.formats) {
                let rounded = ways.rounder.round(&weight, &train[part], format);
                let rounded = rounded.map_err(|error| Diagnostic::from(error).at(self.module.main()[site.node].loc.to_string()))?;
                *loss += self.sum(number, part * rows, &row_errors(&weight, &rounded, format, &judge[part]));
            }
        }
        let unit = self.unit(self.judged(), energy);
        Ok(losses.into_iter().map(|loss| loss * unit).collect())
    }

    /// The weight of a product.
    pub(super) fn values(&self, number: usize) -> Vec<f32> {
        let site = &self.sites[number];
        let constant = &self.module.constants[site.weight];
        let matrix = Matrix { constant, rows: site.rows, cols: site.cols, taps: site.taps, transposed: site.transposed };
        weights::read_rows(matrix, 0, site.rows)
    }

    /// What sums of errors over so many samples are multiplied by; `energy` is the sum of the squared outputs.
    pub(super) fn unit(&self, samples: usize, energy: f64) -> f64 {
        match self.weighings {
            Some(_) => 0.5 / samples.max(1) as f64,
            None if energy > 0.0 => 1.0 / energy,
            None => 0.0,
        }
    }

    /// Errors of rows from `first` on, as they count.
    pub(super) fn sum(&self, number: usize, first: usize, errors: &[f64]) -> f64 {
        match self.weighings {
            Some(weighings) => weighings[number].rows[first..].iter().zip(errors).map(|(part, error)| part * error).sum(),
            None => errors.iter().sum(),
        }
    }

    /// Samples of which errors are taken.
    fn judged(&self) -> usize {
        let count = self.samples.len();
        match (0..count).filter(|&sample| is_held_out(sample, count)).count() {
            0 => count,
            held => held,
        }
    }
}
