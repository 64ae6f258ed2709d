//! The command line: one file per verb. Results go to stdout, talk to stderr; exit codes 0 ok, 1 your input, 2 unsupported,
//! 3 check failed, 101 a bug of mokume.

pub mod bench;
pub mod compare;
pub mod compile;
pub mod compile_report;
pub mod completions;
pub mod demo;
pub mod doctor;
pub mod eval;
pub mod generate;
pub mod inspect;
pub mod opt;
pub mod options;
pub mod passes;
pub mod run;
pub mod talk;

use clap::{Parser, Subcommand};
use mokume_ir::diag::{Report, Severity};
use mokume_runtime::file;
use std::process::ExitCode;

/// A compiler for neural networks: a trained model in, one small fast file out, and the loss measured.
#[derive(Debug, Parser)]
#[command(name = "mokume", version, propagate_version = true)]
struct Cli {
    #[command(flatten)]
    talk: talk::Talk,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Compile(compile::Args),
    Run(run::Args),
    Opt(opt::Args),
    Passes(passes::Args),
    Inspect(inspect::Args),
    Compare(compare::Args),
    Bench(bench::Args),
    Eval(eval::Args),
    Generate(generate::Args),
    Doctor(doctor::Args),
    Demo(demo::Args),
    Completions(completions::Args),
}

/// Parses the arguments, runs the verb, reports what went wrong.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(u8::from(error.use_stderr()));
        }
    };
    end_cleanly();
    let json = cli.talk.json;
    match std::panic::catch_unwind(|| dispatch(cli)) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(report)) => {
            talk::print_report(&report, json);
            ExitCode::from(status(&report))
        }
        Err(_) => {
            eprintln!(
                "error[mokume::bug]: mokume failed in a way it should not\n  help: please report the message above with the model and this command"
            );
            ExitCode::from(101)
        }
    }
}

/// Lets nothing half written stay behind when the process is told to end.
#[cfg(unix)]
fn end_cleanly() {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    // Without the handler files are still written whole; only a temporary one may stay.
    let Ok(mut signals) = signal_hook::iterator::Signals::new([SIGHUP, SIGINT, SIGTERM]) else { return };
    std::thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            file::abandon_writes();
            let _ = signal_hook::low_level::emulate_default_handler(signal);
        }
    });
}

#[cfg(not(unix))]
fn end_cleanly() {}

fn dispatch(cli: Cli) -> Result<(), Report> {
    let talk = cli.talk;
    match cli.verb {
        Verb::Compile(args) => compile::run(&args, &talk),
        Verb::Run(args) => run::run(&args, &talk),
        Verb::Opt(args) => opt::run(&args, &talk),
        Verb::Passes(args) => passes::run(&args, &talk),
        Verb::Inspect(args) => inspect::run(&args, &talk),
        Verb::Compare(args) => compare::run(&args, &talk),
        Verb::Bench(args) => bench::run(&args, &talk),
        Verb::Eval(args) => eval::run(&args, &talk),
        Verb::Generate(args) => generate::run(&args, &talk),
        Verb::Doctor(args) => doctor::run(&args, &talk),
        Verb::Demo(args) => demo::run(&args, &talk),
        Verb::Completions(args) => completions::run(&args),
    }
}

/// The exit code.
fn status(report: &Report) -> u8 {
    match report.severity() {
        _ if report.findings().iter().any(|finding| finding.code.starts_with("mokume::bug")) => 101,
        Severity::Input => 1,
        Severity::Unsupported => 2,
        Severity::Check => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mokume_ir::diag::Diagnostic;

    #[test]
    fn exit_codes_say_whose_move_it_is() {
        let both = vec![Diagnostic::unsupported("a", "a"), Diagnostic::input("b", "b")];
        assert_eq!(status(&Report::from_findings(both).unwrap()), 1);
        assert_eq!(status(&Diagnostic::unsupported("a", "a").into()), 2);
        assert_eq!(status(&Diagnostic::check("a", "a").into()), 3);
        assert_eq!(status(&Diagnostic::input("mokume::bug", "a").into()), 101);
    }

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }
}
