//! `TypeProto` to [`Type`], and the names of dimensions to symbols.
//!
//! A `dim_param` that is a sum or product of names and numbers (`past + seq`) becomes that expression. Names are made
//! identifiers; two names stay two symbols. A dimension of unknown size gets a symbol named after the input and axis.

use super::proto::{DimensionProto, TensorTypeProto, TypeProto};
use super::tensor;
use mokume_ir::diag::Diagnostic;
use mokume_ir::dim::{Dim, Symbol};
use mokume_ir::types::{Shape, Type};
use std::collections::{HashMap, HashSet};

/// Symbols given out so far.
#[derive(Debug, Default)]
pub struct Symbols {
    named: HashMap<String, Symbol>,
    taken: HashSet<String>,
}

impl Symbols {
    /// The symbol for a name of the model.
    pub fn named(&mut self, name: &str) -> Dim {
        if let Some(symbol) = self.named.get(name) {
            return symbol.clone().into();
        }
        let symbol = self.fresh(name);
        self.named.insert(name.to_string(), symbol.clone());
        symbol.into()
    }
    /// A symbol that nothing else uses, called like `name`.
    pub fn fresh(&mut self, name: &str) -> Symbol {
        let base = identifier(name);
        let mut candidate = base.clone();
        let mut n = 1;
        while !self.taken.insert(candidate.clone()) {
            n += 1;
            candidate = format!("{base}_{n}");
        }
        Symbol::new(candidate)
    }
    /// The expression a `dim_param` stands for; none when it names nothing (`""`, `"?"`).
    fn param(&mut self, text: &str) -> Option<Dim> {
        let text = text.trim();
        if !text.chars().any(char::is_alphanumeric) {
            return None;
        }
        Some(self.expression(text).unwrap_or_else(|| self.named(text)))
    }
    /// `a + b - 2*c`, when the text is nothing more than that; a minus without a space before it is part of a name.
    fn expression(&mut self, text: &str) -> Option<Dim> {
        let text = text.replace(" -", "+-");
        text.split('+').try_fold(Dim::from(0i64), |sum, part| match part.trim().strip_prefix('-') {
            Some(part) => Some(sum.minus(&self.product(part)?)),
            None => Some(sum.plus(&self.product(part)?)),
        })
    }
    fn product(&mut self, text: &str) -> Option<Dim> {
        text.split('*').try_fold(Dim::from(1i64), |product, factor| Some(product.times(&self.factor(factor.trim())?)))
    }
    fn factor(&mut self, text: &str) -> Option<Dim> {
        if let Ok(number) = text.parse::<i64>() {
            return Some(Dim::from(number));
        }
        let word = !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '.' | ':' | '/'));
        word.then(|| self.named(text))
    }
}

/// `name` with everything that is no letter, digit or underscore replaced.
fn identifier(name: &str) -> String {
    let mut word: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    if !word.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
        word.insert(0, 'd');
    }
    word
}

/// What to do with a dimension whose size the type does not give.
#[derive(Debug, Clone, Copy)]
pub enum Missing<'a> {
    /// A symbol named after this value, bound when the value arrives.
    Named(&'a str),
    /// The type is not ranked.
    Unranked,
}

/// A declared type.
///
/// Errors  for maps, sparse tensors, opaque types, and types that say nothing.
pub fn type_of(proto: &TypeProto, missing: Missing, symbols: &mut Symbols) -> Result<Type, Diagnostic> {
    if let Some(tensor) = &proto.tensor_type {
        return tensor_type(tensor, missing, symbols);
    }
    let inner = |element: &super::proto::ElementTypeProto, symbols: &mut Symbols| match &element.elem_type {
        Some(elem) => type_of(elem, Missing::Unranked, symbols).map(Box::new),
        None => Err(Diagnostic::input("onnx::type::missing", "a sequence or optional without an element type")),
    };
    if let Some(element) = &proto.sequence_type {
        return inner(element, symbols).map(Type::Seq);
    }
    if let Some(element) = &proto.optional_type {
        return inner(element, symbols).map(Type::Opt);
    }
    let what = match proto {
        TypeProto { map_type: Some(_), .. } => "maps",
        TypeProto { sparse_tensor_type: Some(_), .. } => "sparse tensors",
        TypeProto { opaque_type: Some(_), .. } => "opaque types",
        _ => return Err(Diagnostic::input("onnx::type::missing", "the type is empty")),
    };
    Err(Diagnostic::unsupported("onnx::type::unsupported", format!("{what} are not supported")))
}

fn tensor_type(proto: &TensorTypeProto, missing: Missing, symbols: &mut Symbols) -> Result<Type, Diagnostic> {
    let elem = tensor::elem(proto.elem_type)?;
    let Some(shape) = &proto.shape else { return Ok(Type::tensor(Shape::Unranked, elem)) };
    let dims = shape.dim.iter().enumerate().map(|(axis, dim)| dimension(dim, axis, missing, symbols));
    let dims: Option<Vec<Dim>> = dims.collect();
    Ok(Type::tensor(dims.map_or(Shape::Unranked, Shape::Ranked), elem))
}

fn dimension(proto: &DimensionProto, axis: usize, missing: Missing, symbols: &mut Symbols) -> Option<Dim> {
    if let Some(size) = proto.dim_value.filter(|&size| size >= 0) {
        return Some(Dim::from(size));
    }
    let param = proto.dim_param.as_deref().and_then(|text| symbols.param(text));
    param.or_else(|| match missing {
        Missing::Named(name) => Some(symbols.fresh(&format!("{name}_{axis}")).into()),
        Missing::Unranked => None,
    })
}
