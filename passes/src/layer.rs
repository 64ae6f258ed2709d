//! What passes measure of single layers.

use serde::{Deserialize, Serialize};

/// A product that was rounded with calibration data, and how far its outputs moved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LayerReport {
    /// The user's name of the node.
    pub name: String,
    /// Output channels.
    pub rows: usize,
    /// Terms of a sum.
    pub cols: usize,
    /// Bits of a weight.
    pub bits: u8,
    /// The levels that codes stand for.
    pub levels: String,
    /// Bits that an artifact holds per weight: codes, scales, zero points, sums and padding.
    pub stored: f64,
    /// By how much rounding this weight was expected to raise the loss of the model, where its width was chosen by that.
    pub predicted: Option<f64>,
    /// How its weights were rounded.
    pub rounder: String,
    /// Squared error of the outputs over squared outputs of the float model, on the samples that it was rounded for: all of them.
    pub loss: f64,
    /// The same on samples that were held out, rounded for the others by the same way or its quicker scout; none when there are too
    /// few samples.
    pub heldout: Option<f64>,
}

/// `"/layers.0/q_proj": gptq, error 1.23e-3, held out 1.41e-3`; where widths were chosen `…: 3 bits signed, gptq, …`
impl std::fmt::Display for LayerReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: ", self.name)?;
        self.predicted.map_or(Ok(()), |_| write!(f, "{} bits {}, ", self.bits, self.levels))?;
        write!(f, "{}, error {:.2e}", self.rounder, self.loss)?;
        self.heldout.map_or(Ok(()), |heldout| write!(f, ", held out {heldout:.2e}"))
    }
}
