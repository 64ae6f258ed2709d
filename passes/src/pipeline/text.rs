//! The reader of pipeline text: recursive descent over characters, with columns for errors.

use super::{Arg, Marked, Step, place};
use mokume_ir::diag::Diagnostic;

/// Reads one pipeline.
pub(crate) struct Parser<'t> {
    rest: &'t str,
    column: usize,
}

/// Deeper lists are refused rather than risking the stack.
const MAX_DEPTH: usize = 16;

impl<'t> Parser<'t> {
    /// A reader of `text`.
    pub(crate) fn new(text: &'t str) -> Self {
        Parser { rest: text, column: 1 }
    }
    /// The whole text as a pipeline.
    pub(crate) fn pipeline(mut self) -> Result<Vec<Marked>, Diagnostic> {
        self.space();
        if self.rest.is_empty() {
            return Ok(vec![]);
        }
        let mut steps = vec![self.step()?];
        while self.accept(',') {
            steps.push(self.step()?);
        }
        match self.rest.chars().next() {
            None => Ok(steps),
            Some(_) => Err(self.error(format!("expected `,` or the end, found {}", self.found()))),
        }
    }
    fn step(&mut self) -> Result<Marked, Diagnostic> {
        self.space();
        let column = self.column;
        let name = self.name("a pass")?;
        let (mut options, mut option_columns) = (vec![], vec![]);
        if self.accept('{') {
            while !self.accept('}') {
                if !options.is_empty() {
                    self.expect_next('}')?;
                }
                self.space();
                option_columns.push(self.column);
                options.push(self.option()?);
            }
        }
        Ok(Marked { step: Step { name, options }, column, option_columns })
    }
    fn option(&mut self) -> Result<(String, Arg), Diagnostic> {
        let name = self.name("an option")?;
        self.expect('=')?;
        Ok((name, self.arg(0)?))
    }
    fn arg(&mut self, depth: usize) -> Result<Arg, Diagnostic> {
        self.space();
        match self.rest.chars().next() {
            Some('[') if depth == MAX_DEPTH => Err(self.error("lists are nested too deep")),
            Some('[') => self.list(depth),
            Some('"') => self.string(),
            Some(c) if c.is_ascii_digit() || matches!(c, '-' | '+' | '.') => self.number(),
            _ => self.word(),
        }
    }
    fn list(&mut self, depth: usize) -> Result<Arg, Diagnostic> {
        self.expect('[')?;
        let mut items = vec![];
        while !self.accept(']') {
            if !items.is_empty() {
                self.expect_next(']')?;
            }
            items.push(self.arg(depth + 1)?);
        }
        Ok(Arg::List(items))
    }
    fn string(&mut self) -> Result<Arg, Diagnostic> {
        self.expect('"')?;
        let mut text = String::new();
        loop {
            match self.next() {
                Some('"') => return Ok(Arg::Str(text)),
                Some('\\') => text.extend(self.next()),
                Some(c) => text.push(c),
                None => return Err(self.error("the string does not end")),
            }
        }
    }
    fn number(&mut self) -> Result<Arg, Diagnostic> {
        let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '+' | '.');
        let text = self.prefix(is_part);
        let float = || text.parse().ok().filter(|v: &f64| v.is_finite()).map(Arg::Float);
        let parsed = text.parse().ok().map(Arg::Int).or_else(float);
        let parsed = parsed.ok_or_else(|| self.error(format!("`{text}` is not a number")))?;
        self.advance(text.len());
        Ok(parsed)
    }
    fn word(&mut self) -> Result<Arg, Diagnostic> {
        Ok(match self.name("a value")?.as_str() {
            "none" => Arg::None,
            "true" => Arg::Bool(true),
            "false" => Arg::Bool(false),
            word => Arg::Word(word.to_string()),
        })
    }
    fn name(&mut self, what: &str) -> Result<String, Diagnostic> {
        self.space();
        let name = self.prefix(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
        if !name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
            return Err(self.error(format!("expected {what}, found {}", self.found())));
        }
        self.advance(name.len());
        Ok(name.to_string())
    }
    fn expect(&mut self, c: char) -> Result<(), Diagnostic> {
        if self.accept(c) { Ok(()) } else { Err(self.error(format!("expected `{c}`, found {}", self.found()))) }
    }
    /// The comma before the next item of a list that may end with `end` instead.
    fn expect_next(&mut self, end: char) -> Result<(), Diagnostic> {
        if self.accept(',') { Ok(()) } else { Err(self.error(format!("expected `,` or `{end}`, found {}", self.found()))) }
    }
    fn found(&self) -> String {
        self.rest.chars().next().map_or("the end".to_string(), |c| format!("`{c}`"))
    }
    fn accept(&mut self, c: char) -> bool {
        self.space();
        let accepted = self.rest.starts_with(c);
        if accepted {
            self.advance(c.len_utf8());
        }
        accepted
    }
    fn prefix(&self, is_part: impl Fn(char) -> bool) -> &'t str {
        let end = self.rest.find(|c| !is_part(c)).unwrap_or(self.rest.len());
        &self.rest[..end]
    }
    fn space(&mut self) {
        self.advance(self.rest.len() - self.rest.trim_start().len());
    }
    fn next(&mut self) -> Option<char> {
        let c = self.rest.chars().next()?;
        self.advance(c.len_utf8());
        Some(c)
    }
    fn advance(&mut self, bytes: usize) {
        self.column += self.rest[..bytes].chars().count();
        self.rest = &self.rest[bytes..];
    }
    fn error(&self, message: impl Into<String>) -> Diagnostic {
        Diagnostic::input("pipeline::syntax", message).at(place(self.column))
    }
}
