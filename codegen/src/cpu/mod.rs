//! Lowers kernel descriptions to x86-64 and aarch64 object code through LLVM.
//!
//! One LLVM module per instruction set level: LLVM aborts the process when asked for an instruction that a level lacks, so
//! every intrinsic is emitted behind a match on the level.

mod build;
mod dot;
mod kernel;
mod lookup;
mod object;
mod unpack;

pub use object::compile;
