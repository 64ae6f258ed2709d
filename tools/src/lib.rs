//! The tools room of mokume.
