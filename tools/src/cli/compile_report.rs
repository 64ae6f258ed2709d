//! `mokume compile --report`: a page about sizes, errors and times of a compilation.

use crate::cli::compile::{Args, Compiled};
use crate::cli::talk::Talk;
use crate::driver::eval::Evaluator;
use crate::driver::eval::perplexity::PerplexityOf;
use crate::driver::report::{Both, TextSpec};
use crate::driver::tokens::Part;
use crate::driver::weights::weights;
use crate::report::compiled;
use mokume_ir::diag::{Diagnostic, Report};
use mokume_ir::graph::Module;
use mokume_passes::manager::PipelineReport;
use mokume_runtime::file;
use std::path::{Path, PathBuf};

/// What the page tells.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Report")]
pub struct ReportArgs {
    /// Write a page about sizes, bits and errors of layers, and times of passes
    #[arg(long, value_name = "FILE.html")]
    pub report: Option<PathBuf>,
    /// Language models: perplexity on this text before and after (needs --tokenizer)
    #[arg(long, value_name = "FILE", requires_all = ["report", "tokenizer"])]
    pub report_text: Option<PathBuf>,
    /// Windows of 512 tokens of that text; 0 for all that fit
    #[arg(long, default_value_t = 8, value_name = "N")]
    pub report_windows: usize,
    /// The part of that text, as fractions of its tokens
    #[arg(long, default_value = "0:1", value_name = "FROM:TO")]
    pub report_part: Part,
}

/// A report to be written.
pub(super) struct Judge {
    page: PathBuf,
    text: Option<PerplexityOf>,
}

impl ReportArgs {
    /// Reads what can be wrong before a long compilation.
    pub(super) fn prepare(&self, args: &Args) -> Result<Option<Judge>, Report> {
        let Some(page) = self.report.clone() else { return Ok(None) };
        file::check_writable(&page)?;
        if args.model == Path::new("-") {
            let finding = Diagnostic::input("report::stdin", "a report needs the model again, which stdin gives only once");
            return Err(finding.help("give the model as a file").into());
        }
        let tokenizer = args.pipeline.calibration.tokenizer.clone();
        let spec = self.report_text.clone().zip(tokenizer).map(|(path, tokenizer)| TextSpec {
            path,
            tokenizer,
            windows: self.report_windows,
            part: self.report_part,
        });
        Ok(Some(Judge { page, text: spec.map(|spec| spec.evaluator()).transpose()? }))
    }
}

impl Judge {
    /// Runs the model and the artifact, and writes the page.
    ///
    /// `exact` is the module before the first pass that rounds: layers are compared with its layers, whose channels may be scaled or
    /// rotated.
    pub(super) fn write(&self, args: &Args, exact: Module, compiled: &Compiled, report: PipelineReport, talk: &Talk) -> Result<(), Report> {
        let both = Both::open(&args.model, exact, &args.output, talk.thread_count())?;
        let compared = both.differences(&args.pipeline.calibration.spec());
        let (differences, sample) = match compared {
            Ok((differences, sample)) => (Ok(differences), sample),
            Err(report) => (Err(messages(&report)), "nothing".into()),
        };
        let perplexity = self.text.as_ref().map(|text| {
            let progress = talk.progress("windows", 2 * text.runs() as u64);
            both.perplexity(text, &mut || progress.advance(1))
        });
        let page = compiled::Compiled {
            title: args.output.display().to_string(),
            pipeline: compiled.pipeline.clone(),
            bytes_in: compiled.bytes_in,
            bytes_out: compiled.bytes_out,
            seconds: compiled.seconds,
            weights: weights(&both.artifact),
            differences,
            sample,
            layers: compiled.layers.clone(),
            passes: report.passes,
            perplexity: perplexity.transpose()?,
            kernels: compiled.kernels.clone(),
        };
        let text = page.page();
        file::write(&self.page, |out| out.write_all(text.as_bytes()))
    }
}

fn messages(report: &Report) -> String {
    report.findings().iter().map(|finding| finding.message.as_str()).collect::<Vec<_>>().join("; ")
}
