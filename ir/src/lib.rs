//! The ir room of mokume.
