//! The kernels of ops: everything their code depends on, and their names, which codegen and launches compute alike.
//!
//! Sizes are arguments, so a kernel serves every shape. Arguments are words: addresses, then i64 sizes and strides in elements,
//! then the bits of f32, in the order that the launch of the family documents.

use super::codes::CodeRow;
use super::map::Map;
use super::quantize::{QuantizeSpec, RangeSpec};
use super::spec::{FinishSpec, MatmulSpec};
use mokume_ir::op::{ReduceKind, ScatterKind};
use mokume_ir::types::Elem;

/// Axes that kernels over strided tensors take; shapes are joined to so few.
pub const RANK: usize = 6;
/// Threads of a block that works on its own elements.
pub const THREADS: u32 = 256;
/// Threads of a block that works on one row together.
pub const ROW_THREADS: u32 = 128;
/// Rows and columns of a tile of `matmul`; a block has one thread per element of it.
pub const TILE: u32 = 16;

/// A kernel of an op.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kernel {
    /// An expression for every element.
    Map(Map),
    /// Elements of so many bytes from strided to strided places.
    Copy {
        /// Bytes of an element.
        bytes: u8,
    },
    /// Slices chosen by indices.
    Gather {
        /// Bytes of an element.
        bytes: u8,
        /// Indices are i64, else i32.
        wide: bool,
    },
    /// Rows of quantized weights, as numbers.
    BitGather {
        /// Bits of a weight.
        bits: u8,
        /// Levels from code to code.
        step: u8,
        /// Weights have zero points.
        zeros: bool,
        /// Indices are i64, else i32.
        wide: bool,
    },
    /// A reduction over some axes.
    Reduce {
        /// Which one.
        kind: ReduceKind,
        /// Of what.
        elem: Elem,
    },
    /// Where along an axis the largest or smallest element is.
    ArgReduce {
        /// Largest, else smallest.
        largest: bool,
        /// The last of equal ones, else the first.
        last: bool,
        /// Of what: f32 or i32.
        elem: Elem,
    },
    /// The largest or smallest elements along an axis, in order.
    TopK {
        /// Largest, else smallest.
        largest: bool,
        /// Of what: f32 or i32.
        elem: Elem,
    },
    /// Running sums or products along an axis.
    Cumulative {
        /// Products, else sums.
        product: bool,
        /// Without the element itself.
        exclusive: bool,
        /// From the end.
        reverse: bool,
        /// Of what.
        elem: Elem,
    },
    /// Writes elements at indices along an axis.
    ScatterElements {
        /// How they join what is there.
        kind: ScatterKind,
        /// Of what.
        elem: Elem,
        /// Indices are i64, else i32.
        wide: bool,
    },
    /// Writes slices at places.
    ScatterNd {
        /// How they join what is there.
        kind: ScatterKind,
        /// Of what.
        elem: Elem,
    },
    /// Softmax of f32 along an axis.
    Softmax {
        /// Its logarithm.
        log: bool,
    },
    /// Layer norm or RMS norm of f32 rows.
    Norm {
        /// Subtract the mean.
        center: bool,
        /// There is a bias.
        bias: bool,
    },
    /// Every block of f32 elements times a Hadamard matrix.
    Hadamard {
        /// Elements of a block.
        block: u32,
    },
    /// Rotary position embedding of f32.
    Rotary {
        /// Pairs are neighbors.
        interleaved: bool,
        /// One angle per element, else per pair.
        whole: bool,
    },
    /// Attention of f32; keys and values may be codes.
    Attention(Attention),
    /// Quantizes rows of f32 to where they go in state.
    Codes(CodeRow),
    /// Product of f32 matrices.
    Matmul,
    /// Convolution of f32 over two axes.
    Conv {
        /// There is a bias.
        bias: bool,
    },
    /// Pooling of f32 over two axes.
    Pool {
        /// Means, else maxima.
        mean: bool,
        /// Means count padding.
        padding: bool,
    },
    /// Normalization of f32 over groups of channels.
    GroupNorm,
    /// Weighted sums of f32 along an axis.
    Resample,
    /// Product of packed rows and quantized weights.
    BitMatmul(MatmulSpec),
    /// Makes results of the raw sums of a product.
    Finish(FinishSpec),
    /// Quantizes and packs rows.
    Quantize(QuantizeSpec),
    /// Finds the scale of a whole tensor.
    Range(RangeSpec),
}

