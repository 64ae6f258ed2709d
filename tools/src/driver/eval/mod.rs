//! Quality of a model on data: one trait, one file per measure. What exactly is counted is in `docs/evaluation.md`.

pub mod likelihood;
pub mod perplexity;
pub mod psnr;
pub mod tasks;
pub mod windows;

use mokume_ir::diag::Report;
use mokume_runtime::session::Session;

/// A measure of quality together with the data it is taken on.
pub trait Evaluator {
    /// What comes out.
    type Score: serde::Serialize;

    /// How often the model runs.
    fn runs(&self) -> usize;
    /// Measures a model; `done` is called after every run. States are empty at the beginning of every independent piece of data.
    ///
    /// Errors  when the model does not fit the data, a run fails, or outputs are not numbers.
    fn evaluate(&self, session: Session, done: &mut dyn FnMut()) -> Result<Self::Score, Report>;
}

/// Mean and its standard error: deviation (with one degree of freedom less) over the root of the count; none below two values.
pub fn mean_and_error(values: &[f64]) -> (f64, Option<f64>) {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let squares: f64 = values.iter().map(|value| (value - mean) * (value - mean)).sum();
    (mean, (values.len() > 1).then(|| (squares / (count - 1.0) / count).sqrt()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_of_a_mean_needs_two_values() {
        assert_eq!(mean_and_error(&[2.0]), (2.0, None));
        let (mean, error) = mean_and_error(&[1.0, 2.0, 3.0]);
        assert_eq!(mean, 2.0);
        assert!((error.unwrap() - (1.0f64 / 3.0).sqrt()).abs() < 1e-15);
    }
}
