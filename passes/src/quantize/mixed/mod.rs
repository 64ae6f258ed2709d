//! Widths by product: the bits where the loss of the model gains most by them, within a budget.
//!
//! How much the loss grows when the weight of a product is rounded is estimated to second order: `½ Σ_t Σ_o g² δ²`, with the error δ of
//! output o at position t, and for the curvature the squared gradient g of the loss by that output. Three steps:
//!
//! 1. `backward`: one run back through the model per sample gives g² of every product, kept as a number per output and one per position.
//! 2. `table`: the float model runs forth; at every product the moments of its inputs are taken, the weight is rounded to every width by
//!    a quick rounder, and δ² follows from the moments.
//! 3. `allocate`: of all ways to give every weight a width, the one with the least sum of losses that fits.
//!
//! `escape` does the same for activations: rounding them moves output o by (W δ)_o.
//!
//! Without gradients (an op without a rule, sizes that are known only when the model runs) every product counts alike: its squared error
//! over its squared outputs.
//!
//! Source  the second order expansion: LeCun, Denker and Solla, "Optimal Brain Damage", 1989; squared gradients for curvature: Fisher
//!         information; their factors by positions and by outputs: Martens and Grosse, "K-FAC", 2015.

pub mod allocate;
pub mod backward;
pub mod escape;
mod kept;
pub mod loss;
pub mod plan;
pub mod stored;
pub mod table;
pub mod weighing;
pub mod width;
