//! The noun of mokume: what a graph is and means.
//!
//! A [`Module`](graph::Module) is functions plus constants. A function ([`Graph`](graph::Graph)) has inputs, outputs and
//! nodes; a node applies an [`Op`](op::Op) to values. Values are tensors in the sense of mathematics: immutable, without
//! address; only declared [`State`](graph::State) outlives a run. Evaluation order is any order in which operands come
//! before their users; [`order`] fixes one. Dimensions may be symbols, bound when the inputs arrive.
//!
//! This crate does no I/O and knows neither ONNX nor LLVM.

pub mod arena;
pub mod attr;
pub mod constant;
pub mod diag;
pub mod dim;
pub mod edit;
pub mod graph;
pub mod hadamard;
pub mod ids;
pub mod infer;
pub mod loc;
pub mod op;
pub mod order;
pub mod petgraph;
pub mod quant;
pub mod random;
mod same;
pub mod text;
pub mod types;
pub mod verify;
