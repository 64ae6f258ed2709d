//! `mokume eval tasks`: how often a language model finds the right one of several answers.

use super::evaluate;
use crate::cli::options;
use crate::cli::talk::Talk;
use crate::driver::compile;
use crate::driver::device::Place;
use crate::driver::eval::tasks::{self, Accuracy, Prompts, TasksOf};
use crate::driver::tokens::{self, Bos};
use mokume_ir::diag::Report;
use std::path::PathBuf;

/// Accuracy of a language model on questions with several answers
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The model (.mok, or .onnx and .gir by the reference ops)
    pub model: PathBuf,
    /// Questions, one per line: {"question": "…", "choices": ["…", "…"], "answer": 0}
    #[arg(value_name = "FILE.jsonl")]
    pub questions: PathBuf,
    /// The tokenizer (tokenizer.json)
    #[arg(long, value_name = "FILE.json")]
    pub tokenizer: PathBuf,
    /// What comes before an answer; \n is a new line
    #[arg(long, default_value = r"Question: {question}\nAnswer:", value_name = "TEXT")]
    pub prompt: String,
    /// Use only so many questions, from the first on; 0 for all
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub limit: usize,
    /// The token before every question: auto (the one that the tokenizer puts before a text, if any), none, or an id
    #[arg(long, default_value = "auto", value_name = "TOKEN")]
    pub bos: Bos,
    /// Where to run: the processor, or a GPU for which the artifact has code
    #[arg(long, value_enum, default_value_t, value_name = "DEVICE")]
    pub device: Place,
}

/// Runs the verb.
///
/// Errors  when the model, the tokenizer or the questions are missing or wrong, or they do not fit.
pub fn run(args: &Args, talk: &Talk) -> Result<(), Report> {
    options::existing(&args.model)?;
    let mut questions = tasks::read(&args.questions)?;
    questions.truncate(if args.limit == 0 { questions.len() } else { args.limit });
    let tokenizer = tokens::open(&args.tokenizer)?;
    let template = args.prompt.replace("\\n", "\n");
    let prompts = Prompts { tokenizer: &tokenizer, template: &template, bos: args.bos.token(&tokenizer)? };
    let tasks = questions.iter().map(|question| prompts.task(question)).collect::<Result<_, _>>()?;
    let accuracy = evaluate("choices", &TasksOf { tasks }, &args.model, compile::language_model, args.device, talk)?;
    talk.result(&accuracy, text(&accuracy));
    Ok(())
}

fn text(accuracy: &Accuracy) -> String {
    let percent = |mean: f64, error: Option<f64>| {
        let error = error.map_or(String::new(), |error| format!(" ± {:.2}", 100.0 * error));
        format!("{:.2}{error} %", 100.0 * mean)
    };
    let plain = percent(accuracy.accuracy, accuracy.accuracy_error);
    let normalized = percent(accuracy.normalized, accuracy.normalized_error);
    let chance = percent(accuracy.chance, None);
    format!("accuracy {plain}\nper character {normalized}\nquestions: {}, guessing gives {chance}\n", accuracy.questions)
}
