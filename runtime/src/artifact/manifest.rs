//! The manifest of an artifact: prost messages that hold a module. Field numbers are fixed; new fields get new numbers.
//!
//! Values of a function are counted: its inputs, its constants, then the outputs of its nodes. Nodes refer to earlier values
//! only, so that a manifest cannot describe a cycle.

use bytes::Bytes;
use prost::{Message, Oneof};

/// A program.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Manifest {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(message, repeated, tag = "2")]
    pub(crate) functions: Vec<Function>,
    #[prost(uint32, tag = "3")]
    pub(crate) entry: u32,
    #[prost(message, repeated, tag = "4")]
    pub(crate) constants: Vec<Constant>,
    #[prost(message, repeated, tag = "5")]
    pub(crate) objects: Vec<Object>,
    #[prost(message, repeated, tag = "6")]
    pub(crate) ptx: Vec<Ptx>,
    /// The table of measurements by which kernels for GPUs were chosen.
    #[prost(string, tag = "7")]
    pub(crate) gpu_tuning: String,
}

/// Kernels for one GPU architecture.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Ptx {
    #[prost(string, tag = "1")]
    pub(crate) arch: String,
    #[prost(uint32, tag = "2")]
    pub(crate) section: u32,
}

/// Weights in the layout of GPU kernels.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct DevicePacked {
    #[prost(message, optional, tag = "1")]
    pub(crate) planes: Option<Data>,
    #[prost(message, optional, tag = "2")]
    pub(crate) scales: Option<Data>,
    #[prost(message, optional, tag = "3")]
    pub(crate) zeros: Option<Data>,
    #[prost(message, optional, tag = "4")]
    pub(crate) sums: Option<Data>,
}

/// Kernels of one instruction set level.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Object {
    #[prost(string, tag = "1")]
    pub(crate) level: String,
    #[prost(uint32, tag = "2")]
    pub(crate) section: u32,
}

/// Weights in the layout of kernels.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Packed {
    #[prost(string, tag = "1")]
    pub(crate) strategy: String,
    #[prost(uint32, tag = "2")]
    pub(crate) groups: u32,
    #[prost(message, optional, tag = "3")]
    pub(crate) data: Option<Data>,
    #[prost(string, tag = "4")]
    pub(crate) scales: String,
    #[prost(message, optional, tag = "5")]
    pub(crate) dense: Option<Dense>,
}

/// Tiles whose codes are written as numbers to the base of their levels.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Dense {
    #[prost(string, tag = "1")]
    pub(crate) levels: String,
    /// Bytes of a tile as kernels read it.
    #[prost(uint64, tag = "2")]
    pub(crate) tile: u64,
    /// Bytes before its codes.
    #[prost(uint64, tag = "3")]
    pub(crate) head: u64,
}

/// A constant; quantized ones may come without data when kernels hold it in their own layout.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Constant {
    #[prost(uint64, repeated, tag = "1")]
    pub(crate) dims: Vec<u64>,
    #[prost(message, optional, tag = "2")]
    pub(crate) elem: Option<Elem>,
    #[prost(bytes = "bytes", tag = "3")]
    pub(crate) hash: Bytes,
    #[prost(message, optional, tag = "4")]
    pub(crate) data: Option<Data>,
    #[prost(message, optional, tag = "5")]
    pub(crate) scales: Option<Data>,
    #[prost(message, optional, tag = "6")]
    pub(crate) zero_points: Option<Data>,
    #[prost(message, optional, tag = "7")]
    pub(crate) packed: Option<Packed>,
    #[prost(message, optional, tag = "8")]
    pub(crate) device: Option<DevicePacked>,
}

/// Bytes, here when short, else in a section.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Data {
    #[prost(oneof = "Place", tags = "1, 2")]
    pub(crate) place: Option<Place>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(crate) enum Place {
    #[prost(bytes = "bytes", tag = "1")]
    Inline(Bytes),
    #[prost(uint32, tag = "2")]
    Section(u32),
}

