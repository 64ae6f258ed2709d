//! What can go wrong while lowering.

use inkwell::builder::BuilderError;
use inkwell::support::LLVMString;

/// Why no code was made. All but the first are bugs of this crate.
#[derive(Debug, thiserror::Error)]
pub enum CodegenError {
    /// A quantized product that no kernel computes.
    #[error("{0}")]
    Unsupported(String),
    /// LLVM has no such target or intrinsic.
    #[error("this LLVM lacks {0}")]
    Missing(String),
    /// LLVM refused to build an instruction.
    #[error("building a kernel: {0}")]
    Build(#[from] BuilderError),
    /// LLVM refused the module.
    #[error("LLVM: {0}")]
    Llvm(String),
}

impl From<LLVMString> for CodegenError {
    fn from(message: LLVMString) -> Self {
        CodegenError::Llvm(message.to_string())
    }
}
