//! What verbs print: aligned tables for people, JSON for scripts.

pub mod table;
