//! Writes tables of measurements by which `compile --tuning` chooses kernels.

use super::kernels::{Case, How, Measured, product};
use mokume_codegen::kernel::tuning::{Key, line};
use mokume_ir::diag::Report;
use mokume_runtime::cpu::spec::Strategy;
use mokume_runtime::file;
use std::path::Path;

/// Adds the fastest strategy of every case to the end of a table, where it counts rather than what the table said before.
///
/// Errors  when the table cannot be read or written.
pub fn add(path: &Path, how: &How, measured: &[Measured]) -> Result<(), Report> {
    let before = if path.exists() { std::fs::read_to_string(path).map_err(|error| file::unreadable(path, &error))? } else { String::new() };
    let mut lines: Vec<String> = before.lines().map(String::from).collect();
    lines.push(format!("# mokume bench --kernels --tune, {} threads; others in comments, all in microseconds", how.threads));
    lines.extend(measured.chunk_by(|a, b| a.case == b.case).filter_map(|same| entry(how, same)));
    file::write(path, |out| lines.iter().try_for_each(|line| writeln!(out, "{line}")))
}

/// The line of one case, measured with several strategies.
fn entry(how: &How, same: &[Measured]) -> Option<String> {
    let Case { m, n, k, .. } = same.first()?.case;
    let key = Key::new(how.level, &product(same.first()?.case, how)?, m, (n, k));
    let times = same.iter().filter_map(|one| Some((Strategy::from_name(one.strategy)?, one.us.median)));
    line(&key, &times.collect::<Vec<_>>())
}
