//! The enumerations among the attributes of ops: which function, which mode. Each variant has its word in the text form.

use crate::attr::{AsAttr, Attr};

/// Declares an enumeration whose variants are words in the text form, each with its meaning.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $word:literal => $vdoc:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $(#[doc = $vdoc] $variant),+ }
        impl $name {
            /// Every variant.
            pub const ALL: &'static [$name] = &[$($name::$variant),+];
            /// Its word in the text form.
            pub fn name(self) -> &'static str {
                match self { $($name::$variant => $word),+ }
            }
            /// The variant called `word`.
            pub fn from_name(word: &str) -> Option<Self> {
                match word { $($word => Some($name::$variant),)+ _ => None }
            }
        }
        impl AsAttr for $name {
            fn to_attr(&self) -> Option<Attr> {
                Some(Attr::Word(self.name().into()))
            }
            fn from_attr(attr: Option<&Attr>) -> Option<Self> {
                match attr? { Attr::Word(word) => Self::from_name(word), _ => None }
            }
        }
    };
}

words! {
    /// Elementwise functions of one operand; the element type stays, except for the predicates, which give bool.
    UnaryKind {
        Abs = "abs" => "|x|",
        Neg = "neg" => "-x",
        Exp = "exp" => "e^x",
        Log = "log" => "natural logarithm",
        Sqrt = "sqrt" => "square root",
        Reciprocal = "reciprocal" => "1/x",
        Rsqrt = "rsqrt" => "1/sqrt(x)",
        Floor = "floor" => "toward minus infinity",
        Ceil = "ceil" => "toward plus infinity",
        Round = "round" => "half to even",
        Sign = "sign" => "-1, 0, 1 (NaN stays)",
        Sin = "sin" => "sine",
        Cos = "cos" => "cosine",
        Tan = "tan" => "tangent",
        Asin = "asin" => "inverse sine",
        Acos = "acos" => "inverse cosine",
        Atan = "atan" => "inverse tangent",
        Sinh = "sinh" => "hyperbolic sine",
        Cosh = "cosh" => "hyperbolic cosine",
        Tanh = "tanh" => "hyperbolic tangent",
        Asinh = "asinh" => "inverse hyperbolic sine",
        Acosh = "acosh" => "inverse hyperbolic cosine",
        Atanh = "atanh" => "inverse hyperbolic tangent",
        Erf = "erf" => "error function",
        Sigmoid = "sigmoid" => "1/(1+e^-x)",
        Relu = "relu" => "max(x, 0)",
        Softplus = "softplus" => "ln(1+e^x)",
        Softsign = "softsign" => "x/(1+|x|)",
        Not = "not" => "logical not of bool",
        BitNot = "bit_not" => "bitwise not",
        IsNan = "is_nan" => "bool: x is NaN",
        IsPosInf = "is_pos_inf" => "bool: x is +inf",
        IsNegInf = "is_neg_inf" => "bool: x is -inf",
    }
}

words! {
    /// Elementwise functions of two operands of one element type; comparisons give bool.
    BinaryKind {
        Add = "add" => "a + b",
        Sub = "sub" => "a - b",
        Mul = "mul" => "a * b",
        Div = "div" => "a / b; integers truncate toward zero, division by zero gives 0",
        Pow = "pow" => "a ^ b (the exponent may have another element type)",
        Mod = "mod" => "remainder with the sign of b (Python)",
        Fmod = "fmod" => "remainder with the sign of a (C fmod)",
        Min = "min" => "smaller; NaN wins",
        Max = "max" => "larger; NaN wins",
        And = "and" => "logical and",
        Or = "or" => "logical or",
        Xor = "xor" => "logical exclusive or",
        BitAnd = "bit_and" => "bitwise and",
        BitOr = "bit_or" => "bitwise or",
        BitXor = "bit_xor" => "bitwise exclusive or",
        Shl = "shl" => "shift left",
        Shr = "shr" => "shift right; signed integers keep their sign",
        Eq = "eq" => "a = b",
        Lt = "lt" => "a < b",
        Le = "le" => "a <= b",
        Gt = "gt" => "a > b",
        Ge = "ge" => "a >= b",
    }
}

impl BinaryKind {
    /// Whether the result is bool whatever the operands are.
    pub fn is_comparison(self) -> bool {
        use BinaryKind::*;
        matches!(self, Eq | Lt | Le | Gt | Ge)
    }
}

words! {
    /// Activation functions with parameters.
    ActivationKind {
        LeakyRelu = "leaky_relu" => "x < 0 ? alpha x : x",
        Elu = "elu" => "x < 0 ? alpha (e^x - 1) : x",
        Celu = "celu" => "max(0, x) + min(0, alpha (e^(x/alpha) - 1))",
        Selu = "selu" => "beta (x > 0 ? x : alpha (e^x - 1))",
        HardSigmoid = "hard_sigmoid" => "clamp(alpha x + beta, 0, 1)",
        HardSwish = "hard_swish" => "x * clamp(x/6 + 1/2, 0, 1)",
        ThresholdedRelu = "thresholded_relu" => "x > alpha ? x : 0",
        Shrink = "shrink" => "x < -alpha ? x + beta : x > alpha ? x - beta : 0",
        Silu = "silu" => "x sigmoid(alpha x); alpha = 1 is SiLU",
        Mish = "mish" => "x tanh(softplus(x))",
        Gelu = "gelu" => "x/2 (1 + erf(x/sqrt 2))",
        GeluTanh = "gelu_tanh" => "x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))",
    }
}

