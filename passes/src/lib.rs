//! The passes room of mokume.