/// What the code of an attention kernel depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Attention {
    /// Elements of a result that every thread holds: the width of values over [`ROW_THREADS`], rounded up.
    pub columns: u32,
    /// Queries do not see later keys.
    pub causal: bool,
    /// Scores are bounded by a tanh.
    pub softcap: bool,
    /// What is added or excluded.
    pub mask: Mask,
    /// Keys are rows of codes.
    pub keys: Option<CodeRow>,
    /// Values are rows of codes.
    pub values: Option<CodeRow>,
}

/// Masks of attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mask {
    /// None.
    None,
    /// True attends.
    Bool,
    /// Added to scores.
    Added,
}

impl Kernel {
    /// Name of the kernel: distinct for distinct kernels, the same everywhere.
    pub fn symbol(&self) -> String {
        match self {
            Kernel::Map(map) => map.symbol(),
            Kernel::Copy { bytes } => format!("copy_b{bytes}"),
            Kernel::Gather { bytes, wide } => format!("gather_b{bytes}_{}", if *wide { "i64" } else { "i32" }),
            Kernel::BitGather { bits, step, zeros, wide } => {
                let (zeros, index) = (if *zeros { "_wz" } else { "" }, if *wide { "i64" } else { "i32" });
                format!("bit_gather_w{bits}_x{step}{zeros}_{index}")
            }
            Kernel::Reduce { kind, elem } => format!("reduce_{}_{}", kind.name(), elem.name()),
            Kernel::ArgReduce { largest, last, elem } => {
                let (most, last) = (if *largest { "max" } else { "min" }, if *last { "_last" } else { "" });
                format!("arg_{most}{last}_{}", elem.name())
            }
            Kernel::TopK { largest, elem } => format!("top_{}_{}", if *largest { "max" } else { "min" }, elem.name()),
            Kernel::Cumulative { product, exclusive, reverse, elem } => {
                let flag = |on: bool, name: &'static str| if on { name } else { "" };
                let (kind, exclusive) = (if *product { "product" } else { "sum" }, flag(*exclusive, "_exclusive"));
                format!("cumulative_{kind}{exclusive}{}_{}", flag(*reverse, "_reverse"), elem.name())
            }
            Kernel::ScatterElements { kind, elem, wide } => {
                format!("scatter_{}_{}_{}", kind.name(), elem.name(), if *wide { "i64" } else { "i32" })
            }
            Kernel::ScatterNd { kind, elem } => format!("scatter_nd_{}_{}", kind.name(), elem.name()),
            Kernel::Softmax { log } => (if *log { "log_softmax" } else { "softmax" }).into(),
            Kernel::Norm { center, bias } => {
                format!("{}{}", if *center { "layer_norm" } else { "rms_norm" }, if *bias { "_bias" } else { "" })
            }
            Kernel::Hadamard { block } => format!("hadamard_{block}"),
            Kernel::Rotary { interleaved, whole } => {
                format!("rotary_{}_{}", if *interleaved { "neighbors" } else { "halves" }, if *whole { "whole" } else { "half" })
            }
            Kernel::Attention(attention) => attention.symbol(),
            Kernel::Codes(row) => format!("codes_{}", row.symbol()),
            Kernel::Matmul => "matmul_f32".into(),
            Kernel::Conv { bias } => (if *bias { "conv_bias" } else { "conv" }).into(),
            Kernel::Pool { mean: false, .. } => "pool_max".into(),
            Kernel::Pool { padding, .. } => (if *padding { "pool_mean_padded" } else { "pool_mean" }).into(),
            Kernel::GroupNorm => "group_norm".into(),
            Kernel::Resample => "resample".into(),
            Kernel::BitMatmul(spec) => spec.symbol(),
            Kernel::Finish(spec) => spec.symbol(),
            Kernel::Quantize(spec) => spec.symbol(),
            Kernel::Range(spec) => spec.symbol(),
        }
    }
}

impl Attention {
    fn symbol(&self) -> String {
        let flag = |on: bool, name: &'static str| if on { name } else { "" };
        let mask = match self.mask {
            Mask::None => "",
            Mask::Bool => "_bool_mask",
            Mask::Added => "_added_mask",
        };
        let codes = |row: Option<CodeRow>, name: &str| row.map_or(String::new(), |row| format!("_{name}_{}", row.symbol()));
        let codes = format!("{}{}", codes(self.keys, "k"), codes(self.values, "v"));
        format!("attention_c{}{}{}{mask}{codes}", self.columns, flag(self.causal, "_causal"), flag(self.softcap, "_softcap"))
    }
}
