//! Types of values: tensors with symbolic shapes, and ONNX's sequences and optionals.

use crate::dim::Dim;
use crate::quant::QuantType;
use std::fmt;

/// Element type of a tensor. Covers every ONNX data type, and quantized types.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "the names are the ONNX data types")]
pub enum Elem {
    Bool,
    I8,
    I16,
    I32,
    I64,
    U8,
    U16,
    U32,
    U64,
    F16,
    BF16,
    F32,
    F64,
    C64,
    C128,
    String,
    F8E4M3FN,
    F8E4M3FNUZ,
    F8E5M2,
    F8E5M2FNUZ,
    F8E8M0,
    F4E2M1,
    I4,
    U4,
    I2,
    U2,
    /// Codes with scales; see [`QuantType`].
    Quant(QuantType),
}

const PLAIN: [(Elem, &str, u32); 26] = [
    (Elem::Bool, "bool", 8),
    (Elem::I8, "i8", 8),
    (Elem::I16, "i16", 16),
    (Elem::I32, "i32", 32),
    (Elem::I64, "i64", 64),
    (Elem::U8, "u8", 8),
    (Elem::U16, "u16", 16),
    (Elem::U32, "u32", 32),
    (Elem::U64, "u64", 64),
    (Elem::F16, "f16", 16),
    (Elem::BF16, "bf16", 16),
    (Elem::F32, "f32", 32),
    (Elem::F64, "f64", 64),
    (Elem::C64, "c64", 64),
    (Elem::C128, "c128", 128),
    (Elem::String, "string", 0),
    (Elem::F8E4M3FN, "f8e4m3fn", 8),
    (Elem::F8E4M3FNUZ, "f8e4m3fnuz", 8),
    (Elem::F8E5M2, "f8e5m2", 8),
    (Elem::F8E5M2FNUZ, "f8e5m2fnuz", 8),
    (Elem::F8E8M0, "f8e8m0", 8),
    (Elem::F4E2M1, "f4e2m1", 4),
    (Elem::I4, "i4", 4),
    (Elem::U4, "u4", 4),
    (Elem::I2, "i2", 2),
    (Elem::U2, "u2", 2),
];

impl Elem {
    /// Name in the text form; `quant` for quantized types.
    pub fn name(self) -> &'static str {
        PLAIN.iter().find(|row| row.0 == self).map_or("quant", |row| row.1)
    }
    /// The plain element type called `name`.
    pub fn from_name(name: &str) -> Option<Self> {
        PLAIN.iter().find(|row| row.1 == name).map(|row| row.0)
    }
    /// Bits per element as stored densely packed in a constant; 0 for strings.
    pub fn bits(self) -> u32 {
        match self {
            Elem::Quant(quant) => quant.bits as u32,
            _ => PLAIN.iter().find(|row| row.0 == self).map_or(0, |row| row.2),
        }
    }
    /// f16, bf16, f32, f64 and the small floats.
    pub fn is_float(self) -> bool {
        use Elem::*;
        matches!(self, F16 | BF16 | F32 | F64 | F8E4M3FN | F8E4M3FNUZ | F8E5M2 | F8E5M2FNUZ | F8E8M0 | F4E2M1)
    }
    /// Signed integers.
    pub fn is_signed_int(self) -> bool {
        matches!(self, Elem::I8 | Elem::I16 | Elem::I32 | Elem::I64 | Elem::I4 | Elem::I2)
    }
    /// Unsigned integers (not bool).
    pub fn is_unsigned_int(self) -> bool {
        matches!(self, Elem::U8 | Elem::U16 | Elem::U32 | Elem::U64 | Elem::U4 | Elem::U2)
    }
    /// Signed or unsigned integers (not bool).
    pub fn is_int(self) -> bool {
        self.is_signed_int() || self.is_unsigned_int()
    }
    /// The quantized type, if it is one.
    pub fn quant(self) -> Option<QuantType> {
        match self {
            Elem::Quant(quant) => Some(quant),
            _ => None,
        }
    }
}

impl fmt::Display for Elem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Elem::Quant(quant) => quant.fmt(f),
            _ => f.write_str(self.name()),
        }
    }
}

/// Dimensions of a tensor; the rank may be unknown.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Shape {
    /// One dimension per axis.
    Ranked(Vec<Dim>),
    /// Nothing is known before the tensor exists.
    Unranked,
}

impl Shape {
    /// The shape of a scalar.
    pub fn scalar() -> Self {
        Shape::Ranked(vec![])
    }
    /// A shape of numbers.
    pub fn known(dims: &[usize]) -> Self {
        Shape::Ranked(dims.iter().map(|&d| Dim::from(d)).collect())
    }
    /// The dimensions, when the rank is known.
    pub fn dims(&self) -> Option<&[Dim]> {
        match self {
            Shape::Ranked(dims) => Some(dims),
            Shape::Unranked => None,
        }
    }
    /// The rank, when known.
    pub fn rank(&self) -> Option<usize> {
        self.dims().map(<[Dim]>::len)
    }
    /// All dimensions, when all are numbers.
    pub fn as_known(&self) -> Option<Vec<usize>> {
        self.dims()?.iter().map(|d| d.known().and_then(|v| usize::try_from(v).ok())).collect()
    }
}

impl FromIterator<Dim> for Shape {
    fn from_iter<T: IntoIterator<Item = Dim>>(dims: T) -> Self {
        Shape::Ranked(dims.into_iter().collect())
    }
}

/// Shape and element type.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TensorType {
    /// Dimensions.
    pub shape: Shape,
    /// Element type.
    pub elem: Elem,
}

impl TensorType {
    /// A tensor type.
    pub fn new(shape: Shape, elem: Elem) -> Self {
        TensorType { shape, elem }
    }
}

/// `tensor<batch x 3 x 2*h x f32>`, `tensor<f32>` (scalar), `tensor<* x f32>` (rank unknown)
impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("tensor<")?;
        match &self.shape {
            Shape::Unranked => f.write_str("* x ")?,
            Shape::Ranked(dims) => dims.iter().try_for_each(|dim| write!(f, "{dim} x "))?,
        }
        write!(f, "{}>", self.elem)
    }
}

/// Type of a value.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Type {
    /// A tensor.
    Tensor(TensorType),
    /// A list of values of one type (ONNX sequence).
    Seq(Box<Type>),
    /// A value or nothing (ONNX optional).
    Opt(Box<Type>),
}

impl Type {
    /// A tensor type.
    pub fn tensor(shape: Shape, elem: Elem) -> Self {
        Type::Tensor(TensorType { shape, elem })
    }
    /// The tensor type, if it is one.
    pub fn as_tensor(&self) -> Option<&TensorType> {
        match self {
            Type::Tensor(tensor) => Some(tensor),
            _ => None,
        }
    }
    /// Element type, if it is a tensor.
    pub fn elem(&self) -> Option<Elem> {
        self.as_tensor().map(|tensor| tensor.elem)
    }
    /// Dimensions, if it is a tensor of known rank.
    pub fn dims(&self) -> Option<&[Dim]> {
        self.as_tensor()?.shape.dims()
    }
}

impl From<TensorType> for Type {
    fn from(tensor: TensorType) -> Self {
        Type::Tensor(tensor)
    }
}

/// `tensor<…>`, `seq<tensor<…>>`, `opt<tensor<…>>`
impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Type::Tensor(tensor) => tensor.fmt(f),
            Type::Seq(inner) => write!(f, "seq<{inner}>"),
            Type::Opt(inner) => write!(f, "opt<{inner}>"),
        }
    }
}
