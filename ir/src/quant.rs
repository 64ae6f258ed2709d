//! Quantized element types: which levels a code stands for, and how scales and zero points are laid out.

use std::fmt;

/// Which integer a `bits`-wide code stands for.
///
/// Source  two's complement and unsigned: ONNX QuantizeLinear. Odd: APT-LLM "bipolar-INT". Five: ABQ-LLM "bit balance".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Levels {
    /// `-2^(n-1) ..= 2^(n-1)-1`; 1 bit is `{-1, 0}`.
    Signed,
    /// `0 ..= 2^n-1`, used with a zero point.
    Unsigned,
    /// `±1, ±3, … ±(2^n-1)`: level = `2*code - (2^n-1)`; no zero; 1 bit is `{-1, +1}`.
    Odd,
    /// `-2 ..= 2` in 3 bits: level = `code - 2`, codes 0..=4.
    Five,
    /// `-1 ..= 1` in 2 bits: level = `code - 1`, codes 0..=2.
    Ternary,
}

impl Levels {
    /// Name in the text form and in pipelines.
    pub fn name(self) -> &'static str {
        match self {
            Levels::Signed => "signed",
            Levels::Unsigned => "unsigned",
            Levels::Odd => "odd",
            Levels::Five => "five",
            Levels::Ternary => "ternary",
        }
    }
    /// All of them.
    pub const ALL: [Levels; 5] = [Levels::Signed, Levels::Unsigned, Levels::Odd, Levels::Five, Levels::Ternary];
    /// The levels called `name`.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|levels| levels.name() == name)
    }
    /// Level as an affine function of the unsigned code `u`: `step * u + offset`, with two's complement codes stored
    /// with the top bit flipped (`u = level + 2^(n-1)`), so that every kernel sees unsigned codes.
    pub fn affine(self, bits: u8) -> (i32, i32) {
        match self {
            Levels::Signed => (1, -(1 << (bits - 1))),
            Levels::Unsigned => (1, 0),
            Levels::Odd => (2, -((1 << bits) - 1)),
            Levels::Five => (1, -2),
            Levels::Ternary => (1, -1),
        }
    }
    /// Number of levels at `bits`.
    pub fn count(self, bits: u8) -> u32 {
        match self {
            Levels::Five => 5,
            Levels::Ternary => 3,
            _ => 1 << bits,
        }
    }
    /// Smallest and largest level at `bits`.
    pub fn range(self, bits: u8) -> (i32, i32) {
        let (step, offset) = self.affine(bits);
        (offset, step * (self.count(bits) as i32 - 1) + offset)
    }
}

/// Which elements share one scale (and zero point).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Granularity {
    /// The whole tensor.
    Tensor,
    /// One per index of `axis`; scales have shape `[dim(axis)]`.
    Axis(u32),
    /// One per index of `axis` and block of `size` along `along`; scales have shape `[dim(axis), ceil(dim(along)/size)]`.
    Block {
        /// The axis with one row of scales per index.
        axis: u32,
        /// The blocked axis.
        along: u32,
        /// Elements per block; the last block may be ragged.
        size: u32,
    },
    /// One per row: every axis but the last; scales have the tensor's shape without its last axis. Activations per token.
    Row,
    /// One per row and block of so many elements of it; scales have the tensor's shape with `ceil(dim/size)` for its last axis, and
    /// the last block may be ragged. Activations per token and group of channels.
    RowBlock(u32),
}

/// A quantized element type: `real = scale * (level(code) - zero_point)`, scales in f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QuantType {
    /// Bits of a code, 1–8.
    pub bits: u8,
    /// Which levels codes stand for.
    pub levels: Levels,
    /// Which elements share a scale.
    pub granularity: Granularity,
    /// Whether there is a zero point (in levels) beside every scale; without one it is 0.
    pub zero_point: bool,
}

impl Granularity {
    /// Elements along the last axis of a matrix that share a scale of its row; none when all of a row do.
    ///
    /// Errors  for scales that are not per tensor, row, or block of a row.
    pub fn row_block(self) -> Result<Option<u32>, String> {
        match self {
            Granularity::Tensor | Granularity::Axis(0) | Granularity::Row => Ok(None),
            Granularity::Block { axis: 0, along: 1, size } | Granularity::RowBlock(size) if size > 0 => Ok(Some(size)),
            other => Err(format!("scales per {other:?} are none of the rows of a matrix")),
        }
    }
}

/// Elements along a sum per block in which both operands of a product have one scale, when they have one per so many elements
/// (none: one for all).
///
/// Errors  when neither size is a multiple of the other.
pub fn common_block(activations: Option<u32>, weights: Option<u32>) -> Result<Option<u32>, String> {
    match (activations, weights) {
        (Some(0), _) | (_, Some(0)) => Err("a scale per 0 elements".into()),
        (Some(a), Some(w)) if !a.is_multiple_of(w) && !w.is_multiple_of(a) => {
            Err(format!("activations have a scale per {a} elements and weights per {w}: one must be a multiple of the other"))
        }
        (a, w) => Ok(a.into_iter().chain(w).min()),
    }
}

impl QuantType {
    /// Whether bits and levels fit together: 1–8 bits, five-level in 3, ternary in 2.
    pub fn is_valid(&self) -> bool {
        match self.levels {
            Levels::Five => self.bits == 3,
            Levels::Ternary => self.bits == 2,
            _ => (1..=8).contains(&self.bits),
        }
    }
}

/// `!quant<4, signed, block(0, 1, 32)>`, `!quant<8, unsigned, tensor, zero_point>`, `!quant<4, signed, row(64)>`
impl fmt::Display for QuantType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "!quant<{}, {}, ", self.bits, self.levels.name())?;
        match self.granularity {
            Granularity::Tensor => write!(f, "tensor")?,
            Granularity::Axis(axis) => write!(f, "axis({axis})")?,
            Granularity::Block { axis, along, size } => write!(f, "block({axis}, {along}, {size})")?,
            Granularity::Row => write!(f, "row")?,
            Granularity::RowBlock(size) => write!(f, "row({size})")?,
        }
        f.write_str(if self.zero_point { ", zero_point>" } else { ">" })
    }
}
