//! The mokume runtime: artifact format, CPU op library, sessions.

pub mod convert;
pub mod ops;
pub mod tensor;
