//! What all rounders minimize, and how far a choice of codes is from it.

use super::lattice::Codes;
use super::linalg::{cholesky, forms, inverse, product};
use super::{Format, Moments, RoundError, Weight, check};
use crate::quantize::round::Grid;
use rayon::prelude::*;

/// What the codes of a weight are for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Aim {
    /// Added to the diagonal of the moments, as a part of its mean.
    pub damping: f64,
    /// Aim at what the float model computes from its own inputs, instead of what its weight computes from ours.
    pub retarget: bool,
    /// The mean of the outputs will be corrected by a bias: only deviations from it count.
    pub centered: bool,
}

/// Find rows `q` near rows `t` of `target`: `(q - t) H (q - t)ᵀ` is least.
pub struct Problem {
    /// Rows of the weight.
    pub rows: usize,
    /// Columns of the weight.
    pub cols: usize,
    /// What codes look like.
    pub format: Format,
    /// Codes as numbers.
    pub codes: Codes,
    /// `t`, `[rows, cols]`.
    pub target: Vec<f32>,
    /// `H`, `[cols, cols]`: moments per token, damped.
    pub metric: Vec<f64>,
    /// `H` for inner loops.
    pub metric32: Vec<f32>,
    /// The diagonal of `H`.
    pub diagonal: Vec<f32>,
    /// What the user should know.
    pub remarks: Vec<String>,
}

/// How often the damping is raised where a matrix is not positive definite, and by how much.
const RAISES: i32 = 8;
const RAISE: f64 = 10.0;

impl Problem {
    /// The problem of rounding `weight` for inputs with `moments`.
    pub fn new(weight: &Weight<'_>, moments: &Moments, format: &Format, aim: Aim) -> Result<Self, RoundError> {
        check(weight, moments)?;
        if !(aim.damping >= 0.0 && aim.damping.is_finite()) {
            return Err(RoundError::Option(format!("damping of {} is not a number from 0 on", aim.damping)));
        }
        let k = weight.cols;
        let mut remarks = vec![];
        let plain = per_token(&moments.c, &moments.mean, &moments.mean, moments.tokens, aim.centered);
        let (metric, factor, added) = damped(plain, k, aim.damping, &mut remarks)?;
        let target = match moments.float.as_ref().filter(|_| aim.retarget) {
            Some(float) => {
                let cross = per_token(&float.cross, &float.mean, &moments.mean, moments.tokens, aim.centered);
                retargeted(weight, cross, &factor, added)
            }
            None => weight.values.to_vec(),
        };
        let diagonal = (0..k).map(|i| metric[i * (k + 1)] as f32).collect();
        let metric32 = metric.iter().map(|&x| x as f32).collect();
        let codes = Codes::new(&format.rounding);
        Ok(Problem { rows: weight.rows, cols: k, format: *format, codes, target, metric, metric32, diagonal, remarks })
    }
    /// Columns that share a scale.
    pub fn block(&self) -> usize {
        self.format.block(self.cols)
    }
    /// Scales per row.
    pub fn blocks(&self) -> usize {
        self.format.blocks(self.cols)
    }
    /// `(q - t) H (q - t)ᵀ` of every row.
    pub fn errors(&self, choice: &Choice) -> Vec<f64> {
        let mut miss = self.decode(choice);
        miss.iter_mut().zip(&self.target).for_each(|(q, t)| *q -= t);
        forms(&miss, &self.metric, &miss, self.cols)
    }
    /// The numbers of `choice`.
    pub fn decode(&self, choice: &Choice) -> Vec<f32> {
        let mut out = vec![0f32; choice.codes.len()];
        let rows = out.par_chunks_mut(self.cols.max(1)).zip(choice.codes.par_chunks(self.cols.max(1)));
        rows.zip(choice.grids.par_chunks(self.blocks())).for_each(|((out, codes), grids)| {
            for ((out, codes), &grid) in out.chunks_mut(self.block()).zip(codes.chunks(self.block())).zip(grids) {
                out.iter_mut().zip(codes).for_each(|(x, &code)| *x = self.format.rounding.decode(code, grid));
            }
        });
        out
    }
}

