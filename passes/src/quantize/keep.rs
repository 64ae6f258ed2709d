//! Which convolutions stay float: those whose rounding alone moves the outputs of the calibration data most.
//!
//! The activations of a convolution share one scale, and filter banks that feed a logarithm or a threshold need more levels than
//! eight bits have. Which ones do is measured: every convolution is rounded alone, and of those that lose most as few as needed
//! stay float.

use super::calibrate;
use super::sites::Site;
use crate::executor::{Executor, Named};
use crate::pass::PassError;
use mokume_ir::graph::Module;
use mokume_ir::ids::FuncId;

/// Sites by function.
pub type Sites = Vec<(FuncId, Site)>;

/// Rounds sites of a module.
pub type Round<'t> = dyn FnMut(&mut Module, &[(FuncId, Site)]) -> Result<(), PassError> + 't;

/// A model that is run with some of its sites rounded.
pub struct Trial<'t> {
    /// The float model.
    pub module: &'t Module,
    /// Rounds sites of a copy.
    pub round: &'t mut Round<'t>,
    /// Calibration data.
    pub samples: &'t [Named],
    /// Runs the copies.
    pub executor: &'t dyn Executor,
    /// Told runs done and at most to do.
    pub progress: &'t mut dyn FnMut(usize, usize),
}

/// What stays float.
pub struct Kept {
    /// The sites, worst first.
    pub sites: Sites,
    /// The lowest cosine of an output when all others are rounded.
    pub cosine: f64,
}

impl Trial<'_> {
    /// The fewest convolutions, worst first, without which every output has a cosine of at least `target`; all if no fewer will do.
    ///
    /// Errors  when the model does not run.
    pub fn choose(&mut self, sites: &[(FuncId, Site)], target: f64) -> Result<Kept, PassError> {
        let expected = self.run(self.module)?;
        let cosine = self.cosine(&expected, sites)?;
        let convs: Vec<&(FuncId, Site)> = sites.iter().filter(|(_, site)| site.conv).collect();
        if cosine >= target || convs.is_empty() {
            return Ok(Kept { sites: vec![], cosine });
        }
        let mut ranked = Vec::with_capacity(convs.len());
        for (i, &&site) in convs.iter().enumerate() {
            ranked.push((self.cosine(&expected, &[site])?, site));
            (self.progress)(i, convs.len());
        }
        ranked.sort_by(|a, b| a.0.total_cmp(&b.0));
        let worst: Sites = ranked.into_iter().map(|(_, site)| site).collect();
        self.fewest(&expected, sites, &worst, target)
    }

    /// The shortest beginning of `worst` that is enough, by bisection.
    fn fewest(&mut self, expected: &[Named], sites: &[(FuncId, Site)], worst: &[(FuncId, Site)], target: f64) -> Result<Kept, PassError> {
        let mut best = self.without(expected, sites, worst)?;
        let (mut low, mut high) = (1, worst.len());
        while low < high && best.cosine >= target {
            let middle = (low + high) / 2;
            let tried = self.without(expected, sites, &worst[..middle])?;
            match tried.cosine >= target {
                true => (high, best) = (middle, tried),
                false => low = middle + 1,
            }
        }
        Ok(best)
    }

    fn without(&mut self, expected: &[Named], sites: &[(FuncId, Site)], kept: &[(FuncId, Site)]) -> Result<Kept, PassError> {
        let rounded: Sites = sites.iter().filter(|site| !kept.contains(site)).copied().collect();
        Ok(Kept { sites: kept.to_vec(), cosine: self.cosine(expected, &rounded)? })
    }

    /// The lowest cosine of an output of any sample when `sites` are rounded.
    fn cosine(&mut self, expected: &[Named], sites: &[(FuncId, Site)]) -> Result<f64, PassError> {
        let mut copy = self.module.clone();
        (self.round)(&mut copy, sites)?;
        let got = self.run(&copy)?;
        let pairs = expected.iter().flatten().zip(got.iter().flatten());
        Ok(pairs.filter_map(|(e, g)| Some(cosine(&e.1.to_f32s()?, &g.1.to_f32s()?))).fold(1.0, f64::min))
    }

    fn run(&self, module: &Module) -> Result<Vec<Named>, PassError> {
        let outputs = self.samples.iter().map(|sample| self.executor.outputs(module, sample));
        outputs.collect::<Result<_, _>>().map_err(|why| calibrate::failed(why).into())
    }
}

/// Cosine of the angle between two vectors; 1 when they are equal, -1 when it is not a number.
fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |x: &[f32], y: &[f32]| x.iter().zip(y).map(|(&x, &y)| f64::from(x) * f64::from(y)).sum::<f64>();
    let cosine = dot(a, b) / (dot(a, a) * dot(b, b)).sqrt();
    match cosine.is_nan() {
        true if a == b => 1.0,
        true => -1.0,
        false => cosine,
    }
}

#[cfg(test)]
mod tests {
    use super::cosine;

    #[test]
    fn angles() {
        assert_eq!(cosine(&[3.0, 4.0], &[6.0, 8.0]), 1.0);
        assert_eq!(cosine(&[1.0, 0.0], &[0.0, 2.0]), 0.0);
        assert_eq!((cosine(&[0.0], &[0.0]), cosine(&[0.0], &[1.0]), cosine(&[f32::NAN], &[1.0])), (1.0, -1.0, -1.0));
    }
}
