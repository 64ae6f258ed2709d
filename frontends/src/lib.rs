//! The frontends room of mokume.
