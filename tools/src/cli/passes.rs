//! `mokume passes`: every pass with its options, and the presets.

use crate::cli::talk::Talk;
use mokume_ir::diag::Report;
use mokume_passes::presets::PRESETS;
use mokume_passes::registry::{OptionHelp, PASSES};
use serde_json::json;
use std::fmt::Write;

/// List passes, their options, and presets
#[derive(Debug, Clone, clap::Args)]
pub struct Args {}

/// Runs the verb.
///
/// Errors  never.
pub fn run(_args: &Args, talk: &Talk) -> Result<(), Report> {
    let passes = PASSES.iter().map(|row| {
        let options = row.options();
        json!({ "name": row.name, "summary": row.summary, "options": options.iter().map(option_json).collect::<Vec<_>>() })
    });
    let presets = PRESETS.iter().map(|p| json!({ "name": p.name, "summary": p.summary, "pipeline": p.pipeline }));
    let json = json!({ "passes": passes.collect::<Vec<_>>(), "presets": presets.collect::<Vec<_>>() });
    talk.result(&json, text());
    Ok(())
}

fn option_json(option: &OptionHelp) -> serde_json::Value {
    json!({ "name": option.name, "doc": option.doc, "default": option.default })
}

fn text() -> String {
    let mut text = String::from("passes\n");
    for row in PASSES {
        let _ = writeln!(text, "  {:<18} {}", row.name, row.summary);
        for option in row.options() {
            let _ = writeln!(text, "    {:<16} {} (default {})", option.name, option.doc, option.default);
        }
    }
    text.push_str("\npresets\n");
    for preset in PRESETS {
        let _ = writeln!(text, "  {:<18} {}\n    {}", preset.name, preset.summary, preset.pipeline);
    }
    text
}
