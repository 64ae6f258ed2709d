//! Device kernels, ahead of time: built as LLVM modules in which no target is named, emitted as PTX per architecture, and run on
//! the host by the emulator.
//!
//! A module calls the machine by the intrinsics `llvm.nvvm.*`; what LLVM cannot select is a call of an own symbol
//! `mokume.gpu.*`, which [`ptx`] replaces by inline assembly. Kernels take addresses, i64, i32 and f32; dynamic shared memory is
//! the global `shared`.

pub mod bit_matmul;
mod build;
pub mod emulate;
pub(crate) mod math;
pub mod ops;
pub mod pack;
pub mod program;
pub mod ptx;
pub mod quantize;

pub use build::{Axis, Build, Param};
