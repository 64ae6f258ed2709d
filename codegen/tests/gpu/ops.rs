//! One op at a time, odd sizes included.

use super::bench::{bools, check, check_by, check_with, floats, ints};
use half::{bf16, f16};
use mokume_ir::attr::Ints;
use mokume_ir::constant::Constant;
use mokume_ir::op::*;
use mokume_ir::quant::{Granularity, Levels, QuantType};
use mokume_ir::types::Elem;
use mokume_runtime::gpu::tuning::Tuning;
use mokume_runtime::tensor::Tensor;

const EXACT: f32 = 0.0;
const CLOSE: f32 = 1e-6;

#[test]
fn unary_functions() {
    use UnaryKind::*;
    let (x, positive) = (floats(&[3, 7, 11], 1), floats(&[301], 2));
    let positive = Tensor::f32s(&[301], &positive.slice::<f32>().iter().map(|x| x.abs() * 3.0 + 1e-3).collect::<Vec<_>>());
    for kind in [Abs, Neg, Floor, Ceil, Round, Sign, Relu, IsNan, IsPosInf, IsNegInf] {
        check(Op::Unary(kind), std::slice::from_ref(&x), EXACT);
    }
    for kind in [Exp, Sin, Cos, Tan, Sinh, Cosh, Tanh, Erf, Sigmoid, Softplus, Softsign, Reciprocal] {
        check(Op::Unary(kind), std::slice::from_ref(&x), CLOSE);
    }
    for kind in [Log, Sqrt, Rsqrt] {
        check(Op::Unary(kind), std::slice::from_ref(&positive), CLOSE);
    }
    let special = Tensor::f32s(&[8], &[f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0, -0.0, 1e-40, 2.5, -3.5]);
    for kind in [Abs, Neg, Floor, Ceil, Round, Sign, Relu, IsNan, IsPosInf, IsNegInf, Sqrt, Exp, Log, Tanh, Sigmoid, Erf] {
        check(Op::Unary(kind), std::slice::from_ref(&special), CLOSE);
    }
    for kind in [Abs, Neg, Sign, BitNot] {
        let x = Tensor::of(&[6], Elem::I32, &[0i32, 1, -1, i32::MIN, i32::MAX, -77]);
        check(Op::Unary(kind), &[x], EXACT);
    }
    check(Op::Unary(Not), &[bools(&[77], 1)], EXACT);
}

#[test]
fn binary_functions_broadcast() {
    use BinaryKind::*;
    for (a, b) in
        [(vec![5, 7], vec![5, 7]), (vec![2, 3, 5], vec![3, 1]), (vec![4, 1, 3], vec![2, 1]), (vec![1], vec![300]), (vec![], vec![])]
    {
        let (a, b) = (floats(&a, 1), floats(&b, 2));
        for kind in [Add, Sub, Mul, Div, Min, Max, Eq, Lt, Le, Gt, Ge] {
            check(Op::Binary(kind), &[a.clone(), b.clone()], EXACT);
        }
    }
    let (a, b) = (ints(&[3, 9], 40, 1), ints(&[9], 5, 2));
    for kind in [Add, Sub, Mul, Div, Min, Max, BitAnd, BitOr, BitXor, Eq, Lt, Le, Gt, Ge] {
        check(Op::Binary(kind), &[a.clone(), b.clone()], EXACT);
    }
    let edges = |values: [i32; 5]| Tensor::of(&[5], Elem::I32, &values);
    check(Op::Binary(Div), &[edges([i32::MIN, 7, -7, 5, 0]), edges([-1, -2, 2, 0, 0])], EXACT);
    for kind in [And, Or, Xor, Eq] {
        check(Op::Binary(kind), &[bools(&[33], 1), bools(&[33], 2)], EXACT);
    }
    let bases = Tensor::f32s(&[8], &[2.0, -2.0, 0.0, 1.5, -1.5, 9.0, 0.3, 5.0]);
    let powers = Tensor::f32s(&[8], &[3.0, 3.0, 2.0, -2.0, 2.0, 0.5, 0.0, 1.0]);
    check(Op::Binary(Pow), &[bases, powers], 1e-5);
}

