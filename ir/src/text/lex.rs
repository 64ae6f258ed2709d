//! Tokens of the text form.

use crate::diag::Diagnostic;

/// No more errors than this are reported for one text.
pub const MAX_ERRORS: usize = 50;

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `matmul`
    Word,
    /// `12`
    Int,
    /// `1.5`, `1e-5`
    Float,
    /// `0x7fc00001`
    Hex,
    /// `"text"`, quotes included, escapes not yet read
    Str,
    /// `%3`
    Value,
    /// `@3`
    Const,
    /// `@f3`
    Func,
    /// `?3`
    Unknown,
    /// `#3`
    Index,
    /// One of `(){}[]<>,:=+-*!`
    Punct(u8),
    /// The end of the text.
    End,
}

/// A piece of the text.
#[derive(Debug, Clone, Copy)]
pub struct Token<'t> {
    /// What it is.
    pub kind: Kind,
    /// As written.
    pub text: &'t str,
    /// Byte offset.
    pub at: usize,
}

impl Token<'_> {
    /// The number of a `%3`, `@3`, `@f3` or `#3`.
    pub fn number(&self) -> Option<u32> {
        self.text.trim_start_matches(['%', '@', 'f', '#']).parse().ok()
    }
    /// What it is, for messages.
    pub fn describe(&self) -> String {
        match self.kind {
            Kind::End => "the end of the text".into(),
            _ if self.text.chars().count() > 40 => format!("`{}…`", self.text.chars().take(40).collect::<String>()),
            _ => format!("`{}`", self.text),
        }
    }
}

/// The tokens of `text`, the last one [`Kind::End`]. Unreadable characters become errors and are left out.
pub fn lex(text: &str) -> (Vec<Token<'_>>, Vec<Diagnostic>) {
    let mut lexer = Lexer { text, at: 0, tokens: Vec::new(), errors: Vec::new() };
    while lexer.skip_blank() {
        lexer.token();
    }
    lexer.tokens.push(Token { kind: Kind::End, text: "", at: text.len() });
    (lexer.tokens, lexer.errors)
}

/// `line:column` of a byte offset, counting from 1.
pub fn place(text: &str, at: usize) -> String {
    let before = text.get(..at).unwrap_or(text);
    let line = before.bytes().filter(|&b| b == b'\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
    format!("{line}:{column}")
}

/// The characters of a string token; none when an escape is malformed.
pub fn unquote(text: &str) -> Option<String> {
    let mut chars = text.strip_prefix('"')?.strip_suffix('"')?.chars();
    let mut string = String::new();
    while let Some(c) = chars.next() {
        match c {
            '\\' => string.push(escape(&mut chars)?),
            c => string.push(c),
        }
    }
    Some(string)
}

fn escape(chars: &mut std::str::Chars<'_>) -> Option<char> {
    Some(match chars.next()? {
        'n' => '\n',
        't' => '\t',
        'r' => '\r',
        c @ ('"' | '\\') => c,
        'u' => {
            let (code, rest) = chars.as_str().strip_prefix('{')?.split_once('}')?;
            *chars = rest.chars();
            char::from_u32(u32::from_str_radix(code, 16).ok()?)?
        }
        _ => return None,
    })
}

struct Lexer<'t> {
    text: &'t str,
    at: usize,
    tokens: Vec<Token<'t>>,
    errors: Vec<Diagnostic>,
}

impl<'t> Lexer<'t> {
    fn rest(&self) -> &'t [u8] {
        &self.text.as_bytes()[self.at..]
    }
    /// Skips white space and comments; false at the end.
    fn skip_blank(&mut self) -> bool {
        loop {
            match self.rest() {
                [] => return false,
                [b' ' | b'\t' | b'\n' | b'\r', ..] => self.at += 1,
                [b'/', b'/', rest @ ..] => self.at += 2 + rest.iter().position(|&b| b == b'\n').unwrap_or(rest.len()),
                _ => return true,
            }
        }
    }
    fn token(&mut self) {
        match self.rest() {
            [b'a'..=b'z' | b'A'..=b'Z' | b'_', ..] => self.push(Kind::Word, 0, is_word),
            [b'0', b'x', ..] => self.push(Kind::Hex, 2, |b| b.is_ascii_hexdigit()),
            [b'0'..=b'9', ..] => self.number(),
            [b'%', b'0'..=b'9', ..] => self.push(Kind::Value, 1, is_digit),
            [b'@', b'0'..=b'9', ..] => self.push(Kind::Const, 1, is_digit),
            [b'@', b'f', b'0'..=b'9', ..] => self.push(Kind::Func, 2, is_digit),
            [b'?', b'0'..=b'9', ..] => self.push(Kind::Unknown, 1, is_digit),
            [b'#', b'0'..=b'9', ..] => self.push(Kind::Index, 1, is_digit),
            [b'"', ..] => self.string(),
            [p, ..] if b"(){}[]<>,:=+-*!".contains(p) => self.push(Kind::Punct(*p), 1, |_| false),
            _ => self.unreadable(),
        }
    }
    /// Pushes a token of `prefix` bytes and the bytes after it that `belongs` accepts.
    fn push(&mut self, kind: Kind, prefix: usize, belongs: fn(u8) -> bool) {
        let tail = self.rest()[prefix..].iter().take_while(|&&b| belongs(b)).count();
        self.push_len(kind, prefix + tail);
    }
    fn push_len(&mut self, kind: Kind, len: usize) {
        self.tokens.push(Token { kind, text: &self.text[self.at..self.at + len], at: self.at });
        self.at += len;
    }
    fn number(&mut self) {
        let rest = self.rest();
        let digits = |from: usize| rest[from..].iter().take_while(|b| b.is_ascii_digit()).count();
        let whole = digits(0);
        let mut len = whole;
        if let [b'.', b'0'..=b'9', ..] = rest[len..] {
            len += 1 + digits(len + 1);
        }
        len += match rest[len..] {
            [b'e' | b'E', b'0'..=b'9', ..] => 1 + digits(len + 1),
            [b'e' | b'E', b'-' | b'+', b'0'..=b'9', ..] => 2 + digits(len + 2),
            _ => 0,
        };
        self.push_len(if len == whole { Kind::Int } else { Kind::Float }, len);
    }
    fn string(&mut self) {
        let mut len = 1;
        loop {
            match self.rest()[len..] {
                [b'"', ..] => return self.push_len(Kind::Str, len + 1),
                [b'\\', b'"' | b'\\', ..] => len += 2,
                [] | [b'\n', ..] => break,
                _ => len += 1,
            }
        }
        self.error(Diagnostic::input("text::syntax::open_string", "a string does not end on its line"));
        self.at += len;
    }
    fn unreadable(&mut self) {
        let c = self.text[self.at..].chars().next().unwrap_or(' ');
        self.error(Diagnostic::input("text::syntax::character", format!("unexpected character `{}`", c.escape_debug())));
        self.at += c.len_utf8();
    }
    fn error(&mut self, error: Diagnostic) {
        if self.errors.len() < MAX_ERRORS {
            self.errors.push(error.at(place(self.text, self.at)));
        }
    }
}

fn is_word(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b == b'_'
}

fn is_digit(b: u8) -> bool {
    b.is_ascii_digit()
}
