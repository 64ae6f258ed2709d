//! Times quantized products against f32 products: `cargo run --release -p mokume-codegen --example bench_bit_matmul`.
//!
//! Per shape, widths and threads: median milliseconds of a whole product (quantize, pack, multiply), bytes of packed weights per
//! second, operations (2 m n k) per second, and the ratio to the f32 product of the same run.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a program that prints")]

use mokume_codegen::{Target, compile};
use mokume_ir::constant::{Constant, QuantData, packed_bytes};
use mokume_ir::edit::Editor;
use mokume_ir::graph::Module;
use mokume_ir::loc::Loc;
use mokume_ir::op::{ActScale, BitMatmul, Matmul, Op};
use mokume_ir::quant::{Granularity, Levels, QuantType};
use mokume_ir::types::{Elem, Shape, Type};
use mokume_runtime::program::Program;
use mokume_runtime::session::{Session, SessionOptions};
use mokume_runtime::tensor::Tensor;
use std::sync::Arc;
use std::time::Instant;

const SHAPES: [(usize, usize); 3] = [(576, 1536), (1536, 576), (49152, 576)];
const WIDTHS: [(u8, u8); 5] = [(8, 8), (4, 8), (2, 8), (4, 4), (1, 1)];
const ROWS: [usize; 4] = [1, 8, 64, 512];

fn main() {
    println!("{:>5} {:>6} {:>5} {:>2} {:>5} {:>10} {:>8} {:>9} {:>6}", "m", "n", "k", "t", "kind", "ms", "GB/s", "GOPS", "x f32");
    for (n, k) in SHAPES {
        let float =
            Arc::new(Program::interpret(module(Op::from(Matmul { transpose_a: false, transpose_b: true }), k, float_weights(n, k))));
        let products: Vec<_> = WIDTHS.iter().map(|&(w, a)| ((w, a), Arc::new(product(w, a, n, k)))).collect();
        for threads in [1, 2] {
            for m in ROWS {
                let base = median(&float, m, k, threads);
                report((m, n, k, threads), "f32", base, n * k * 4, base);
                for ((w, a), program) in &products {
                    let bytes = program.kernels().weights.values().map(|weights| weights.bytes.len()).sum();
                    report((m, n, k, threads), &format!("w{w}a{a}"), median(program, m, k, threads), bytes, base);
                }
            }
        }
    }
}

fn report((m, n, k, threads): (usize, usize, usize, usize), kind: &str, seconds: f64, bytes: usize, base: f64) {
    let (rate, ops) = (bytes as f64 / seconds / 1e9, 2.0 * (m * n * k) as f64 / seconds / 1e9);
    println!("{m:>5} {n:>6} {k:>5} {threads:>2} {kind:>5} {:>10.4} {rate:>8.2} {ops:>9.1} {:>6.2}", seconds * 1e3, base / seconds);
}

fn module(op: Op, k: usize, w: Constant) -> Module {
    let mut module = Module::new("bench");
    let entry = module.entry;
    let mut editor = Editor::new(&mut module, entry);
    let rows = mokume_ir::dim::Dim::symbol("m");
    let x = editor.add_input("x", Type::tensor(Shape::from_iter([rows, k.into()]), Elem::F32));
    let w = editor.constant_value(w);
    let y = editor.apply(op, &[x, w], Loc::default()).unwrap();
    editor.add_output("y", y);
    module
}

fn float_weights(n: usize, k: usize) -> Constant {
    Constant::f32s(&[n, k], &(0..n * k).map(|i| (i % 251) as f32 / 125.0 - 1.0).collect::<Vec<_>>())
}

/// Blocks of 32 for 4 bits, 64 for fewer, a scale per channel for 8.
fn product(w_bits: u8, a_bits: u8, n: usize, k: usize) -> Program {
    let size = if w_bits == 4 { 32 } else { 64 };
    let granularity = if w_bits == 8 { Granularity::Axis(0) } else { Granularity::Block { axis: 0, along: 1, size } };
    let levels = if w_bits > 2 { Levels::Signed } else { Levels::Odd };
    let ty = QuantType { bits: w_bits, levels, granularity, zero_point: false };
    let data: Vec<u8> = (0..packed_bytes(&[n, k], Elem::Quant(ty)).unwrap()).map(|i| (i * 37 % 253) as u8).collect();
    let scales = vec![0.01f32; if w_bits == 8 { n } else { n * k.div_ceil(size as usize) }];
    let quant = QuantData { scales: bytemuck::cast_slice(&scales).to_vec().into(), zero_points: Default::default() };
    let a_levels = if a_bits > 1 { Levels::Signed } else { Levels::Odd };
    let op = BitMatmul { a_bits, a_levels, a_scale: ActScale::Row, static_scale: 1.0, static_zero: 0, epilogue: vec![] };
    let module = module(op.into(), k, Constant::with_quant(&[n, k], Elem::Quant(ty), data.into(), Some(quant)));
    compile(module, &Target::default()).unwrap().0
}

/// Seconds of one run: the median of at least five, of about half a second of runs.
fn median(program: &Arc<Program>, m: usize, k: usize, threads: usize) -> f64 {
    let mut session = Session::new(program.clone(), SessionOptions { threads, ..SessionOptions::default() }).unwrap();
    let x = Tensor::f32s(&[m, k], &(0..m * k).map(|i| (i % 97) as f32 / 48.0 - 1.0).collect::<Vec<_>>());
    let inputs = [("x".to_string(), x)];
    let mut run = || {
        let start = Instant::now();
        session.run(&inputs).unwrap();
        start.elapsed().as_secs_f64()
    };
    let count = (0.5 / run().max(1e-9)) as usize;
    let mut times: Vec<f64> = (0..count.clamp(5, 2000)).map(|_| run()).collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
