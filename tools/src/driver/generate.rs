//! Text generation with a compiled or interpreted language model. Key and value state stays in the session.

use crate::driver::inputs::SplitMix;
use mokume_ir::diag::{Diagnostic, Report};
use mokume_ir::types::Elem;
use mokume_runtime::profile::Event;
use mokume_runtime::program::Program;
use mokume_runtime::session::Session;
use mokume_runtime::tensor::Tensor;
use std::sync::Arc;

/// How the next token is chosen.
#[derive(Debug, Clone, Copy)]
pub struct Sampling {
    /// 0 takes the likeliest token.
    pub temperature: f32,
    /// Only the likeliest so many tokens; 0 for all.
    pub top_k: usize,
    /// Seed of the choice.
    pub seed: u64,
}

impl Sampling {
    /// Always the likeliest token.
    pub const GREEDY: Sampling = Sampling { temperature: 0.0, top_k: 0, seed: 0 };
}

/// A language model in a session: `input_ids` in, `logits` out, and whatever mask and positions it asks for.
pub struct Generator {
    session: Session,
    stateful: bool,
    tokens: Vec<i64>,
    random: SplitMix,
    sampling: Sampling,
}

impl Generator {
    /// Wraps a session.
    ///
    /// Errors  `generate::model` when the model is not a language model that mokume can drive.
    pub fn new(session: Session, sampling: Sampling) -> Result<Self, Report> {
        Self::check(&session)?;
        let stateful = !session.program().module.main().states.is_empty();
        Ok(Generator { session, stateful, tokens: Vec::new(), random: SplitMix(sampling.seed), sampling })
    }
    /// Whether a session is of a language model that mokume can drive.
    ///
    /// Errors  as [`Generator::new`].
    pub fn check(session: &Session) -> Result<(), Report> {
        if !session.outputs().iter().any(|port| port.name == "logits") || !session.inputs().iter().any(|port| port.name == "input_ids") {
            let finding = Diagnostic::input("generate::model", "the model has no input \"input_ids\" or no output \"logits\"");
            return Err(finding.help("give a language model that gives logits of its tokens").into());
        }
        let known = ["input_ids", "attention_mask", "position_ids"];
        let strange = session.inputs().iter().find(|port| !known.contains(&port.name.as_str())).map(|port| port.name.clone());
        if let Some(name) = strange {
            return Err(Diagnostic::input(
                "generate::model",
                format!("the model asks for \"{name}\", which text generation does not have"),
            )
            .help("keep past keys and values in the runtime: mokume compile model.onnx -o model.mok --preset llm-float")
            .into());
        }
        Ok(())
    }
    /// Feeds `tokens` and gives the next one.
    ///
    /// Errors  when the run fails.
    pub fn feed(&mut self, tokens: &[i64]) -> Result<i64, Report> {
        let logits = self.step(tokens)?;
        let (all, vocabulary) = (logits.slice::<f32>(), logits.dims()[2]);
        Ok(self.choose(&all[all.len() - vocabulary..]))
    }
    /// Feeds `tokens` and gives the logits `[1, rows, vocabulary]`; the last row is that of the next token.
    ///
    /// Errors  when the run fails.
    pub fn step(&mut self, tokens: &[i64]) -> Result<Tensor, Report> {
        let inputs = self.take(tokens);
        let outputs = self.session.run(&inputs)?;
        let logits = outputs.into_iter().find(|output| output.0 == "logits").map(|output| output.1);
        let logits = logits.filter(|l| l.elem() == Elem::F32 && l.rank() == 3 && !l.is_empty());
        Ok(logits.ok_or_else(|| Diagnostic::input("generate::logits", "\"logits\" is not a float tensor of rank 3"))?)
    }
    /// As [`Generator::step`], giving when every node ran.
    ///
    /// Errors  when the run fails.
    pub fn step_profiled(&mut self, tokens: &[i64]) -> Result<Vec<Event>, Report> {
        let inputs = self.take(tokens);
        self.session.run_profiled(&inputs).map(|(_, events)| events)
    }
    /// Forgets all tokens.
    pub fn reset(&mut self) {
        self.session.reset();
        self.tokens.clear();
    }
    /// Bytes that the state takes per token fed since the last reset; none without state or tokens.
    pub fn state_bytes_per_token(&self) -> Option<f64> {
        let bytes = self.session.state_bytes();
        (bytes > 0 && !self.tokens.is_empty()).then(|| bytes as f64 / self.tokens.len() as f64)
    }
    /// The model.
    pub fn program(&self) -> &Arc<Program> {
        self.session.program()
    }
    /// Takes note of `tokens`; the inputs of the run that feeds them.
    fn take(&mut self, tokens: &[i64]) -> Vec<(String, Tensor)> {
        self.tokens.extend(tokens);
        self.inputs(if self.stateful { tokens.len() } else { self.tokens.len() })
    }
    fn inputs(&self, new: usize) -> Vec<(String, Tensor)> {
        let total = self.tokens.len();
        let value = |name: &str| match name {
            "input_ids" => Tensor::i64s(&[1, new], &self.tokens[total - new..]),
            "attention_mask" => Tensor::i64s(&[1, total], &vec![1; total]),
            _ => Tensor::i64s(&[1, new], &(total - new..total).map(|p| p as i64).collect::<Vec<_>>()),
        };
        self.session.inputs().iter().map(|port| (port.name.clone(), value(&port.name))).collect()
    }
    fn choose(&mut self, logits: &[f32]) -> i64 {
        if self.sampling.temperature <= 0.0 {
            return likeliest(logits);
        }
        let mut order: Vec<usize> = (0..logits.len()).collect();
        order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
        order.truncate(if self.sampling.top_k == 0 { logits.len() } else { self.sampling.top_k });
        let weights: Vec<f32> = order.iter().map(|&i| ((logits[i] - logits[order[0]]) / self.sampling.temperature).exp()).collect();
        let mut rest = self.random.uniform() * weights.iter().sum::<f32>();
        let chosen = weights.iter().position(|&weight| {
            rest -= weight;
            rest < 0.0
        });
        order[chosen.unwrap_or(0)] as i64
    }
}

/// Index of the largest; the first of equals.
fn likeliest(logits: &[f32]) -> i64 {
    let better = |best: usize, i: usize| if logits[i] > logits[best] { i } else { best };
    (1..logits.len()).fold(0, better) as i64
}
