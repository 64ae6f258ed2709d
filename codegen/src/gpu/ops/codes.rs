//! Keys and values as kernels of attention read them: f32, or rows of codes.

use super::emit::{Emit, Float, Int, Memory};
use mokume_runtime::gpu::codes::{CodeRow, Part};

/// Keys or values of one head.
#[derive(Clone, Copy)]
pub(super) struct Rows<'e, 'c> {
    memory: Memory<'e, 'c>,
    codes: Option<CodeRow>,
    width: Int<'e, 'c>,
}

/// Scale and center of a row of codes.
struct Line<'e, 'c> {
    codes: Memory<'e, 'c>,
    scale: Float<'e, 'c>,
    center: Float<'e, 'c>,
}

impl<'e, 'c> Rows<'e, 'c> {
    /// Rows of `width` elements, the blocks of which lie `stride` elements, or bytes of codes, apart.
    pub(super) fn new(
        memory: Memory<'e, 'c>,
        codes: Option<CodeRow>,
        width: Int<'e, 'c>,
        (block, stride): (Int<'e, 'c>, Int<'e, 'c>),
    ) -> Self {
        Rows { memory: memory.from(block * stride, if codes.is_some() { 1 } else { 4 }), codes, width }
    }
    /// The product of row `index` and a vector as long.
    pub(super) fn dot(&self, e: &'e Emit<'e, 'c>, q: Memory<'e, 'c>, index: Int<'e, 'c>) -> Float<'e, 'c> {
        let Some(codes) = self.codes else {
            let range = (e.int(0), self.width, e.int(1));
            return e.fold(range, [e.float(0.0)], |i, [sum]| [sum + q.float(i) * self.memory.float(index * self.width + i)])[0];
        };
        let line = self.line(e, &codes, index);
        let mut sum = e.float(0.0);
        for part in codes.parts() {
            for k in 0..8 / part.bits {
                sum = part_dot(e, &codes, &part, k, &line, (q, sum));
            }
        }
        sum * line.scale
    }
    /// Element `at` of row `index`.
    pub(super) fn element(&self, e: &'e Emit<'e, 'c>, index: Int<'e, 'c>, at: Int<'e, 'c>) -> Float<'e, 'c> {
        let Some(codes) = self.codes else { return self.memory.float(index * self.width + at) };
        let line = self.line(e, &codes, index);
        let mut code = e.float(0.0) - line.center;
        for part in codes.parts() {
            let (byte, place) = (at % part.bytes as i64, at / e.int(part.bytes as i64));
            let bits = line.codes.byte(byte + part.start as i64).down(place.narrow() * i64::from(part.bits));
            code = code + weighted(&codes, &part, bits);
        }
        code * line.scale
    }
    fn line(&self, e: &'e Emit<'e, 'c>, codes: &CodeRow, index: Int<'e, 'c>) -> Line<'e, 'c> {
        let row = self.memory.from(index * codes.bytes() as i64, 1);
        let numbers = row.from(e.int(codes.scale_at() as i64), 1);
        let fixed = || e.float(-codes.levels.affine(codes.bits).1 as f32);
        let center = if codes.zero_point() { numbers.float(e.int(1)) } else { fixed() };
        Line { codes: row, scale: numbers.float(e.int(0)), center }
    }
}

/// Adds the products of the codes whose bits are number `k` in their bytes. The first part of a code brings what is subtracted from it.
fn part_dot<'e, 'c>(
    e: &'e Emit<'e, 'c>,
    codes: &CodeRow,
    part: &Part,
    k: u32,
    line: &Line<'e, 'c>,
    (q, sum): (Memory<'e, 'c>, Float<'e, 'c>),
) -> Float<'e, 'c> {
    let first = k as usize * part.bytes;
    let count = part.bytes.min((codes.width as usize).saturating_sub(first)) as i64;
    let [sum] = e.fold((e.int(0), e.int(count), e.int(1)), [sum], |i, [sum]| {
        let byte = line.codes.byte(i + part.start as i64);
        let bits = weighted(codes, part, byte.down(byte.same(i64::from(k * part.bits))));
        let level = if part.shift == 0 { bits - line.center } else { bits };
        [sum + q.float(i + first as i64) * level]
    });
    sum
}

/// What the low bits of a word stand for as a part of a code.
fn weighted<'e, 'c>(codes: &CodeRow, part: &Part, word: Int<'e, 'c>) -> Float<'e, 'c> {
    let step = codes.levels.affine(codes.bits).0 as f32;
    word.and(word.same((1 << part.bits) - 1)).to_float() * (step * (1u32 << part.shift) as f32)
}
