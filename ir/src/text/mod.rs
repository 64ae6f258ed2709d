//! The text form of a module, `.gir`: total, canonical, and read back equal: `parse(print(m)) == m`.
//!
//! ```text
//! module "tiny"
//!
//! const @0 : tensor<2 x f32> = [0.5, 1e-5]
//! const @1 : tensor<576 x 576 x f32> = blake3"9f86d081…"
//!
//! graph @f0 "main"(%0 "x": tensor<batch x 576 x f32>) -> ("y") state("x" <- "y") {
//!   %1 = matmul %0, @1 {transpose_a = false, transpose_b = true} : tensor<batch x 576 x f32> loc("/fc/MatMul")
//!   %2, %3 = split %1 {axis = 1, sizes = [2, 574]} : (tensor<batch x 2 x f32>, tensor<batch x 574 x f32>)
//!   return %1
//! }
//! ```
//!
//! Numbers of values, constants and functions follow the canonical [`order`](crate::order), so that the text does not
//! depend on ids. The first graph is the entry. Constants of at most [`INLINE`] elements are written out, others by
//! their hash, with the data in a [`sidecar`]; `random(7)` is read, never printed. Comments run from `//` to the end of the line; line breaks mean nothing.
//!
//! Floats print in the shortest form that reads back equal, and never like integers; a NaN other than the canonical one,
//! and the floats of 8 and 4 bits, print as hexadecimal bits. Symbols that are not plain words are quoted.

mod dead;
mod elements;
mod lex;
pub(crate) mod number;
mod parse;
mod print;
pub mod sidecar;

pub use parse::parse;
pub use print::print;

use crate::constant::{Constant, Hash, QuantData};
use crate::dim::DimFn;
use crate::types::Elem;
use bytes::Bytes;
use std::fmt;

/// The largest number of elements that a constant written out has.
pub const INLINE: usize = 16;

/// The contents of a constant that the text names by hash.
#[derive(Debug, Clone)]
pub struct Blob {
    /// The elements.
    pub data: Bytes,
    /// Scales and zero points of a quantized constant.
    pub quant: Option<QuantData>,
}

/// Where the contents of constants come from; none where the hash is not known.
pub type Source<'a> = dyn Fn(&Hash) -> Option<Blob> + 'a;

/// The source of texts whose constants are all written out.
pub fn no_data(_: &Hash) -> Option<Blob> {
    None
}

/// Whether the text writes the elements of `constant` out.
pub fn is_inline(constant: &Constant) -> bool {
    elements::print(constant).is_some()
}

/// `bytes` in hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The hash written as 64 hexadecimal digits.
pub(crate) fn unhex(text: &str) -> Option<Hash> {
    let digits: Vec<u8> = text.chars().map(|c| c.to_digit(16).map(|d| d as u8)).collect::<Option<_>>()?;
    let bytes: Vec<u8> = digits.chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect();
    (digits.len() == 64).then_some(bytes)?.try_into().ok()
}

/// A string as the text form quotes it.
pub struct Quoted<'a>(pub &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"")?;
        for c in self.0.chars() {
            match c {
                '"' => f.write_str("\\\"")?,
                '\\' => f.write_str("\\\\")?,
                '\n' => f.write_str("\\n")?,
                '\t' => f.write_str("\\t")?,
                '\r' => f.write_str("\\r")?,
                c if c.is_control() => write!(f, "\\u{{{:x}}}", c as u32)?,
                c => write!(f, "{c}")?,
            }
        }
        f.write_str("\"")
    }
}

/// Whether a symbol prints without quotes: `?3`, or an identifier that means nothing else in a type or attribute.
pub(crate) fn is_plain_symbol(name: &str) -> bool {
    match name.strip_prefix('?') {
        Some(number) => !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()),
        None => is_identifier(name) && !is_reserved(name),
    }
}

fn is_identifier(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn is_reserved(name: &str) -> bool {
    matches!(name, "x" | "true" | "false" | "inf" | "nan" | "operand")
        || DimFn::from_name(name).is_some()
        || Elem::from_name(name).is_some()
}
