//! Imports every ONNX file given on the command line and prints what came of it: nodes, seconds, memory.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use mokume_frontends::onnx;
use std::time::Instant;

fn main() {
    let mut failed = 0;
    let quiet = std::env::args().any(|arg| arg == "-q");
    for path in std::env::args().skip(1).filter(|arg| arg != "-q") {
        let start = Instant::now();
        match onnx::import_file(&path) {
            Ok(module) if !quiet => {
                let nodes: usize = module.functions.iter().map(|(_, graph)| graph.node_count()).sum();
                println!("ok {path}: {nodes} nodes, {:.3} s, {}", start.elapsed().as_secs_f64(), memory());
            }
            Ok(_) => {}
            Err(report) => {
                failed += 1;
                println!("failed {path}");
                for finding in report.findings().iter().take(if quiet { 1 } else { 8 }) {
                    println!("  {}", finding.to_string().replace('\n', "\n  "));
                }
            }
        }
    }
    println!("{failed} failed");
}

/// Anonymous and mapped resident memory of this process.
fn memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let lines = status.lines().filter(|line| line.starts_with("RssAnon") || line.starts_with("RssFile"));
    lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>().join(", ")
}