#[test]
fn other_elementwise_ops() {
    check(Select {}, &[bools(&[3, 1], 1), floats(&[3, 5], 2), floats(&[5], 3)], EXACT);
    check(Swiglu {}, &[floats(&[2, 71], 1), floats(&[2, 71], 2)], CLOSE);
    for kind in ActivationKind::ALL {
        check(Activation { kind: *kind, alpha: 1.0, beta: 0.5 }, &[floats(&[333], 3)], CLOSE);
    }
    let x = Tensor::f32s(&[7], &[0.0, -0.5, 1.9, -1.9, f32::NAN, 1e10, -1e10]);
    for to in [Elem::Bool, Elem::I32, Elem::I64, Elem::U8, Elem::I8] {
        check(Cast { to, saturate: true }, std::slice::from_ref(&x), EXACT);
        check(Cast { to, saturate: true }, &[ints(&[9], 300, 1)], EXACT);
    }
    check(Cast { to: Elem::F32, saturate: true }, &[ints(&[9], 1 << 40, 1)], EXACT);
    check(Cast { to: Elem::F32, saturate: true }, &[bools(&[9], 1)], EXACT);
    check(Iota { len: 300i64.into(), elem: Elem::I64 }, &[], EXACT);
}

#[test]
fn movement() {
    let x = floats(&[2, 3, 5, 7], 1);
    for perm in [vec![0, 2, 1, 3], vec![3, 2, 1, 0], vec![0, 1, 3, 2]] {
        check(Transpose { perm }, std::slice::from_ref(&x), EXACT);
    }
    check(Transpose { perm: vec![1, 0] }, &[ints(&[3, 9], 100, 1)], EXACT);
    check(Transpose { perm: vec![1, 0] }, &[bools(&[3, 9], 1)], EXACT);
    check(Broadcast { shape: Ints::of([4, 3, 5]) }, &[floats(&[3, 1], 1)], EXACT);
    let slice = |starts: [i64; 2], ends: [i64; 2], steps: [i64; 2]| Slice {
        starts: Ints::of(starts),
        ends: Ints::of(ends),
        axes: Ints::of([1, 3]),
        steps: Ints::of(steps),
    };
    check(slice([1, 2], [3, 6], [1, 2]), std::slice::from_ref(&x), EXACT);
    check(slice([-1, -1], [-9, -9], [-1, -3]), std::slice::from_ref(&x), EXACT);
    check(Split { axis: 2, sizes: Ints::of([1, 3, 1]) }, std::slice::from_ref(&x), EXACT);
    check(Concat { axis: 1 }, &[floats(&[2, 3, 5], 1), floats(&[2, 1, 5], 2), floats(&[2, 4, 5], 3)], EXACT);
    let pad = |pads: [i64; 4], value| Pad { mode: PadMode::Constant, pads: Ints::of(pads), axes: Ints::of([0, 1]), value };
    check(pad([1, 2, 0, 3], false), &[floats(&[3, 4], 1)], EXACT);
    check(pad([-1, 2, 2, -1], true), &[floats(&[3, 4], 1), Tensor::f32s(&[], &[7.0])], EXACT);
}

#[test]
fn gathers() {
    let indices = Tensor::i64s(&[2, 3], &[0, -1, 4, 2, 2, -5]);
    check(Gather { axis: 0 }, &[floats(&[5, 33], 1), indices.clone()], EXACT);
    check(Gather { axis: 1 }, &[floats(&[2, 5, 3], 1), indices.clone()], EXACT);
    check(Gather { axis: 0 }, &[ints(&[5], 9, 1), Tensor::of(&[2], Elem::I32, &[-2i32, 3])], EXACT);
}

#[test]
fn reductions() {
    let x = floats(&[3, 5, 70], 1);
    let reduce = |kind, axes: &[i64], keep_dims| Reduce { kind, axes: Ints::of(axes.iter().copied()), all: axes.is_empty(), keep_dims };
    for kind in ReduceKind::ALL {
        let x = if *kind == ReduceKind::LogSum {
            Tensor::f32s(x.dims(), &x.slice::<f32>().iter().map(|x| x.abs()).collect::<Vec<_>>())
        } else {
            x.clone()
        };
        for axes in [&[2][..], &[0], &[0, 2], &[1], &[]] {
            check(reduce(*kind, axes, true), std::slice::from_ref(&x), 2e-6);
        }
    }
    for kind in [ReduceKind::Sum, ReduceKind::Max, ReduceKind::Min, ReduceKind::Prod] {
        check(reduce(kind, &[1], false), &[ints(&[3, 200], 9, 1)], EXACT);
    }
    check(reduce(ReduceKind::Max, &[0], false), &[bools(&[3, 20], 1)], EXACT);
}

