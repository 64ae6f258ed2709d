//! `mokume generate`: continues a text with a language model.

use crate::cli::options;
use crate::cli::talk::{Talk, put};
use crate::driver::device::{self, Place};
use crate::driver::generate::{Generator, Sampling};
use crate::driver::{compile, tokens};
use mokume_ir::diag::{Diagnostic, Report};
use mokume_runtime::session::SessionOptions;
use serde::Serialize;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokenizers::Tokenizer;

/// Continue a text with a language model
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The model (.mok, or .onnx and .gir by the reference ops)
    pub model: PathBuf,
    /// The tokenizer (tokenizer.json)
    #[arg(long, value_name = "FILE.json")]
    pub tokenizer: PathBuf,
    /// The text to continue
    #[arg(long, value_name = "TEXT")]
    pub prompt: String,
    /// Where to run: the processor, or a GPU for which the artifact has code
    #[arg(long, value_enum, default_value_t, value_name = "DEVICE")]
    pub device: Place,
    /// Tokens to add
    #[arg(long, default_value_t = 64, value_name = "N")]
    pub max_tokens: usize,
    /// Randomness; 0 takes the likeliest token
    #[arg(long, default_value_t = 0.0, value_name = "T")]
    pub temperature: f32,
    /// Choose among so many likeliest tokens; 0 for all
    #[arg(long, default_value_t = 0, value_name = "K")]
    pub top_k: usize,
    /// Seed of the choice
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub seed: u64,
}

#[derive(Serialize)]
struct Generated {
    text: String,
    tokens: Vec<i64>,
    prompt_tokens: usize,
    prefill_ms: f64,
    decode_tokens_per_second: f64,
}

/// Runs the verb.
///
/// Errors  when the model or the tokenizer is missing or wrong.
pub fn run(args: &Args, talk: &Talk) -> Result<(), Report> {
    options::existing(&args.model)?;
    let tokenizer = tokens::open(&args.tokenizer)?;
    let program = compile::runnable(&args.model)?;
    let options = SessionOptions { threads: talk.thread_count(), ..Default::default() };
    let session = device::session(program, args.device, options)?;
    let sampling = Sampling { temperature: args.temperature, top_k: args.top_k, seed: args.seed };
    let mut generator = Generator::new(session, sampling)?;
    let prompt = tokens::encode(&tokenizer, &args.prompt)?;
    if prompt.is_empty() {
        return Err(Diagnostic::input("generate::prompt", "the prompt has no tokens").help("give --prompt some text").into());
    }
    let generated = generate(&mut generator, &tokenizer, &prompt, args, talk)?;
    finish(&generated, talk);
    Ok(())
}

fn generate(generator: &mut Generator, tokenizer: &Tokenizer, prompt: &[i64], args: &Args, talk: &Talk) -> Result<Generated, Report> {
    let mut stream = Stream::after(tokenizer, &args.prompt, prompt, !talk.json)?;
    let start = Instant::now();
    let mut next = generator.feed(prompt)?;
    let prefill = start.elapsed();
    let mut tokens = Vec::new();
    let start = Instant::now();
    while tokens.len() < args.max_tokens && !ends(tokenizer, next) {
        tokens.push(next);
        stream.push(next)?;
        if tokens.len() < args.max_tokens {
            next = generator.feed(&[next])?;
        }
    }
    let speed = rate(tokens.len().saturating_sub(1), start.elapsed());
    Ok(Generated {
        text: stream.shown,
        tokens,
        prompt_tokens: prompt.len(),
        prefill_ms: prefill.as_secs_f64() * 1e3,
        decode_tokens_per_second: speed,
    })
}

fn rate(count: usize, time: Duration) -> f64 {
    if time.is_zero() { 0.0 } else { count as f64 / time.as_secs_f64() }
}

/// Whether the token ends a text.
fn ends(tokenizer: &Tokenizer, token: i64) -> bool {
    let name = u32::try_from(token).ok().and_then(|id| tokenizer.id_to_token(id));
    name.is_some_and(|name| ["<|endoftext|>", "<|im_end|>", "</s>", "<eos>"].contains(&name.as_str()))
}

/// Prints text as tokens arrive; a character that spans tokens appears when it is complete.
struct Stream<'a> {
    decode: Box<dyn FnMut(u32) -> tokenizers::Result<Option<String>> + 'a>,
    shown: String,
    live: bool,
}

impl<'a> Stream<'a> {
    /// A stream that goes on after the tokens of a prompt.
    fn after(tokenizer: &'a Tokenizer, text: &str, prompt: &[i64], live: bool) -> Result<Self, Report> {
        let mut decoder = tokenizer.decode_stream(false);
        let mut stream = Stream { decode: Box::new(move |id| decoder.step(id)), shown: String::new(), live };
        prompt.iter().try_for_each(|&token| stream.decode(token).map(drop))?;
        stream.print(text);
        Ok(stream)
    }
    fn push(&mut self, token: i64) -> Result<(), Report> {
        if let Some(new) = self.decode(token)? {
            self.print(&new);
            self.shown += &new;
        }
        Ok(())
    }
    fn decode(&mut self, token: i64) -> Result<Option<String>, Report> {
        let id = u32::try_from(token).map_err(|_| tokens::failure(&format!("{token} is not a token")))?;
        (self.decode)(id).map_err(|e| tokens::failure(&e.to_string()))
    }
    fn print(&self, text: &str) {
        if self.live {
            put(text);
        }
    }
}

fn finish(generated: &Generated, talk: &Talk) {
    talk.result(generated, "\n");
    talk.say(format!(
        "{} prompt tokens in {:.1} ms, {} tokens at {:.1} tokens/s",
        generated.prompt_tokens,
        generated.prefill_ms,
        generated.tokens.len(),
        generated.decode_tokens_per_second
    ));
}
