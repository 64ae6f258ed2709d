//! Damaged files: every one gives an error that names what is wrong or a program that runs to a result or an error, without
//! panic and within bounded memory.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use bytes::Bytes;
use mokume::driver::{compile, pipelines};
use mokume_codegen::Target;
use mokume_frontends::onnx;
use mokume_ir::diag::Report;
use mokume_ir::graph::Module;
use mokume_ir::verify::verify;
use mokume_runtime::artifact::{self, ReadOptions, Trust};
use mokume_runtime::program::Program;
use mokume_runtime::session::{Outputs, Session, SessionOptions};
use mokume_tests::memory::{Counting, measured};
use mokume_tests::mutate::{Damage, Random};
use mokume_tests::sample;
use prost::Message;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

#[global_allocator]
static COUNTING: Counting = Counting;

const ROUNDS: u64 = 2000;
/// More than any damaged sample may take to be read.
const READING: usize = 16 << 20;
/// More than a damaged sample may take at all; what asks for more must be told no without harm.
const RUNNING: usize = 1 << 30;

/// Tests that count memory run one after the other.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn onnx_bytes() -> Vec<u8> {
    sample::model(sample::IR_VERSION, sample::OPSET).encode_to_vec()
}

fn import(bytes: Vec<u8>) -> Result<Module, Report> {
    onnx::import_bytes(Bytes::from(bytes), None)
}

/// The sample with 4-bit weights.
fn quantized() -> Module {
    let mut module = import(onnx_bytes()).unwrap();
    let pipeline = compile::pipeline(None, Some("w4a8")).unwrap();
    pipelines::apply(&mut module, &pipeline, &Default::default(), &mut |_, _, _| {}).unwrap();
    module
}

/// The artifact of the sample with native kernels.
fn native() -> Bytes {
    let (program, choices) = mokume_codegen::compile(quantized(), &Target::default()).unwrap();
    assert!(!choices.kernels.is_empty());
    artifact::to_bytes(&program)
}

fn run(program: Program) -> Result<Outputs, Report> {
    let options = SessionOptions { threads: 1, max_trips: 100 };
    Session::new(Arc::new(program), options)?.run(&sample::inputs())
}

fn read(bytes: Vec<u8>, trust: Trust) -> Result<Program, Report> {
    artifact::from_bytes(bytes.into(), &ReadOptions { trust, ..Default::default() })
}

fn values(outputs: &Outputs) -> Vec<(&str, &[usize], &[u8])> {
    outputs.iter().map(|(name, tensor)| (name.as_str(), tensor.dims(), tensor.bytes())).collect()
}

/// Every kind of damage within `range`, [`ROUNDS`] times each. What `judge` says is wrong fails with what led to it.
fn damage(good: &[u8], range: std::ops::Range<usize>, mut judge: impl FnMut(Vec<u8>) -> Result<(), String>) {
    for kind in Damage::ALL {
        for round in 0..ROUNDS {
            let damaged = kind.apply(good, range.clone(), &mut Random(round));
            let verdict = catch_unwind(AssertUnwindSafe(|| judge(damaged))).unwrap_or_else(|_| Err("panics".into()));
            if let Err(wrong) = verdict {
                panic!("{kind:?}, round {round}: {wrong}");
            }
        }
    }
}

/// Errors are about the user's file and have a message.
fn check_report(report: &Report, prefix: &str) -> Result<(), String> {
    let named = |finding: &mokume_ir::diag::Diagnostic| finding.code.starts_with(prefix) && !finding.message.is_empty();
    if report.findings().iter().all(named) { Ok(()) } else { Err(format!("says {report}")) }
}

fn check_reading(taken: usize) -> Result<(), String> {
    if taken <= READING { Ok(()) } else { Err(format!("reading takes {taken} bytes")) }
}

