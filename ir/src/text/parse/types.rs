//! Types and dimensions.

use super::cursor::{Cursor, Step};
use crate::dim::{Dim, DimFn, Symbol};
use crate::quant::{Granularity, Levels, QuantType};
use crate::text::lex::{Kind, unquote};
use crate::types::{Elem, Shape, TensorType, Type};

/// A product of expressions with more terms is refused.
const MAX_TERMS: usize = 4096;

impl Cursor<'_> {
    /// `tensor<…>`, `seq<…>`, `opt<…>`
    pub fn ty(&mut self) -> Step<Type> {
        match self.peek().text {
            "tensor" => self.tensor_type().map(Type::Tensor),
            "seq" => self.wrapped().map(|inner| Type::Seq(Box::new(inner))),
            "opt" => self.wrapped().map(|inner| Type::Opt(Box::new(inner))),
            _ => Err(self.unexpected("a type: `tensor`, `seq` or `opt`")),
        }
    }
    fn wrapped(&mut self) -> Step<Type> {
        self.take();
        self.expect(b'<')?;
        let inner = self.nested(Self::ty)?;
        self.expect(b'>')?;
        Ok(inner)
    }
    /// `tensor<batch x 3 x f32>`
    pub fn tensor_type(&mut self) -> Step<TensorType> {
        self.expect_word("tensor")?;
        self.expect(b'<')?;
        let shape = if self.is(b'*') { self.unranked()? } else { self.shape()? };
        let elem = self.elem()?;
        self.expect(b'>')?;
        Ok(TensorType { shape, elem })
    }
    fn unranked(&mut self) -> Step<Shape> {
        self.take();
        self.expect_word("x")?;
        Ok(Shape::Unranked)
    }
    /// Dimensions, each followed by `x`, up to the element type.
    fn shape(&mut self) -> Step<Shape> {
        let mut dims = Vec::new();
        while !self.is(b'!') && self.peek_at(1).kind != Kind::Punct(b'>') {
            dims.push(self.dim()?);
            self.expect_word("x")?;
        }
        Ok(Shape::Ranked(dims))
    }
    fn elem(&mut self) -> Step<Elem> {
        if self.is(b'!') {
            return self.quant().map(Elem::Quant);
        }
        match Elem::from_name(self.peek().text) {
            Some(elem) if self.peek().kind == Kind::Word => {
                self.take();
                Ok(elem)
            }
            _ => Err(self.unexpected("an element type such as `f32`")),
        }
    }
    /// `!quant<4, signed, block(0, 1, 32)>`
    pub fn quant(&mut self) -> Step<QuantType> {
        self.expect(b'!')?;
        self.expect_word("quant")?;
        self.expect(b'<')?;
        let first = self.peek();
        let bits = self.expect_u32("the number of bits")?;
        self.expect(b',')?;
        let levels = self.word_of("levels such as `signed`", Levels::from_name)?;
        self.expect(b',')?;
        let granularity = self.granularity()?;
        let zero_point = self.eat(b',');
        if zero_point {
            self.expect_word("zero_point")?;
        }
        self.expect(b'>')?;
        let quant = QuantType { bits: bits.min(255) as u8, levels, granularity, zero_point };
        if quant.is_valid() {
            return Ok(quant);
        }
        Err(self.error_at(first, "text::type::quant", format!("{} levels do not exist in {bits} bits", levels.name())))
    }
    fn granularity(&mut self) -> Step<Granularity> {
        let word = self.expect_kind(Kind::Word, "a granularity")?;
        match word.text {
            "tensor" => Ok(Granularity::Tensor),
            "row" if self.is(b'(') => self.numbers().map(|[size]| Granularity::RowBlock(size)),
            "row" => Ok(Granularity::Row),
            "axis" => self.numbers().map(|[axis]| Granularity::Axis(axis)),
            "block" => self.numbers().map(|[axis, along, size]| Granularity::Block { axis, along, size }),
            _ => Err(self.error_at(word, "text::type::granularity", "expected `tensor`, `row`, `row(…)`, `axis(…)` or `block(…)`")),
        }
    }
    /// `(1, 2)`: exactly `N` numbers in parentheses.
    pub fn numbers<const N: usize>(&mut self) -> Step<[u32; N]> {
        let open = self.peek();
        self.expect(b'(')?;
        let numbers = self.list(b')', |cursor| cursor.expect_u32("a number"))?;
        numbers.try_into().map_err(|_| self.error_at(open, "text::syntax::count", format!("expected {N} numbers")))
    }
    /// A word that `read` knows.
    pub fn word_of<T>(&mut self, what: &str, read: impl Fn(&str) -> Option<T>) -> Step<T> {
        match read(self.peek().text) {
            Some(value) if self.peek().kind == Kind::Word => {
                self.take();
                Ok(value)
            }
            _ => Err(self.unexpected(what)),
        }
    }

    /// `past + seq`, `2*h*w - 1`, `floordiv(h - 1, 2) + 1`
    pub fn dim(&mut self) -> Step<Dim> {
        let mut terms = Vec::new();
        let mut negative = self.eat(b'-');
        loop {
            terms.extend(self.term(negative)?.terms());
            negative = self.is(b'-');
            if !negative && !self.is(b'+') {
                return Ok(Dim::from_terms(terms));
            }
            self.take();
        }
    }
    fn term(&mut self, negative: bool) -> Step<Dim> {
        let mut product = self.factor(negative)?;
        if negative && product.known().is_none() {
            product = product.times(&Dim::from(-1i64));
        }
        while self.eat(b'*') {
            let start = self.peek();
            let factor = self.factor(false)?;
            if product.terms().len().saturating_mul(factor.terms().len()) > MAX_TERMS {
                return Err(self.error_at(start, "text::limit::terms", format!("a product with more than {MAX_TERMS} terms")));
            }
            product = product.times(&factor);
        }
        Ok(product)
    }
    /// A number (negated when `negative`), a symbol or a function.
    fn factor(&mut self, negative: bool) -> Step<Dim> {
        let token = self.peek();
        match token.kind {
            Kind::Int => self.number(negative).map(Dim::from),
            Kind::Word if self.peek_at(1).kind == Kind::Punct(b'(') => {
                let folded = self.nested(Self::dim_call)?;
                // A call of numbers is a number itself; the caller negates the others.
                Ok(if negative && folded.known().is_some() { folded.times(&Dim::from(-1i64)) } else { folded })
            }
            Kind::Word | Kind::Unknown => Ok(Dim::symbol(self.take().text)),
            Kind::Str => {
                self.take();
                let name = unquote(token.text);
                let name =
                    name.ok_or_else(|| self.error_at(token, "text::syntax::escape", format!("bad escape in {}", token.describe())))?;
                Ok(Symbol::new(name).into())
            }
            _ => Err(self.unexpected("a dimension")),
        }
    }
    /// An integer that fits i64 with its sign.
    pub fn number(&mut self, negative: bool) -> Step<i64> {
        let token = self.expect_kind(Kind::Int, "a number")?;
        let number = token.text.parse::<i128>().ok().map(|magnitude| if negative { -magnitude } else { magnitude });
        let number = number.and_then(|number| i64::try_from(number).ok());
        number.ok_or_else(|| self.error_at(token, "text::syntax::number", format!("{} does not fit 64 bits", token.describe())))
    }
    fn dim_call(&mut self) -> Step<Dim> {
        let function = self.word_of("`floordiv`, `mod`, `min`, `max` or `broadcast`", DimFn::from_name)?;
        self.expect(b'(')?;
        let a = self.dim()?;
        self.expect(b',')?;
        let b = self.dim()?;
        self.expect(b')')?;
        Ok(a.call(function, &b))
    }
}
