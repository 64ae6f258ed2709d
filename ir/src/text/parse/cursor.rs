//! A position in the tokens, and the small steps from which the grammar is made.

use crate::diag::Diagnostic;
use crate::text::lex::{Kind, Token, place, unquote};

/// Deeper nesting of types, dimensions and lists is refused.
const MAX_DEPTH: usize = 64;

/// A step of the grammar: what was read, or what is wrong.
pub type Step<T> = Result<T, Diagnostic>;

/// A position in the tokens of a text.
pub struct Cursor<'t> {
    text: &'t str,
    tokens: Vec<Token<'t>>,
    at: usize,
    depth: usize,
}

impl<'t> Cursor<'t> {
    /// The beginning of `tokens`, which end with [`Kind::End`].
    pub fn new(text: &'t str, tokens: Vec<Token<'t>>) -> Self {
        Cursor { text, tokens, at: 0, depth: 0 }
    }
    /// All tokens.
    pub fn tokens(&self) -> &[Token<'t>] {
        &self.tokens
    }
    /// The next token.
    pub fn peek(&self) -> Token<'t> {
        self.peek_at(0)
    }
    /// The token `ahead` of the next one.
    pub fn peek_at(&self, ahead: usize) -> Token<'t> {
        self.tokens[(self.at + ahead).min(self.tokens.len() - 1)]
    }
    /// Takes the next token.
    pub fn take(&mut self) -> Token<'t> {
        let token = self.peek();
        self.at = (self.at + 1).min(self.tokens.len() - 1);
        token
    }
    /// Whether the next token is this punctuation.
    pub fn is(&self, punct: u8) -> bool {
        self.peek().kind == Kind::Punct(punct)
    }
    /// Takes this punctuation if it is next.
    pub fn eat(&mut self, punct: u8) -> bool {
        let is = self.is(punct);
        if is {
            self.take();
        }
        is
    }
    /// Whether the next token is this word.
    pub fn is_word(&self, word: &str) -> bool {
        self.peek().kind == Kind::Word && self.peek().text == word
    }
    /// Takes this word if it is next.
    pub fn eat_word(&mut self, word: &str) -> bool {
        let is = self.is_word(word);
        if is {
            self.take();
        }
        is
    }
    /// Takes this punctuation, which must be next.
    pub fn expect(&mut self, punct: u8) -> Step<()> {
        if self.eat(punct) { Ok(()) } else { Err(self.unexpected(&format!("`{}`", punct as char))) }
    }
    /// Takes these two in a row, an arrow.
    pub fn expect_arrow(&mut self, arrow: [u8; 2]) -> Step<()> {
        self.expect(arrow[0]).and_then(|()| self.expect(arrow[1]))
    }
    /// Takes this word, which must be next.
    pub fn expect_word(&mut self, word: &str) -> Step<()> {
        if self.eat_word(word) { Ok(()) } else { Err(self.unexpected(&format!("`{word}`"))) }
    }
    /// Takes a token of this kind, which must be next.
    pub fn expect_kind(&mut self, kind: Kind, what: &str) -> Step<Token<'t>> {
        if self.peek().kind == kind { Ok(self.take()) } else { Err(self.unexpected(what)) }
    }
    /// Takes a `%3`, `@3`, `@f3` or `#3` and gives its number.
    pub fn expect_number(&mut self, kind: Kind, what: &str) -> Step<u32> {
        let token = self.expect_kind(kind, what)?;
        token.number().ok_or_else(|| self.error_at(token, "text::syntax::number", format!("{} is too large", token.describe())))
    }
    /// Takes an unsigned number, which must be next.
    pub fn expect_u32(&mut self, what: &str) -> Step<u32> {
        let token = self.expect_kind(Kind::Int, what)?;
        token.text.parse().map_err(|_| self.error_at(token, "text::syntax::number", format!("{} is too large", token.describe())))
    }
    /// Takes a quoted string, which must be next.
    pub fn expect_string(&mut self, what: &str) -> Step<String> {
        let token = self.expect_kind(Kind::Str, what)?;
        unquote(token.text).ok_or_else(|| self.error_at(token, "text::syntax::escape", format!("bad escape in {}", token.describe())))
    }
    /// Items separated by commas up to `close`, which is taken; a comma after the last is fine.
    pub fn list<T>(&mut self, close: u8, mut item: impl FnMut(&mut Self) -> Step<T>) -> Step<Vec<T>> {
        let mut items = Vec::new();
        while !self.eat(close) {
            items.push(item(self)?);
            if !self.eat(b',') && !self.is(close) {
                return Err(self.unexpected(&format!("`,` or `{}`", close as char)));
            }
        }
        Ok(items)
    }
    /// Goes one level deeper, until [`leave`](Self::leave).
    ///
    /// Errors  when that is too deep.
    pub fn enter(&mut self) -> Step<()> {
        self.depth += 1;
        match self.depth > MAX_DEPTH {
            true => Err(self.error("text::limit::nesting", format!("nesting deeper than {MAX_DEPTH} levels"))),
            false => Ok(()),
        }
    }
    /// Comes back one level.
    pub fn leave(&mut self) {
        self.depth -= 1;
    }
    /// Runs `step` one level deeper.
    ///
    /// Errors  when that is too deep.
    pub fn nested<T>(&mut self, step: impl FnOnce(&mut Self) -> Step<T>) -> Step<T> {
        let result = self.enter().and_then(|()| step(self));
        self.leave();
        result
    }
    /// An error: `what` was expected here.
    pub fn unexpected(&self, what: &str) -> Diagnostic {
        self.error("text::syntax::unexpected", format!("expected {what}, found {}", self.peek().describe()))
    }
    /// An error at the next token.
    pub fn error(&self, code: &'static str, message: impl Into<String>) -> Diagnostic {
        self.error_at(self.peek(), code, message)
    }
    /// An error at `token`.
    pub fn error_at(&self, token: Token<'t>, code: &'static str, message: impl Into<String>) -> Diagnostic {
        Diagnostic::input(code, message).at(place(self.text, token.at))
    }
    /// The position, for [`skip_statement`](Self::skip_statement).
    pub fn position(&self) -> usize {
        self.at
    }
    /// Moves to the first token that begins a line, beyond position `start`.
    pub fn skip_statement(&mut self, start: usize) {
        while self.peek().kind != Kind::End && (self.at <= start || !self.begins_line()) {
            self.take();
        }
    }
    fn begins_line(&self) -> bool {
        let before = &self.text[..self.peek().at];
        before.trim_end_matches([' ', '\t', '\r']).ends_with('\n')
    }
}
