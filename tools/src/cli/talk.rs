//! What every verb shares: quiet, JSON, threads; and how mokume talks to people and scripts.

use clap::Args;
use mokume_ir::diag::{Report, Severity};
use mokume_runtime::session::MAX_THREADS;
use std::io::{ErrorKind, IsTerminal, Write};

/// Over the options of every verb in `--help`.
const HEADING: &str = "Options of every command";

/// Options of every verb.
#[derive(Debug, Clone, Args)]
pub struct Talk {
    /// Say nothing but results and errors
    #[arg(short, long, global = true, help_heading = HEADING)]
    pub quiet: bool,
    /// Print results and errors as JSON
    #[arg(long, global = true, help_heading = HEADING)]
    pub json: bool,
    /// Threads to use; 0 for one per core
    #[arg(long, global = true, default_value_t = 0, value_name = "N", value_parser = thread_number, help_heading = HEADING)]
    pub threads: usize,
}

fn thread_number(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|&number| number <= MAX_THREADS);
    number.ok_or_else(|| format!("expected a whole number up to {MAX_THREADS}"))
}

impl Talk {
    /// Says something on stderr, unless quiet.
    pub fn say(&self, message: impl std::fmt::Display) {
        if !self.quiet {
            eprintln!("{message}");
        }
    }
    /// A progress bar on a terminal; one plain line otherwise; silent when quiet.
    pub fn progress(&self, what: &str, steps: u64) -> Progress {
        let terminal = std::io::stderr().is_terminal();
        let bar = (!self.quiet && terminal).then(|| {
            let bar = indicatif::ProgressBar::new(steps);
            if let Ok(style) = indicatif::ProgressStyle::with_template("{prefix:>12} [{bar:30}] {pos}/{len}") {
                bar.set_style(style);
            }
            bar.set_prefix(what.to_string());
            bar
        });
        if bar.is_none() {
            self.say(format!("{what}: {steps} steps"));
        }
        Progress { bar }
    }
    /// Prints a result: JSON when asked for, otherwise the text.
    pub fn result(&self, json: &impl serde::Serialize, text: impl std::fmt::Display) {
        match serde_json::to_string_pretty(json) {
            Ok(json) if self.json => put(format_args!("{json}\n")),
            _ => put(text),
        }
    }
    /// A thread pool of the asked size.
    pub fn thread_count(&self) -> usize {
        match self.threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            threads => threads,
        }
    }
}

/// Progress of long work.
pub struct Progress {
    bar: Option<indicatif::ProgressBar>,
}

impl Progress {
    /// Says something above the bar, unless quiet.
    pub fn say(&self, talk: &Talk, message: impl std::fmt::Display) {
        match &self.bar {
            Some(bar) => bar.suspend(|| talk.say(message)),
            None => talk.say(message),
        }
    }
    /// `steps` more steps are done.
    pub fn advance(&self, steps: u64) {
        if let Some(bar) = &self.bar {
            bar.inc(steps);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Prints on stdout, at once. When nobody reads it any more, the process ends.
pub fn put(text: impl std::fmt::Display) {
    let mut out = std::io::stdout();
    if write!(out, "{text}").and_then(|()| out.flush()).is_err_and(|error| error.kind() == ErrorKind::BrokenPipe) {
        std::process::exit(0);
    }
}

/// Prints findings on stderr, or on stdout as JSON.
pub fn print_report(report: &Report, json: bool) {
    if !json {
        eprintln!("{report}");
        return;
    }
    let findings: Vec<_> = report.findings().iter().map(finding_json).collect();
    put(format_args!("{}\n", serde_json::json!({ "errors": findings })));
}

fn finding_json(finding: &mokume_ir::diag::Diagnostic) -> serde_json::Value {
    let severity = match finding.severity {
        Severity::Input => "input",
        Severity::Unsupported => "unsupported",
        Severity::Check => "check",
    };
    serde_json::json!({ "code": finding.code, "severity": severity, "message": finding.message, "at": finding.place, "help": finding.help })
}