#[test]
fn orders() {
    let x = Tensor::f32s(
        &[2, 3, 5],
        &[
            1.0,
            4.0,
            4.0,
            -2.0,
            0.0,
            f32::NAN,
            7.0,
            f32::NAN,
            2.0,
            9.0,
            -0.0,
            0.0,
            -1.0,
            0.0,
            -0.0, //
            f32::INFINITY,
            3.0,
            -8.0,
            f32::NEG_INFINITY,
            3.0,
            1e-40,
            -1e-40,
            0.0,
            5.5,
            5.5,
            -3.0,
            -3.0,
            -3.0,
            -3.0,
            -4.0,
        ],
    );
    let i = Tensor::of(&[3, 4], Elem::I32, &[5i32, i32::MIN, i32::MAX, 5, -1, -1, 0, 0, 7, 7, 7, 7]);
    for (largest, last) in [(true, false), (true, true), (false, false), (false, true)] {
        for axis in [0, 1, -1] {
            check(ArgReduce { largest, axis, keep_dims: last, last }, std::slice::from_ref(&x), EXACT);
        }
        check(ArgReduce { largest, axis: 1, keep_dims: false, last }, std::slice::from_ref(&i), EXACT);
        check(ArgReduce { largest, axis: 0, keep_dims: false, last }, &[floats(&[1000], 5)], EXACT);
        for (k, axis, x) in [(2, 2, x.clone()), (3, 1, x.clone()), (4, 1, i.clone()), (17, 0, floats(&[300], 3)), (0, 1, x.clone())] {
            check(TopK { k: Ints::of([k]), axis, largest, sorted: true }, &[x], EXACT);
        }
    }
}

#[test]
fn running_sums() {
    for (product, exclusive, reverse) in [(false, false, false), (false, true, false), (true, false, true), (true, true, true)] {
        for axis in [0, 1, -1] {
            let op = Cumulative { axis: Ints::of([axis]), product, exclusive, reverse };
            check(op.clone(), &[floats(&[3, 4, 5], 1)], EXACT);
            check(op, &[ints(&[2, 7, 3], 9, 2)], EXACT);
        }
    }
}

#[test]
fn scatters() {
    let x = floats(&[4, 5, 3], 1);
    for kind in [ScatterKind::None, ScatterKind::Add, ScatterKind::Mul, ScatterKind::Min, ScatterKind::Max] {
        check(ScatterElements { axis: 1, kind }, &[x.clone(), ints(&[3, 7, 2], 5, 2), floats(&[3, 7, 2], 3)], EXACT);
        check(
            ScatterElements { axis: 0, kind },
            &[ints(&[6], 50, 1), Tensor::of(&[3], Elem::I32, &[-1i32, 2, -1]), ints(&[3], 50, 4)],
            EXACT,
        );
        check(ScatterNd { kind }, &[x.clone(), Tensor::i64s(&[3, 2], &[1, -1, 0, 2, 1, 4]), floats(&[3, 3], 5)], EXACT);
        check(ScatterNd { kind }, &[x.clone(), ints(&[2, 2, 1], 4, 6), floats(&[2, 2, 5, 3], 7)], EXACT);
    }
    check(ScatterNd { kind: ScatterKind::None }, &[bools(&[4, 2], 1), ints(&[3, 2], 2, 8), bools(&[3], 2)], EXACT);
}

