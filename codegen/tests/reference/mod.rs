//! Random quantized products and their definition, as plainly as it can be written.

use mokume_ir::quant::Levels;
use std::fmt;

/// A small random number generator (xorshift).
pub struct Random(u64);

impl Random {
    /// Numbers of this seed.
    pub fn new(seed: u64) -> Self {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }
    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % bound
    }
    /// A float in -1..1.
    pub fn unit(&mut self) -> f32 {
        self.below(1 << 20) as f32 / (1 << 19) as f32 - 1.0
    }
}

/// A quantized product.
pub struct Case {
    pub w_bits: u8,
    pub w_levels: Levels,
    pub a_bits: u8,
    pub a_levels: Levels,
    pub m: usize,
    pub n: usize,
    pub k: usize,
    pub block: Option<u32>,
    /// Elements of a row of activations that share a scale.
    pub a_group: Option<u32>,
    pub a_codes: Vec<u8>,
    pub a_scales: Vec<f32>,
    pub a_zeros: Vec<i32>,
    pub w_codes: Vec<u8>,
    pub w_scales: Vec<f32>,
    /// Empty without zero points.
    pub w_zeros: Vec<i32>,
}

impl Case {
    /// Random codes and scales; every fourth case has only extreme codes. Zero points, where there are some, are levels.
    pub fn random(
        random: &mut Random,
        (w_bits, w_levels, zero): (u8, Levels, bool),
        (a_bits, a_levels): (u8, Levels),
        (m, n, k): (usize, usize, usize),
        block: Option<u32>,
        a_group: Option<u32>,
    ) -> Self {
        let extreme = random.below(4) == 0;
        let mut codes = |count: usize, levels: Levels, bits: u8| -> Vec<u8> {
            let top = levels.count(bits) as usize;
            (0..count).map(|_| if extreme { random.below(2) * (top - 1) } else { random.below(top) } as u8).collect()
        };
        let (a_codes, w_codes) = (codes(m * k, a_levels, a_bits), codes(n * k, w_levels, w_bits));
        let blocks = block.map_or(1, |size| k.div_ceil(size as usize));
        let mut zeros = |count: usize, levels: Levels, bits: u8| -> Vec<i32> {
            let (low, high) = levels.range(bits);
            (0..count).map(|_| low + random.below((high - low + 1) as usize) as i32).collect()
        };
        let w_zeros = if zero { zeros(n * blocks, w_levels, w_bits) } else { vec![] };
        let groups = m * a_group.map_or(1, |size| k.div_ceil(size as usize));
        let a_zeros = if a_levels == Levels::Unsigned { zeros(groups, a_levels, a_bits) } else { vec![0; groups] };
        let a_scales = (0..groups).map(|_| random.unit().abs() + 0.01).collect();
        // Some are f16, the smallest of them without an exponent.
        let half = |x: f32| half::f16::from_f32(x.abs() * 2f32.powi(-12)).to_f32();
        let w_scales = (0..n * blocks).map(|_| if n % 2 == 1 { half(random.unit()) } else { random.unit() }).collect();
        Case { w_bits, w_levels, a_bits, a_levels, m, n, k, block, a_group, a_codes, a_scales, a_zeros, w_codes, w_scales, w_zeros }
    }
    /// Elements along k of the blocks in which both operands have one scale.
    pub fn size(&self) -> usize {
        self.block.into_iter().chain(self.a_group).min().map_or(self.k, |size| size as usize)
    }
    /// Such blocks along k.
    pub fn blocks(&self) -> usize {
        self.k.div_ceil(self.size())
    }
    /// Where the scale and zero point of a column's block of weights are.
    pub fn of_weights(&self, n: usize, g: usize) -> usize {
        self.block.map_or(n, |size| n * self.k.div_ceil(size as usize) + g * self.size() / size as usize)
    }
    /// Where the scale and zero point of a row's block of activations are.
    pub fn of_activations(&self, m: usize, g: usize) -> usize {
        self.a_group.map_or(m, |size| m * self.k.div_ceil(size as usize) + g * self.size() / size as usize)
    }
    /// Weight codes as constants store them.
    pub fn packed_weights(&self) -> Vec<u8> {
        self.w_codes.chunks(self.k).flat_map(|row| pack_row(row, self.w_bits)).collect()
    }
    /// `Σ (level_a - zero_a)(level_w - zero_w)` for every row, block and column.
    pub fn accumulators(&self) -> Vec<i32> {
        let size = self.size();
        let mut sums = Vec::new();
        for m in 0..self.m {
            for g in 0..self.blocks() {
                sums.extend((0..self.n).map(|n| self.dot(m, n, g, g * size..((g + 1) * size).min(self.k))));
            }
        }
        sums
    }
    fn dot(&self, m: usize, n: usize, g: usize, ks: std::ops::Range<usize>) -> i32 {
        let (a_step, a_offset) = self.a_levels.affine(self.a_bits);
        let (w_step, w_offset) = self.w_levels.affine(self.w_bits);
        let (a_zero, w_zero) = (self.a_zeros[self.of_activations(m, g)], self.w_zeros.get(self.of_weights(n, g)).copied().unwrap_or(0));
        let (a, w) = (&self.a_codes[m * self.k..][ks.clone()], &self.w_codes[n * self.k..][ks]);
        let sum: i64 = a
            .iter()
            .zip(w)
            .map(|(&a, &w)| i64::from(a_step * i32::from(a) + a_offset - a_zero) * i64::from(w_step * i32::from(w) + w_offset - w_zero))
            .sum();
        i32::try_from(sum).unwrap()
    }
    /// The f32 results from the accumulators.
    pub fn outputs(&self, sums: &[i32]) -> Vec<f32> {
        let blocks = self.blocks();
        let output = |m: usize, n: usize| {
            let mut sum = -0f32;
            for g in 0..blocks {
                let product = sums[(m * blocks + g) * self.n + n] as f32 * self.w_scales[self.of_weights(n, g)];
                sum += if self.a_group.is_some() { product * self.a_scales[self.of_activations(m, g)] } else { product };
            }
            if self.a_group.is_some() { sum } else { sum * self.a_scales[m] }
        };
        (0..self.m).flat_map(|m| (0..self.n).map(move |n| (m, n))).map(|(m, n)| output(m, n)).collect()
    }
}

fn pack_row(codes: &[u8], bits: u8) -> Vec<u8> {
    let mut row = vec![0u8; (codes.len() * bits as usize).div_ceil(8)];
    for (i, code) in codes.iter().enumerate() {
        for bit in 0..bits as usize {
            let at = i * bits as usize + bit;
            row[at / 8] |= (code >> bit & 1) << (at % 8);
        }
    }
    row
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (w, a) = (self.w_levels.name(), self.a_levels.name());
        write!(f, "{} x {} x {} w{} {w} a{} {a} block {:?}", self.m, self.n, self.k, self.w_bits, self.a_bits, self.block)?;
        self.a_group.iter().try_for_each(|size| write!(f, " groups of {size}"))?;
        write!(f, "{}", if self.w_zeros.is_empty() { "" } else { " with zeros" })
    }
}
