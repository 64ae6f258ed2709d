//! Weight codes of a chunk, from packed vectors to one byte each.

use super::build::{Build, Result};
use crate::kernel::{KernelSpec, Strategy, VECTOR, parts};
use inkwell::values::{PointerValue, VectorValue};

/// The vectors of a chunk, loaded.
pub(super) struct Packed<'c> {
    parts: Vec<Part<'c>>,
}

struct Part<'c> {
    start: u8,
    width: u8,
    vectors: Vec<VectorValue<'c>>,
    /// Whether neighboring quads are in neighboring vectors, rather than in neighboring bits.
    interleaved: bool,
}

impl<'c> Packed<'c> {
    /// Loads the register's share of every vector of the chunk at `chunk`.
    pub(super) fn load(build: &Build<'c>, spec: &KernelSpec, chunk: PointerValue<'c>) -> Result<Self> {
        let vector = |index: u8| build.load_ints(build.offset_by(chunk, index as usize * VECTOR)?);
        let vectors = (0..spec.w_bits).map(vector).collect::<Result<Vec<_>>>()?;
        if spec.strategy == Strategy::Lookup {
            let parts = vectors.chunks(2).zip((0..).step_by(2)).map(|(bits, start)| Part::of_bits(build, start, bits));
            return Ok(Packed { parts: parts.collect::<Result<_>>()? });
        }
        let part = |(start, width)| {
            let vectors = vectors[start as usize..][..width as usize].to_vec();
            Part { start, width, vectors, interleaved: false }
        };
        Ok(Packed { parts: parts(spec.w_bits).map(part).collect() })
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
    /// The part from bit `start` on, of one or two vectors of a bit each.
    fn of_bits(build: &Build<'c>, start: u8, bits: &[VectorValue<'c>]) -> Result<Self> {
        let &[low, high] = bits else { return Ok(Part { start, width: 1, vectors: bits.to_vec(), interleaved: true }) };
        let [even, odd] = [0x5555_5555, 0xaaaa_aaaa].map(|mask| build.splat_int(mask));
        let join = |low, high| build.at.build_or(build.at.build_and(low, even, "")?, build.at.build_and(high, odd, "")?, "");
        let vectors = vec![join(low, shift(build, high, 0, 1)?)?, join(shift(build, low, 1, 0)?, high)?];
        Ok(Part { start, width: 2, vectors, interleaved: true })
    }
    /// What this part gives to bits `from..from + bits` of the codes of `quad`.
    fn field(&self, build: &Build<'c>, quad: usize, from: u8, bits: u8) -> Result<VectorValue<'c>> {
        let (fields, width) = (8 / self.width as usize, self.width as usize);
        let (vector, place) = if self.interleaved { (quad % width, quad / width) } else { (quad / fields, quad % fields) };
        let vector = self.vectors[vector];
        let (first, last) = (from.max(self.start), (from + bits).min(self.start + self.width));
        let here = width * place + (first - self.start) as usize;
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
