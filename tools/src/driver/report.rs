//! What the report about a compilation needs beside the artifact: both models on the same inputs, and on a text.

use crate::driver::calibration::Calibration;
use crate::driver::compare::Difference;
use crate::driver::compile;
use crate::driver::eval::Evaluator;
use crate::driver::eval::perplexity::{Perplexity, PerplexityOf};
use crate::driver::eval::windows::Layout;
use crate::driver::inputs::{self, InputSpec};
use crate::driver::layers::{self, Run};
use crate::driver::tokens::{self, Bos, Part};
use mokume_ir::diag::{Diagnostic, Report};
use mokume_ir::graph::Module;
use mokume_runtime::convert;
use mokume_runtime::program::Program;
use mokume_runtime::session::{Session, SessionOptions};
use mokume_runtime::tensor::Tensor;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Tokens of the window on which layers are compared: all of what every layer gives is kept for a moment.
const COMPARED_TOKENS: usize = 64;

/// A text for perplexity.
#[derive(Debug, Clone)]
pub struct TextSpec {
    /// The text.
    pub path: PathBuf,
    /// Its tokenizer.
    pub tokenizer: PathBuf,
    /// Windows of 512 tokens.
    pub windows: usize,
    /// The part of the text.
    pub part: Part,
}

impl TextSpec {
    /// The windows.
    ///
    /// Errors  when a file is missing or wrong, or the text is too short.
    pub fn evaluator(&self) -> Result<PerplexityOf, Report> {
        let text = tokens::read_text(&self.path)?;
        let tokenizer = tokens::open(&self.tokenizer)?;
        let all = tokens::encode(&tokenizer, &text)?;
        let layout = Layout { window: 512, stride: None, count: self.windows, bos: Bos::Auto.token(&tokenizer)? };
        Ok(PerplexityOf { windows: layout.lay(self.part.of(&all))?, vocabulary: Some(tokens::vocabulary(&tokenizer)) })
    }
}

/// A model before and after compilation.
pub struct Both {
    /// As it was given, in canonical form.
    pub model: Arc<Program>,
    /// As it was just before it was rounded: it computes the same, with other channels within.
    pub exact: Arc<Program>,
    /// The artifact.
    pub artifact: Arc<Program>,
    /// Threads of sessions.
    pub threads: usize,
}

impl Both {
    /// Opens both; `exact` is the model just before it was rounded.
    ///
    /// Errors  when one cannot be read.
    pub fn open(model: &Path, exact: Module, artifact: &Path, threads: usize) -> Result<Self, Report> {
        let open = |path: &Path| compile::language_model(path).map(Arc::new);
        Ok(Both { model: open(model)?, exact: Arc::new(Program::interpret(exact)), artifact: open(artifact)?, threads })
    }
    /// Of both on the same windows.
    ///
    /// Errors  when one is no language model or a run fails.
    pub fn perplexity(&self, evaluator: &PerplexityOf, done: &mut dyn FnMut()) -> Result<[Perplexity; 2], Report> {
        Ok([evaluator.evaluate(self.session(&self.model)?, done)?, evaluator.evaluate(self.session(&self.artifact)?, done)?])
    }
    /// Every layer, rounded and not, on the first calibration data, or on random inputs where there are none; and what they were.
    ///
    /// Errors  when the two take different inputs or a run fails.
    pub fn differences(&self, calibration: &Calibration) -> Result<(Vec<Difference>, String), Report> {
        let one =
            Calibration { samples: calibration.samples.map(|_| 1), window: calibration.window.min(COMPARED_TOKENS), ..calibration.clone() };
        let (expected, given) = (first_of(&one, &self.exact)?, first_of(&one, &self.artifact)?);
        let (mut reference, mut candidate) = (self.session(&self.exact)?, self.session(&self.artifact)?);
        let (expected, given, sample) = match (expected, given) {
            (Some(expected), Some(given)) => (expected, given, "the first calibration data"),
            _ => {
                let random = random(&reference, &candidate)?;
                (random.clone(), random, "random inputs")
            }
        };
        let differences =
            layers::in_order(Run { session: &mut reference, inputs: &expected }, Run { session: &mut candidate, inputs: &given })?;
        Ok((differences, sample.into()))
    }
    fn session(&self, program: &Arc<Program>) -> Result<Session, Report> {
        Session::new(program.clone(), SessionOptions { threads: self.threads, ..Default::default() })
    }
}

fn first_of(calibration: &Calibration, program: &Program) -> Result<Option<Vec<(String, Tensor)>>, Report> {
    let Some(first) = calibration.sets(&program.module)?.into_iter().next() else { return Ok(None) };
    let tensor = |(name, constant): &(String, _)| Ok((name.clone(), convert::to_tensor(constant).map_err(|e| unusable(&e.to_string()))?));
    first.iter().map(tensor).collect::<Result<_, Report>>().map(Some)
}

fn random(reference: &Session, candidate: &Session) -> Result<Vec<(String, Tensor)>, Report> {
    let names = |session: &Session| session.inputs().iter().map(|port| port.name.clone()).collect::<Vec<_>>();
    if names(reference) != names(candidate) {
        return Err(unusable("the model and the artifact take different inputs"));
    }
    Ok(inputs::gather(&InputSpec { random: true, ..InputSpec::default() }, reference)?.tensors)
}

fn unusable(why: &str) -> Report {
    Diagnostic::input("report::inputs", why).into()
}
