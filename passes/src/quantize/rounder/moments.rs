//! Second moments of the inputs of a layer, collected over calibration tokens.

use super::linalg::{Layout, multiply_add};
use super::{RoundError, finite, same};

/// Second moments of a layer's inputs over the calibration tokens.
#[derive(Debug, Clone, PartialEq)]
pub struct Moments {
    /// Inputs of the layer.
    pub k: usize,
    /// How many tokens were seen.
    pub tokens: f64,
    /// `Σ x xᵀ`, `[k, k]`: x are the inputs that the layer will see, behind layers that are rounded already.
    pub c: Vec<f64>,
    /// `Σ x`, `[k]`.
    pub mean: Vec<f64>,
    /// The same tokens in the float model, where they differ.
    pub float: Option<FloatMoments>,
}

/// Inputs `y` of the same layer in the float model, beside the inputs `x` of [`Moments`].
#[derive(Debug, Clone, PartialEq)]
pub struct FloatMoments {
    /// `Σ y xᵀ`, `[k, k]`.
    pub cross: Vec<f64>,
    /// `Σ y yᵀ`, `[k, k]`.
    pub own: Vec<f64>,
    /// `Σ y`, `[k]`.
    pub mean: Vec<f64>,
}

impl Moments {
    /// Of no tokens yet; with `float`, of two streams.
    pub fn new(k: usize, float: bool) -> Self {
        let (square, line) = (|| vec![0.0; k * k], || vec![0.0; k]);
        let float = float.then(|| FloatMoments { cross: square(), own: square(), mean: line() });
        Moments { k, tokens: 0.0, c: square(), mean: line(), float }
    }
    /// Counts tokens, `[tokens, k]`: `x` in the stream that is rounded and, with two streams, `y` in the float one.
    ///
    /// Products of up to 128 tokens are summed in f32, and these sums in f64.
    pub fn add(&mut self, x: &[f32], y: Option<&[f32]>) -> Result<(), RoundError> {
        let tokens = x.len() / self.k.max(1);
        same("inputs", tokens * self.k, x.len())?;
        if let (Some(float), y) = (&mut self.float, y.unwrap_or(x)) {
            same("inputs of the float model", x.len(), y.len())?;
            gram(y, x, self.k, &mut float.cross);
            gram(y, y, self.k, &mut float.own);
            add_rows(y, &mut float.mean);
        }
        gram(x, x, self.k, &mut self.c);
        add_rows(x, &mut self.mean);
        self.tokens += tokens as f64;
        Ok(())
    }
    /// With the tokens of `other`, which are of the same layer.
    pub fn plus(mut self, other: &Moments) -> Self {
        let add = |sum: &mut [f64], other: &[f64]| sum.iter_mut().zip(other).for_each(|(sum, x)| *sum += x);
        add(&mut self.c, &other.c);
        add(&mut self.mean, &other.mean);
        if let (Some(float), Some(other)) = (&mut self.float, &other.float) {
            add(&mut float.cross, &other.cross);
            add(&mut float.own, &other.own);
            add(&mut float.mean, &other.mean);
        }
        self.tokens += other.tokens;
        self
    }
    /// Refuses sizes that disagree and numbers that are not finite.
    pub fn check(&self) -> Result<(), RoundError> {
        let square = self.k * self.k;
        let checked =
            |what, expected: usize, values: &[f64]| same(what, expected, values.len()).and_then(|()| finite(what, values.iter().copied()));
        checked("second moments", square, &self.c)?;
        checked("sum of inputs", self.k, &self.mean)?;
        let Some(float) = &self.float else { return Ok(()) };
        checked("cross moments", square, &float.cross)?;
        checked("second moments of the float model", square, &float.own)?;
        checked("sum of inputs of the float model", self.k, &float.mean)
    }
}

/// Tokens whose products are summed in f32.
const TOKENS: usize = 128;

/// `sum += aᵀ b` for rows `a`, `b` of `[tokens, k]`.
fn gram(a: &[f32], b: &[f32], k: usize, sum: &mut [f64]) {
    let mut part = vec![0f32; k * k];
    for (a, b) in a.chunks((TOKENS * k).max(1)).zip(b.chunks((TOKENS * k).max(1))) {
        part.fill(0.0);
        multiply_add(a, Layout::Transposed(k), b, Layout::Rows(k), a.len() / k.max(1), &mut part, k);
        sum.iter_mut().zip(&part).for_each(|(sum, &x)| *sum += f64::from(x));
    }
}

fn add_rows(rows: &[f32], sum: &mut [f64]) {
    for row in rows.chunks_exact(sum.len().max(1)) {
        sum.iter_mut().zip(row).for_each(|(sum, &x)| *sum += f64::from(x));
    }
}