#[test]
fn floats_of_16_bits() {
    let numbers: Vec<f32> = floats(&[500], 1).slice::<f32>().iter().enumerate().map(|(i, x)| x * 2f32.powi(i as i32 % 50 - 30)).collect();
    let special =
        [f32::NAN, f32::INFINITY, -0.0, 65504.0, 65519.9, 65520.0, -7e4, 2f32.powi(-25), 2f32.powi(-24), 6e-8, 6.1e-5, 1e-40, 3e38];
    let x = Tensor::f32s(&[513], &[&numbers[..], &special[..]].concat());
    let codes = || 0..=u16::MAX;
    let (f16s, bf16s): (Vec<f16>, Vec<bf16>) = (codes().map(f16::from_bits).collect(), codes().map(bf16::from_bits).collect());
    let all = [Tensor::of(&[1 << 16], Elem::F16, &f16s), Tensor::of(&[1 << 16], Elem::BF16, &bf16s)];
    for (elem, all) in [Elem::F16, Elem::BF16].into_iter().zip(&all) {
        check(Cast { to: elem, saturate: true }, std::slice::from_ref(&x), EXACT);
        check(Cast { to: Elem::F32, saturate: true }, std::slice::from_ref(all), EXACT);
        check(Cast { to: elem, saturate: true }, &[ints(&[40], 100_000, 3)], EXACT);
    }
}

#[test]
fn softmax_and_norms() {
    for dims in [vec![3, 130], vec![2, 3, 5]] {
        for axis in [-1, 0] {
            check(Softmax { axis: if axis < 0 { dims.len() as i64 - 1 } else { 0 } }, &[floats(&dims, 1)], CLOSE);
            check(LogSoftmax { axis: if axis < 0 { dims.len() as i64 - 1 } else { 0 } }, &[floats(&dims, 1)], CLOSE);
        }
    }
    for row in [1, 5, 129, 300] {
        let (x, scale, bias) = (floats(&[3, row], 1), floats(&[row], 2), floats(&[row], 3));
        check(RmsNorm { axis: 1, epsilon: 1e-5 }, &[x.clone(), scale.clone()], CLOSE);
        check(LayerNorm { axis: 1, epsilon: 1e-2 }, &[x.clone(), scale.clone()], 3e-6);
        check(LayerNorm { axis: 1, epsilon: 1e-2 }, &[x, scale, bias], 3e-6);
    }
    check(LayerNorm { axis: 1, epsilon: 1e-2 }, &[floats(&[3, 2, 9], 1), floats(&[9], 2)], 3e-6);
}

#[test]
fn rotations() {
    let x = floats(&[2, 3, 5, 8], 1);
    for (interleaved, dims, angles) in [(false, 0, 4), (true, 0, 4), (false, 0, 8), (true, 6, 3), (false, 6, 6)] {
        for lead in [vec![5], vec![2, 1, 5], vec![1, 1, 5]] {
            let dims_of = [lead, vec![angles]].concat();
            check(Rotary { interleaved, dims }, &[x.clone(), floats(&dims_of, 2), floats(&dims_of, 3)], EXACT);
        }
    }
}

#[test]
fn hadamard_transforms() {
    for (block, last) in [(1, 3), (2, 6), (12, 24), (64, 192), (512, 512), (576, 576), (1536, 1536)] {
        check(Hadamard { block }, &[floats(&[3, last], 1)], EXACT);
    }
}

#[test]
fn products() {
    let matmul = |transpose_a, transpose_b| Matmul { transpose_a, transpose_b };
    for (m, n, k) in [(1, 1, 1), (5, 33, 17), (17, 16, 40), (3, 70, 129)] {
        check(matmul(false, false), &[floats(&[m, k], 1), floats(&[k, n], 2)], 2e-6);
        check(matmul(false, true), &[floats(&[m, k], 1), floats(&[n, k], 2)], 2e-6);
        check(matmul(true, false), &[floats(&[k, m], 1), floats(&[k, n], 2)], 2e-6);
    }
    check(matmul(false, false), &[floats(&[2, 3, 4, 5], 1), floats(&[5, 6], 2)], CLOSE);
    check(matmul(false, false), &[floats(&[2, 1, 4, 5], 1), floats(&[3, 5, 6], 2)], CLOSE);
    check(matmul(false, true), &[floats(&[4, 5], 1), floats(&[2, 3, 6, 5], 2)], CLOSE);
}

