//! Random modules compute the same before and after every pipeline that must not change results.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use mokume::driver::executor::RuntimeExecutor;
use mokume_ir::dim::Symbol;
use mokume_ir::random;
use mokume_tests::golden::{Tolerance, check_module, compare_runs, run};

/// Runs `pipeline` on random modules.
fn check(pipeline: &str, seeds: std::ops::Range<u64>, tolerance: Tolerance) {
    let executor = RuntimeExecutor { threads: 1 };
    for seed in seeds {
        let before = random::module(seed, 10 + (seed % 40) as usize).unwrap();
        let mut after = before.clone();
        let sizes = |symbol: &Symbol| Some(if symbol.name() == "n" { 2 + (seed % 3) as i64 } else { 3 });
        let result = run(&mut after, pipeline, &executor, vec![])
            .and_then(|_| check_module(&after))
            .and_then(|()| compare_runs(&before, &after, tolerance, &sizes, &executor));
        result.unwrap_or_else(|problem| panic!("seed {seed}: {problem}"));
    }
}

#[test]
fn dead_code_goes_without_a_trace() {
    check("dce", 0..60, Tolerance::Exact);
}

#[test]
fn equal_nodes_are_merged() {
    check("cse,dce", 100..160, Tolerance::Exact);
}

#[test]
fn canonical_modules_compute_the_same() {
    check("canonicalize,fold-constants,canonicalize,cse,dce", 200..300, Tolerance::Within(1e-4));
}

#[test]
fn every_preset_without_loss_computes_the_same() {
    check(mokume_passes::presets::find("float").unwrap().pipeline, 300..400, Tolerance::Within(1e-4));
}
