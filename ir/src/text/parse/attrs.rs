//! Ops with their attributes.

use super::Parser;
use super::cursor::Step;
use crate::attr::Attr;
use crate::diag::{Diagnostic, nearest};
use crate::op::{Op, OpError};
use crate::text::elements::{is_float_text, lane};
use crate::text::lex::{Kind, Token};
use crate::types::Elem;

impl<'t> Parser<'t, '_> {
    /// `{axis = 1, sizes = [2, 574]}`, or nothing.
    pub fn attrs(&mut self) -> Step<Vec<(String, Attr)>> {
        let mut attrs: Vec<(String, Attr)> = Vec::new();
        if !self.cursor.eat(b'{') {
            return Ok(attrs);
        }
        while !self.cursor.eat(b'}') {
            let name = self.cursor.expect_kind(Kind::Word, "the name of an attribute")?;
            if attrs.iter().any(|attr| attr.0 == name.text) {
                return Err(self.cursor.error_at(name, "text::attr::twice", format!("attribute `{}` is given twice", name.text)));
            }
            self.cursor.expect(b'=')?;
            attrs.push((name.text.into(), self.attr()?));
            if !self.cursor.eat(b',') && !self.cursor.is(b'}') {
                return Err(self.cursor.unexpected("`,` or `}`"));
            }
        }
        Ok(attrs)
    }
    fn attr(&mut self) -> Step<Attr> {
        let token = self.cursor.peek();
        match token.kind {
            Kind::Punct(b'[') => self.attr_list(),
            Kind::Punct(b'!') => self.cursor.quant().map(Attr::Quant),
            Kind::Func => self.function().map(Attr::Func),
            Kind::Float | Kind::Hex => self.float(false),
            Kind::Punct(b'-') if is_float(self.cursor.peek_at(1)) => {
                self.cursor.take();
                self.float(true)
            }
            Kind::Word if is_float(token) => self.float(false),
            Kind::Word if !self.continues() => Ok(self.word()),
            Kind::Word if token.text == "operand" => {
                self.cursor.take();
                self.cursor.numbers().map(|[index]| Attr::Operand(index))
            }
            Kind::Str if !self.continues() => self.cursor.expect_string("a string").map(Attr::Str),
            Kind::Word | Kind::Str | Kind::Int | Kind::Unknown | Kind::Punct(b'-') => {
                let dim = self.cursor.dim()?;
                Ok(dim.known().map_or(Attr::Dim(dim), Attr::Int))
            }
            _ => Err(self.cursor.unexpected("the value of an attribute")),
        }
    }
    /// Whether the token after the next one makes an expression of it.
    fn continues(&self) -> bool {
        matches!(self.cursor.peek_at(1).kind, Kind::Punct(b'+' | b'-' | b'*' | b'('))
    }
    fn attr_list(&mut self) -> Step<Attr> {
        self.cursor.take();
        let mut items = Vec::new();
        while !self.cursor.eat(b']') {
            self.cursor.enter()?;
            items.push(self.attr()?);
            self.cursor.leave();
            if !self.cursor.eat(b',') && !self.cursor.is(b']') {
                return Err(self.cursor.unexpected("`,` or `]`"));
            }
        }
        Ok(Attr::List(items))
    }
    fn word(&mut self) -> Attr {
        match self.cursor.take().text {
            "true" => Attr::Bool(true),
            "false" => Attr::Bool(false),
            word => Attr::Word(word.into()),
        }
    }
    fn float(&mut self, negative: bool) -> Step<Attr> {
        let token = self.cursor.take();
        match lane(Elem::F32, negative, &token) {
            Some(bits) => Ok(Attr::Float(f32::from_bits(bits as u32))),
            None => Err(self.cursor.error_at(token, "text::syntax::number", format!("{} is not an f32", token.describe()))),
        }
    }
    /// The op called `word` with `attrs`.
    pub fn op(&self, word: Token<'t>, attrs: &[(String, Attr)]) -> Step<Op> {
        Op::from_attrs(word.text, attrs).map_err(|error| self.op_error(word, error))
    }
    fn op_error(&self, word: Token<'t>, error: OpError) -> Diagnostic {
        match error {
            OpError::UnknownOp => self.unknown_op(word),
            OpError::UnknownAttr(_) => self.cursor.error_at(word, "text::attr::unknown", format!("`{}`: {error}", word.text)),
            OpError::BadAttr(_) => self.cursor.error_at(word, "text::attr::value", format!("`{}`: {error}", word.text)),
        }
    }
    fn unknown_op(&self, word: Token<'t>) -> Diagnostic {
        let error = self.cursor.error_at(word, "text::op::unknown", format!("there is no op {}", word.describe()));
        match nearest(word.text, Op::names()) {
            Some(name) => error.help(format!("did you mean `{name}`?")),
            None => error,
        }
    }
}

fn is_float(token: Token<'_>) -> bool {
    matches!(token.kind, Kind::Float) || token.kind == Kind::Word && is_float_text(token.text)
}
