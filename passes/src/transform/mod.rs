//! Exact rewrites: the same function with other numbers inside, which rounding loses less of.

pub mod center_norm;
pub mod equalize;
pub mod fold_norm;
pub mod heads;
mod online;
mod peaks;
pub mod region;
pub mod rotate;
pub mod scale;
mod tied;
pub mod vectors;
