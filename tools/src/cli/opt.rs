//! `mokume opt`: runs passes and writes the graph.

use crate::cli::compile::{explain, rewrite, use_threads};
use crate::cli::options::{self, PipelineArgs};
use crate::cli::talk::{Talk, put};
use crate::driver::{compile, source};
use mokume_ir::diag::Report;
use mokume_ir::text;
use std::path::{Path, PathBuf};

/// Run passes on a model and write the graph (.gir, or - for stdout)
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The model (.onnx, .gir, or - for .gir on stdin)
    pub model: PathBuf,
    /// The graph (.gir; large constants go beside it), or - for stdout
    #[arg(short, long, value_name = "FILE.gir", default_value = "-")]
    pub output: PathBuf,
    #[allow(missing_docs, reason = "a comment here would become a help heading")]
    #[command(flatten)]
    pub pipeline: PipelineArgs,
}

/// Runs the verb.
///
/// Errors  when the model, the pipeline or the output is wrong.
pub fn run(args: &Args, talk: &Talk) -> Result<(), Report> {
    use_threads(talk);
    options::existing(&args.model)?;
    if args.output != Path::new("-") {
        source::check_output(&args.output, "opt", "gir")?;
    }
    let pipeline = compile::pipeline(args.pipeline.pipeline.as_deref(), args.pipeline.preset.as_deref())?;
    let mut module = source::open_graph(&args.model)?;
    let report = rewrite(&mut module, &pipeline, &args.pipeline, talk, &mut |_| {})?;
    explain(&report, &args.pipeline, talk);
    if args.output != Path::new("-") {
        return source::write_text(&module, &args.output);
    }
    if !text::sidecar::write(&module).is_empty() {
        talk.say("large constants are left out; write to FILE.gir to keep them beside it");
    }
    put(text::print(&module));
    Ok(())
}
