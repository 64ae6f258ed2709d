//! The tests room of mokume.
