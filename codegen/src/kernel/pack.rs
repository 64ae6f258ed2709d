//! Packs weights into the layout that [`mokume_runtime::cpu::spec`] describes.

use super::{CHUNK, KernelSpec, LANES, Layout, ScaleFormat, Strategy, VECTOR, parts};
use mokume_ir::quant::Levels;
use rayon::prelude::*;

/// Quantized weights `[n, k]`: codes packed as constants are, with scales and zero points per column and block.
#[derive(Debug, Clone, Copy)]
pub struct Weights<'a> {
    /// Which levels the codes stand for.
    pub levels: Levels,
    /// Columns.
    pub n: usize,
    /// Elements along k.
    pub k: usize,
    /// Elements along k that share a scale; none is all.
    pub block: Option<usize>,
    /// Codes, lowest bits first, every row from a byte on.
    pub codes: &'a [u8],
    /// One, `n`, or `n * blocks`.
    pub scales: &'a [f32],
    /// As many as scales, or none.
    pub zero_points: &'a [i32],
}

impl Weights<'_> {
    pub(crate) fn code(&self, bits: u8, n: usize, k: usize) -> u32 {
        let row = &self.codes[n * (self.k * bits as usize).div_ceil(8)..];
        let bit = k * bits as usize;
        let low = u32::from(row[bit / 8]);
        let crosses = bit % 8 + bits as usize > 8;
        let high = if crosses { u32::from(row[bit / 8 + 1]) } else { 0 };
        ((high << 8 | low) >> (bit % 8)) & ((1 << bits) - 1)
    }
    /// The scale of element `k` of a column.
    pub(crate) fn scale(&self, n: usize, k: usize) -> f32 {
        self.scales[self.index(n, k, self.scales.len())]
    }
    /// The zero point of element `k` of a column.
    pub(crate) fn zero(&self, n: usize, k: usize) -> i32 {
        if self.zero_points.is_empty() { 0 } else { self.zero_points[self.index(n, k, self.zero_points.len())] }
    }
    /// Index into `len` scales: per tensor, per column, or per column and block.
    fn index(&self, n: usize, k: usize, len: usize) -> usize {
        let per_column = len / self.n;
        let block = self.block.map_or(0, |size| k / size);
        n * per_column + block.min(per_column.saturating_sub(1))
    }
}

/// Weights in the kernel's layout.
///
/// Panics  when scales or codes are fewer than `n` and `k` ask for.
pub fn pack(spec: &KernelSpec, weights: &Weights<'_>) -> Vec<u8> {
    let layout = spec.layout(weights.n, weights.k);
    let mut packed = vec![0u8; layout.weight_bytes()];
    if layout.tile_bytes > 0 {
        packed.par_chunks_mut(layout.tile_bytes).enumerate().for_each(|(tile, bytes)| pack_tile(spec, &layout, weights, tile, bytes));
    }
    packed
}

fn pack_tile(spec: &KernelSpec, layout: &Layout, weights: &Weights<'_>, tile: usize, bytes: &mut [u8]) {
    let (headers, chunks) = bytes.split_at_mut(layout.codes);
    let headers = headers.chunks_exact_mut(layout.header);
    let chunks = chunks.chunks_exact_mut(layout.chunks * spec.w_bits as usize * VECTOR);
    let columns = tile * LANES..((tile + 1) * LANES).min(layout.n);
    for (g, (header, chunks)) in headers.zip(chunks).enumerate() {
        for n in columns.clone() {
            let codes: Vec<u32> = layout.block_range(g).map(|k| weights.code(spec.w_bits, n, k)).collect();
            pack_header(spec, weights, (n, layout.block_range(g).start), &codes, header);
            pack_codes(spec, n % LANES, &codes, chunks);
        }
    }
}

/// Scale, `cw` and `Σ (level - zero)` of the block of column `n` that begins at `k`.
fn pack_header(spec: &KernelSpec, weights: &Weights<'_>, (n, k): (usize, usize), codes: &[u32], header: &mut [u8]) {
    let (step, offset) = weights.levels.affine(spec.w_bits);
    let center = offset - weights.zero(n, k);
    let sum: i32 = codes.iter().map(|&code| step * code as i32 + center).sum();
    let (scale, lane) = (weights.scale(n, k), n % LANES);
    let (scales, words) = header.split_at_mut(spec.scales.bytes() * LANES);
    match spec.scales {
        ScaleFormat::F32 => scales[lane * 4..][..4].copy_from_slice(&scale.to_le_bytes()),
        ScaleFormat::F16 => scales[lane * 2..][..2].copy_from_slice(&half::f16::from_f32(scale).to_le_bytes()),
    }
    let present = [(spec.w_zero, center), (spec.a_center, sum)].into_iter().filter(|word| word.0);
    for ((_, word), words) in present.zip(words.chunks_exact_mut(VECTOR)) {
        words[lane * 4..][..4].copy_from_slice(&word.to_le_bytes());
    }
}

/// The codes of one column of a block.
fn pack_codes(spec: &KernelSpec, lane: usize, codes: &[u32], chunks: &mut [u8]) {
    let bytes = spec.w_bits as usize * VECTOR;
    for (codes, chunk) in codes.chunks(CHUNK).zip(chunks.chunks_exact_mut(bytes)) {
        match spec.strategy {
            Strategy::Unpack => pack_fields(spec.w_bits, lane, codes, chunk),
            Strategy::Planes => pack_planes(spec.w_bits, lane, codes, chunk),
            Strategy::Lookup => pack_indices(spec.w_bits, lane, codes, chunk),
        }
    }
}

fn pack_fields(bits: u8, lane: usize, codes: &[u32], chunk: &mut [u8]) {
    for (start, width) in parts(bits) {
        let vectors = &mut chunk[start as usize * VECTOR..][..width as usize * VECTOR];
        let fields = 8 / width as usize;
        for (k, code) in codes.iter().enumerate() {
            let (vector, field) = (k / 4 / fields, k / 4 % fields);
            let part = (code >> start) as u8 & ((1u16 << width) - 1) as u8;
            vectors[vector * VECTOR + lane * 4 + k % 4] |= part << (width as usize * field);
        }
    }
}

fn pack_planes(bits: u8, lane: usize, codes: &[u32], chunk: &mut [u8]) {
    for bit in 0..bits as usize {
        let word = codes.iter().enumerate().fold(0u32, |word, (k, code)| word | (code >> bit & 1) << k);
        chunk[bit * VECTOR + lane * 4..][..4].copy_from_slice(&word.to_le_bytes());
    }
}

fn pack_indices(bits: u8, lane: usize, codes: &[u32], chunk: &mut [u8]) {
    for (k, code) in codes.iter().enumerate() {
        for bit in 0..bits as usize {
            chunk[bit * VECTOR + lane * 4 + k % 4] |= ((code >> bit & 1) << (k / 4)) as u8;
        }
    }
}
