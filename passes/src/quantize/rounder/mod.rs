//! Chooses the codes of a weight so that what it computes changes least, on inputs that were seen.
//!
//! Pure numbers: a [`Weight`], the [`Moments`] of its inputs and a [`Format`] go in, codes and scales come out as [`Rounded`].
//! Every method is a [`Rounder`]; all of them minimize `tr((Ŵ - W) C (Ŵ - W)ᵀ)`, the squared error of the outputs. The same
//! inputs give the same bytes whatever the number of threads: work is split by rows and by tiles of fixed size.

mod descent;
mod gptq;
pub mod heldout;
mod lattice;
mod linalg;
pub mod moments;
pub mod nearest;
mod problem;
pub mod recipe;
mod refit;
mod scales;
mod soft;

pub use self::heldout::{heldout, row_energies, row_errors};
pub use self::moments::{FloatMoments, Moments};
pub use self::nearest::Nearest;
pub use self::recipe::{Method, Recipe};
pub use self::soft::Soft;

#[cfg(test)]
mod tests;

use super::round::{Grid, Rounding};
use mokume_ir::diag::Diagnostic;

/// A weight matrix, row-major; a row computes one output.
#[derive(Debug, Clone, Copy)]
pub struct Weight<'a> {
    /// Outputs.
    pub rows: usize,
    /// Inputs: terms of a sum.
    pub cols: usize,
    /// `[rows, cols]`.
    pub values: &'a [f32],
}

/// What codes and scales look like.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Format {
    /// Bits, levels, and how scales are stored.
    pub rounding: Rounding,
    /// Columns that share a scale; 0 is one scale per row.
    pub group: usize,
}

impl Format {
    /// Columns that share a scale, in rows of `cols`.
    pub fn block(&self, cols: usize) -> usize {
        if self.group == 0 || self.group >= cols { cols.max(1) } else { self.group }
    }
    /// Scales per row of `cols`.
    pub fn blocks(&self, cols: usize) -> usize {
        cols.div_ceil(self.block(cols)).max(1)
    }
}

/// A weight in codes.
#[derive(Debug, Clone, PartialEq)]
pub struct Rounded {
    /// `[rows, cols]`, a code per byte.
    pub codes: Vec<u8>,
    /// `[rows, blocks]`.
    pub grids: Vec<Grid>,
    /// What to add to every output, where the mean is corrected.
    pub bias: Option<Vec<f32>>,
    /// Squared error of the outputs over squared outputs, on the moments that were given: optimistic, see [`heldout`](heldout()).
    pub loss: f64,
    /// What the user should know: more damping than asked for, inputs that are always 0.
    pub remarks: Vec<String>,
}

impl Rounded {
    /// The numbers that the codes stand for, `[rows, cols]`.
    pub fn decode(&self, cols: usize, format: &Format) -> Vec<f32> {
        let (block, blocks) = (format.block(cols), format.blocks(cols));
        let rows = self.codes.chunks(cols.max(1)).zip(self.grids.chunks(blocks));
        let blocks = rows.flat_map(|(codes, grids)| codes.chunks(block).zip(grids));
        blocks.flat_map(|(codes, &grid)| codes.iter().map(move |&code| format.rounding.decode(code, grid))).collect()
    }
}

/// A way to choose codes and scales.
pub trait Rounder: Send + Sync {
    /// Its name in options and reports.
    fn name(&self) -> String;
    /// A quicker rounder with the same aims: the order of several on held-out tokens is as good as known from their scouts.
    fn scout(&self) -> Option<Box<dyn Rounder>> {
        None
    }
    /// `weight` in codes, for inputs with `moments`.
    fn round(&self, weight: &Weight<'_>, moments: &Moments, format: &Format) -> Result<Rounded, RoundError>;
}

/// Why a weight cannot be rounded.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum RoundError {
    /// Sizes disagree.
    #[error("{what} has {found} elements where {expected} belong")]
    Size {
        /// Which matrix or vector.
        what: &'static str,
        /// Elements that the other sizes ask for.
        expected: usize,
        /// Elements that there are.
        found: usize,
    },
    /// NaN or infinity.
    #[error("{what} has {value} at position {at}")]
    NotFinite {
        /// Which matrix or vector.
        what: &'static str,
        /// The number found.
        value: f64,
        /// Its position.
        at: usize,
    },
    /// The moments are those of no inputs: not positive definite, however much is added to the diagonal.
    #[error("moments of {k} inputs are not positive definite, even with {damping} of the mean added to the diagonal")]
    NotPositive {
        /// Inputs.
        k: usize,
        /// The largest damping tried.
        damping: f64,
    },
    /// Numbers or steps out of range.
    #[error("{0}")]
    Option(String),
}

impl From<RoundError> for Diagnostic {
    fn from(error: RoundError) -> Self {
        Diagnostic::input("quantize::rounder", error.to_string())
    }
}

/// Refuses what no rounder can work with.
pub fn check(weight: &Weight<'_>, moments: &Moments) -> Result<(), RoundError> {
    same("weight", weight.rows * weight.cols, weight.values.len())?;
    same("moments", weight.cols, moments.k)?;
    finite("weight", weight.values.iter().map(|&x| f64::from(x)))?;
    moments.check()
}

fn same(what: &'static str, expected: usize, found: usize) -> Result<(), RoundError> {
    if expected == found { Ok(()) } else { Err(RoundError::Size { what, expected, found }) }
}

fn finite(what: &'static str, values: impl Iterator<Item = f64>) -> Result<(), RoundError> {
    match values.enumerate().find(|(_, x)| !x.is_finite()) {
        Some((at, value)) => Err(RoundError::NotFinite { what, value, at }),
        None => Ok(()),
    }
}
