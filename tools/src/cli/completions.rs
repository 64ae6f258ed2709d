//! `mokume completions`: shell completion scripts.

use crate::cli::talk::put;
use clap::CommandFactory;
use mokume_ir::diag::Report;

/// Print a completion script for a shell
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The shell
    pub shell: clap_complete::Shell,
}

/// Runs the verb.
///
/// Errors  never.
pub fn run(args: &Args) -> Result<(), Report> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut super::Cli::command(), "mokume", &mut script);
    put(String::from_utf8_lossy(&script));
    Ok(())
}
