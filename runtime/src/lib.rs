//! The mokume runtime: artifact format, CPU op library, sessions.

mod bind;
mod error;
mod exec;
mod state;

pub mod convert;
pub mod ops;
pub mod program;
pub mod session;
pub mod tensor;

pub use bind::Declared;
