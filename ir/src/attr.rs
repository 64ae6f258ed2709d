//! Attribute values: the one form in which an op's fields are printed, parsed and stored in artifacts.

use crate::dim::Dim;
use crate::ids::FuncId;
use crate::quant::{Levels, QuantType};
use crate::types::Elem;

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq)]
pub enum Attr {
    /// `true`
    Bool(bool),
    /// `-3`
    Int(i64),
    /// `0.5`, always with a point, an exponent, or as `inf`, `-inf`, `nan`
    Float(f32),
    /// `"text"`
    Str(String),
    /// `max`: a variant of an enumeration
    Word(String),
    /// `past + seq`
    Dim(Dim),
    /// `[1, 2]`
    List(Vec<Attr>),
    /// `f32`, `i64`: a plain element type, printed as a word
    Elem(Elem),
    /// `!quant<…>`
    Quant(QuantType),
    /// `@f1`
    Func(FuncId),
    /// `operand(1)`: the value arrives at run time as that operand
    Operand(u32),
}

/// A type that can be an attribute.
pub trait AsAttr: Sized {
    /// As an attribute; none leaves the attribute out.
    fn to_attr(&self) -> Option<Attr>;
    /// From an attribute, or from its absence.
    fn from_attr(attr: Option<&Attr>) -> Option<Self>;
}

macro_rules! as_attr {
    ($ty:ty, $self:ident => $to:expr, $($pattern:pat => $from:expr),+) => {
        impl AsAttr for $ty {
            fn to_attr(&self) -> Option<Attr> {
                let $self = self;
                Some($to)
            }
            fn from_attr(attr: Option<&Attr>) -> Option<Self> {
                match attr? {
                    $($pattern => $from,)+
                    _ => None,
                }
            }
        }
    };
}

as_attr!(bool, v => Attr::Bool(*v), Attr::Bool(v) => Some(*v));
as_attr!(i64, v => Attr::Int(*v), Attr::Int(v) => Some(*v));
as_attr!(u32, v => Attr::Int(*v as i64), Attr::Int(v) => u32::try_from(*v).ok());
as_attr!(u8, v => Attr::Int(*v as i64), Attr::Int(v) => u8::try_from(*v).ok());
as_attr!(f32, v => Attr::Float(*v), Attr::Float(v) => Some(*v));
as_attr!(String, v => Attr::Str(v.clone()), Attr::Str(v) => Some(v.clone()));
as_attr!(Elem, v => match v { Elem::Quant(q) => Attr::Quant(*q), _ => Attr::Elem(*v) },
    Attr::Elem(v) => Some(*v), Attr::Quant(v) => Some(Elem::Quant(*v)), Attr::Word(v) => Elem::from_name(v));
as_attr!(Levels, v => Attr::Word(v.name().into()), Attr::Word(v) => Levels::from_name(v));
as_attr!(QuantType, v => Attr::Quant(*v), Attr::Quant(v) => Some(*v));
as_attr!(FuncId, v => Attr::Func(*v), Attr::Func(v) => Some(*v));
as_attr!(Dim, v => match v.known() { Some(n) => Attr::Int(n), None => Attr::Dim(v.clone()) },
    Attr::Dim(v) => Some(v.clone()), Attr::Int(v) => Some(Dim::from(*v)), Attr::Word(v) | Attr::Str(v) => Some(Dim::symbol(v)));

impl<T: AsAttr> AsAttr for Vec<T> {
    fn to_attr(&self) -> Option<Attr> {
        self.iter().map(T::to_attr).collect::<Option<_>>().map(Attr::List)
    }
    fn from_attr(attr: Option<&Attr>) -> Option<Self> {
        match attr? {
            Attr::List(items) => items.iter().map(|item| T::from_attr(Some(item))).collect(),
            _ => None,
        }
    }
}

impl<T: AsAttr> AsAttr for Option<T> {
    fn to_attr(&self) -> Option<Attr> {
        self.as_ref().and_then(T::to_attr)
    }
    fn from_attr(attr: Option<&Attr>) -> Option<Self> {
        match attr {
            None => Some(None),
            some => T::from_attr(some).map(Some),
        }
    }
}

/// Integers that are known when compiling (as expressions over symbols), or arrive at run time as an operand.
#[derive(Debug, Clone, PartialEq)]
pub enum Ints {
    /// Known up to the values of symbols.
    Known(Vec<Dim>),
    /// Operand `.0` of the node, a rank-1 (or scalar) integer tensor.
    Operand(u32),
}

impl Ints {
    /// Numbers.
    pub fn of(values: impl IntoIterator<Item = i64>) -> Self {
        Ints::Known(values.into_iter().map(Dim::from).collect())
    }
    /// The expressions, when known.
    pub fn known(&self) -> Option<&[Dim]> {
        match self {
            Ints::Known(dims) => Some(dims),
            Ints::Operand(_) => None,
        }
    }
    /// The numbers, when all are numbers.
    pub fn numbers(&self) -> Option<Vec<i64>> {
        self.known()?.iter().map(Dim::known).collect()
    }
}

impl AsAttr for Ints {
    fn to_attr(&self) -> Option<Attr> {
        match self {
            Ints::Known(dims) => dims.to_attr(),
            Ints::Operand(index) => Some(Attr::Operand(*index)),
        }
    }
    fn from_attr(attr: Option<&Attr>) -> Option<Self> {
        match attr? {
            Attr::Operand(index) => Some(Ints::Operand(*index)),
            list => Vec::from_attr(Some(list)).map(Ints::Known),
        }
    }
}
