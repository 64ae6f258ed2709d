//! The description of a kernel that quantizes rows of activations and packs them for [`super::spec`].
//!
//! Codes are those of [`crate::ops::quantize`], bit for bit; what is fused before it computes as the ops of its name do.

use super::device::Address;
use super::spec::{Layout, Lowering, MatmulSpec, fragments, padded_block};
use mokume_ir::quant::Levels;
use std::fmt;

/// What is quantized.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// x.
    Plain,
    /// x normalized by its root mean square, times a weight.
    RmsNorm,
    /// x without its mean, over its deviation, times a weight, plus a bias.
    LayerNorm,
    /// silu(x) times another.
    SiluMul,
    /// The patches of images, as [`Patches`] says.
    Patches,
}

impl Source {
    /// All whose rows lie one after the other.
    pub const ALL: [Source; 4] = [Source::Plain, Source::RmsNorm, Source::LayerNorm, Source::SiluMul];
    /// Its name in symbols.
    pub fn name(self) -> &'static str {
        match self {
            Source::Plain => "plain",
            Source::RmsNorm => "rms_norm",
            Source::LayerNorm => "layer_norm",
            Source::SiluMul => "silu_mul",
            Source::Patches => "patches",
        }
    }
    /// Sums over a row that come before its values.
    pub fn sums(self) -> usize {
        match self {
            Source::Plain | Source::SiluMul | Source::Patches => 0,
            Source::RmsNorm => 1,
            Source::LayerNorm => 2,
        }
    }
}

/// Where the elements of patches lie in images `[image][channel][y][x]`: a row per window, tap by tap, channels innermost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patches {
    /// Channels of an image.
    pub channels: i32,
    /// Along both axes: input, windows, kernel, strides, dilations, padding before.
    pub places: [i32; 12],
}

impl Patches {
    /// How many numbers describe patches.
    pub const NUMBERS: usize = 13;
    /// The numbers as kernels read them.
    pub fn words(&self) -> [i32; Self::NUMBERS] {
        let mut words = [self.channels; Self::NUMBERS];
        words[1..].copy_from_slice(&self.places);
        words
    }
    /// Where element `i` of row `row` is; none in the padding.
    pub fn place(&self, row: usize, i: usize) -> Option<usize> {
        let [h, w, oh, ow, _, kw, sy, sx, dy, dx, by, bx] = self.places.map(|place| place as usize);
        let (channels, window) = (self.channels as usize, row % (oh * ow));
        let (tap, channel) = (i / channels, i % channels);
        let y = (window / ow * sy + tap / kw * dy).checked_sub(by).filter(|&y| y < h)?;
        let x = (window % ow * sx + tap % kw * dx).checked_sub(bx).filter(|&x| x < w)?;
        Some(((row / (oh * ow) * channels + channel) * h + y) * w + x)
    }
}

/// How packed activations lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Form {
    /// Bytes, for [`Lowering::Integer`].
    Bytes,
    /// Bytes in groups of eight rows, for [`Lowering::IntegerGroup`].
    Groups,
    /// Planes of groups of so many rows.
    Planes(u8),
}

/// A kernel: everything its machine code depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QuantizeSpec {
    /// What is quantized.
    pub source: Source,
    /// Bits of a code.
    pub bits: u8,
    /// Levels; unsigned has a zero point.
    pub levels: Levels,
    /// Whether scale and zero point are given instead of found per row.
    pub given: bool,
    /// How results lie.
    pub form: Form,
    /// Elements per scale block of the product.
    pub block: Option<u32>,
    /// Elements of a row that share a scale found from them, whole blocks; none is all.
    pub group: Option<u32>,
}

