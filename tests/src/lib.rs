//! What the test suites of mokume share: real models and their reference outputs.

pub mod models;
