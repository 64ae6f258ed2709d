//! The ops: what a node computes. One struct per op holds its attributes; [`Op`] is their sum. `table.rs` lists them all.
//!
//! Conventions. Axes and permutations count from 0; a negative axis counts from the back and is allowed only where the
//! rank is unknown. Elementwise ops broadcast as numpy does. `Ints` fields are known expressions or an operand; operands
//! named by `Ints::Operand` come after the data operands, in the order of the fields. Integer arithmetic wraps.

mod kinds;

use crate::attr::Attr;
pub use kinds::*;
pub use table::*;

/// Declares the struct of every op, their sum, and their text form.
macro_rules! ops {
    ($($(#[$doc:meta])* $name:ident = $word:literal { $($(#[$fdoc:meta])* $field:ident: $ty:ty),* $(,)? })+) => {
        $(
            $(#[$doc])*
            #[derive(Debug, Clone, PartialEq)]
            pub struct $name { $($(#[$fdoc])* pub $field: $ty),* }
            impl From<$name> for Op {
                fn from(op: $name) -> Op { Op::$name(op) }
            }
        )+

        /// What a node computes.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Op {
            /// Elementwise function of one operand.
            Unary(UnaryKind),
            /// Elementwise function of two broadcast operands.
            Binary(BinaryKind),
            $($(#[$doc])* $name($name)),+
        }

        impl Op {
            /// Its word in the text form: `add`, `exp`, `matmul`.
            pub fn name(&self) -> &'static str {
                match self {
                    Op::Unary(kind) => kind.name(),
                    Op::Binary(kind) => kind.name(),
                    $(Op::$name(_) => $word),+
                }
            }
            /// Its attributes, in declaration order, absent ones left out.
            pub fn attrs(&self) -> Vec<(&'static str, Attr)> {
                match self {
                    Op::Unary(_) | Op::Binary(_) => vec![],
                    $(Op::$name(op) => {
                        let _ = op;
                        #[allow(unused_mut)]
                        let mut attrs = Vec::new();
                        $(if let Some(attr) = op.$field.to_attr() { attrs.push((stringify!($field), attr)); })*
                        attrs
                    })+
                }
            }
            /// The op called `word` with attributes `attrs`.
            pub fn from_attrs(word: &str, attrs: &[(String, Attr)]) -> Result<Op, OpError> {
                if let Some(kind) = UnaryKind::from_name(word) {
                    return no_attrs(attrs, &[]).map(|()| Op::Unary(kind));
                }
                if let Some(kind) = BinaryKind::from_name(word) {
                    return no_attrs(attrs, &[]).map(|()| Op::Binary(kind));
                }
                match word {
                    $($word => {
                        no_attrs(attrs, &[$(stringify!($field)),*])?;
                        Ok(Op::$name($name {
                            $($field: AsAttr::from_attr(attrs.iter().find(|a| a.0 == stringify!($field)).map(|a| &a.1))
                                .ok_or(OpError::BadAttr(stringify!($field)))?),*
                        }))
                    })+
                    _ => Err(OpError::UnknownOp),
                }
            }
            /// Every op word.
            pub fn names() -> Vec<&'static str> {
                let mut names: Vec<_> = UnaryKind::ALL.iter().map(|k| k.name()).chain(BinaryKind::ALL.iter().map(|k| k.name())).collect();
                names.extend([$($word),+]);
                names
            }
        }
    };
}

mod table;

impl From<UnaryKind> for Op {
    fn from(kind: UnaryKind) -> Op {
        Op::Unary(kind)
    }
}

impl From<BinaryKind> for Op {
    fn from(kind: BinaryKind) -> Op {
        Op::Binary(kind)
    }
}

/// Why [`Op::from_attrs`] failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpError {
    /// No op has this word.
    #[error("unknown op")]
    UnknownOp,
    /// The attribute is missing or has another kind of value.
    #[error("attribute `{0}` is missing or has the wrong kind")]
    BadAttr(&'static str),
    /// The op has no such attribute.
    #[error("unknown attribute `{0}`")]
    UnknownAttr(String),
}

fn no_attrs(attrs: &[(String, Attr)], fields: &[&str]) -> Result<(), OpError> {
    match attrs.iter().find(|a| !fields.contains(&a.0.as_str())) {
        Some(extra) => Err(OpError::UnknownAttr(extra.0.clone())),
        None => Ok(()),
    }
}
