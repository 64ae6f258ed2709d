//! Measures speed: of models, of language models token by token, of kernels, and of the memory they read.

pub mod bandwidth;
pub mod kernels;
pub mod language;
pub mod model;
pub mod samples;
pub mod tuning;