words! {
    /// Reductions.
    ReduceKind {
        Sum = "sum" => "Σx",
        Mean = "mean" => "Σx/n",
        Prod = "prod" => "Πx",
        Max = "max" => "max x; bool: any",
        Min = "min" => "min x; bool: all",
        SumSquare = "sum_square" => "Σx²",
        L1 = "l1" => "Σ|x|",
        L2 = "l2" => "sqrt Σx²",
        LogSum = "log_sum" => "ln Σx",
        LogSumExp = "log_sum_exp" => "ln Σe^x, without overflow",
    }
}

words! {
    /// How a scatter combines an update with what is there.
    ScatterKind {
        None = "none" => "Replace; duplicates: the last one wins.",
        Add = "add" => "Sum.",
        Mul = "mul" => "Product.",
        Min = "min" => "Smaller.",
        Max = "max" => "Larger.",
    }
}

words! {
    /// Padding of windows derived from the input size, as ONNX `auto_pad`.
    AutoPad {
        Explicit = "explicit" => "`pads` are used.",
        SameUpper = "same_upper" => "Output size ceil(input/stride), odd padding at the end.",
        SameLower = "same_lower" => "Output size ceil(input/stride), odd padding at the beginning.",
        Valid = "valid" => "No padding.",
    }
}

words! {
    /// Pooling functions.
    PoolKind {
        Max = "max" => "Maximum.",
        Average = "average" => "Mean.",
        Lp = "lp" => "p-norm.",
    }
}

words! {
    /// What `pad` writes outside.
    PadMode {
        Constant = "constant" => "The value operand, or 0.",
        Edge = "edge" => "The nearest element.",
        Reflect = "reflect" => "Mirrored without repeating the edge.",
        Wrap = "wrap" => "Periodic.",
    }
}

words! {
    /// Interpolation of `resize` and `grid_sample`.
    Interpolation {
        Nearest = "nearest" => "Nearest sample.",
        Linear = "linear" => "Linear along every axis.",
        Cubic = "cubic" => "Cubic convolution.",
    }
}

words! {
    /// ONNX Resize `coordinate_transformation_mode`.
    CoordinateMode {
        HalfPixel = "half_pixel" => "(x + 0.5)/scale - 0.5",
        HalfPixelSymmetric = "half_pixel_symmetric" => "half_pixel adjusted so that the output is centered",
        PytorchHalfPixel = "pytorch_half_pixel" => "half_pixel, 0 for output length 1",
        AlignCorners = "align_corners" => "x (in-1)/(out-1)",
        Asymmetric = "asymmetric" => "x/scale",
        TfCropAndResize = "tf_crop_and_resize" => "over the region of interest",
    }
}

words! {
    /// ONNX Resize `nearest_mode`.
    NearestMode {
        RoundPreferFloor = "round_prefer_floor" => "Half goes down.",
        RoundPreferCeil = "round_prefer_ceil" => "Half goes up.",
        Floor = "floor" => "Down.",
        Ceil = "ceil" => "Up.",
    }
}

words! {
    /// ONNX Resize `keep_aspect_ratio_policy`.
    AspectPolicy {
        Stretch = "stretch" => "Sizes as given.",
        NotLarger = "not_larger" => "No side larger than given.",
        NotSmaller = "not_smaller" => "No side smaller than given.",
    }
}

words! {
    /// Where `grid_sample` reads outside the image.
    GridPadding {
        Zeros = "zeros" => "0.",
        Border = "border" => "The nearest border sample.",
        Reflection = "reflection" => "Mirrored.",
    }
}

words! {
    /// Recurrent cells.
    RnnKind {
        Lstm = "lstm" => "Long short-term memory; gates i, o, f, c.",
        Gru = "gru" => "Gated recurrent unit; gates z, r, h.",
        Rnn = "rnn" => "Plain recurrent cell.",
    }
}

words! {
    /// Direction of a recurrence along time.
    RnnDirection {
        Forward = "forward" => "First to last.",
        Reverse = "reverse" => "Last to first.",
        Bidirectional = "bidirectional" => "Both, stacked on the direction axis.",
    }
}

words! {
    /// How the scale of a dynamically quantized activation is found.
    ActScale {
        Row = "row" => "From the absmax or min and max of each row (token) at run time.",
        Tensor = "tensor" => "From the whole tensor at run time.",
        Static = "static" => "Given by `static_scale` and `static_zero`.",
    }
}

words! {
    /// One step after the integer product; steps marked (operand) take the next operand.
    Epilogue {
        Bias = "bias" => "+ bias per output channel (operand, shape `[n]`)",
        Add = "add" => "+ tensor of the output's shape (operand)",
        Mul = "mul" => "* tensor of the output's shape (operand)",
        Relu = "relu" => "max(x, 0)",
        Silu = "silu" => "x sigmoid(x)",
        Sigmoid = "sigmoid" => "sigmoid",
        Gelu = "gelu" => "erf form",
        GeluTanh = "gelu_tanh" => "tanh form",
        HardSwish = "hard_swish" => "x clamp(x/6+1/2, 0, 1)",
    }
}

impl Epilogue {
    /// Whether the step reads an operand.
    pub fn takes_operand(self) -> bool {
        matches!(self, Epilogue::Bias | Epilogue::Add | Epilogue::Mul)
    }
}
