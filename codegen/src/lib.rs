//! Lowers mokume graphs to native kernels and artifacts. The only room with LLVM.
//!
//! [`kernel`] describes what a `bit_matmul` kernel computes and chooses one for every node; [`cpu`] turns descriptions into
//! object code, one object per instruction set level; [`lower`] does both for a module and packs its weights.

pub mod cpu;
pub mod error;
pub mod gpu;
pub mod kernel;
pub mod lower;
pub mod tuning;

pub use lower::{Choices, Reason, Target, compile};
