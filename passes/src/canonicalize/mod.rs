//! One form for everything that can be said in many: what the other passes match on.

pub mod arithmetic;
pub mod cse;
pub mod dce;
pub mod fold_affine;
pub mod fold_constants;
pub mod inline;
pub mod ints;
pub mod matrix;
pub mod movement;
pub mod share_constants;

#[allow(clippy::module_inception, reason = "a pass and its file have one name")]
mod canonicalize;
#[cfg(test)]
mod tests;
pub use self::canonicalize::Canonicalize;
