//! Every number by itself: the scale whose weighted squared error is least, then the nearest level.

use super::{Format, Moments, RoundError, Rounded, Rounder, Weight, check, heldout};
use crate::quantize::round::Grid;
use rayon::prelude::*;

/// Round to nearest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Nearest {}

/// Rows handled by one task.
const CHUNK: usize = 16;

impl Rounder for Nearest {
    fn name(&self) -> String {
        "nearest".to_string()
    }
    fn round(&self, weight: &Weight<'_>, moments: &Moments, format: &Format) -> Result<Rounded, RoundError> {
        check(weight, moments)?;
        let (block, blocks) = (format.block(weight.cols), format.blocks(weight.cols));
        let mut codes = vec![0; weight.values.len()];
        let mut grids = vec![Grid::default(); weight.rows * blocks];
        let rows = weight.values.par_chunks(weight.cols.max(1)).zip(codes.par_chunks_mut(weight.cols.max(1)));
        rows.zip(grids.par_chunks_mut(blocks)).with_min_len(CHUNK).for_each(|((values, codes), grids)| {
            for ((values, codes), grid) in values.chunks(block).zip(codes.chunks_mut(block)).zip(grids) {
                *grid = format.rounding.quantize(values, codes);
            }
        });
        let mut rounded = Rounded { codes, grids, bias: None, loss: 0.0, remarks: vec![] };
        rounded.loss = heldout(weight, &rounded, format, moments)?;
        Ok(rounded)
    }
}
