//! `mokume eval ppl`: perplexity of a language model on a text.

use super::evaluate;
use crate::cli::options;
use crate::cli::talk::Talk;
use crate::driver::compile;
use crate::driver::device::Place;
use crate::driver::eval::perplexity::{Perplexity, PerplexityOf};
use crate::driver::eval::windows::Layout;
use crate::driver::tokens::{self, Bos, Part};
use mokume_ir::diag::Report;
use serde::Serialize;
use std::path::PathBuf;

/// Perplexity of a language model on a text
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The model (.mok, or .onnx and .gir by the reference ops)
    pub model: PathBuf,
    /// The text
    #[arg(long, value_name = "FILE")]
    pub text: PathBuf,
    /// The tokenizer (tokenizer.json)
    #[arg(long, value_name = "FILE.json")]
    pub tokenizer: PathBuf,
    /// Tokens that the model sees at once
    #[arg(long, default_value_t = 512, value_name = "N")]
    pub window: usize,
    /// Windows; 0 for all that fit
    #[arg(long, default_value_t = 40, value_name = "N")]
    pub windows: usize,
    /// Tokens from the begin of a window to that of the next, which then counts only what is new [default: side by side]
    #[arg(long, value_name = "N")]
    pub stride: Option<usize>,
    /// The token that begins every window: auto (the one that the tokenizer puts before a text, if any), none, or an id
    #[arg(long, default_value = "auto", value_name = "TOKEN")]
    pub bos: Bos,
    /// Where in the text to begin, as a fraction of its tokens
    #[arg(long, default_value_t = 0.0, value_name = "FRACTION")]
    pub from: f64,
    /// Where in the text to end
    #[arg(long, default_value_t = 1.0, value_name = "FRACTION")]
    pub to: f64,
    /// Where to run: the processor, or a GPU for which the artifact has code
    #[arg(long, value_enum, default_value_t, value_name = "DEVICE")]
    pub device: Place,
}

/// The score, and what it was taken on.
#[derive(Serialize)]
struct Evaluated {
    #[serde(flatten)]
    score: Perplexity,
    text_tokens: usize,
    part_tokens: usize,
    window: usize,
    stride: usize,
    bos: Option<i64>,
}

/// Runs the verb.
///
/// Errors  when the model, the tokenizer or the text is missing or wrong, or they do not fit.
pub fn run(args: &Args, talk: &Talk) -> Result<(), Report> {
    options::existing(&args.model)?;
    let part = Part::new(args.from, args.to)?;
    let text = tokens::read_text(&args.text)?;
    let tokenizer = tokens::open(&args.tokenizer)?;
    let all = tokens::encode(&tokenizer, &text)?;
    let bos = args.bos.token(&tokenizer)?;
    let layout = Layout { window: args.window, stride: args.stride, count: args.windows, bos };
    let windows = layout.lay(part.of(&all))?;
    let evaluator = PerplexityOf { windows, vocabulary: Some(tokens::vocabulary(&tokenizer)) };
    let score = evaluate("windows", &evaluator, &args.model, compile::language_model, args.device, talk)?;
    let (text_tokens, part_tokens) = (all.len(), part.of(&all).len());
    let evaluated = Evaluated { score, text_tokens, part_tokens, window: args.window, stride: layout.stride(), bos };
    talk.result(&evaluated, text_of(&evaluated));
    Ok(())
}

fn text_of(evaluated: &Evaluated) -> String {
    let Evaluated { score, window, stride, bos, .. } = evaluated;
    let error = score.standard_error.map_or(String::new(), |error| format!(" ± {error:.5}"));
    let begun = bos.map_or("without beginning token".into(), |bos| format!("each begun by token {bos}"));
    format!(
        "perplexity {:.4}\n{:.5}{error} nats per token, tokens: {}, windows: {}, of {window} every {stride} tokens, {begun}\n",
        score.perplexity,
        score.nats_per_token,
        score.tokens,
        score.windows.len(),
    )
}
