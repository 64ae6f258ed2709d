//! What scales of channels begin with: `max|x|^alpha / max|w|^(1 - alpha)`.
//!
//! Source  Xiao et al., "SmoothQuant", 2023, eq. 4.

use super::blocks::Block;
use crate::quantize::sites::Site;
use crate::quantize::smooth::{columns, raise};
use mokume_ir::constant::Constant;
use mokume_ir::edit::Editor;

/// Least scale to begin with.
const LEAST: f32 = 1e-5;

/// Largest magnitudes per channel of what four products read, and per column of one weight that reads it.
#[derive(Debug, Clone)]
pub struct Peaks {
    /// How much of the difference between channels weights take.
    pub alpha: f32,
    pub qkv: Vec<f32>,
    pub out: Vec<f32>,
    pub mlp: Vec<f32>,
    pub down: Vec<f32>,
    pub q_columns: Vec<f32>,
    pub o_columns: Vec<f32>,
    pub up_columns: Vec<f32>,
    pub down_columns: Vec<f32>,
}

impl Peaks {
    /// Of a block's weights, and of what q, o, gate and down read in every sample.
    pub fn new(editor: &Editor<'_>, block: &Block, alpha: f32, seen: &[[Constant; 4]]) -> Self {
        let largest = |index: usize, site: &Site| {
            let mut peaks = vec![0f32; site.cols];
            seen.iter().for_each(|tensors| raise(&mut peaks, &tensors[index].to_f32s().unwrap_or_default()));
            peaks
        };
        let columns = |site: &Site| columns(&editor.module().constants[site.weight], site);
        Peaks {
            alpha,
            qkv: largest(0, &block.q),
            out: largest(1, &block.o),
            mlp: largest(2, &block.up),
            down: largest(3, &block.down),
            q_columns: columns(&block.q),
            o_columns: columns(&block.o),
            up_columns: columns(&block.up),
            down_columns: columns(&block.down),
        }
    }
    /// Scales to begin with.
    pub fn start(&self, activations: &[f32], weights: &[f32]) -> Vec<f32> {
        let scale = |(x, w): (&f32, &f32)| (x.max(LEAST).powf(self.alpha) / w.max(LEAST).powf(1.0 - self.alpha)).max(LEAST);
        activations.iter().zip(weights).map(scale).collect()
    }
}
