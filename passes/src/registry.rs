//! The table of all passes. A pass exists for pipelines, help and documentation through its row here.

use crate::options::Options;
use crate::pass::Pass;
use serde_json::Value;

/// One pass.
pub struct Row {
    /// The name in pipelines.
    pub name: &'static str,
    /// What it does, in one sentence.
    pub summary: &'static str,
    docs: &'static [(&'static str, &'static str)],
    make: fn(Value) -> Result<Box<dyn Pass>, String>,
    defaults: fn() -> Value,
}

/// Passes that round numbers to few bits; all others compute what the model did.
const ROUNDING: &[&str] = &["abq", "quantize", "quantize-state"];

/// One option of a pass.
#[derive(Debug, Clone, PartialEq)]
pub struct OptionHelp {
    /// The name.
    pub name: &'static str,
    /// What it does.
    pub doc: &'static str,
    /// The value when not given.
    pub default: Value,
}

impl Row {
    /// The options, in declaration order.
    pub fn options(&self) -> Vec<OptionHelp> {
        let defaults = (self.defaults)();
        let help = |&(name, doc)| OptionHelp { name, doc, default: defaults[name].clone() };
        self.docs.iter().map(help).collect()
    }
    /// Whether it rounds numbers to few bits.
    pub fn rounds(&self) -> bool {
        ROUNDING.contains(&self.name)
    }
    /// The pass with `options`, an object of options that differ from the defaults.
    ///
    /// Errors  when an option is unknown or has the wrong kind of value.
    pub fn make(&self, options: Value) -> Result<Box<dyn Pass>, String> {
        (self.make)(options)
    }
}

/// The row of the pass called `name`.
pub fn find(name: &str) -> Option<&'static Row> {
    PASSES.iter().find(|row| row.name == name)
}

fn make<P: Pass + Options + 'static>(options: Value) -> Result<Box<dyn Pass>, String> {
    serde_json::from_value::<P>(options).map(|pass| Box::new(pass) as Box<dyn Pass>).map_err(|e| plain(&e.to_string()))
}

/// A message about a value without the names of Rust's types.
fn plain(message: &str) -> String {
    let Some((_, expected)) = message.split_once(", expected ") else { return message.to_string() };
    let expected = match expected {
        "u8" => "a whole number from 0 to 255",
        "u16" | "u32" | "u64" | "usize" => "a whole number",
        "i32" | "i64" => "an integer",
        "f32" | "f64" => "a number",
        "a boolean" => "true or false",
        other => other,
    };
    format!("expected {expected}")
}

fn defaults<P: Options>() -> Value {
    serde_json::to_value(P::default()).unwrap_or_default()
}

macro_rules! passes {
    ($($pass:path, $name:literal, $summary:literal;)+) => {
        /// Every pass, in the order of a typical pipeline.
        pub static PASSES: &[Row] = &[$(Row {
            name: $name,
            summary: $summary,
            docs: <$pass as Options>::DOCS,
            make: make::<$pass>,
            defaults: defaults::<$pass>,
        }),+];
    };
}

passes! {
    crate::canonicalize::Canonicalize, "canonicalize", "one form for every exporter: no shape arithmetic, no moves that move nothing";
    crate::canonicalize::fold_constants::FoldConstants, "fold-constants", "evaluate nodes whose operands are constants";
    crate::canonicalize::inline::Inline, "inline", "write functions out where they are used once or their condition is constant";
    crate::canonicalize::fold_affine::FoldAffine, "fold-affine", "move scales and shifts after a product into its weights";
    crate::canonicalize::share_constants::ShareConstants, "share-constants", "make a weight and its transposed copy one constant";
    crate::canonicalize::cse::Cse, "cse", "compute equal things once";
    crate::canonicalize::dce::Dce, "dce", "remove nodes, functions and constants that no output needs";
    crate::simplify::Simplify, "simplify", "find cheaper equal forms of arithmetic, transposes and reshapes";
    crate::rewrite::recognize_norm::RecognizeNorm, "recognize-norm", "find RMSNorm and LayerNorm";
    crate::rewrite::recognize_activation::RecognizeActivation, "recognize-activation", "find SiLU, SwiGLU, GELU, hard sigmoid and hard swish";
    crate::rewrite::recognize_rotary::RecognizeRotary, "recognize-rotary", "find rotary position embedding";
    crate::rewrite::recognize_attention::RecognizeAttention, "recognize-attention", "find scaled dot-product attention and what its mask means";
    crate::rewrite::declare_state::DeclareState, "declare-state", "keep past keys and values in the runtime";
    crate::transform::fold_norm::FoldNorm, "fold-norm", "move the gain and bias of norms into the products that read them";
    crate::transform::center_norm::CenterNorm, "center-norm", "make LayerNorm an RMSNorm by taking the mean out of what writes to its stream";
    crate::transform::rotate::Rotate, "rotate", "rotate activations and weights by Hadamard matrices, so that no channel is much larger than the others";
    crate::transform::equalize::Equalize, "equalize", "even out the channels between convolutions, so that one scale fits all of them";
    crate::quantize::smooth::Smooth, "smooth", "even out the channels of activations, by powers of two, so that eight bits hold them";
    crate::quantize::smooth_conv::SmoothConv, "smooth-conv", "even out the channels that convolutions read, on calibration data";
    crate::quantize::abq::Abq, "abq", "learn scales, clips and corrections of Llama blocks, then round them (ABQ-LLM)";
    crate::quantize::Quantize, "quantize", "round weights and activations of products to few bits";
    crate::quantize::quantize_state::QuantizeState, "quantize-state", "keep keys and values in few bits, rounded as they arrive";
    crate::grad::Decompose, "decompose", "write composites out in elementary ops";
    crate::grad::Grad, "grad", "add the gradient of an output with respect to inputs";
    crate::quantize::fuse::Fuse, "fuse", "turn products of dequantized operands into integer products with epilogues";
}
