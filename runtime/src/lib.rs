//! The mokume runtime: artifact format, CPU op library, sessions.

pub mod ops;
pub mod tensor;
