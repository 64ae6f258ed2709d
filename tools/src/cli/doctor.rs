//! `mokume doctor`: what this machine offers and what mokume would use of it.

use crate::cli::talk::Talk;
use crate::report::table::Table;
use mokume_ir::diag::Report;
use mokume_runtime::cpu::isa::IsaLevel;
use mokume_runtime::gpu::arch::Arch;
use mokume_runtime::gpu::cuda::{DeviceInfo, devices};
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
    let findings: Vec<Finding> = findings.into_iter().chain(gpus()).collect();
    let mut table = Table::new(["what", "found"]);
    findings.iter().for_each(|finding| table.row([finding.what.to_string(), finding.found.clone()]));
    talk.result(&findings, table);
    Ok(())
}

/// A finding per GPU, or one that says why none can be used.
fn gpus() -> Vec<Finding> {
    match devices() {
        Ok(devices) => devices.iter().map(|device| Finding { what: "GPU", found: describe(device) }).collect(),
        Err(error) => vec![Finding { what: "GPU", found: format!("none: {error}") }],
    }
}

/// `NVIDIA H200 (sm_90), 140.2 GB free: runs code for sm_90a`
fn describe(device: &DeviceInfo) -> String {
    let (major, minor) = device.capability;
    let best = Arch::ALL.into_iter().rev().find(|arch| arch.runs_on(device.capability));
    let runs = best.map_or("too old for any kernel".to_string(), |arch| format!("runs code for {arch}"));
    format!("{} (sm_{major}{minor}), {:.1} GB free: {runs}", device.name, device.free_bytes as f64 / 1e9)
}
