//! Exact rewrites: the same function with other numbers inside, which rounding loses less of.

pub mod center_norm;
pub mod fold_norm;
mod online;
pub mod region;
pub mod rotate;
pub mod vectors;