/// A function.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Function {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(message, repeated, tag = "2")]
    pub(crate) inputs: Vec<Input>,
    /// Indices of constants.
    #[prost(uint32, repeated, tag = "3")]
    pub(crate) constants: Vec<u32>,
    #[prost(message, repeated, tag = "4")]
    pub(crate) nodes: Vec<Node>,
    #[prost(message, repeated, tag = "5")]
    pub(crate) outputs: Vec<Output>,
    #[prost(message, repeated, tag = "6")]
    pub(crate) states: Vec<State>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Input {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(message, optional, tag = "2")]
    pub(crate) ty: Option<Type>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Output {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(uint32, tag = "2")]
    pub(crate) value: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct State {
    #[prost(uint32, tag = "1")]
    pub(crate) input: u32,
    #[prost(uint32, tag = "2")]
    pub(crate) output: u32,
    #[prost(uint32, optional, tag = "3")]
    pub(crate) axis: Option<u32>,
}

/// A node: an op's word and attributes, operands, types of its outputs, provenance.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Node {
    #[prost(string, tag = "1")]
    pub(crate) op: String,
    #[prost(message, repeated, tag = "2")]
    pub(crate) attrs: Vec<NamedAttr>,
    #[prost(uint32, repeated, tag = "3")]
    pub(crate) inputs: Vec<u32>,
    #[prost(message, repeated, tag = "4")]
    pub(crate) outputs: Vec<Type>,
    #[prost(string, repeated, tag = "5")]
    pub(crate) names: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct NamedAttr {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(message, optional, tag = "2")]
    pub(crate) attr: Option<Attr>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Attr {
    #[prost(oneof = "AttrValue", tags = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10")]
    pub(crate) value: Option<AttrValue>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(crate) enum AttrValue {
    #[prost(bool, tag = "1")]
    Bool(bool),
    #[prost(sint64, tag = "2")]
    Int(i64),
    /// The bits of an f32.
    #[prost(fixed32, tag = "3")]
    Float(u32),
    #[prost(string, tag = "4")]
    Str(String),
    #[prost(string, tag = "5")]
    Word(String),
    #[prost(message, tag = "6")]
    Dim(Dim),
    #[prost(message, tag = "7")]
    List(AttrList),
    #[prost(message, tag = "8")]
    Elem(Elem),
    #[prost(uint32, tag = "9")]
    Func(u32),
    #[prost(uint32, tag = "10")]
    Operand(u32),
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct AttrList {
    #[prost(message, repeated, tag = "1")]
    pub(crate) items: Vec<Attr>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Type {
    #[prost(oneof = "TypeForm", tags = "1, 2, 3")]
    pub(crate) form: Option<TypeForm>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(crate) enum TypeForm {
    #[prost(message, tag = "1")]
    Tensor(TensorType),
    #[prost(message, tag = "2")]
    Seq(Box<Type>),
    #[prost(message, tag = "3")]
    Opt(Box<Type>),
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct TensorType {
    #[prost(message, optional, tag = "1")]
    pub(crate) elem: Option<Elem>,
    #[prost(bool, tag = "2")]
    pub(crate) ranked: bool,
    #[prost(message, repeated, tag = "3")]
    pub(crate) dims: Vec<Dim>,
}

/// A plain element type by name, or a quantized one.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Elem {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(message, optional, tag = "2")]
    pub(crate) quant: Option<Quant>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Quant {
    #[prost(uint32, tag = "1")]
    pub(crate) bits: u32,
    #[prost(string, tag = "2")]
    pub(crate) levels: String,
    /// Empty: per tensor. `[axis]`. `[axis, along, size]`. Per row: empty, or `[size]`.
    #[prost(uint32, repeated, tag = "3")]
    pub(crate) granularity: Vec<u32>,
    #[prost(bool, tag = "4")]
    pub(crate) per_row: bool,
    #[prost(bool, tag = "5")]
    pub(crate) zero_point: bool,
}

/// A sum of products, as in the IR.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Dim {
    #[prost(message, repeated, tag = "1")]
    pub(crate) terms: Vec<Term>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Term {
    #[prost(sint64, tag = "1")]
    pub(crate) coefficient: i64,
    #[prost(message, repeated, tag = "2")]
    pub(crate) atoms: Vec<Atom>,
}

/// A symbol, or a function of two dimensions.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Atom {
    /// Name of the symbol, or of the function.
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    /// None, or the two arguments of the function.
    #[prost(message, repeated, tag = "2")]
    pub(crate) arguments: Vec<Dim>,
}
