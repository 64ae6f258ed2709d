//! Gradients: reverse mode from graph to graph.
//!
//! What runs a model also runs its gradient: there is no second tensor library. Composites are written out by `decompose`, or by
//! `grad` itself where it meets one, and every other op that has a derivative has a rule in `rules/`.

pub mod decompose;
pub mod expr;
#[allow(clippy::module_inception, reason = "a pass and its file have one name")]
mod grad;
mod rules;

pub use self::decompose::Decompose;
pub use self::grad::{Grad, gradients};