#[test]
fn attention() {
    let op = |causal, softcap, mask, join_heads| Attention { scale: None, causal, softcap, mask, join_heads };
    for (s, t, causal, softcap) in [(5, 5, true, 0.0), (1, 140, true, 2.0), (3, 7, true, 0.0), (4, 129, false, 0.5), (6, 3, true, 0.0)] {
        let inputs = [floats(&[2, 6, s, 8], 1), floats(&[2, 2, t, 8], 2), floats(&[2, 2, t, 5], 3)];
        check(op(causal, softcap, false, false), &inputs, 2e-6);
        check(op(causal, softcap, false, true), &inputs, 2e-6);
    }
    let inputs = |mask| [floats(&[2, 4, 3, 8], 1), floats(&[2, 2, 6, 8], 2), floats(&[2, 2, 6, 130], 3), mask];
    check(op(false, 0.0, true, false), &inputs(floats(&[2, 1, 1, 6], 4)), 2e-6);
    check(op(true, 0.0, true, false), &inputs(bools(&[3, 6], 4)), 2e-6);
    check(op(false, 0.0, true, true), &inputs(Tensor::of(&[1], Elem::Bool, &[0u8])), EXACT);
}

fn quantized(dims: &[usize], bits: u8, levels: Levels, granularity: Granularity, zero_point: bool) -> Constant {
    let to = QuantType { bits, levels, granularity, zero_point };
    let context = mokume_runtime::ops::OpContext { alloc: &Tensor::zeros, size_of: &|_| None };
    let codes = mokume_runtime::ops::run(&Quantize { to, clip: None }.into(), &[&floats(dims, 7)], &context).unwrap();
    mokume_runtime::convert::to_constant(&codes[0])
}

/// Products equal those of the CPU bit for bit, epilogues within rounding.
#[test]
fn quantized_products() {
    let block = |size| Granularity::Block { axis: 0, along: 1, size };
    let cases = [
        (8, Levels::Signed, Granularity::Axis(0), false, 8, Levels::Unsigned, ActScale::Row, vec![]),
        (4, Levels::Signed, block(32), false, 8, Levels::Unsigned, ActScale::Row, vec![Epilogue::Bias, Epilogue::Silu, Epilogue::Mul]),
        (4, Levels::Unsigned, block(64), true, 8, Levels::Signed, ActScale::Tensor, vec![Epilogue::Add]),
        (2, Levels::Odd, block(32), false, 4, Levels::Signed, ActScale::Static, vec![Epilogue::GeluTanh, Epilogue::Bias]),
    ];
    for (w_bits, w_levels, granularity, zero, a_bits, a_levels, a_scale, epilogue) in cases {
        for m in [1, 3, 9, 40] {
            let (n, k) = (13, 72);
            let exact = epilogue.is_empty();
            let inputs: Vec<Tensor> = std::iter::once(floats(&[m, k], 1))
                .chain(epilogue.iter().filter(|step| step.takes_operand()).map(|step| match step {
                    Epilogue::Bias => floats(&[n], 3),
                    _ => floats(&[m, n], 4),
                }))
                .collect();
            let op = BitMatmul {
                a_bits,
                a_levels,
                a_scale,
                a_group: None,
                a_clip: None,
                static_scale: 0.3,
                static_zero: 0,
                epilogue: epilogue.clone(),
            };
            let weights = quantized(&[n, k], w_bits, w_levels, granularity, zero);
            check_with(op, &inputs, Some((1, weights)), if exact { EXACT } else { CLOSE });
        }
    }
}

#[test]
fn products_with_groups_of_activations() {
    let block = |size| Granularity::Block { axis: 0, along: 1, size };
    for (m, size, a_levels, zero) in [(1, 32, Levels::Unsigned, false), (3, 16, Levels::Signed, true), (40, 32, Levels::Signed, false)] {
        let op = BitMatmul {
            a_bits: 4,
            a_levels,
            a_scale: ActScale::Row,
            a_group: Some(32),
            a_clip: Some(0.8),
            static_scale: 0.0,
            static_zero: 0,
            epilogue: vec![],
        };
        let weights = quantized(&[13, 72], 4, Levels::Signed, block(size), zero);
        check_with(op, &[floats(&[m, 72], 1)], Some((1, weights)), EXACT);
    }
}