impl QuantizeSpec {
    /// Threads of a block, which quantizes one row.
    pub const THREADS: u32 = 256;
    /// Elements whose sum is taken apart, in [`QuantizeSpec::LANES`] lanes.
    pub const SUM_BLOCK: usize = 1024;
    /// Lanes of a sum.
    pub const LANES: usize = 16;
    /// The kernel that prepares activations for `matmul`.
    pub fn of(matmul: &MatmulSpec, source: Source, levels: Levels, given: bool) -> Self {
        let form = match matmul.lowering {
            Lowering::Integer => Form::Bytes,
            Lowering::IntegerGroup => Form::Groups,
            _ => Form::Planes(matmul.tile.tokens),
        };
        QuantizeSpec { source, bits: matmul.a_bits, levels, given, form, block: matmul.block, group: None }
    }
    /// With a scale per so many elements of a row.
    pub fn with_group(self, group: Option<u32>) -> Self {
        QuantizeSpec { group, ..self }
    }
    /// Name of the kernel.
    pub fn symbol(&self) -> String {
        let form = match self.form {
            Form::Bytes => "bytes".to_string(),
            Form::Groups => "groups".to_string(),
            Form::Planes(tokens) => format!("planes{tokens}"),
        };
        let block = self.block.map_or(String::new(), |size| format!("_g{size}"));
        let group = self.group.map_or(String::new(), |size| format!("_ag{size}"));
        let given = if self.given { "_given" } else { "" };
        format!("quantize_{}_a{}_{}_{form}{block}{group}{given}", self.source.name(), self.bits, self.levels.name())
    }
    /// Rows of a group.
    pub fn tokens(&self) -> usize {
        match self.form {
            Form::Bytes => 1,
            Form::Groups => 8,
            Form::Planes(tokens) => tokens.into(),
        }
    }
    /// Fragments of a group of rows.
    pub fn fragments(&self) -> usize {
        fragments(self.bits, self.tokens() as u8)
    }
    /// Elements that a scale block takes; none without blocks.
    pub fn padded_block(&self) -> Option<usize> {
        self.block.map(|size| padded_block(size as usize))
    }
    /// Blocks of threads for `m` rows.
    pub fn grid(&self, m: usize) -> [u32; 3] {
        [m.next_multiple_of(self.tokens()) as u32, 1, 1]
    }
    /// Bytes of shared memory for rows of `k` elements.
    pub fn shared_bytes(&self, k: usize) -> u32 {
        if self.source.sums() == 0 { 0 } else { (k.div_ceil(Self::SUM_BLOCK) * (Self::LANES * 4 + 8)) as u32 }
    }
}

/// `quantize rms_norm a8 signed, planes of 1`
impl fmt::Display for QuantizeSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "quantize {} a{} {}, ", self.source.name(), self.bits, self.levels.name())?;
        match self.form {
            Form::Bytes => f.write_str("bytes"),
            Form::Groups => f.write_str("groups of bytes"),
            Form::Planes(tokens) => write!(f, "planes of {tokens}"),
        }
    }
}

/// The kernel that finds scale and zero point of a whole tensor: one block of threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RangeSpec {
    /// Bits of a code.
    pub bits: u8,
    /// Levels; unsigned has a zero point.
    pub levels: Levels,
}

impl RangeSpec {
    /// Threads of the block.
    pub const THREADS: u32 = 1024;
    /// Name of the kernel.
    pub fn symbol(&self) -> String {
        format!("quantize_range_a{}_{}", self.bits, self.levels.name())
    }
    /// Parameters: the elements, where f32 scale and i32 zero point go, how many elements there are.
    pub fn words(x: Address, given: Address, count: usize) -> [u64; 3] {
        [x, given, count as u64]
    }
}

/// Operands of a kernel that quantizes, in the order of its parameters: addresses, then i32, then f32.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct QuantizeArgs {
    /// f32 rows.
    pub x: Address,
    /// f32 weight of a norm, rows to multiply with, or the i32 that describe patches.
    pub second: Address,
    /// f32 bias of a norm.
    pub third: Address,
    /// f32 scale and i32 zero point, if given.
    pub given: Address,
    /// Packed activations.
    pub activations: Address,
    /// i32 per row and block.
    pub corrections: Address,
    /// i32 per row, or per row and block when groups of a row have scales.
    pub centers: Address,
    /// f32, as many.
    pub scales: Address,
    /// Rows.
    pub m: u32,
    /// Elements of a row.
    pub k: u32,
    /// Chunks along k.
    pub chunks: u32,
    /// Scale blocks along k.
    pub blocks: u32,
    /// `step_a [cw]`: what a block's sum of bytes is multiplied by.
    pub factor: i32,
    /// Added to the variance by a norm.
    pub epsilon: f32,
    /// Part of the range that a found scale spans.
    pub clip: f32,
}

impl QuantizeArgs {
    /// Addresses among the parameters.
    pub const ADDRESSES: usize = 8;
    /// Integers among the parameters.
    pub const NUMBERS: usize = 5;
    /// Floats among the parameters.
    pub const FLOATS: usize = 2;
    /// With the sizes of `m` rows.
    pub fn sized(self, layout: &Layout, m: usize) -> Self {
        QuantizeArgs { m: m as u32, k: layout.k as u32, chunks: layout.chunks as u32, blocks: layout.blocks as u32, ..self }
    }
    /// The parameters of a launch.
    pub fn words(&self) -> [u64; Self::ADDRESSES + Self::NUMBERS + Self::FLOATS] {
        let QuantizeArgs { x, second, third, given, activations, corrections, centers, scales, .. } = *self;
        let [m, k, chunks, blocks] = [self.m, self.k, self.chunks, self.blocks].map(u64::from);
        let [epsilon, clip] = [self.epsilon, self.clip].map(|number| u64::from(number.to_bits()));
        let factor = u64::from(self.factor as u32);
        [x, second, third, given, activations, corrections, centers, scales, m, k, chunks, blocks, factor, epsilon, clip]
    }
}
