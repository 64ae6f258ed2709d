//! What holds for every rounder, on inputs that are correlated as those of real layers are.

use super::*;
use mokume_ir::quant::Levels;

/// Numbers in `-1 .. 1` that look random and are the same in every run.
pub(super) fn noise(seed: u64, len: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 40) as f32 / (1u64 << 23) as f32) - 1.0
    };
    (0..len).map(next).collect()
}

/// Tokens `[tokens, k]` whose inputs share a few causes, with a mean and with inputs of very different size.
pub(super) fn inputs(seed: u64, tokens: usize, k: usize) -> Vec<f32> {
    let causes = 4;
    let (mix, hidden, own) = (noise(1, causes * k), noise(seed, tokens * causes), noise(seed + 1, tokens * k));
    let at = |t: usize, i: usize| {
        let shared: f32 = (0..causes).map(|c| hidden[t * causes + c] * mix[c * k + i]).sum();
        (shared + 0.3 * own[t * k + i] + 0.1) * if i % 17 == 3 { 6.0 } else { 1.0 }
    };
    (0..tokens * k).map(|at_| at(at_ / k, at_ % k)).collect()
}

pub(super) fn moments(seed: u64, tokens: usize, k: usize) -> Moments {
    let mut moments = Moments::new(k, false);
    moments.add(&inputs(seed, tokens, k), None).expect("sizes agree");
    moments
}

pub(super) fn format(bits: u8, levels: Levels, group: usize) -> Format {
    Format { rounding: Rounding { bits, levels, search: true, half_scales: true }, group }
}

/// `Σ|Ŵx + b - Wy|² / Σ|Wy|²`, token by token.
fn direct(weight: &Weight<'_>, rounded: &Rounded, format: &Format, x: &[f32], y: &[f32]) -> f64 {
    let found = rounded.decode(weight.cols, format);
    let times = |row: &[f32], x: &[f32]| row.iter().zip(x).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
    let (mut error, mut energy) = (0.0, 0.0);
    for (x, y) in x.chunks(weight.cols).zip(y.chunks(weight.cols)) {
        for row in 0..weight.rows {
            let span = row * weight.cols..(row + 1) * weight.cols;
            let bias = rounded.bias.as_ref().map_or(0.0, |bias| f64::from(bias[row]));
            let exact = times(&weight.values[span.clone()], y);
            error += (times(&found[span], x) + bias - exact).powi(2);
            energy += exact * exact;
        }
    }
    error / energy
}

#[test]
fn the_heldout_error_is_that_of_the_outputs() {
    let (rows, cols, tokens) = (5, 24, 100);
    let (values, x) = (noise(9, rows * cols), inputs(3, tokens, cols));
    let y: Vec<f32> = x.iter().zip(noise(8, x.len())).map(|(x, n)| x + 0.1 * n + 0.05).collect();
    let weight = Weight { rows, cols, values: &values };
    let format = format(3, Levels::Odd, 8);
    let mut rounded = Nearest {}.round(&weight, &moments(1, tokens, cols), &format).unwrap();
    rounded.bias = Some(vec![0.1, -0.2, 0.0, 0.3, 0.05]);
    for y in [&x, &y] {
        let mut seen = Moments::new(cols, y != &x);
        seen.add(&x[..60 * cols], Some(&y[..60 * cols])).unwrap();
        seen.add(&x[60 * cols..], Some(&y[60 * cols..])).unwrap();
        let (found, expected) = (heldout(&weight, &rounded, &format, &seen).unwrap(), direct(&weight, &rounded, &format, &x, y));
        assert!((found - expected).abs() < 1e-6, "{found} instead of {expected}");
    }
}

#[test]
fn what_cannot_be_rounded_is_refused() {
    let values = noise(1, 12);
    let weight = Weight { rows: 2, cols: 6, values: &values };
    let round = |weight: &Weight<'_>, moments: &Moments| Nearest {}.round(weight, moments, &format(4, Levels::Signed, 0)).unwrap_err();
    let mut bad = moments(1, 20, 6);
    bad.c[7] = f64::NAN;
    assert!(matches!(round(&weight, &bad), RoundError::NotFinite { what: "second moments", at: 7, .. }));
    assert!(matches!(round(&weight, &moments(1, 20, 5)), RoundError::Size { what: "moments", expected: 6, found: 5 }));
    let mut values = values.clone();
    values[3] = f32::INFINITY;
    let weight = Weight { rows: 2, cols: 6, values: &values };
    assert!(matches!(round(&weight, &moments(1, 20, 6)), RoundError::NotFinite { what: "weight", at: 3, .. }));
}
