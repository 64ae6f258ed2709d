//! Speed of `bit_matmul` kernels on weights that no cache holds.
//!
//! A program multiplies the same rows by many copies of a weight matrix, one after the other; together they are several times
//! larger than the last cache. A sample is the time of all its nodes (activations quantized and packed, product, scales) divided
//! by the number of copies.

use super::bandwidth::{BEYOND_CACHE, last_cache};
use super::samples::Spread;
use bytes::Bytes;
use mokume_codegen::{Target, compile};
use mokume_ir::constant::{Constant, QuantData, packed_bytes};
use mokume_ir::diag::{Diagnostic, Report};
use mokume_ir::dim::Dim;
use mokume_ir::edit::Editor;
use mokume_ir::graph::Module;
use mokume_ir::loc::Loc;
use mokume_ir::op::{ActScale, BitMatmul};
use mokume_ir::quant::{Granularity, Levels, QuantType, common_block};
use mokume_ir::types::{Elem, Shape, Type};
use mokume_runtime::cpu::isa::IsaLevel;
use mokume_runtime::cpu::kernels::{Kernels, PackedWeights};
use mokume_runtime::cpu::spec::{BitProduct, Strategy};
use mokume_runtime::program::Program;
use mokume_runtime::session::{Session, SessionOptions};
use mokume_runtime::tensor::Tensor;
use serde::Serialize;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// More rows than this use a weight so often that one copy is enough.
const STREAMING_ROWS: usize = 16;
/// More copies than this are not made: caches then hold a small matrix after all.
const MOST_COPIES: usize = 512;
/// A scale of weights; it and its first [`MOST_COPIES`] multiples are f16 numbers, as scales from `quantize` are.
const SCALE: f32 = 0.0078125;
/// Samples of a case, at least.
const SAMPLES: usize = 5;
/// Runs before samples are taken.
const WARM_UP: usize = 2;

/// A product to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Case {
    /// Rows of activations.
    pub m: usize,
    /// Columns: rows of the weight matrix.
    pub n: usize,
    /// Elements along k.
    pub k: usize,
    /// Bits of a weight.
    pub w: u8,
    /// Bits of an activation.
    pub a: u8,
}

/// How to measure.
#[derive(Debug, Clone, Copy)]
pub struct How {
    /// Threads.
    pub threads: usize,
    /// Elements per scale of weights; 0 for one scale per column.
    pub group: u32,
    /// Elements per scale of a row of activations; 0 for one scale per row.
    pub a_group: u32,
    /// Overrides the cost model.
    pub strategy: Option<Strategy>,
    /// Instruction set level of the code.
    pub level: IsaLevel,
    /// Matrices that take turns; by default as many as no cache holds.
    pub copies: Option<usize>,
    /// For how long, per case.
    pub time: Duration,
}

/// A product as measured.
#[derive(Debug, Clone, Serialize)]
pub struct Measured {
    /// What it is.
    #[serde(flatten)]
    pub case: Case,
    /// How the kernel forms products.
    pub strategy: &'static str,
    /// Copies of the weights that take turns.
    pub copies: usize,
    /// Bytes of packed weights, scales included.
    pub weight_bytes: usize,
    /// Microseconds.
    pub us: Spread,
}

impl Measured {
    /// Bytes of weights per second.
    pub fn bytes_per_second(&self) -> f64 {
        self.weight_bytes as f64 / (self.us.median * 1e-6)
    }
}

/// Measures a product.
///
/// Errors  when there is no kernel for it or the machine runs none.
pub fn measure(case: Case, how: &How) -> Result<Measured, Report> {
    let groups = |size: u32| (size > 0).then_some(size);
    common_block(groups(how.a_group), groups(how.group)).map_err(|why| Diagnostic::input("bench::groups", why))?;
    let (program, weight_bytes, strategy) = program(case, how)?;
    let copies = program.kernels().weights.len();
    let mut session = Session::new(Arc::new(program), SessionOptions { threads: how.threads, ..SessionOptions::default() })?;
    let rows: Vec<f32> = (0..case.m * case.k).map(|i| (i % 97) as f32 / 48.0 - 1.0).collect();
    let inputs = [("x".to_string(), Tensor::f32s(&[case.m, case.k], &rows))];
    for _ in 0..WARM_UP {
        session.run(&inputs)?;
    }
    let (start, mut samples) = (Instant::now(), Vec::new());
    while samples.len() < SAMPLES || start.elapsed() < how.time {
        let (_, events) = session.run_profiled(&inputs)?;
        let ns: u64 = events.iter().map(|event| event.duration_ns).sum();
        samples.push(ns as f64 / 1e3 / copies as f64);
    }
    Ok(Measured { case, strategy, copies, weight_bytes, us: Spread::of(samples) })
}

