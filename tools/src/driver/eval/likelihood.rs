//! Likelihood of tokens under logits, in f64.

use mokume_ir::diag::{Diagnostic, Report};
use mokume_runtime::tensor::Tensor;
use rayon::prelude::*;
use std::ops::Range;

/// Negative log-likelihoods in nats of `tokens[p]` for every `p` of `positions`, each given the tokens before it.
///
/// Shape   `logits` is `[1, tokens, vocabulary]`; row `p - 1` predicts token `p`.
/// Errors  `eval::vocabulary` for a token that has no logit, `eval::logits` when a row has no likelihoods.
pub fn surprise(logits: &Tensor, tokens: &[i64], positions: Range<usize>) -> Result<Vec<f64>, Report> {
    let (rows, vocabulary) = (logits.dims()[1], logits.dims()[2]);
    if rows != tokens.len() {
        let message = format!("\"logits\" has {rows} rows for {} tokens", tokens.len());
        return Err(Diagnostic::input("eval::logits", message).help("the model must give logits of every token").into());
    }
    let row = |position: usize| &logits.slice::<f32>()[(position - 1) * vocabulary..position * vocabulary];
    let one = |position: usize| {
        let token = usize::try_from(tokens[position]).ok().filter(|&token| token < vocabulary);
        let token = token.ok_or_else(|| outside(tokens[position], vocabulary))?;
        surprise_of(row(position), token).ok_or_else(|| broken(row(position), position - 1))
    };
    // The first error in the order of the text, whatever ran first.
    let all: Vec<Result<f64, Diagnostic>> = positions.into_par_iter().map(one).collect();
    all.into_iter().collect::<Result<_, _>>().map_err(Report::from)
}

/// `log Σ exp(logits) - logits[token]`; none when that is not a number.
fn surprise_of(logits: &[f32], token: usize) -> Option<f64> {
    let largest = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let sum: f64 = logits.iter().map(|&logit| (f64::from(logit) - largest).exp()).sum();
    let nats = sum.ln() + (largest - f64::from(logits[token]));
    nats.is_finite().then_some(nats)
}

fn outside(token: i64, vocabulary: usize) -> Diagnostic {
    let message = format!("token {token} is outside the model's vocabulary of {vocabulary}");
    Diagnostic::input("eval::vocabulary", message).help("give the tokenizer.json that came with the model")
}

fn broken(row: &[f32], position: usize) -> Diagnostic {
    let count = |is: fn(f32) -> bool| row.iter().filter(|&&logit| is(logit)).count();
    let (nans, infinite) = (count(f32::is_nan), count(f32::is_infinite));
    let message = format!("the logits after token {position} give no likelihood: {nans} are NaN, {infinite} infinite, of {}", row.len());
    Diagnostic::check("eval::logits", message).help("find the layer where they begin with `mokume compare --per-layer`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_logits_are_as_surprising_as_there_are_tokens() {
        let logits = Tensor::f32s(&[1, 3, 4], &[100.0; 12]);
        let nats = surprise(&logits, &[0, 3, 1], 1..3).unwrap();
        assert_eq!(nats, [4.0f64.ln(); 2]);
    }

    #[test]
    fn large_and_impossible_logits_are_exact() {
        let row = [1e4f32, 1e4 - 1.0, f32::NEG_INFINITY];
        let expected = (1.0 + (-1.0f64).exp()).ln();
        assert!((surprise_of(&row, 0).unwrap() - expected).abs() < 1e-12);
        assert!((surprise_of(&row, 1).unwrap() - expected - 1.0).abs() < 1e-12);
        assert_eq!(surprise_of(&row, 2), None);
    }

    #[test]
    fn rows_without_likelihood_are_named() {
        let mut values = vec![0.0; 12];
        values[5] = f32::NAN;
        let error = surprise(&Tensor::f32s(&[1, 3, 4], &values), &[0, 3, 1], 1..3).unwrap_err().to_string();
        assert!(error.contains("after token 1") && error.contains("1 are NaN"), "{error}");
    }

    #[test]
    fn tokens_without_logit_and_missing_rows_are_refused() {
        let logits = Tensor::f32s(&[1, 2, 4], &[0.0; 8]);
        assert!(surprise(&logits, &[0, 4], 1..2).unwrap_err().to_string().contains("vocabulary of 4"));
        assert!(surprise(&logits, &[0, 1, 2], 1..3).unwrap_err().to_string().contains("2 rows for 3 tokens"));
    }
}
