//! The runtime room of mokume.