/// As many copies of the product as one run shall have; bytes of the weights of one; the strategy of its kernel.
fn program(case: Case, how: &How) -> Result<(Program, usize, &'static str), Report> {
    let target = Target { levels: vec![how.level], strategy: how.strategy, ..Target::default() };
    let (single, _) = compile(module(case, how, 1), &target)?;
    let Some(packed) = single.kernels().weights.values().next() else { return Ok((single, 0, "interpreted")) };
    let (bytes, strategy) = (packed.bytes.len(), packed.strategy.name());
    let beyond = (BEYOND_CACHE * last_cache()).div_ceil(bytes.max(1)).min(MOST_COPIES);
    let copies = how.copies.unwrap_or(if case.m > STREAMING_ROWS { 1 } else { beyond });
    let mut module = module(case, how, copies);
    let ids: Vec<_> = module.constants.iter().map(|(id, _)| id).collect();
    module.constants.release(|_| false);
    let copy = || PackedWeights { bytes: Bytes::copy_from_slice(&packed.bytes), ..packed.clone() };
    let kernels = Kernels {
        objects: single.kernels().objects.clone(),
        weights: ids.into_iter().map(|id| (id, copy())).collect(),
        ..Kernels::default()
    };
    Ok((Program::compiled(module, kernels)?, bytes, strategy))
}

/// `x` times `copies` matrices that differ in their first scale.
fn module(case: Case, how: &How, copies: usize) -> Module {
    let mut module = Module::new("bench");
    let entry = module.entry;
    let mut editor = Editor::new(&mut module, entry);
    let x = editor.add_input("x", Type::tensor(Shape::from_iter([Dim::symbol("m"), case.k.into()]), Elem::F32));
    let op = BitMatmul {
        a_bits: case.a,
        a_levels: activation_levels(case),
        a_scale: ActScale::Row,
        a_group: (how.a_group > 0).then_some(how.a_group),
        a_clip: None,
        static_scale: 1.0,
        static_zero: 0,
        epilogue: vec![],
    };
    let ty = weight_type(case, how.group);
    let codes = codes(packed_bytes(&[case.n, case.k], Elem::Quant(ty)).unwrap_or(0));
    let per_column = if how.group == 0 { 1 } else { case.k.div_ceil(how.group as usize) };
    for copy in 0..copies {
        let mut scales = vec![SCALE; case.n * per_column];
        scales.iter_mut().take(1).for_each(|scale| *scale *= (1 + copy) as f32);
        let quant = QuantData { scales: bytemuck::cast_slice(&scales).to_vec().into(), zero_points: Bytes::new() };
        let weights = Constant::with_quant(&[case.n, case.k], Elem::Quant(ty), codes.clone(), Some(quant));
        let weights = editor.constant_value(weights);
        let result = Type::tensor(Shape::from_iter([Dim::symbol("m"), case.n.into()]), Elem::F32);
        let node = editor.insert_typed(op.clone().into(), &[x, weights], vec![result], Loc::default());
        let y = editor[node].outputs[0];
        editor.add_output(format!("y{copy}"), y);
    }
    module
}

/// What a case multiplies, with as many scales as `how` says.
pub fn product(case: Case, how: &How) -> Option<BitProduct> {
    let product = BitProduct::of(&weight_type(case, how.group), case.a, activation_levels(case))?;
    product.with_groups((how.a_group > 0).then_some(how.a_group))
}

fn activation_levels(case: Case) -> Levels {
    if case.a > 1 { Levels::Signed } else { Levels::Odd }
}

fn weight_type(case: Case, group: u32) -> QuantType {
    let levels = if case.w > 2 { Levels::Signed } else { Levels::Odd };
    let granularity = if group == 0 { Granularity::Axis(0) } else { Granularity::Block { axis: 0, along: 1, size: group } };
    QuantType { bits: case.w, levels, granularity, zero_point: false }
}

fn codes(count: usize) -> Bytes {
    (0..count).map(|i| (i * 37 % 253) as u8).collect::<Vec<_>>().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_is_measured_on_copies_of_its_weights() {
        let level = IsaLevel::detect().unwrap();
        let how = How { threads: 1, group: 32, a_group: 0, strategy: None, level, copies: None, time: Duration::ZERO };
        let measure = |m| measure(Case { m, n: 128, k: 256, w: 4, a: 8 }, &how).unwrap();
        let (few, many) = (measure(1), measure(STREAMING_ROWS + 1));
        assert!(few.weight_bytes >= 128 * 256 / 2 && few.us.count >= SAMPLES && few.us.median > 0.0, "{few:?}");
        assert!(few.copies > 1 && few.copies <= MOST_COPIES && many.copies == 1, "{few:?} {many:?}");
        let grouped = super::measure(Case { m: 1, n: 128, k: 256, w: 4, a: 4 }, &How { a_group: 64, ..how }).unwrap();
        assert!(grouped.weight_bytes == few.weight_bytes && grouped.us.median > 0.0, "{grouped:?}");
    }
}