/// Codes and scales of all rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    /// `[rows, cols]`.
    pub codes: Vec<u8>,
    /// `[rows, blocks]`.
    pub grids: Vec<Grid>,
    /// `(q - t) H (q - t)ᵀ` of every row.
    pub errors: Vec<f64>,
}

impl Choice {
    /// With its errors.
    pub fn new(problem: &Problem, codes: Vec<u8>, grids: Vec<Grid>) -> Self {
        let mut choice = Choice { codes, grids, errors: vec![] };
        choice.errors = problem.errors(&choice);
        choice
    }
    /// Takes the rows of `other` that are better; whether there were any.
    pub fn improve(&mut self, problem: &Problem, other: &Choice) -> bool {
        let (cols, blocks) = (problem.cols, problem.blocks());
        let mut improved = false;
        for row in (0..problem.rows).filter(|&row| other.errors[row] < self.errors[row]) {
            self.codes[row * cols..][..cols].copy_from_slice(&other.codes[row * cols..][..cols]);
            self.grids[row * blocks..][..blocks].copy_from_slice(&other.grids[row * blocks..][..blocks]);
            improved = true;
        }
        let pairs = self.errors.iter_mut().zip(&other.errors);
        pairs.for_each(|(own, &other)| *own = own.min(other));
        improved
    }
    /// The sum of the errors.
    pub fn error(&self) -> f64 {
        self.errors.iter().sum()
    }
}

/// `sums / tokens`, without `mean · meanᵀ` where deviations from the mean are asked for.
fn per_token(sums: &[f64], left: &[f64], right: &[f64], tokens: f64, centered: bool) -> Vec<f64> {
    let (tokens, k) = (tokens.max(1.0), right.len());
    let shift = |i: usize| if centered { left[i / k] * right[i % k] / tokens } else { 0.0 };
    sums.iter().enumerate().map(|(i, x)| (x - shift(i)) / tokens).collect()
}

/// `plain` with as much on its diagonal as it takes to be positive definite, its factor, and what was added.
fn damped(plain: Vec<f64>, k: usize, damping: f64, remarks: &mut Vec<String>) -> Result<(Vec<f64>, Vec<f64>, f64), RoundError> {
    let silent = (0..k).filter(|i| plain[i * (k + 1)] <= 0.0).count();
    if silent > 0 {
        remarks.push(format!("{silent} of {k} inputs are always 0 on the calibration data"));
    }
    let mean = (0..k).map(|i| plain[i * (k + 1)]).sum::<f64>() / k.max(1) as f64;
    let unit = if mean > 0.0 { mean } else { 1.0 };
    let mut tried = damping;
    for _ in 0..RAISES {
        let mut metric = plain.clone();
        (0..k).for_each(|i| metric[i * (k + 1)] += tried * unit);
        if let Some(factor) = cholesky(metric.clone(), k) {
            if tried > damping {
                remarks.push(format!("moments are not positive definite: damping {tried} instead of {damping}"));
            }
            return Ok((metric, factor, tried * unit));
        }
        tried = if tried > 0.0 { tried * RAISE } else { 1e-6 };
    }
    Err(RoundError::NotPositive { k, damping: tried / RAISE })
}

/// `W (G + λ) (C + λ)⁻¹`: the weight that best computes the outputs of the float model from the inputs of the rounded one.
///
/// Source  the minimum of `|W' x - W y|² + λ |W' - W|²`; as in GPTAQ (asymmetric calibration).
fn retargeted(weight: &Weight<'_>, mut cross: Vec<f64>, factor: &[f64], added: f64) -> Vec<f32> {
    let k = weight.cols;
    (0..k).for_each(|i| cross[i * (k + 1)] += added);
    let exact: Vec<f64> = weight.values.iter().map(|&x| f64::from(x)).collect();
    let seen = product(&exact, &cross, k, k);
    product(&seen, &inverse(factor, k), k, k).into_iter().map(|x| x as f32).collect()
}
