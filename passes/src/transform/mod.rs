//! Exact rewrites: the same function with other numbers inside, which rounding loses less of.

pub mod fold_norm;
pub mod region;
pub mod rotate;
pub mod vectors;
