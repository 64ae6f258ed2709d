//! Named pipelines.

/// A named pipeline.
pub struct Preset {
    /// The name.
    pub name: &'static str,
    /// What it is for.
    pub summary: &'static str,
    /// The passes.
    pub pipeline: &'static str,
}

macro_rules! presets {
    ($($name:literal, $summary:literal, $pipeline:expr;)+) => {
        /// Every preset.
        pub const PRESETS: &[Preset] = &[$(Preset { name: $name, summary: $summary, pipeline: $pipeline }),+];
    };
}

/// Folding shows the second `canonicalize` new constants; `cse` gives recognizers one copy of each mask and scale; norms and
/// activations come first because they are operands of what follows; the last `canonicalize` cleans up around composites.
macro_rules! canonical {
    () => {
        "canonicalize,fold-constants,inline,canonicalize,cse,recognize-norm,recognize-activation,recognize-rotary,recognize-attention,canonicalize,fold-affine,share-constants,cse,dce"
    };
}

/// Norms folded and activations rotated, so that no channel is much larger than the others.
macro_rules! language {
    ($quantize:expr) => {
        concat!(canonical!(), ",fold-norm,rotate,declare-state,", $quantize, ",cse,fuse,dce")
    };
}

/// Any network: rotated or smoothed where that can be, so that no channel is much larger than the others. Only rotations that go into
/// weights: the others take longer than the products of small networks win.
macro_rules! any {
    ($smooth:expr, $quantize:expr) => {
        concat!(canonical!(), ",center-norm,fold-norm,rotate{r4=false},smooth,", $smooth, ",", $quantize, ",cse,fuse,dce")
    };
}

/// Products as they are to be, but for the first and the last, where few bits lose most.
macro_rules! ends {
    ($widths:expr, $ranges:expr) => {
        concat!(
            "quantize{",
            $widths,
            ",skip_ends=true,",
            $ranges,
            ",rounder=auto,bias=true},quantize{w=8,a=8,calib=false,rounder=auto,bias=true}"
        )
    };
}

presets! {
    "float", "no loss: the canonical form", canonical!();
    "llm-float", "language model with keys and values kept in the runtime, no loss", concat!(canonical!(), ",declare-state");
    "llm-w8a8", "the same, rotated, 8-bit weights and activations", language!("quantize{w=8,a=8,a_levels=signed}");
    "llm-w6a6", "the same, 6-bit weights and activations, rounded for calibration data if there are any", language!("quantize{w=6,a=6,group=64,rounder=auto}");
    "llm-w4a8", "the same, 4-bit weights in blocks of 64, 8-bit activations", language!("quantize{w=4,a=8,group=64,a_levels=signed,rounder=auto}");
    "llm-w4a4", "the same, 4-bit weights and activations in blocks of 64, the head at 8 bits", language!("quantize{w=4,a=4,group=64,a_group=64,skip_head=true,rounder=auto},quantize{w=8,a=8,a_levels=signed}");
    "llm-w3a8", "the same, 3-bit weights without zero in blocks of 64, the head at 4 bits", language!("quantize{w=3,a=8,group=64,levels=odd,a_levels=signed,skip_head=true,rounder=auto},quantize{w=4,a=8,group=64,a_levels=signed,rounder=auto}");
    "llm-w2a8", "the same, 2-bit weights without zero in blocks of 64, the head at 4 bits", language!("quantize{w=2,a=8,group=64,levels=odd,a_levels=signed,skip_head=true,rounder=auto},quantize{w=4,a=8,group=64,a_levels=signed,rounder=auto}");
    "llm-rtn-w8a8", "language model, smoothed, 8 bits, without calibration data: to compare with", concat!(canonical!(), ",smooth,declare-state,quantize{w=8,a=8,a_levels=signed},fuse,dce");
    "llm-rtn-w4a8", "the same, 4-bit weights in blocks of 32", concat!(canonical!(), ",declare-state,quantize{w=4,a=8,group=32,a_levels=signed},fuse,dce");
    "llm-rtn-w2a8", "the same, 2-bit weights without zero in blocks of 64, the head as llm-rtn-w4a8", concat!(canonical!(), ",declare-state,quantize{w=2,a=8,group=64,levels=odd,a_levels=signed,skip=[\"*lm_head*\"]},quantize{w=4,a=8,group=32,a_levels=signed},fuse,dce");
    "w8a8", "8-bit weights and activations; with calibration data what loses most stays float", any!("smooth-conv", "quantize{w=8,a=8,calib=false,keep=0.998,rounder=auto,bias=true}");
    "w6a6", "6-bit weights in blocks of 32 and 6-bit activations, the first and the last product at 8 bits", any!("smooth-conv{alpha=0.75}", ends!("w=6,a=6,group=32", "a_search=true"));
    "w4a8", "4-bit weights in blocks of 32 and 8-bit activations, ends as w6a6", any!("smooth-conv", ends!("w=4,a=8,group=32", "calib=false"));
    "w4a4", "4-bit weights and activations in blocks of 32, ends as w6a6", any!("smooth-conv{alpha=0.75}", ends!("w=4,a=4,group=32,a_group=32", "a_search=true"));
    "w3a8", "3-bit weights in blocks of 32 and 8-bit activations, ends as w6a6", any!("smooth-conv", ends!("w=3,a=8,group=32", "calib=false"));
    "w2a8", "2-bit weights without zero in blocks of 32 and 8-bit activations, ends as w6a6", any!("smooth-conv", ends!("w=2,a=8,group=32,levels=odd", "calib=false"));
}

/// The preset called `name`.
pub fn find(name: &str) -> Option<&'static Preset> {
    PRESETS.iter().find(|preset| preset.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::Pipeline;

    #[test]
    fn every_preset_parses_and_prints_as_written() {
        for preset in PRESETS {
            let printed = Pipeline::parse(preset.pipeline).map(|pipeline| pipeline.to_string());
            assert_eq!(printed.as_deref(), Ok(preset.pipeline), "{}", preset.name);
        }
    }
}
