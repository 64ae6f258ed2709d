//! Lowers mokume graphs to native kernels and artifacts. The only room with LLVM.
//!
//! [`kernel`] describes what a `bit_matmul` kernel computes and chooses one for every node; [`cpu`] turns descriptions into
//! object code, one object per instruction set level.

pub mod cpu;
pub mod error;
pub mod kernel;