#[test]
fn the_sample_runs_alike_in_every_form() {
    let _alone = alone();
    let expected = run(Program::interpret(quantized())).unwrap();
    let native = run(read(native().to_vec(), Trust::Always).unwrap()).unwrap();
    assert_eq!(values(&native), values(&expected));
    let float = run(Program::interpret(import(onnx_bytes()).unwrap())).unwrap();
    assert_eq!(float[0].1.dims(), [3, 2, 1, 1]);
    let largest = expected[0].1.slice::<f32>().iter().zip(float[0].1.slice::<f32>()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(largest < 0.05, "{largest}");
}

#[test]
fn damaged_artifacts_are_refused_or_whole() {
    let _alone = alone();
    let good = native();
    let expected = run(read(good.to_vec(), Trust::Always).unwrap()).unwrap();
    let judge = |damaged: Vec<u8>| {
        let (program, taken) = measured(RUNNING, || read(damaged, Trust::Always));
        check_reading(taken)?;
        match program {
            Err(report) => check_report(&report, "artifact::"),
            Ok(program) => {
                let outputs = run(program).map_err(|report| format!("does not run: {report}"))?;
                if values(&outputs) == values(&expected) { Ok(()) } else { Err("gives other outputs".into()) }
            }
        }
    };
    damage(&good, 0..good.len(), judge);
    damage(&good, 0..1024, judge);
}

#[test]
fn artifacts_from_the_future_are_named() {
    let good = native();
    let mut random = Random(3);
    for _ in 0..ROUNDS {
        let mut damaged = good.to_vec();
        damaged[8..12].copy_from_slice(&(2 + (random.bits() >> 33) as u32).to_le_bytes());
        let report = read(damaged, Trust::Always).err().unwrap();
        assert_eq!(report.findings()[0].code, "artifact::version");
    }
}

/// Sets the checksums right, as a hostile writer would.
fn seal(bytes: &mut [u8]) {
    let number = |bytes: &[u8], at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) as usize;
    let sections = u32::from_le_bytes(bytes[12..16].try_into().unwrap()) as usize;
    for entry in (0..sections).map(|i| 64 + i * 64) {
        let (offset, length) = (number(bytes, entry + 8), number(bytes, entry + 16));
        let sum = blake3::hash(&bytes[offset..offset + length]);
        bytes[entry + 32..entry + 64].copy_from_slice(sum.as_bytes());
    }
    let sum = blake3::Hasher::new().update(&bytes[..32]).update(&bytes[64..64 + sections * 64]).finalize();
    bytes[32..64].copy_from_slice(sum.as_bytes());
}

/// The bytes of the manifest in an artifact.
fn manifest(bytes: &[u8]) -> std::ops::Range<usize> {
    let sections = u32::from_le_bytes(bytes[12..16].try_into().unwrap()) as usize;
    let start = 64 + sections * 64;
    start..start + u64::from_le_bytes(bytes[80..88].try_into().unwrap()) as usize
}

/// Damage of the manifest under right checksums; `judge` as in [`damage`]. How many were read.
fn hostile(good: &[u8], trust: Trust) -> usize {
    let range = manifest(good);
    let mut accepted = 0;
    damage(&good[range.clone()], 0..range.len(), |damaged| {
        // The manifest keeps its length: what is missing is zeros.
        let mut bytes = good.to_vec();
        let len = damaged.len().min(range.len());
        bytes[range.clone()].fill(0);
        bytes[range.start..range.start + len].copy_from_slice(&damaged[..len]);
        seal(&mut bytes);
        let (program, taken) = measured(RUNNING, || read(bytes, trust));
        check_reading(taken)?;
        let Ok(program) = program else { return Ok(()) };
        accepted += 1;
        drop(artifact::to_bytes(&program));
        let (_, _) = measured(RUNNING, || run(program));
        Ok(())
    });
    accepted
}

#[test]
fn hostile_artifacts_run_to_a_result_or_an_error() {
    let _alone = alone();
    let interpreted = artifact::to_bytes(&Program::interpret(quantized()));
    assert!(hostile(&interpreted, Trust::Always) > 100);
    // With native code a hostile writer has won already, so it is read but not run.
    assert!(hostile(&native(), Trust::Never) > 100);
}

#[test]
fn damaged_models_are_refused_or_run() {
    let _alone = alone();
    let good = onnx_bytes();
    let mut ran = 0;
    damage(&good, 0..good.len(), |damaged| {
        let (module, taken) = measured(RUNNING, || import(damaged));
        check_reading(taken)?;
        let module = match module {
            Ok(module) => module,
            Err(report) => return check_report(&report, "onnx::"),
        };
        if let Err(report) = verify(&module) {
            return Err(format!("the importer left an invalid module: {report}"));
        }
        let (result, _) = measured(RUNNING, || run(Program::interpret(module)));
        ran += usize::from(result.is_ok());
        Ok(())
    });
    assert!(ran > 100, "{ran}");
}

#[test]
fn models_from_the_future_are_named() {
    let mut random = Random(4);
    for round in 0..ROUNDS {
        let later = |newest: i64, random: &mut Random| newest + 1 + (random.bits() >> 2 >> random.below(60)) as i64;
        let (ir_version, opset, code) = match round % 2 {
            0 => (later(14, &mut random), sample::OPSET, "onnx::model::ir_version"),
            _ => (sample::IR_VERSION, later(28, &mut random), "onnx::model::opset"),
        };
        let report = import(sample::model(ir_version, opset).encode_to_vec()).err().unwrap();
        assert_eq!(report.findings()[0].code, code, "{report}");
        assert_eq!(report.severity(), mokume_ir::diag::Severity::Unsupported, "{report}");
    }
}
