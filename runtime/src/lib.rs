//! The mokume runtime: artifact format, CPU op library, sessions.

pub mod artifact;
mod bind;
mod crew;
mod error;
mod exec;
mod plan;
mod row_op;
mod state;

pub mod bit_product;
pub mod convert;
pub mod cpu;
pub mod file;
pub mod gpu;
pub mod memory;
pub mod npy;
pub mod ops;
pub mod profile;
pub mod program;
pub mod session;
pub mod tensor;

pub use bind::Declared;
