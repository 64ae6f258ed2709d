//! What the test suites of mokume share: real models and their reference outputs, golden files of passes, small models, damage to files.

pub mod golden;
pub mod llama;
pub mod memory;
pub mod models;
pub mod mutate;
pub mod onnx;
pub mod sample;
