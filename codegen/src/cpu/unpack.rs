//! Weight codes of a chunk, from packed vectors to one byte each.

use super::build::{Build, Result};
use crate::kernel::{VECTOR, parts};
use inkwell::values::{PointerValue, VectorValue};

/// The vectors of a chunk, loaded.
pub(super) struct Packed<'c> {
    parts: Vec<Part<'c>>,
}

struct Part<'c> {
    start: u8,
    width: u8,
    vectors: Vec<VectorValue<'c>>,
}

impl<'c> Packed<'c> {
    /// Loads the register's share of every vector of the chunk at `chunk`.
    pub(super) fn load(build: &Build<'c>, bits: u8, chunk: PointerValue<'c>) -> Result<Self> {
        let vector = |index: u8| build.load_ints(build.offset_by(chunk, index as usize * VECTOR)?);
        let part = |(start, width)| Ok(Part { start, width, vectors: (start..start + width).map(vector).collect::<Result<_>>()? });
        Ok(Packed { parts: parts(bits).map(part).collect::<Result<_>>()? })
    }
    /// Bits `from..from + bits` of the codes of `k = 4 quad .. 4 quad + 4`, one byte each.
    pub(super) fn codes(&self, build: &Build<'c>, quad: usize, from: u8, bits: u8) -> Result<VectorValue<'c>> {
        let inside = self.parts.iter().filter(|part| part.start < from + bits && from < part.start + part.width);
        let mut codes = None;
        for part in inside {
            let field = part.field(build, quad, from, bits)?;
            codes = Some(match codes {
                None => field,
                Some(codes) => build.at.build_or(codes, field, "")?,
            });
        }
        Ok(codes.unwrap_or_else(|| build.splat_int(0)))
    }
}

impl<'c> Part<'c> {
    /// What this part gives to bits `from..from + bits` of the codes of `quad`.
    fn field(&self, build: &Build<'c>, quad: usize, from: u8, bits: u8) -> Result<VectorValue<'c>> {
        let fields = 8 / self.width as usize;
        let vector = self.vectors[quad / fields];
        let (first, last) = (from.max(self.start), (from + bits).min(self.start + self.width));
        let here = self.width as usize * (quad % fields) + (first - self.start) as usize;
        let there = (first - from) as usize;
        if last - first == 8 {
            return Ok(vector);
        }
        let moved = shift(build, vector, here, there)?;
        let mask = ((1u32 << (last - first)) - 1) << there;
        Ok(build.at.build_and(moved, build.splat_int(mask * 0x0101_0101), "")?)
    }
}

/// Moves bit `here` of every byte to bit `there`; bits of neighbor bytes come along.
fn shift<'c>(build: &Build<'c>, vector: VectorValue<'c>, here: usize, there: usize) -> Result<VectorValue<'c>> {
    Ok(match here.cmp(&there) {
        std::cmp::Ordering::Equal => vector,
        std::cmp::Ordering::Greater => build.at.build_right_shift(vector, build.splat_int((here - there) as u32), false, "")?,
        std::cmp::Ordering::Less => build.at.build_left_shift(vector, build.splat_int((there - here) as u32), "")?,
    })
}
