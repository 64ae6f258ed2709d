//! Elementwise kernels: an expression that is computed for every element of the result.
//!
//! Operands broadcast: a launch gives every operand a stride per axis, 0 where it repeats. Kernels come in two forms: `flat`
//! takes one stride per operand, 0 or 1, for operands that are whole or one element; the other takes strides for every axis.

use mokume_ir::op::{ActivationKind, BinaryKind, UnaryKind};
use mokume_ir::types::Elem;
use std::fmt;

/// An elementwise kernel.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Map {
    /// Element types of the operands.
    pub inputs: Vec<Elem>,
    /// The expression: every term refers to earlier ones; the last is the result.
    pub terms: Vec<Term>,
    /// Every operand is whole or one element.
    pub flat: bool,
}

/// One operation of an expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Term {
    /// An operand.
    Input(u32),
    /// Number of the element in the result, of this type.
    Number(Elem),
    /// A function of one term.
    Unary(UnaryKind, u32),
    /// A function of two terms of one type.
    Binary(BinaryKind, u32, u32),
    /// `c ? a : b`
    Select(u32, u32, u32),
    /// Another type.
    Cast(Elem, u32),
    /// An activation; the bits of its parameters.
    Activation(ActivationKind, u32, u32, u32),
    /// silu(gate) * up
    Swiglu(u32, u32),
}

impl Map {
    /// The type of a term.
    pub fn elem(&self, term: usize) -> Elem {
        match self.terms[term] {
            Term::Input(input) => self.inputs[input as usize],
            Term::Number(elem) | Term::Cast(elem, _) => elem,
            Term::Unary(UnaryKind::IsNan | UnaryKind::IsPosInf | UnaryKind::IsNegInf, _) => Elem::Bool,
            Term::Binary(kind, ..) if kind.is_comparison() => Elem::Bool,
            Term::Unary(_, a) | Term::Binary(_, a, _) | Term::Activation(_, a, ..) | Term::Select(_, a, _) | Term::Swiglu(a, _) => {
                self.elem(a as usize)
            }
        }
    }
    /// The type of the result.
    pub fn output(&self) -> Elem {
        self.terms.len().checked_sub(1).map_or(Elem::Bool, |last| self.elem(last))
    }
    /// The same expression for operands of another form.
    pub fn with_form(&self, flat: bool) -> Self {
        Map { flat, ..self.clone() }
    }
    /// Name of the kernel.
    pub fn symbol(&self) -> String {
        let words: Vec<&str> = self.terms.iter().filter_map(Term::word).collect();
        let words = if words.len() > 4 { &words[words.len() - 4..] } else { &words[..] };
        let hash = blake3::hash(self.to_string().as_bytes());
        let form = if self.flat { "flat" } else { "strided" };
        format!("map_{}_{form}_{}", words.join("_"), &hash.to_hex()[..12])
    }
}

impl Term {
    fn word(&self) -> Option<&'static str> {
        match self {
            Term::Input(_) => None,
            Term::Number(_) => Some("number"),
            Term::Unary(kind, _) => Some(kind.name()),
            Term::Binary(kind, ..) => Some(kind.name()),
            Term::Select(..) => Some("select"),
            Term::Cast(..) => Some("cast"),
            Term::Activation(kind, ..) => Some(kind.name()),
            Term::Swiglu(..) => Some("swiglu"),
        }
    }
}

/// `(f32, f32) t0=$0 t1=$1 t2=add t0 t1`
impl fmt::Display for Map {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inputs: Vec<&str> = self.inputs.iter().map(|elem| elem.name()).collect();
        write!(f, "({})", inputs.join(", "))?;
        for (number, term) in self.terms.iter().enumerate() {
            write!(f, " t{number}=")?;
            match term {
                Term::Input(input) => write!(f, "${input}")?,
                Term::Number(elem) => write!(f, "number {}", elem.name())?,
                Term::Unary(kind, a) => write!(f, "{} t{a}", kind.name())?,
                Term::Binary(kind, a, b) => write!(f, "{} t{a} t{b}", kind.name())?,
                Term::Select(c, a, b) => write!(f, "select t{c} t{a} t{b}")?,
                Term::Cast(to, a) => write!(f, "cast {} t{a}", to.name())?,
                Term::Activation(kind, a, alpha, beta) => write!(f, "{} t{a} {alpha:08x} {beta:08x}", kind.name())?,
                Term::Swiglu(gate, up) => write!(f, "swiglu t{gate} t{up}")?,
            }
        }
        Ok(())
    }
}
