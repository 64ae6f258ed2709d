//! The codegen room of mokume.
