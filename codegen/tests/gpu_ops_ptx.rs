//! PTX of the kernels of ops, for every architecture: it assembles, without spills.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

mod toolkit;

use inkwell::context::Context;
use mokume_codegen::gpu::{Build, ops, ptx};
use mokume_ir::op::{ActivationKind, BinaryKind, ReduceKind, ScatterKind, UnaryKind};
use mokume_ir::quant::Levels;
use mokume_ir::types::Elem;
use mokume_runtime::gpu::arch::Arch;
use mokume_runtime::gpu::codes::CodeRow;
use mokume_runtime::gpu::kernel::{Attention, Kernel, Mask};
use mokume_runtime::gpu::map::{Map, Term};
use rayon::prelude::*;
use toolkit::Toolkit;

/// One kernel for every kind of elementwise function.
fn maps() -> Vec<Kernel> {
    let map = |inputs: Vec<Elem>, last: Term| {
        let terms: Vec<Term> = (0..inputs.len() as u32).map(Term::Input).chain([last]).collect();
        [true, false].map(|flat| Kernel::Map(Map { inputs: inputs.clone(), terms: terms.clone(), flat }))
    };
    let mut all = Vec::new();
    for &kind in UnaryKind::ALL {
        use UnaryKind::*;
        let elem = if kind == Not {
            Elem::Bool
        } else if kind == BitNot {
            Elem::I32
        } else {
            Elem::F32
        };
        if !matches!(kind, Asin | Acos | Atan | Asinh | Acosh | Atanh) {
            all.extend(map(vec![elem], Term::Unary(kind, 0)));
        }
    }
    for &kind in ActivationKind::ALL {
        all.extend(map(vec![Elem::F32], Term::Activation(kind, 0, 1f32.to_bits(), 0.5f32.to_bits())));
    }
    for kind in [BinaryKind::Add, BinaryKind::Div, BinaryKind::Pow, BinaryKind::Max, BinaryKind::Le] {
        all.extend(map(vec![Elem::F32; 2], Term::Binary(kind, 0, 1)));
    }
    for elem in [Elem::I64, Elem::I32, Elem::U8, Elem::I8, Elem::Bool, Elem::F16, Elem::BF16] {
        all.extend(map(vec![elem], Term::Cast(Elem::F32, 0)));
        all.extend(map(vec![Elem::F32], Term::Cast(elem, 0)));
    }
    all.extend(map(vec![Elem::I64; 2], Term::Binary(BinaryKind::Div, 0, 1)));
    all.extend(map(vec![Elem::Bool, Elem::F32, Elem::F32], Term::Select(0, 1, 2)));
    all.extend(map(vec![Elem::F32; 2], Term::Swiglu(0, 1)));
    all
}

fn kernels() -> Vec<Kernel> {
    let mut all = maps();
    all.extend([1, 2, 4, 8].map(|bytes| Kernel::Copy { bytes }));
    for (bits, levels) in [(8, Levels::Unsigned), (8, Levels::Signed), (4, Levels::Unsigned), (3, Levels::Odd), (2, Levels::Ternary)] {
        all.push(Kernel::Codes(CodeRow { bits, levels, width: 64 }));
    }
    all.extend([1, 2, 4, 8].map(|bytes| Kernel::Gather { bytes, wide: bytes != 2 }));
    all.extend(ReduceKind::ALL.iter().map(|&kind| Kernel::Reduce { kind, elem: Elem::F32 }));
    all.extend([Elem::I64, Elem::I32, Elem::Bool].map(|elem| Kernel::Reduce { kind: ReduceKind::Max, elem }));
    for on in [false, true] {
        all.push(Kernel::Softmax { log: on });
        all.extend([false, true].map(|bias| Kernel::Norm { center: on, bias }));
        all.extend([false, true].map(|whole| Kernel::Rotary { interleaved: on, whole }));
        for mask in [Mask::None, Mask::Bool, Mask::Added] {
            let codes = on.then_some(CodeRow { bits: 3, levels: Levels::Unsigned, width: 64 });
            let (keys, values) = (codes, codes.map(|row| CodeRow { bits: 4, ..row }));
            all.push(Kernel::Attention(Attention { columns: 1 + u32::from(on), causal: on, softcap: !on, mask, keys, values }));
        }
    }
    all.extend([1, 2, 64, 576, 1536].map(|block| Kernel::Hadamard { block }));
    for (largest, elem) in [(true, Elem::F32), (false, Elem::F32), (true, Elem::I32)] {
        all.extend([false, true].map(|last| Kernel::ArgReduce { largest, last, elem }));
        all.push(Kernel::TopK { largest, elem });
    }
    for (product, elem) in [(false, Elem::F32), (true, Elem::I64)] {
        all.extend([false, true].map(|on| Kernel::Cumulative { product, exclusive: on, reverse: on, elem }));
    }
    for kind in [ScatterKind::None, ScatterKind::Add, ScatterKind::Max] {
        all.extend([Elem::F32, Elem::I64].map(|elem| Kernel::ScatterElements { kind, elem, wide: elem == Elem::F32 }));
        all.push(Kernel::ScatterNd { kind, elem: Elem::F32 });
    }
    all.extend([Kernel::Matmul, Kernel::GroupNorm, Kernel::Resample, Kernel::Conv { bias: true }, Kernel::Conv { bias: false }]);
    all.extend([(false, false), (true, false), (true, true)].map(|(mean, padding)| Kernel::Pool { mean, padding }));
    all
}

#[test]
fn kernels_assemble_without_spills() {
    let Some(toolkit) = Toolkit::find() else { return };
    let kernels = kernels();
    Arch::ALL.into_par_iter().for_each(|arch| {
        let context = Context::create();
        let build = Build::new(&context, "ops");
        kernels.iter().for_each(|kernel| ops::emit(&build, kernel).unwrap_or_else(|error| panic!("{}: {error}", kernel.symbol())));
        let text = ptx::emit(&build.finish(), arch).unwrap();
        let assembled = toolkit.assemble(&format!("ops_{arch}"), &text, arch).unwrap_or_else(|log| panic!("{arch}: {log}"));
        for kernel in &kernels {
            let found = assembled.kernels.get(&kernel.symbol()).unwrap_or_else(|| panic!("{arch}: {} is missing", kernel.symbol()));
            assert_eq!(found.spilled, 0, "{arch}: {}", kernel.symbol());
        }
    });
}
