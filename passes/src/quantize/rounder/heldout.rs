//! How far the outputs of a rounded weight are from those of the float model, on inputs it was not rounded for.

use super::linalg::{dot, product};
use super::{Format, Moments, RoundError, Rounded, Weight, check};

/// Squared error of the outputs over squared outputs of the float model: `Σ|Ŵx + b - Wy|² / Σ|Wy|²`.
///
/// Candidates are compared by this on moments of tokens that none of them was rounded for: errors on their own tokens
/// are optimistic, the more the more a method can fit.
pub fn heldout(weight: &Weight<'_>, rounded: &Rounded, format: &Format, moments: &Moments) -> Result<f64, RoundError> {
    check(weight, moments)?;
    let exact: Vec<f64> = weight.values.iter().map(|&x| f64::from(x)).collect();
    let found: Vec<f64> = rounded.decode(weight.cols, format).into_iter().map(f64::from).collect();
    let (error, energy) = match &moments.float {
        None => {
            let miss: Vec<f64> = found.iter().zip(&exact).map(|(a, b)| a - b).collect();
            (quadratic(&miss, &moments.c, &miss, weight), quadratic(&exact, &moments.c, &exact, weight))
        }
        Some(float) => {
            let energy = quadratic(&exact, &float.own, &exact, weight);
            let (own, cross) = (quadratic(&found, &moments.c, &found, weight), quadratic(&exact, &float.cross, &found, weight));
            (own - 2.0 * cross + energy, energy)
        }
    };
    let error = error + rounded.bias.as_ref().map_or(0.0, |bias| shifted(bias, &exact, &found, moments));
    Ok(if energy > 0.0 { error.max(0.0) / energy } else { 0.0 })
}

/// `tr(A M Bᵀ)` for rows `a` and `b`.
fn quadratic(a: &[f64], m: &[f64], b: &[f64], weight: &Weight<'_>) -> f64 {
    dot(&product(a, m, weight.cols, weight.cols), b)
}

/// What the bias adds to the squared error: `Σ_rows 2b Σ(Ŵx - Wy) + tokens b²`.
fn shifted(bias: &[f32], exact: &[f64], found: &[f64], moments: &Moments) -> f64 {
    let float = moments.float.as_ref().map_or(&moments.mean, |float| &float.mean);
    let rows = found.chunks_exact(moments.k.max(1)).zip(exact.chunks_exact(moments.k.max(1))).zip(bias);
    rows.map(|((found, exact), &b)| {
        let b = f64::from(b);
        2.0 * b * (dot(found, &moments.mean) - dot(exact, float)) + moments.tokens * b * b
    })
    .sum()
}
