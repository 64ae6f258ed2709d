//! `mokume doctor`: what this machine offers and what mokume would use of it.

use crate::cli::talk::Talk;
use crate::report::table::Table;
use mokume_ir::diag::Report;
use mokume_runtime::cpu::isa::IsaLevel;
use serde::Serialize;

/// Say what this machine offers
#[derive(Debug, Clone, clap::Args)]
pub struct Args {}

#[derive(Serialize)]
struct Finding {
    what: &'static str,
    found: String,
}

/// Runs the verb.
///
/// Errors  never.
pub fn run(_args: &Args, talk: &Talk) -> Result<(), Report> {
    let findings = [
        Finding { what: "mokume", found: env!("CARGO_PKG_VERSION").into() },
        Finding {
            what: "native level",
            found: IsaLevel::detect().map_or("none: products run by the op library".into(), |level| level.name().into()),
        },
        Finding { what: "cores", found: talk.thread_count().to_string() },
    ];
    let mut table = Table::new(["what", "found"]);
    findings.iter().for_each(|finding| table.row([finding.what.to_string(), finding.found.clone()]));
    talk.result(&findings, table);
    Ok(())
}
