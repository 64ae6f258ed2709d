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

/// Every preset.
pub const PRESETS: &[Preset] = &[Preset { name: "float", summary: "no loss: canonical form only", pipeline: "dce" }];

/// The preset called `name`.
pub fn find(name: &str) -> Option<&'static Preset> {
    PRESETS.iter().find(|preset| preset.name == name)
}
