//! What verbs print: aligned tables for people, JSON for scripts.

pub mod device;
pub mod table;
