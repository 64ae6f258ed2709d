//! Packed weights read row by row, as the numbers that they are: an embedding and the head that it shares its weights with hold
//! them once. The layout is that of the product's kernel ([`super::spec`]); numbers are those of `dequantize`, bit for bit.

use super::call::Product;
use super::spec::{CHUNK, KernelSpec, LANES, Layout, ScaleFormat, Strategy, VECTOR, parts};
use bytes::Bytes;
use mokume_ir::quant::Levels;

/// The weights of a product as a table of rows.
#[derive(Debug, Clone)]
pub struct Table {
    spec: KernelSpec,
    layout: Layout,
    weights: Bytes,
    /// Levels per unit of a code, and the level of code 0.
    affine: (i32, i32),
}

/// Codes of a chunk.
type Codes = [u8; CHUNK];

impl Table {
    /// The weights of `product`, whose codes stand for `levels`.
    pub fn new(product: &Product, levels: Levels) -> Self {
        let (spec, layout) = (*product.spec(), *product.layout());
        Table { spec, layout, weights: product.weights().clone(), affine: levels.affine(spec.w_bits) }
    }
    /// Rows, and numbers of a row.
    pub fn dims(&self) -> (usize, usize) {
        (self.layout.n, self.layout.k)
    }
    /// Writes row `n`.
    ///
    /// Panics  when there is no such row, or `out` has not its length.
    pub fn row(&self, n: usize, out: &mut [f32]) {
        let (layout, bytes) = (&self.layout, self.spec.w_bits as usize * VECTOR);
        assert!(n < layout.n && out.len() == layout.k, "row {n} of {} by {}", layout.n, layout.k);
        let tile = &self.weights[n / LANES * layout.tile_bytes..][..layout.tile_bytes];
        let (headers, chunks) = tile.split_at(layout.codes);
        let blocks = headers.chunks_exact(layout.header).zip(chunks.chunks_exact((layout.chunks * bytes).max(1)));
        for ((header, chunks), out) in blocks.zip(out.chunks_mut(layout.block)) {
            let (scale, center) = self.numbers(header, n % LANES);
            for (chunk, out) in chunks.chunks_exact(bytes).zip(out.chunks_mut(CHUNK)) {
                let codes = self.codes(chunk, n % LANES);
                let real = |code: u8| (self.affine.0 * i32::from(code) + center) as f32 * scale;
                out.iter_mut().zip(codes).for_each(|(out, code)| *out = real(code));
            }
        }
    }
    /// Scale, and the level of code 0 without the zero point, of a lane of a block.
    fn numbers(&self, header: &[u8], lane: usize) -> (f32, i32) {
        let (scales, words) = header.split_at(self.spec.scales.bytes() * LANES);
        let scale = match self.spec.scales {
            ScaleFormat::F32 => f32::from_bits(word(scales, lane)),
            ScaleFormat::F16 => half::f16::from_le_bytes([scales[2 * lane], scales[2 * lane + 1]]).to_f32(),
        };
        (scale, if self.spec.w_zero { word(words, lane) as i32 } else { self.affine.1 })
    }
    fn codes(&self, chunk: &[u8], lane: usize) -> Codes {
        match self.spec.strategy {
            Strategy::Unpack => fields(chunk, lane, self.spec.w_bits),
            Strategy::Planes => planes(chunk, lane),
            Strategy::Lookup => indices(chunk, lane),
        }
    }
}

/// Little-endian word number `at`.
fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[4 * at], bytes[4 * at + 1], bytes[4 * at + 2], bytes[4 * at + 3]])
}

fn fields(chunk: &[u8], lane: usize, bits: u8) -> Codes {
    let mut codes = [0; CHUNK];
    for (start, width) in parts(bits) {
        let (vectors, per_byte) = (&chunk[usize::from(start) * VECTOR..], 8 / usize::from(width));
        let mask = ((1u16 << width) - 1) as u8;
        for (k, code) in codes.iter_mut().enumerate() {
            let (vector, field) = (k / 4 / per_byte, k / 4 % per_byte);
            let byte = vectors[vector * VECTOR + 4 * lane + k % 4];
            *code |= (byte >> (usize::from(width) * field) & mask) << start;
        }
    }
    codes
}

fn planes(chunk: &[u8], lane: usize) -> Codes {
    let mut codes = [0; CHUNK];
    for (bit, plane) in chunk.chunks_exact(VECTOR).enumerate() {
        let word = word(plane, lane);
        codes.iter_mut().enumerate().for_each(|(k, code)| *code |= ((word >> k & 1) as u8) << bit);
    }
    codes
}

fn indices(chunk: &[u8], lane: usize) -> Codes {
    let mut codes = [0; CHUNK];
    for (bit, vector) in chunk.chunks_exact(VECTOR).enumerate() {
        let bytes = &vector[4 * lane..][..4];
        codes.iter_mut().enumerate().for_each(|(k, code)| *code |= (bytes[k % 4] >> (k / 4) & 1) << bit);
    }
    codes
}
