//! What the test suites of mokume share: real models and their reference outputs, golden files of passes.

pub mod golden;
pub mod models;
