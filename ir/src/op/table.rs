//! The table of ops: one row per op with its attributes; operands stand in parentheses at the end of each description.

use super::kinds::*;
use super::{OpError, no_attrs};
use crate::attr::{AsAttr, Attr, Ints};
use crate::dim::Dim;
use crate::ids::FuncId;
use crate::quant::{Levels, QuantType};
use crate::types::Elem;

ops! {
    /// Activation function with parameters. (x float)
    Activation = "activation" {
        /// Which one.
        kind: ActivationKind,
        /// First parameter; 0 where the kind has none.
        alpha: f32,
        /// Second parameter; 0 where the kind has none.
        beta: f32,
    }
    /// `cond ? a : b`, broadcast. (cond bool, a, b)
    Select = "select" {}
    /// Conversion of values. Float to integer truncates toward zero; to bool is `x != 0`. (x)
    Cast = "cast" {
        /// Element type of the result.
        to: Elem,
        /// Out of range values of small floats become the largest finite value rather than NaN or infinity.
        saturate: bool,
    }
    /// Reinterpretation of bits; same width. (x)
    Bitcast = "bitcast" {
        /// Element type of the result.
        to: Elem,
    }
    /// Reduction over axes. (x) + axes
    Reduce = "reduce" {
        /// Which one.
        kind: ReduceKind,
        /// The axes; ignored when `all`.
        axes: Ints,
        /// Reduce over every axis.
        all: bool,
        /// Keep reduced axes with size 1.
        keep_dims: bool,
    }
    /// Index (i64) of the largest or smallest element along an axis. (x)
    ArgReduce = "arg_reduce" {
        /// Largest, else smallest.
        largest: bool,
        /// The axis.
        axis: i64,
        /// Keep the axis with size 1.
        keep_dims: bool,
        /// The last of equal elements, else the first.
        last: bool,
    }
    /// Running sum or product along an axis. (x) + axis
    Cumulative = "cumulative" {
        /// One axis.
        axis: Ints,
        /// Product, else sum.
        product: bool,
        /// Leave the element itself out.
        exclusive: bool,
        /// From the end.
        reverse: bool,
    }
    /// Batched matrix product with broadcast batch axes: `a [..., m, k]`, `b [..., k, n]`; both of rank 2 or more.
    /// Integer operands (equal types) accumulate in i32 and give i32 for 8-bit inputs. (a, b)
    Matmul = "matmul" {
        /// `a` is `[..., k, m]`.
        transpose_a: bool,
        /// `b` is `[..., n, k]`: the layout of weights.
        transpose_b: bool,
    }
    /// Convolution, NCHW by OIHW, any number of spatial axes. `(x, w, [bias])`
    Conv = "conv" {
        /// One per spatial axis.
        strides: Vec<i64>,
        /// One per spatial axis.
        dilations: Vec<i64>,
        /// Begin of every spatial axis, then end of every one.
        pads: Vec<i64>,
        /// Derives pads instead.
        auto_pad: AutoPad,
        /// Channel groups.
        groups: i64,
    }
    /// Transposed convolution, NCHW by IOHW. `(x, w, [bias])`
    ConvTranspose = "conv_transpose" {
        /// One per spatial axis.
        strides: Vec<i64>,
        /// One per spatial axis.
        dilations: Vec<i64>,
        /// Begin of every spatial axis, then end of every one.
        pads: Vec<i64>,
        /// Derives pads instead.
        auto_pad: AutoPad,
        /// Added to the end of the output; one per spatial axis.
        output_padding: Vec<i64>,
        /// Explicit spatial sizes, or empty; pads follow from it.
        output_shape: Vec<i64>,
        /// Channel groups.
        groups: i64,
    }
    /// Window pooling, NC with any number of spatial axes. Two outputs when `indices`. (x)
    Pool = "pool" {
        /// Which one.
        kind: PoolKind,
        /// Window sizes.
        kernel: Vec<i64>,
        /// One per spatial axis.
        strides: Vec<i64>,
        /// One per spatial axis.
        dilations: Vec<i64>,
        /// Begin of every spatial axis, then end of every one.
        pads: Vec<i64>,
        /// Derives pads instead.
        auto_pad: AutoPad,
        /// Output sizes round up.
        ceil: bool,
        /// Averages count padding.
        count_include_pad: bool,
        /// Order of the norm for `lp`.
        p: i64,
        /// Second output: flat i64 index of each maximum in the whole input tensor.
        indices: bool,
        /// Flat indices are column major.
        column_major: bool,
    }
    /// Same elements, another shape. Known: explicit sizes. Operand: ONNX meaning of -1 and 0. (x) + shape
    Reshape = "reshape" {
        /// The new shape.
        shape: Ints,
        /// In operand form, 0 means 0 rather than "copy from the input".
        allow_zero: bool,
    }
    /// Removes axes of size 1. (x) + axes
    Squeeze = "squeeze" {
        /// The axes; ignored when `all`.
        axes: Ints,
        /// Every axis of size 1.
        all: bool,
    }
    /// Inserts axes of size 1 at these positions of the result. (x) + axes
    Unsqueeze = "unsqueeze" {
        /// The axes.
        axes: Ints,
    }
    /// Permutation of axes: axis `i` of the result is axis `perm[i]` of the operand. (x)
    Transpose = "transpose" {
        /// The permutation.
        perm: Vec<i64>,
    }
    /// Two-way numpy broadcast of `x` with `shape` (ONNX Expand). (x) + shape
    Broadcast = "broadcast" {
        /// The shape.
        shape: Ints,
    }
    /// Strided window. Starts and ends are clamped as in ONNX Slice-13; negative values count from the end.
    /// (x) + starts, ends, axes, steps
    Slice = "slice" {
        /// First index per axis.
        starts: Ints,
        /// End (exclusive) per axis.
        ends: Ints,
        /// Which axes.
        axes: Ints,
        /// Steps; never 0.
        steps: Ints,
    }
    /// Parts along an axis, one output per size. (x) + sizes
    Split = "split" {
        /// The axis.
        axis: i64,
        /// The sizes.
        sizes: Ints,
    }
    /// Joins operands along an axis; codes with a scale per row not along the last. (x...)
    Concat = "concat" {
        /// The axis.
        axis: i64,
    }
    /// Adds (or removes, where negative) elements at the borders. (x, [value scalar]) + pads, axes
    Pad = "pad" {
        /// What is written.
        mode: PadMode,
        /// Begin of every axis of `axes`, then end of every one.
        pads: Ints,
        /// Which axes.
        axes: Ints,
        /// Operand 1 is the value.
        value: bool,
    }
    /// Repeats the tensor. (x) + repeats
    Tile = "tile" {
        /// Repetitions per axis.
        repeats: Ints,
    }
    /// Slices of `x` along an axis, chosen by an integer tensor; negative indices count from the end. (x, indices)
    Gather = "gather" {
        /// The axis.
        axis: i64,
    }
    /// `out[i][j] = x[indices[i][j]][j]` for axis 0. (x, indices)
    GatherElements = "gather_elements" {
        /// The axis.
        axis: i64,
    }
    /// Slices chosen by index tuples in the last axis. (x, indices i64)
    GatherNd = "gather_nd" {
        /// Leading axes that correspond.
        batch_dims: i64,
    }
    /// Inverse of `gather_elements`. (x, indices, updates)
    ScatterElements = "scatter_elements" {
        /// The axis.
        axis: i64,
        /// How updates combine.
        kind: ScatterKind,
    }
    /// Inverse of `gather_nd` without batch axes. (x, indices i64, updates)
    ScatterNd = "scatter_nd" {
        /// How updates combine.
        kind: ScatterKind,
    }
    /// Slices where a rank-1 bool condition holds. (x, condition)
    Compress = "compress" {
        /// The axis, or the flattened tensor.
        axis: Option<i64>,
    }
    /// `values[1]` at the index, `values[0]` elsewhere, on a new axis. (indices, depth, values [off, on])
    OneHot = "one_hot" {
        /// Position of the new axis in the result.
        axis: i64,
    }
    /// Upper or lower triangle of the last two axes; 0 elsewhere. (x, [k i64 scalar])
    Trilu = "trilu" {
        /// Upper, else lower.
        upper: bool,
    }
    /// start, start+delta, … below limit. (start, limit, delta: scalars)
    Range = "range" {}
    /// 0, 1, … len-1 ()
    Iota = "iota" {
        /// How many.
        len: Dim,
        /// Element type.
        elem: Elem,
    }
    /// Dimensions `start..end` (already clamped, non-negative) as i64. (x)
    ShapeOf = "shape_of" {
        /// First axis.
        start: i64,
        /// End axis; none for the rank.
        end: Option<i64>,
    }
    /// Number of elements as an i64 scalar. (x)
    SizeOf = "size_of" {}
    /// A tensor of dimensions, i64; the only op that materializes symbols. Shape `[len]`, or scalar. ()
    DimsOf = "dims_of" {
        /// The values.
        dims: Vec<Dim>,
        /// Rank 0 (then exactly one value).
        scalar: bool,
    }
    /// Indices of non-zero elements, `[rank, count]` i64. (x)
    NonZero = "non_zero" {}
    /// Unique elements, first indices, inverse, counts: four outputs. (x)
    Unique = "unique" {
        /// Slices along this axis, or elements of the flattened tensor.
        axis: Option<i64>,
        /// Sorted, else in order of first appearance.
        sorted: bool,
    }
    /// Largest (smallest) k along an axis: values, indices i64. Ties: lower index first. (x) + k
    TopK = "top_k" {
        /// How many (one number).
        k: Ints,
        /// The axis.
        axis: i64,
        /// Largest, else smallest.
        largest: bool,
        /// In order.
        sorted: bool,
    }
    /// Resampling, ONNX Resize-19. Scales (f32) or sizes per axis of `axes`, exactly one is an operand or known. `(x, [roi])` + sizes
    Resize = "resize" {
        /// Interpolation.
        mode: Interpolation,
        /// Coordinates.
        coordinates: CoordinateMode,
        /// Rounding of nearest.
        nearest: NearestMode,
        /// Cubic coefficient.
        cubic_a: f32,
        /// Weights outside the image are 0 and the rest is renormalized.
        exclude_outside: bool,
        /// Value outside the region of interest.
        extrapolation: f32,
        /// Low-pass when shrinking.
        antialias: bool,
        /// Side policy for sizes.
        aspect: AspectPolicy,
        /// Resized axes.
        axes: Vec<i64>,
        /// Known scales, one per axis of `axes`; empty when given by sizes or by operand.
        scales: Vec<f32>,
        /// Operand index of run-time scales.
        scales_operand: Option<u32>,
        /// Sizes per axis of `axes`; none when given by scales.
        sizes: Option<Ints>,
        /// Operand 1 is the region of interest.
        roi: bool,
    }
    /// Samples an image at normalized coordinates. (x [n, c, spatial...], grid [n, out spatial..., rank])
    GridSample = "grid_sample" {
        /// Interpolation.
        mode: Interpolation,
        /// Outside.
        padding: GridPadding,
        /// -1 and 1 are the centers of corner samples.
        align_corners: bool,
    }
    /// Greedy box selection, ONNX NonMaxSuppression-11. (boxes, scores, max_per_class i64, iou f32, score f32: scalars)
    NonMaxSuppression = "non_max_suppression" {
        /// Boxes are center and size, else two corners.
        center: bool,
    }
    /// Pooling of regions of interest, ONNX RoiAlign-16. `(x, rois [n, 4], batch indices [n])`
    RoiAlign = "roi_align" {
        /// Maximum, else average.
        max: bool,
        /// Half-pixel shift.
        half_pixel: bool,
        /// Output height.
        height: i64,
        /// Output width.
        width: i64,
        /// Samples per bin, 0 for adaptive.
        sampling_ratio: i64,
        /// Image coordinates per region coordinate.
        spatial_scale: f32,
    }
    /// e^x / Σe^x along an axis. (x)
    Softmax = "softmax" {
        /// The axis.
        axis: i64,
    }
    /// ln softmax. (x)
    LogSoftmax = "log_softmax" {
        /// The axis.
        axis: i64,
    }
    /// 1 at the first maximum along an axis, 0 elsewhere. (x)
    Hardmax = "hardmax" {
        /// The axis.
        axis: i64,
    }
    /// (x - mean)/sqrt(var + epsilon) * scale + bias over axes `axis..`. `(x, scale, [bias])`
    LayerNorm = "layer_norm" {
        /// First normalized axis.
        axis: i64,
        /// Added to the variance.
        epsilon: f32,
    }
    /// x/sqrt(mean x² + epsilon) * scale over axes `axis..`. (x, scale)
    RmsNorm = "rms_norm" {
        /// First normalized axis.
        axis: i64,
        /// Added to the mean square.
        epsilon: f32,
    }
    /// Normalization over groups of channels and all spatial axes; groups = channels is instance norm. `(x, scale [c], bias [c])`
    GroupNorm = "group_norm" {
        /// Groups.
        groups: i64,
        /// Added to the variance.
        epsilon: f32,
    }
    /// x / (bias + alpha/size Σ x²)^beta over neighboring channels. (x)
    LocalResponseNorm = "local_response_norm" {
        /// Window.
        size: i64,
        /// Scale.
        alpha: f32,
        /// Exponent.
        beta: f32,
        /// Offset.
        bias: f32,
    }
    /// softmax(scale q kᵀ + mask) v. q [b, hq, s, d], k [b, hk, t, d], v [b, hk, t, e], hq a multiple of hk;
    /// mask broadcast to [b, hq, s, t]: bool (true attends) or float (added). Keys and values may be codes with a scale per row
    /// (`Granularity::Row`) beside f32 queries: they stand for `scale * (level - zero)` in f32, and scores, softmax and sums
    /// are those of float keys and values; only the order of sums over many keys is free. `(q, k, v, [mask])`
    Attention = "attention" {
        /// Factor of the scores; none for 1/sqrt(d).
        scale: Option<f32>,
        /// Query `i` attends only to keys `j <= i + t - s`.
        causal: bool,
        /// Scores become softcap tanh(scores/softcap); 0 for off.
        softcap: f32,
        /// Operand 3 is the mask.
        mask: bool,
        /// The result is `[b, s, hq*e]` rather than `[b, hq, s, e]`.
        join_heads: bool,
    }
    /// Rotary position embedding on the last axis: pairs `(i, i + d/2)`, or `(2i, 2i+1)` when interleaved.
    /// x [b, h, s, d]; cos and sin broadcast to [b, h, s, d/2] or to [b, h, s, d]. Only the first `dims` (0: all) rotate. (x, cos, sin)
    Rotary = "rotary" {
        /// Pairs are neighbors.
        interleaved: bool,
        /// Rotated elements, 0 for all.
        dims: i64,
    }
    /// silu(gate) * up. (gate, up)
    Swiglu = "swiglu" {}
    /// Every block of the last axis times H/√block, where H is the symmetric Hadamard matrix of that order
    /// ([`Hadamard`](crate::hadamard::Hadamard)): its own inverse. (x)
    Hadamard = "hadamard" {
        /// Elements of a block; the last axis is a multiple of it.
        block: i64,
    }
    /// Recurrent layer, ONNX LSTM-14, GRU-14, RNN-14 with layout 0: Y, Y_h and, for LSTM, Y_c.
    /// (x, w, r) then, as flagged: bias, lengths, initial_h, initial_c, peephole.
    Recurrent = "recurrent" {
        /// Cell.
        kind: RnnKind,
        /// Direction.
        direction: RnnDirection,
        /// Size of the hidden state.
        hidden: i64,
        /// Activation names in ONNX order, lower case; per direction.
        activations: Vec<String>,
        /// Their alphas; NaN for the default.
        alphas: Vec<f32>,
        /// Their betas; NaN for the default.
        betas: Vec<f32>,
        /// Gate inputs are clamped to ±clip; 0 for off.
        clip: f32,
        /// LSTM: f = 1 - i.
        input_forget: bool,
        /// GRU: reset after the product.
        linear_before_reset: bool,
        /// Bias is an operand.
        bias: bool,
        /// Lengths are an operand.
        lengths: bool,
        /// Initial hidden state is an operand.
        initial_h: bool,
        /// Initial cell state is an operand.
        initial_c: bool,
        /// Peephole weights are an operand.
        peephole: bool,
    }
    /// Discrete Fourier transform; last axis holds 1 (real) or 2 (complex) components. (x) + length
    Dft = "dft" {
        /// The transformed axis.
        axis: i64,
        /// Transform length (one number), or none for the size of the axis.
        length: Option<Ints>,
        /// Inverse transform.
        inverse: bool,
        /// Only the first half of the spectrum.
        onesided: bool,
    }
    /// Short-time Fourier transform. (x [b, n, 1|2], frame_step scalar, window, frame_length scalar)
    Stft = "stft" {
        /// Only the first half of the spectrum.
        onesided: bool,
    }
    /// Determinant of the last two axes. (x)
    Det = "det" {}
    /// Real values to codes with scales. Round half to even, clamped to the levels. Without operands the scale is found
    /// from the data: symmetric `absmax/max level`, or min and max (0 included) with a zero point. `(x, [scale, [zero_point]])`
    Quantize = "quantize" {
        /// The quantized type.
        to: QuantType,
        /// Part of the range that found scales span, in (0, 1]: what lies beyond is clamped; absent: all.
        clip: Option<f32>,
    }
    /// Codes with scales to f32. (x quantized)
    Dequantize = "dequantize" {}
    /// Rows of a quantized matrix as f32: `out[i...][k]` is `dequantize(w)[indices[i...]][k]`. (w [n, k] quantized, indices)
    BitGather = "bit_gather" {}
    /// x [..., k] f32, quantized per `a_*`, times w [n, k] quantized, summed exactly in integers per scale block, scaled to
    /// f32 [..., n], then the epilogue. (x, w, epilogue operands...)
    BitMatmul = "bit_matmul" {
        /// Bits of the activation codes, 1–8.
        a_bits: u8,
        /// Levels of the activation codes; unsigned has a zero point.
        a_levels: Levels,
        /// Where the activation scale comes from.
        a_scale: ActScale,
        /// Elements of a row that share a scale found per row, the last of them ragged; absent: all.
        a_group: Option<u32>,
        /// Part of the range that a scale found per row spans, in (0, 1]; absent: all.
        a_clip: Option<f32>,
        /// Scale when static.
        static_scale: f32,
        /// Zero point when static.
        static_zero: i64,
        /// Steps after scaling.
        epilogue: Vec<Epilogue>,
    }
    /// Convolution as `bit_matmul`: w [o, kernel... * i/groups] quantized, rows of patches in the order kernel axes, then i.
    /// Padding is the real value 0. `a_scale` is `tensor` or `static`. (x, w, epilogue operands...)
    BitConv = "bit_conv" {
        /// Kernel sizes.
        kernel: Vec<i64>,
        /// One per spatial axis.
        strides: Vec<i64>,
        /// One per spatial axis.
        dilations: Vec<i64>,
        /// Begin of every spatial axis, then end of every one.
        pads: Vec<i64>,
        /// Derives pads instead.
        auto_pad: AutoPad,
        /// Channel groups.
        groups: i64,
        /// Bits of the activation codes, 1–8.
        a_bits: u8,
        /// Levels of the activation codes; unsigned has a zero point.
        a_levels: Levels,
        /// Where the activation scale comes from.
        a_scale: ActScale,
        /// Scale when static.
        static_scale: f32,
        /// Zero point when static.
        static_zero: i64,
        /// Steps after scaling.
        epilogue: Vec<Epilogue>,
    }
    /// A function applied. (arguments...)
    Call = "call" {
        /// The function.
        function: FuncId,
    }
    /// One of two functions of the same captures. (cond bool scalar, captures...)
    If = "if" {
        /// When true.
        then_branch: FuncId,
        /// When false.
        else_branch: FuncId,
    }
    /// Repetition, ONNX Loop. Body: (iteration i64, condition bool, carried..., captures...) -> (condition, carried..., scanned...).
    /// Outputs: final carried, then scanned outputs stacked on a new axis 0. `([trip count i64], [condition], carried..., captures...)`
    Loop = "loop" {
        /// The body.
        body: FuncId,
        /// How many carried values.
        carried: u32,
        /// Operand 0 is the trip count.
        trip_count: bool,
        /// The next operand is the initial condition.
        condition: bool,
    }
}
