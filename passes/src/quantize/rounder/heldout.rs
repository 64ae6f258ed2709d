//! How far the outputs of a rounded weight are from those of the float model, on inputs it was not rounded for.

use super::linalg::forms;
use super::{Format, Moments, RoundError, Rounded, Weight, check};

/// Squared error of the outputs over squared outputs of the float model: `Σ|Ŵx + b - Wy|² / Σ|Wy|²`.
///
/// Candidates are compared by this on moments of tokens that none of them was rounded for: errors on their own tokens
/// are optimistic, the more the more a method can fit.
pub fn heldout(weight: &Weight<'_>, rounded: &Rounded, format: &Format, moments: &Moments) -> Result<f64, RoundError> {
    check(weight, moments)?;
    let (exact, found) = (weight.values, rounded.decode(weight.cols, format));
    let form = |a: &[f32], m: &[f64], b: &[f32]| forms(a, m, b, weight.cols).iter().sum::<f64>();
    let (error, energy) = match &moments.float {
        None => {
            let miss: Vec<f32> = found.iter().zip(exact).map(|(a, b)| a - b).collect();
            (form(&miss, &moments.c, &miss), form(exact, &moments.c, exact))
        }
        Some(float) => {
            let energy = form(exact, &float.own, exact);
            (form(&found, &moments.c, &found) - 2.0 * form(exact, &float.cross, &found) + energy, energy)
        }
    };
    let error = error + rounded.bias.as_ref().map_or(0.0, |bias| shifted(bias, exact, &found, moments));
    Ok(if energy > 0.0 { error.max(0.0) / energy } else { 0.0 })
}

/// `Σ ((ŵ - w) x)²` of every row, for inputs of one stream.
pub fn row_errors(weight: &Weight<'_>, rounded: &Rounded, format: &Format, moments: &Moments) -> Vec<f64> {
    let found = rounded.decode(weight.cols, format);
    let miss: Vec<f32> = found.iter().zip(weight.values).map(|(a, b)| a - b).collect();
    forms(&miss, &moments.c, &miss, weight.cols)
}

/// `Σ (w x)²` of every row.
pub fn row_energies(weight: &Weight<'_>, moments: &Moments) -> Vec<f64> {
    forms(weight.values, &moments.c, weight.values, weight.cols)
}

/// What the bias adds to the squared error: `Σ_rows 2b Σ(Ŵx - Wy) + tokens b²`.
fn shifted(bias: &[f32], exact: &[f32], found: &[f32], moments: &Moments) -> f64 {
    let float = moments.float.as_ref().map_or(&moments.mean, |float| &float.mean);
    let rows = found.chunks_exact(moments.k.max(1)).zip(exact.chunks_exact(moments.k.max(1))).zip(bias);
    rows.map(|((found, exact), &b)| {
        let b = f64::from(b);
        2.0 * b * (total(found, &moments.mean) - total(exact, float)) + moments.tokens * b * b
    })
    .sum()
}

/// `Σ w_i x_i`.
pub fn total(row: &[f32], inputs: &[f64]) -> f64 {
    row.iter().zip(inputs).map(|(&w, x)| f64::from(w) * x).sum()
}
