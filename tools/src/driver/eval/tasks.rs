//! Multiple choice: which of the answers to a question a language model finds likeliest.

use super::likelihood::surprise;
use super::{Evaluator, mean_and_error};
use crate::driver::generate::{Generator, Sampling};
use crate::driver::tokens;
use mokume_ir::diag::{Diagnostic, Report};
use mokume_runtime::session::Session;
use serde::{Deserialize, Serialize};
use std::ops::Range;
use std::path::Path;
use tokenizers::Tokenizer;

/// A line of a file of questions.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Question {
    /// The question.
    pub question: String,
    /// Possible answers.
    pub choices: Vec<String>,
    /// Index of the right one.
    pub answer: usize,
}

/// Reads one question per line.
///
/// Errors  `eval::tasks` naming the first line that is none, or when there are none.
pub fn read(path: &Path) -> Result<Vec<Question>, Report> {
    let text = tokens::read_text(path)?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let questions = lines.map(|(index, line)| parse(line).map_err(|why| broken(path, index + 1, &why)));
    let questions = questions.collect::<Result<Vec<_>, _>>()?;
    if questions.is_empty() {
        return Err(Diagnostic::input("eval::tasks", format!("{} has no questions", path.display())).into());
    }
    Ok(questions)
}

fn parse(line: &str) -> Result<Question, String> {
    let question: Question = serde_json::from_str(line).map_err(|error| error.to_string())?;
    let (count, answer) = (question.choices.len(), question.answer);
    if answer >= count || count < 2 {
        return Err(format!("answer {answer} of {count} choices"));
    }
    Ok(question)
}

fn broken(path: &Path, line: usize, why: &str) -> Report {
    let finding = Diagnostic::input("eval::tasks", format!("line {line} of {} is no question: {why}", path.display()));
    finding.help("write {\"question\": \"…\", \"choices\": [\"…\", \"…\"], \"answer\": 0}").into()
}

/// How questions become tokens.
pub struct Prompts<'a> {
    /// The tokenizer.
    pub tokenizer: &'a Tokenizer,
    /// What comes before the answer; `{question}` stands for the question.
    pub template: &'a str,
    /// The token before all others.
    pub bos: Option<i64>,
}

impl Prompts<'_> {
    /// The choices of a question as tokens: those of the prompt, a space and the choice, encoded together.
    ///
    /// Errors  when the tokenizer fails, or `eval::tasks` when a choice adds no token to its prompt.
    pub fn task(&self, question: &Question) -> Result<Task, Report> {
        let prompt = self.template.replace("{question}", &question.question);
        let prompt = prompt.trim_end();
        let known = tokens::encode(self.tokenizer, prompt)?.len();
        let choices = question.choices.iter().map(|text| self.choice(prompt, known, text)).collect::<Result<_, Report>>()?;
        Ok(Task { choices, answer: question.answer })
    }
    fn choice(&self, prompt: &str, known: usize, text: &str) -> Result<Choice, Report> {
        let own = tokens::encode(self.tokenizer, &format!("{prompt} {text}"))?;
        let tokens: Vec<i64> = self.bos.into_iter().chain(own).collect();
        let first = (known + usize::from(self.bos.is_some())).max(1);
        if first >= tokens.len() {
            let finding = Diagnostic::input("eval::tasks", format!("the choice \"{text}\" adds no token to its question"));
            return Err(finding.into());
        }
        Ok(Choice { counted: first..tokens.len(), tokens, characters: text.chars().count().max(1) })
    }
}

/// A question as tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// The choices, each after the prompt.
    pub choices: Vec<Choice>,
    /// Index of the right one.
    pub answer: usize,
}

/// A prompt and a choice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// All tokens.
    pub tokens: Vec<i64>,
    /// Those of the choice.
    pub counted: Range<usize>,
    /// Characters of the choice.
    pub characters: usize,
}

/// Questions for a model.
#[derive(Debug, Clone)]
pub struct TasksOf {
    /// The questions.
    pub tasks: Vec<Task>,
}

/// How often a model is right.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Accuracy {
    /// Share of questions whose likeliest choice is right.
    pub accuracy: f64,
    /// Its standard error.
    pub accuracy_error: Option<f64>,
    /// The same with log-likelihoods per character of the choice.
    pub normalized: f64,
    /// Its standard error.
    pub normalized_error: Option<f64>,
    /// Share of right answers when guessing.
    pub chance: f64,
    /// Questions.
    pub questions: usize,
    /// The chosen answers, by likelihood per character.
    pub chosen: Vec<usize>,
}

impl Evaluator for TasksOf {
    type Score = Accuracy;

    fn runs(&self) -> usize {
        self.tasks.iter().map(|task| task.choices.len()).sum()
    }
    fn evaluate(&self, session: Session, done: &mut dyn FnMut()) -> Result<Accuracy, Report> {
        let mut model = Generator::new(session, Sampling::GREEDY)?;
        let (mut plain, mut normalized, mut chosen) = (Vec::new(), Vec::new(), Vec::new());
        for (index, task) in self.tasks.iter().enumerate() {
            let nats = task.nats(&mut model, done).map_err(|report| report.within(&format!("question {index}")))?;
            let per_character: Vec<f64> = nats.iter().zip(&task.choices).map(|(nats, choice)| nats / choice.characters as f64).collect();
            plain.push(f64::from(smallest(&nats) == task.answer));
            normalized.push(f64::from(smallest(&per_character) == task.answer));
            chosen.push(smallest(&per_character));
        }
        let (accuracy, accuracy_error) = mean_and_error(&plain);
        let (normalized, normalized_error) = mean_and_error(&normalized);
        let (chance, _) = mean_and_error(&self.tasks.iter().map(|task| 1.0 / task.choices.len() as f64).collect::<Vec<_>>());
        Ok(Accuracy { accuracy, accuracy_error, normalized, normalized_error, chance, questions: self.tasks.len(), chosen })
    }
}

impl Task {
    /// Negative log-likelihood of every choice.
    fn nats(&self, model: &mut Generator, done: &mut dyn FnMut()) -> Result<Vec<f64>, Report> {
        let one = |choice: &Choice| {
            model.reset();
            let logits = model.step(&choice.tokens)?;
            done();
            Ok(surprise(&logits, &choice.tokens, choice.counted.clone())?.iter().sum())
        };
        self.choices.iter().map(one).collect()
    }
}

/// Index of the smallest; the first of equals.
fn smallest(values: &[f64]) -> usize {
    (1..values.len()).fold(0, |best, i| if values[i] < values[best] { i } else { best })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_questions_with_an_answer_among_the_choices() {
        let question = parse(r#"{"question": "a?", "choices": ["b", "c"], "answer": 1, "id": 7}"#).unwrap();
        assert_eq!((question.choices.len(), question.answer), (2, 1));
        assert!(parse(r#"{"question": "a?", "choices": ["b", "c"], "answer": 2}"#).unwrap_err().contains("answer 2 of 2"));
        assert!(parse(r#"{"question": "a?", "choices": ["b"], "answer": 0}"#).is_err());
        assert!(parse("[]").is_err());
    }

    #[test]
    fn the_first_of_equals_is_chosen() {
        assert_eq!(smallest(&[2.0, 1.0, 1.0]), 1);
    }
}
