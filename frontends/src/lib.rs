//! The frontends: model files in, [`Module`](mokume_ir::graph::Module) out.
//!
//! [`onnx`] reads ONNX models: `file -> messages -> Module`, one function per arrow. Every problem of a model is reported
//! at once, each with the user's node name and a reason; a model that imports means what its author wrote.

pub mod onnx;