#[test]
fn rows_of_quantized_weights() {
    let block = |size| Granularity::Block { axis: 0, along: 1, size };
    for (bits, levels, granularity, zero) in [
        (8, Levels::Signed, Granularity::Axis(0), false),
        (4, Levels::Signed, block(32), false),
        (5, Levels::Unsigned, block(64), true),
        (2, Levels::Odd, block(24), false),
        (3, Levels::Five, Granularity::Tensor, false),
    ] {
        let weights = quantized(&[13, 200], bits, levels, granularity, zero);
        let indices = Tensor::i64s(&[2, 7], &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, -3, 11, 12, 0]);
        check_with(BitGather {}, &[indices], Some((0, weights.clone())), EXACT);
        check_with(BitGather {}, &[Tensor::of(&[2], Elem::I32, &[-13i32, 3])], Some((0, weights)), EXACT);
    }
}

#[test]
fn products_by_measured_kernels() {
    let table = "
        sm_90a w4a8s_x1_g64 28x200 1 group 1 1 1 1 4 1 4 3
        sm_90a w4a8s_x1_g64 28x200 8 binary 4 1 2 1 1 2 3 2
        sm_90a w4a8s_x1_g64 28x200 more integer_group 8 2 2 1 4 1 3 2
        sm_90a w4a8s_x1 28x200 1 binary 1 1 1 1 1 2 2 5
        sm_90a w4a8s_x1 28x200 8 integer 8 1 2 1 1 4 2 2
        sm_90a w4a8s_x1 28x200 more group 8 2 1 1 4 1 4 2
    ";
    let tuning = Tuning::parse(table).unwrap();
    assert_eq!(tuning.len(), 6);
    for granularity in [Granularity::Axis(0), Granularity::Block { axis: 0, along: 1, size: 64 }] {
        for (m, scale, epilogue) in [
            (1, ActScale::Row, vec![Epilogue::Bias, Epilogue::Silu]),
            (5, ActScale::Row, vec![]),
            (40, ActScale::Static, vec![Epilogue::Gelu]),
        ] {
            let inputs: Vec<Tensor> = [floats(&[m, 200], 1), floats(&[28], 3)].into_iter().take(1 + usize::from(m == 1)).collect();
            let op = BitMatmul {
                a_bits: 8,
                a_levels: Levels::Signed,
                a_scale: scale,
                a_group: None,
                a_clip: None,
                static_scale: 0.02,
                static_zero: 0,
                epilogue,
            };
            let weights = quantized(&[28, 200], 4, Levels::Signed, granularity, false);
            check_by(op, &inputs, Some((1, weights)), tuning.clone(), CLOSE);
        }
    }
}

#[test]
fn quantized_convolutions() {
    let conv = |strides: &[i64], dilations: &[i64], pads: &[i64], kernel: &[i64]| BitConv {
        kernel: kernel.to_vec(),
        strides: strides.to_vec(),
        dilations: dilations.to_vec(),
        pads: pads.to_vec(),
        auto_pad: AutoPad::Explicit,
        groups: 1,
        a_bits: 8,
        a_levels: Levels::Signed,
        a_scale: ActScale::Tensor,
        static_scale: 0.02,
        static_zero: 0,
        epilogue: vec![],
    };
    let block = Granularity::Block { axis: 0, along: 1, size: 32 };
    let x = floats(&[2, 5, 7, 9], 1);
    let same = conv(&[1, 1], &[1, 1], &[1; 4], &[3, 3]);
    check_with(
        same.clone(),
        std::slice::from_ref(&x),
        Some((1, quantized(&[12, 45], 8, Levels::Signed, Granularity::Axis(0), false))),
        EXACT,
    );
    check_with(same.clone(), std::slice::from_ref(&x), Some((1, quantized(&[7, 45], 4, Levels::Unsigned, block, true))), CLOSE);
    let strided = BitConv {
        a_scale: ActScale::Static,
        a_levels: Levels::Unsigned,
        static_zero: 96,
        ..conv(&[2, 1], &[1, 2], &[1, 2, 0, 1], &[3, 2])
    };
    check_with(strided, std::slice::from_ref(&x), Some((1, quantized(&[9, 30], 4, Levels::Odd, Granularity::Axis(0), false))), EXACT);
    let line = BitConv { a_bits: 4, ..conv(&[3], &[1], &[2, 1], &[4]) };
    check_with(line, &[floats(&[1, 6, 40], 2)], Some((1, quantized(&[17, 24], 2, Levels::Odd, Granularity::Axis(0), false))), EXACT);
    let ended = BitConv { epilogue: vec![Epilogue::Bias, Epilogue::Relu, Epilogue::Add], ..same.clone() };
    let weights = || Some((1, quantized(&[8, 45], 4, Levels::Signed, Granularity::Axis(0), false)));
    check_with(ended, &[x.clone(), floats(&[8], 3), floats(&[2, 8, 7, 9], 4)], weights(), CLOSE);
    let late = BitConv { epilogue: vec![Epilogue::Mul, Epilogue::Bias, Epilogue::Gelu], ..same };
    check_with(late, &[x, floats(&[2, 8, 7, 9], 4), floats(&[8], 3)], weights(), CLOSE);
}

