//! Text as tokens: opening a tokenizer, which token begins a text, a part of all tokens.

use mokume_ir::diag::{Diagnostic, Report};
use mokume_runtime::file;
use std::path::Path;
use std::str::FromStr;
use tokenizers::Tokenizer;

/// Opens a `tokenizer.json`.
///
/// Errors  when the file is missing or is not a tokenizer.
pub fn open(path: &Path) -> Result<Tokenizer, Report> {
    file::check_readable(path)?;
    Tokenizer::from_file(path)
        .map_err(|e| Diagnostic::input("tokens::tokenizer", format!("{} is not a tokenizer: {e}", path.display())))
        .map_err(|finding| finding.help("give the tokenizer.json that came with the model").into())
}

/// The tokens of a text, without tokens that the tokenizer would add.
///
/// Errors  when the tokenizer fails.
pub fn encode(tokenizer: &Tokenizer, text: &str) -> Result<Vec<i64>, Report> {
    let encoding = tokenizer.encode(text, false).map_err(|e| failure(&e.to_string()))?;
    Ok(encoding.get_ids().iter().map(|&id| id.into()).collect())
}

/// What is said when a tokenizer fails.
pub fn failure(message: &str) -> Report {
    Diagnostic::input("tokens::tokenizer", format!("the tokenizer fails: {message}")).into()
}

/// Reads a text file.
///
/// Errors  when it is missing or is not UTF-8.
pub fn read_text(path: &Path) -> Result<String, Report> {
    String::from_utf8(file::read(path)?.to_vec()).map_err(|error| {
        let message = format!("{} is not text in UTF-8: byte {} is wrong", path.display(), error.utf8_error().valid_up_to());
        Diagnostic::input("tokens::text", message).help("convert the file to UTF-8").into()
    })
}

/// The smallest vocabulary that has every token of a tokenizer.
pub fn vocabulary(tokenizer: &Tokenizer) -> usize {
    tokenizer.get_vocab(true).values().max().map_or(0, |&id| id as usize + 1)
}

/// Which token begins every window of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bos {
    /// The one that the tokenizer puts before a text; none when it puts none.
    Auto,
    /// None.
    None,
    /// This one.
    Id(i64),
}

impl FromStr for Bos {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.parse::<u32>()) {
            ("auto", _) => Ok(Bos::Auto),
            ("none", _) => Ok(Bos::None),
            (_, Ok(id)) => Ok(Bos::Id(id.into())),
            _ => Err("expected auto, none, or the id of a token".into()),
        }
    }
}

impl Bos {
    /// The token, if any.
    ///
    /// Errors  when the tokenizer fails.
    pub fn token(self, tokenizer: &Tokenizer) -> Result<Option<i64>, Report> {
        match self {
            Bos::None => Ok(None),
            Bos::Id(id) => Ok(Some(id)),
            Bos::Auto => added_first(tokenizer),
        }
    }
}

/// The token that the tokenizer adds before a text.
fn added_first(tokenizer: &Tokenizer) -> Result<Option<i64>, Report> {
    let encoding = tokenizer.encode("a", true).map_err(|e| failure(&e.to_string()))?;
    let is_added = encoding.get_special_tokens_mask().first() == Some(&1);
    Ok(encoding.get_ids().first().filter(|_| is_added).map(|&id| id.into()))
}

impl FromStr for Part {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let ends = text.split_once(':').and_then(|(from, to)| Some((from.parse().ok()?, to.parse().ok()?)));
        let part = ends.and_then(|(from, to)| Part::new(from, to).ok());
        part.ok_or_else(|| "expected two fractions, such as 0:0.6".to_string())
    }
}

/// A part of a sequence, as fractions of its length.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Part {
    /// Where it begins, in `[0, 1]`.
    pub from: f64,
    /// Where it ends, in `[0, 1]`.
    pub to: f64,
}

impl Part {
    /// Everything.
    pub const ALL: Part = Part { from: 0.0, to: 1.0 };

    /// The part between two fractions.
    ///
    /// Errors  `tokens::part` unless `0 <= from < to <= 1`.
    pub fn new(from: f64, to: f64) -> Result<Self, Report> {
        let part = Part { from, to };
        let finding = || Diagnostic::input("tokens::part", format!("there is no part of a text from {from} to {to}"));
        if (0.0..to).contains(&from) && to <= 1.0 { Ok(part) } else { Err(finding().help("fractions go from 0 to 1").into()) }
    }
    /// The part of `all`: from the element at `⌊from · length⌋` to before that at `⌊to · length⌋`.
    pub fn of<T>(self, all: &[T]) -> &[T] {
        let place = |fraction: f64| ((all.len() as f64 * fraction) as usize).min(all.len());
        &all[place(self.from)..place(self.to)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_that_meet_share_nothing_and_leave_nothing_out() {
        let all: Vec<usize> = (0..1003).collect();
        let (first, second) = (Part::new(0.0, 0.6).unwrap().of(&all), Part::new(0.6, 1.0).unwrap().of(&all));
        assert_eq!((first.len(), second.len()), (601, 402));
        assert_eq!([first, second].concat(), all);
        assert_eq!(Part::ALL.of(&all), all);
    }

    #[test]
    fn parts_lie_within_the_text() {
        for (from, to) in [(0.5, 0.5), (0.7, 0.2), (-0.1, 0.5), (0.5, 1.1), (f64::NAN, 1.0), (0.0, f64::NAN)] {
            assert!(Part::new(from, to).is_err(), "{from} {to}");
        }
    }

    #[test]
    fn the_first_token_is_chosen_by_name_or_number() {
        assert_eq!("auto".parse(), Ok(Bos::Auto));
        assert_eq!("none".parse(), Ok(Bos::None));
        assert_eq!("1".parse(), Ok(Bos::Id(1)));
        assert!("-1".parse::<Bos>().is_err() && "first".parse::<Bos>().is_err());
    }
}
