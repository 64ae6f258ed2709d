//! Perplexity of a language model on windows of a text.

use super::likelihood::surprise;
use super::windows::Window;
use super::{Evaluator, mean_and_error};
use crate::driver::generate::{Generator, Sampling};
use mokume_ir::diag::{Diagnostic, Report};
use mokume_runtime::session::Session;
use serde::Serialize;

/// Windows of a text, each on its own.
#[derive(Debug, Clone)]
pub struct PerplexityOf {
    /// The windows.
    pub windows: Vec<Window>,
    /// How many tokens the tokenizer has, when it is known: the model must have as many.
    pub vocabulary: Option<usize>,
}

/// How well a model predicts a text.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Perplexity {
    /// `exp(nats_per_token)`.
    pub perplexity: f64,
    /// Mean negative log-likelihood of all counted tokens.
    pub nats_per_token: f64,
    /// Of `nats_per_token`, from how the means of windows differ; none for a single window.
    pub standard_error: Option<f64>,
    /// Tokens that are counted.
    pub tokens: usize,
    /// Mean negative log-likelihood of every window.
    pub windows: Vec<f64>,
}

impl Evaluator for PerplexityOf {
    type Score = Perplexity;

    fn runs(&self) -> usize {
        self.windows.len()
    }
    fn evaluate(&self, session: Session, done: &mut dyn FnMut()) -> Result<Perplexity, Report> {
        let mut model = Generator::new(session, Sampling::GREEDY)?;
        let (mut sum, mut tokens, mut windows) = (0.0, 0, Vec::new());
        for (index, window) in self.windows.iter().enumerate() {
            let nats = self.nats(&mut model, window).map_err(|report| report.within(&format!("window {index}")))?;
            let total = nats.iter().sum::<f64>();
            sum += total;
            tokens += nats.len();
            windows.push(total / nats.len() as f64);
            done();
        }
        let nats_per_token = sum / tokens as f64;
        let (_, standard_error) = mean_and_error(&windows);
        Ok(Perplexity { perplexity: nats_per_token.exp(), nats_per_token, standard_error, tokens, windows })
    }
}

impl PerplexityOf {
    fn nats(&self, model: &mut Generator, window: &Window) -> Result<Vec<f64>, Report> {
        model.reset();
        let logits = model.step(&window.tokens)?;
        self.vocabulary.map_or(Ok(()), |tokenizer| check_vocabulary(tokenizer, logits.dims()[2]))?;
        surprise(&logits, &window.tokens, window.counted.clone())
    }
}

/// Models often have a few more logits than there are tokens, to a round number; a tokenizer of another model differs by more.
fn check_vocabulary(tokenizer: usize, model: usize) -> Result<(), Report> {
    if tokenizer <= model && model - tokenizer <= model / 16 {
        return Ok(());
    }
    let message = format!("the tokenizer has {tokenizer} tokens and the model {model} logits");
    Err(Diagnostic::input("eval::vocabulary", message).help("give the tokenizer.json that came with the model").into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use mokume_ir::text;
    use mokume_runtime::program::Program;
    use mokume_runtime::session::SessionOptions;
    use std::sync::Arc;

    /// Every token is followed by itself with logit 2, by each other with 0.
    const REPEATER: &str = r#"module "m"

const @0 : tensor<3 x 3 x f32> = [2.0, 0.0, 0.0, 0.0, 2.0, 0.0, 0.0, 0.0, 2.0]

graph @f0 "main"(%0 "input_ids": tensor<b x s x i64>) -> ("logits") {
  %1 = gather @0, %0 {axis = 0} : tensor<b x s x 3 x f32>
  return %1
}
"#;

    fn session(source: &str) -> Session {
        let module = text::parse(source, &text::no_data).unwrap();
        Session::new(Arc::new(Program::interpret(module)), SessionOptions::default()).unwrap()
    }

    fn evaluate(windows: &[&[i64]]) -> Result<Perplexity, Report> {
        let window = |tokens: &&[i64]| Window { tokens: tokens.to_vec(), counted: 1..tokens.len() };
        let evaluator = PerplexityOf { windows: windows.iter().map(window).collect(), vocabulary: Some(3) };
        let mut runs = 0;
        let score = evaluator.evaluate(session(REPEATER), &mut || runs += 1)?;
        assert_eq!(runs, evaluator.runs());
        Ok(score)
    }

    #[test]
    fn the_mean_is_over_tokens_and_the_error_over_windows() {
        let normal = (2.0f64.exp() + 2.0).ln();
        let score = evaluate(&[&[1, 1, 1], &[0, 1]]).unwrap();
        assert_eq!(score.tokens, 3);
        assert!((score.nats_per_token - (normal - 4.0 / 3.0)).abs() < 1e-12, "{score:?}");
        assert!((score.perplexity - score.nats_per_token.exp()).abs() < 1e-12);
        assert!((score.windows[0] - (normal - 2.0)).abs() < 1e-12 && (score.windows[1] - normal).abs() < 1e-12);
        assert!((score.standard_error.unwrap() - 1.0).abs() < 1e-12);
        assert_eq!(evaluate(&[&[1, 1]]).unwrap().standard_error, None);
    }

    #[test]
    fn other_vocabularies_are_refused() {
        assert!(check_vocabulary(49_152, 49_152).is_ok() && check_vocabulary(151_669, 151_936).is_ok());
        assert!(check_vocabulary(49_152, 32_000).is_err() && check_vocabulary(32_000, 49_152).is_err());
        let report = evaluate(&[&[1, 1], &[0, 7]]).unwrap_err().to_string();
        assert!(report.contains("window 1"), "{report}");
    }
}