#[test]
fn convolutions() {
    let conv = |strides: &[i64], dilations: &[i64], pads: &[i64], groups| Conv {
        strides: strides.to_vec(),
        dilations: dilations.to_vec(),
        pads: pads.to_vec(),
        auto_pad: AutoPad::Explicit,
        groups,
    };
    let x = floats(&[2, 4, 7, 9], 1);
    check(conv(&[1, 1], &[1, 1], &[0; 4], 1), &[x.clone(), floats(&[5, 4, 1, 1], 2)], 2e-6);
    check(conv(&[2, 1], &[1, 2], &[1, 2, 0, 1], 1), &[x.clone(), floats(&[20, 4, 3, 3], 2), floats(&[20], 3)], 2e-6);
    check(conv(&[1, 1], &[1, 1], &[1; 4], 4), &[x.clone(), floats(&[4, 1, 3, 3], 2), floats(&[4], 3)], 2e-6);
    check(conv(&[1, 1], &[1, 1], &[1; 4], 2), &[x, floats(&[6, 2, 3, 3], 2)], 2e-6);
    check(conv(&[3], &[1], &[2, 1], 1), &[floats(&[1, 3, 40], 1), floats(&[17, 3, 5], 2)], 2e-6);
}

#[test]
fn pools() {
    let pool = |kind, pads: [i64; 4], ceil, count_include_pad| Pool {
        kind,
        kernel: vec![3, 2],
        strides: vec![2, 2],
        dilations: vec![1, 1],
        pads: pads.to_vec(),
        auto_pad: AutoPad::Explicit,
        ceil,
        count_include_pad,
        p: 2,
        indices: false,
        column_major: false,
    };
    for pads in [[0; 4], [1, 0, 1, 1]] {
        for ceil in [false, true] {
            check(pool(PoolKind::Max, pads, ceil, false), &[floats(&[2, 3, 8, 9], 1)], EXACT);
            check(pool(PoolKind::Average, pads, ceil, false), &[floats(&[2, 3, 8, 9], 1)], CLOSE);
            check(pool(PoolKind::Average, pads, ceil, true), &[floats(&[2, 3, 8, 9], 1)], CLOSE);
        }
    }
}

#[test]
fn groups_and_resizes() {
    for groups in [1, 2, 4] {
        check(GroupNorm { groups, epsilon: 1e-2 }, &[floats(&[2, 4, 3, 50], 1), floats(&[4], 2), floats(&[4], 3)], 3e-6);
    }
    let resize = |mode, coordinates, antialias, scales: [f32; 2]| Resize {
        mode,
        coordinates,
        nearest: NearestMode::RoundPreferFloor,
        cubic_a: -0.75,
        exclude_outside: false,
        extrapolation: 0.0,
        antialias,
        aspect: AspectPolicy::Stretch,
        axes: vec![2, 3],
        scales: scales.to_vec(),
        scales_operand: None,
        sizes: None,
        roi: false,
    };
    for mode in [Interpolation::Nearest, Interpolation::Linear, Interpolation::Cubic] {
        for (coordinates, scales) in [(CoordinateMode::HalfPixel, [2.0, 1.5]), (CoordinateMode::AlignCorners, [0.6, 3.0])] {
            check(resize(mode, coordinates, false, scales), &[floats(&[1, 2, 5, 6], 1)], CLOSE);
        }
    }
    check(resize(Interpolation::Linear, CoordinateMode::HalfPixel, true, [0.5, 0.4]), &[floats(&[1, 2, 8, 10], 1)], CLOSE);
}
