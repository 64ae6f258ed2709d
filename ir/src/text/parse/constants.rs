//! `const @0 : tensor<…> = …`

use super::Parser;
use super::cursor::Step;
use crate::constant::{Constant, packed_bytes};
use crate::diag::Diagnostic;
use crate::random::Rng;
use crate::text::elements::{lane, lanes_of, pack, pack_strings, quant_data};
use crate::text::lex::{Kind, Token};
use crate::text::{Blob, hex, unhex};
use crate::types::{Elem, TensorType};

/// Random contents take no more bytes than this.
const MAX_RANDOM: usize = 1 << 24;

impl<'t> Parser<'t, '_> {
    /// The rest of a constant after its type and `=`.
    pub fn contents(&mut self, start: Token<'t>, ty: &TensorType) -> Step<Constant> {
        let dims = ty.shape.as_known();
        let dims = dims.filter(|dims| packed_bytes(dims, ty.elem).is_some());
        let Some(dims) = dims else {
            return Err(self.cursor.error_at(start, "text::constant::shape", format!("a constant cannot have the type {ty}")));
        };
        if self.cursor.is_word("blake3") {
            return self.by_hash(start, ty, &dims);
        }
        if self.cursor.is_word("random") {
            return self.random(start, ty, &dims);
        }
        match ty.elem {
            Elem::String => self.string_contents(start, &dims),
            elem => self.number_contents(start, &dims, elem),
        }
    }
    fn by_hash(&mut self, start: Token<'t>, ty: &TensorType, dims: &[usize]) -> Step<Constant> {
        self.cursor.take();
        let digits = self.cursor.expect_string("a hash in quotes")?;
        let error = |code, message: String| self.cursor.error_at(start, code, message);
        let Some(hash) = unhex(&digits) else {
            return Err(error("text::constant::hash", "a hash has 64 hexadecimal digits".into()));
        };
        let Some(Blob { data, quant }) = (self.source)(&hash) else {
            let message = format!("the data of the constant blake3\"{digits}\" is not there");
            return Err(error("text::constant::missing", message).help("keep the weights file beside the text"));
        };
        if ty.elem != Elem::String && packed_bytes(dims, ty.elem) != Some(data.len()) {
            let message = format!("{ty} does not have {} bytes, the size of its data", data.len());
            return Err(error("text::constant::size", message));
        }
        let constant = Constant::with_quant(dims, ty.elem, data, quant);
        match constant.hash == hash {
            true => Ok(constant),
            false => Err(error("text::constant::hash", format!("the data has the hash {}, not {digits}", hex(&constant.hash)))),
        }
    }
    /// `random(7)`: floats in -1 .. 1 from a seed, for tests.
    fn random(&mut self, start: Token<'t>, ty: &TensorType, dims: &[usize]) -> Step<Constant> {
        self.cursor.take();
        let [seed] = self.cursor.numbers()?;
        if ty.elem != Elem::F32 || packed_bytes(dims, ty.elem).is_none_or(|bytes| bytes > MAX_RANDOM) {
            return Err(self.cursor.error_at(
                start,
                "text::constant::random",
                format!("{ty} is not f32, or too large for random contents"),
            ));
        }
        Ok(Rng::new(seed.into()).floats(dims))
    }
    fn string_contents(&mut self, start: Token<'t>, dims: &[usize]) -> Step<Constant> {
        let strings = match self.cursor.eat(b'[') {
            true => self.cursor.list(b']', |cursor| cursor.expect_string("a string"))?,
            false => vec![self.cursor.expect_string("`[` or a string")?],
        };
        self.check_count(start, strings.len(), dims)?;
        Ok(Constant::new(dims, Elem::String, pack_strings(strings.iter().map(String::as_str))))
    }
    fn number_contents(&mut self, start: Token<'t>, dims: &[usize], elem: Elem) -> Step<Constant> {
        let lanes = self.lanes(elem)?;
        let (per_element, _) = lanes_of(elem);
        if lanes.len() % per_element != 0 {
            return Err(self.cursor.error_at(start, "text::constant::count", "complex numbers come in pairs"));
        }
        self.check_count(start, lanes.len() / per_element, dims)?;
        let quant = self.scales(elem)?;
        Ok(Constant::with_quant(dims, elem, pack(dims, elem, &lanes), quant))
    }
    fn scales(&mut self, elem: Elem) -> Step<Option<crate::constant::QuantData>> {
        if elem.quant().is_none() {
            return Ok(None);
        }
        self.cursor.expect_word("scales")?;
        let scales = self.lanes(Elem::F32)?;
        let zeros = if self.cursor.eat_word("zero_points") { self.lanes(Elem::I32)? } else { vec![] };
        Ok(Some(quant_data(&scales, &zeros)))
    }
    /// `[1, 2]`, or a bare number.
    fn lanes(&mut self, elem: Elem) -> Step<Vec<u64>> {
        match self.cursor.eat(b'[') {
            true => self.cursor.list(b']', |cursor| {
                let negative = cursor.eat(b'-');
                let token = cursor.take();
                lane(elem, negative, &token).ok_or_else(|| bad_element(cursor.error_at(token, "", ""), elem, token))
            }),
            false => self.scalar_lane(elem).map(|lane| vec![lane]),
        }
    }
    fn scalar_lane(&mut self, elem: Elem) -> Step<u64> {
        let negative = self.cursor.eat(b'-');
        let token = self.cursor.take();
        lane(elem, negative, &token).ok_or_else(|| bad_element(self.cursor.error_at(token, "", ""), elem, token))
    }
    fn check_count(&self, start: Token<'t>, count: usize, dims: &[usize]) -> Step<()> {
        let expected = dims.iter().try_fold(1usize, |product, &dim| product.checked_mul(dim));
        if Some(count) == expected {
            return Ok(());
        }
        let expected = expected.map_or("more than fit".into(), |expected| expected.to_string());
        let message = format!("{count} elements are given where the type has {expected}");
        Err(self.cursor.error_at(start, "text::constant::count", message))
    }
}

fn bad_element(error: Diagnostic, elem: Elem, token: Token<'_>) -> Diagnostic {
    let message = match token.kind {
        Kind::End => "the text ends in the middle of a constant".into(),
        _ => format!("{} is not an element of type {elem}", token.describe()),
    };
    Diagnostic { code: "text::constant::element", message, ..error }
}
