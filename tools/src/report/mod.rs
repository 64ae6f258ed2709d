//! What verbs print: aligned tables for people, JSON for scripts; and the page about a compilation.

pub mod compiled;
pub mod device;
pub mod html;
pub mod plot;
pub mod table;
