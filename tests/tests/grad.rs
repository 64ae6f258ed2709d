//! Gradients against central differences, in f64: every op that has a derivative, composites, and a Llama.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use mokume::driver::compile;
use mokume::driver::executor::RuntimeExecutor;
use mokume::driver::pipelines::{self, PipelineOptions};
use mokume_frontends::onnx;
use mokume_ir::attr::Ints;
use mokume_ir::constant::Constant;
use mokume_ir::dim::Dim;
use mokume_ir::edit::Editor;
use mokume_ir::graph::{Def, Graph, Module};
use mokume_ir::ids::ValueId;
use mokume_ir::infer::InferError;
use mokume_ir::loc::Loc;
use mokume_ir::op::*;
use mokume_ir::types::{Elem, Shape, Type};
use mokume_passes::executor::{Executor, Named};
use mokume_passes::manager::run_pipeline;
use mokume_passes::pass::{PassContext, Quiet};
use mokume_passes::pipeline::Pipeline;
use mokume_tests::llama::Llama;
use prost::Message;

/// Half the distance of the two points of a difference.
const STEP: f64 = 1e-5;
/// Largest error of a gradient, relative to the largest gradient by the same input.
const BOUND: f64 = 1e-6;

type Made = Result<ValueId, InferError>;

/// An input: its sizes, and the range of its numbers.
type Input<'i> = (&'i [usize], f64, f64);

const EXECUTOR: RuntimeExecutor = RuntimeExecutor { threads: 1 };

/// Numbers of the range, the same every time, none close to another of the same tensor.
fn numbers(count: usize, (low, high): (f64, f64), seed: usize) -> Vec<f64> {
    let at = |i: usize| ((i + 1) as f64 * 0.618_033_988_749_895 + seed as f64 * 0.37).fract();
    (0..count).map(|i| low + (high - low) * at(i)).collect()
}

fn doubles(dims: &[usize], numbers: &[f64]) -> Constant {
    Constant::new(dims, Elem::F64, numbers.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>().into())
}

fn read(constant: &Constant) -> Vec<f64> {
    constant.data.chunks_exact(8).map(|bytes| f64::from_le_bytes(bytes.try_into().unwrap())).collect()
}

fn apply(editor: &mut Editor<'_>, op: impl Into<Op>, operands: &[ValueId]) -> Made {
    editor.apply(op, operands, Loc::default())
}

fn sum_of_all(editor: &mut Editor<'_>, value: ValueId) -> Made {
    apply(editor, Reduce { kind: ReduceKind::Sum, axes: Ints::of([]), all: true, keep_dims: false }, &[value])
}

/// A module whose only output is the sum of what `make` gives, each element times a number of its own.
fn module(inputs: &[Input<'_>], make: impl Fn(&mut Editor<'_>, &[ValueId]) -> Made) -> Module {
    let mut module = Module::new("m");
    let entry = module.entry;
    let editor = &mut Editor::new(&mut module, entry);
    let ty = |dims: &[usize]| Type::tensor(Shape::known(dims), Elem::F64);
    let values: Vec<ValueId> = inputs.iter().enumerate().map(|(i, input)| editor.add_input(format!("x{i}"), ty(input.0))).collect();
    let y = make(editor, &values).unwrap();
    let dims = editor.ty(y).as_tensor().unwrap().shape.as_known().unwrap();
    let factors = editor.constant_value(doubles(&dims, &numbers(dims.iter().product(), (-1.0, 1.0), 11)));
    let weighted = apply(editor, BinaryKind::Mul, &[y, factors]).unwrap();
    let loss = sum_of_all(editor, weighted).unwrap();
    editor.add_output("loss", loss);
    module
}

fn with_gradient(module: &Module, pipeline: &str) -> Result<Module, String> {
    let (mut quiet, mut module) = (Quiet, module.clone());
    let mut cx = PassContext::new(&EXECUTOR, &mut quiet);
    cx.verify_each = true;
    run_pipeline(&mut module, &Pipeline::parse(pipeline).unwrap(), &mut cx).map_err(|error| error.to_string())?;
    Ok(module)
}

fn output(module: &Module, inputs: &[(String, Constant)], name: &str) -> Vec<f64> {
    let outputs: Named = EXECUTOR.outputs(module, inputs).unwrap_or_else(|error| panic!("{error}"));
    read(&outputs.iter().find(|(output, _)| output == name).unwrap().1)
}

/// Compares the gradient by every input with differences, at up to `most` elements of each.
fn compare(name: &str, module: &Module, inputs: &[(String, Constant)], most: usize) {
    let differentiated = with_gradient(module, "grad{of=\"loss\"}").unwrap_or_else(|error| panic!("{name}: {error}"));
    for (index, (input, tensor)) in inputs.iter().enumerate().filter(|(_, (_, tensor))| tensor.ty.elem == Elem::F64) {
        let gradient = output(&differentiated, inputs, &format!("grad({input})"));
        let point = read(tensor);
        let loss_at = |at: usize, step: f64| {
            let (mut moved, mut inputs) = (point.clone(), inputs.to_vec());
            moved[at] += step;
            inputs[index].1 = doubles(&tensor.dims(), &moved);
            output(module, &inputs, "loss")[0]
        };
        assert_eq!(gradient.len(), point.len(), "{name}: by {input}");
        let largest = gradient.iter().fold(1e-3f64, |most, x| most.max(x.abs()));
        for at in (0..point.len()).step_by(point.len().div_ceil(most)) {
            let difference = (loss_at(at, STEP) - loss_at(at, -STEP)) / (2.0 * STEP);
            let error = (gradient[at] - difference).abs() / largest;
            assert!(error < BOUND, "{name}: by {input} at {at}: {} instead of {difference}", gradient[at]);
        }
    }
}

fn check(name: &str, inputs: &[Input<'_>], make: impl Fn(&mut Editor<'_>, &[ValueId]) -> Made) {
    let module = module(inputs, make);
    let filled = inputs
        .iter()
        .enumerate()
        .map(|(i, &(dims, low, high))| (format!("x{i}"), doubles(dims, &numbers(dims.iter().product(), (low, high), i))));
    compare(name, &module, &filled.collect::<Vec<_>>(), 64);
}

/// One op on inputs.
fn check_op(name: &str, op: impl Into<Op>, inputs: &[Input<'_>]) {
    let op = op.into();
    check(name, inputs, |editor, values| apply(editor, op.clone(), values));
}

#[test]
fn functions_of_one_number() {
    use UnaryKind::*;
    for &kind in UnaryKind::ALL {
        let range = match kind {
            Log | Sqrt | Rsqrt | Reciprocal => (0.4, 2.0),
            Asin | Acos | Atanh | Tan => (-0.8, 0.8),
            Acosh => (1.3, 3.0),
            Not | BitNot | IsNan | IsPosInf | IsNegInf => continue,
            _ => (-2.0, 2.0),
        };
        check_op(kind.name(), kind, &[(&[3, 5], range.0, range.1)]);
    }
}

#[test]
fn functions_of_two_numbers_and_broadcasts() {
    use BinaryKind::*;
    for kind in [Add, Sub, Mul, Div, Pow, Min, Max, Mod, Fmod] {
        check_op(kind.name(), kind, &[(&[2, 3, 4], 0.3, 2.0), (&[3, 1], 0.41, 1.7)]);
        check_op(kind.name(), kind, &[(&[4], 0.35, 2.1), (&[2, 1, 4], 0.4, 1.5)]);
    }
}

#[test]
fn activations() {
    for &kind in ActivationKind::ALL {
        let op = Activation { kind, alpha: 0.6, beta: 0.3 };
        check_op(kind.name(), op, &[(&[4, 7], -3.0, 3.1)]);
    }
    check_op("swiglu", Swiglu {}, &[(&[3, 4], -2.0, 2.0), (&[3, 4], -1.0, 1.0)]);
}

#[test]
fn choices_and_casts() {
    check("select", &[(&[2, 3], -1.0, 1.0), (&[3], -1.0, 1.0)], |editor, x| {
        let zero = editor.constant_value(doubles(&[], &[0.1]));
        let condition = apply(editor, BinaryKind::Lt, &[x[0], zero])?;
        apply(editor, Select {}, &[condition, x[0], x[1]])
    });
    check("cast", &[(&[5], -1.0, 1.0)], |editor, x| {
        let copy = apply(editor, Cast { to: Elem::F64, saturate: true }, x)?;
        apply(editor, BinaryKind::Mul, &[copy, x[0]])
    });
}

#[test]
fn reductions() {
    for &kind in ReduceKind::ALL {
        let range = if kind == ReduceKind::L1 { (-1.0, 1.1) } else { (0.3, 1.4) };
        for (axes, keep_dims) in [(vec![1], false), (vec![2], true), (vec![0, 2], false)] {
            if kind == ReduceKind::Prod && axes.len() > 1 {
                continue;
            }
            let op = Reduce { kind, axes: Ints::of(axes), all: false, keep_dims };
            check_op(kind.name(), op, &[(&[2, 3, 4], range.0, range.1)]);
        }
    }
    for (exclusive, reverse) in [(false, false), (true, false), (false, true), (true, true)] {
        let op = Cumulative { axis: Ints::of([1]), product: false, exclusive, reverse };
        check_op("cumulative", op, &[(&[2, 5, 3], -1.0, 1.0)]);
    }
    for axis in [0, 1, 2] {
        check_op("softmax", Softmax { axis }, &[(&[2, 3, 4], -2.0, 2.0)]);
        check_op("log_softmax", LogSoftmax { axis }, &[(&[2, 3, 4], -2.0, 2.0)]);
    }
    check_op("hadamard", Hadamard { block: 12 }, &[(&[2, 24], -2.0, 2.0)]);
}

#[test]
fn matrices() {
    for (transpose_a, transpose_b) in [(false, false), (true, false), (false, true), (true, true)] {
        let a = if transpose_a { [2, 3, 4] } else { [2, 4, 3] };
        let b = if transpose_b { [5, 3] } else { [3, 5] };
        let op = Matmul { transpose_a, transpose_b };
        check_op("matmul", op.clone(), &[(&a, -1.0, 1.0), (&b, -1.0, 1.0)]);
        let batch = [&[3, 1][..], &b].concat();
        check_op("matmul", op, &[(&a, -1.0, 1.0), (&batch, -1.0, 1.0)]);
    }
}

#[test]
fn convolutions() {
    for (strides, dilations, pads, groups) in [
        ([1, 1], [1, 1], [0, 0, 0, 0], 1),
        ([2, 1], [1, 2], [1, 0, 0, 2], 1),
        ([2, 3], [1, 1], [1, 1, 1, 1], 2),
        ([1, 2], [2, 1], [0, 1, 2, 0], 4),
    ] {
        let (strides, dilations, pads) = (strides.to_vec(), dilations.to_vec(), pads.to_vec());
        let filters = [6, 4 / groups as usize, 3, 2];
        let outputs = 12 / if groups == 4 { 3 } else { 2 };
        let filters = if groups == 4 { [outputs * 2, 1, 3, 2] } else { filters };
        let op = Conv { strides: strides.clone(), dilations: dilations.clone(), pads: pads.clone(), auto_pad: AutoPad::Explicit, groups };
        check_op("conv", op, &[(&[2, 4, 8, 9], -1.0, 1.0), (&filters, -1.0, 1.0), (&filters[..1], -1.0, 1.0)]);
        let back = ConvTranspose {
            strides,
            dilations,
            pads,
            auto_pad: AutoPad::Explicit,
            output_padding: vec![0, 0],
            output_shape: vec![],
            groups,
        };
        check_op("conv_transpose", back, &[(&[2, 4, 4, 3], -1.0, 1.0), (&[4, 3, 3, 2], -1.0, 1.0), (&[3 * groups as usize], -1.0, 1.0)]);
    }
    let line = Conv { strides: vec![1], dilations: vec![1], pads: vec![1, 1], auto_pad: AutoPad::Explicit, groups: 1 };
    check_op("conv of lines", line, &[(&[1, 3, 6], -1.0, 1.0), (&[2, 3, 3], -1.0, 1.0)]);
}

#[test]
fn windows() {
    for kind in [PoolKind::Max, PoolKind::Average, PoolKind::Lp] {
        for (strides, pads, count_include_pad) in
            [([1, 1], [0, 0, 0, 0], false), ([2, 1], [1, 0, 0, 1], false), ([2, 2], [1, 1, 1, 1], true)]
        {
            let op = Pool {
                kind,
                kernel: vec![3, 2],
                strides: strides.to_vec(),
                dilations: vec![1, 1],
                pads: pads.to_vec(),
                auto_pad: AutoPad::Explicit,
                ceil: false,
                count_include_pad,
                p: 3,
                indices: false,
                column_major: false,
            };
            check_op(kind.name(), op, &[(&[2, 3, 6, 5], -1.0, 1.1)]);
        }
    }
}

#[test]
fn moves() {
    let x: Input<'_> = (&[2, 3, 4], -1.0, 1.0);
    let dims = |sizes: &[i64]| Ints::of(sizes.iter().copied());
    check_op("reshape", Reshape { shape: dims(&[4, 6]), allow_zero: true }, &[x]);
    check_op("unsqueeze", Unsqueeze { axes: dims(&[1]) }, &[x]);
    check_op("squeeze", Squeeze { axes: dims(&[1]), all: false }, &[(&[2, 1, 3], -1.0, 1.0)]);
    check_op("transpose", Transpose { perm: vec![2, 0, 1] }, &[x]);
    check_op("broadcast", Broadcast { shape: dims(&[2, 3, 4]) }, &[(&[3, 1], -1.0, 1.0)]);
    check_op("concat", Concat { axis: 1 }, &[x, (&[2, 2, 4], -1.0, 1.0)]);
    check_op("tile", Tile { repeats: dims(&[2, 1, 3]) }, &[x]);
    check_op("trilu", Trilu { upper: true }, &[x]);
    for (start, end, step) in [(1, 3, 1), (0, 4, 2), (1, i64::MAX, 2), (-3, -1, 1), (-1, i64::MIN, -1), (3, 0, -2), (0, 4, 3)] {
        let op = Slice { starts: dims(&[start, 1]), ends: dims(&[end, 2]), axes: dims(&[2, 1]), steps: dims(&[step, 1]) };
        check_op("slice", op, &[x]);
    }
    let pad = |pads: &[i64], value| Pad { mode: PadMode::Constant, pads: dims(pads), axes: dims(&[0, 2]), value };
    check_op("pad", pad(&[1, 2, 0, 3], false), &[x]);
    check_op("pad", pad(&[1, -1, -1, 3], false), &[x]);
    check_op("pad", pad(&[1, 2, 0, 3], true), &[x, (&[], -1.0, 1.0)]);
    check("split", &[x], |editor, x| {
        let node = editor.insert(Split { axis: 2, sizes: Ints::of([1, 2, 1]) }, x, Loc::default())?;
        let outputs = editor[node].outputs.clone();
        apply(editor, BinaryKind::Mul, &[outputs[0], outputs[1]])
    });
}

#[test]
fn indices() {
    let x: Input<'_> = (&[4, 3, 5], -1.0, 1.0);
    let places = |dims: &[usize], values: &[i64]| Constant::i64s(dims, values);
    let with = |name: &str, op: Op, indices: Constant, inputs: &[Input<'_>]| {
        check(name, inputs, |editor, x| {
            let indices = editor.constant_value(indices.clone());
            let operands: Vec<ValueId> = [x[0], indices].into_iter().chain(x[1..].iter().copied()).collect();
            apply(editor, op.clone(), &operands)
        });
    };
    for axis in 0..3 {
        with("gather", Gather { axis }.into(), places(&[2, 2], &[0, 2, -1, 2]), &[x]);
        with("gather_elements", GatherElements { axis }.into(), places(&[2, 2, 3], &[0, 1, 2, 2, 1, 0, 0, 0, 1, -1, 2, 1]), &[x]);
    }
    with("gather_nd", GatherNd { batch_dims: 0 }.into(), places(&[2, 2], &[0, 1, 3, 2]), &[x]);
    let updates: Input<'_> = (&[2, 3, 5], -1.0, 1.0);
    for kind in [ScatterKind::None, ScatterKind::Add] {
        let rows: Vec<i64> = (0..30).map(|i| if i < 15 { 1 } else { 3 }).collect();
        with("scatter_elements", ScatterElements { axis: 0, kind }.into(), places(&[2, 3, 5], &rows), &[x, updates]);
        with("scatter_nd", ScatterNd { kind }.into(), places(&[2, 1], &[2, 0]), &[x, updates]);
    }
    check("top_k", &[x], |editor, x| apply(editor, TopK { k: Ints::of([2]), axis: 2, largest: true, sorted: true }, x));
}

#[test]
fn norms() {
    let (x, gain): (Input<'_>, Input<'_>) = ((&[2, 3, 4], -1.0, 1.3), (&[4], 0.5, 1.5));
    check_op("rms_norm", RmsNorm { axis: 2, epsilon: 1e-3 }, &[x, gain]);
    check_op("layer_norm", LayerNorm { axis: 2, epsilon: 1e-3 }, &[x, gain, gain]);
    check_op("layer_norm", LayerNorm { axis: 1, epsilon: 1e-3 }, &[x, (&[3, 4], 0.5, 1.5)]);
    let (image, channels): (Input<'_>, Input<'_>) = ((&[2, 6, 3, 2], -1.0, 1.3), (&[6], 0.5, 1.5));
    check_op("group_norm", GroupNorm { groups: 3, epsilon: 1e-3 }, &[image, channels, channels]);
    let local = LocalResponseNorm { size: 3, alpha: 0.7, beta: 0.75, bias: 1.5 };
    check_op("local_response_norm", local, &[image]);
}

#[test]
fn attention() {
    let sizes: [Input<'_>; 3] = [(&[2, 4, 3, 6], -1.0, 1.0), (&[2, 2, 5, 6], -1.0, 1.0), (&[2, 2, 5, 7], -1.0, 1.0)];
    let [q, k, v] = sizes;
    let op = |causal, softcap, mask, join_heads| Attention { scale: None, causal, softcap, mask, join_heads };
    check_op("attention", op(false, 0.0, false, false), &[q, k, v]);
    check_op("attention", op(true, 0.0, false, true), &[q, k, v]);
    check_op("attention", op(true, 3.0, true, false), &[q, k, v, (&[4, 1, 5], -1.0, 1.0)]);
    check("attention", &[q, k, v], |editor, x| {
        let seen: Vec<u8> = (0..15).map(|i| u8::from(i % 4 != 1 && i < 10)).collect();
        let mask = editor.constant_value(Constant::new(&[3, 5], Elem::Bool, seen.into()));
        apply(editor, op(false, 0.0, true, false), &[x[0], x[1], x[2], mask])
    });
}

#[test]
fn rotations() {
    for interleaved in [false, true] {
        for (dims, angles) in [(0, 3), (0, 6), (4, 2), (4, 4)] {
            let angles: Input<'_> = (&[5, angles], -1.0, 1.0);
            check_op("rotary", Rotary { interleaved, dims }, &[(&[2, 3, 5, 6], -1.0, 1.0), angles, angles]);
        }
    }
}

/// Weights and gains of a block, with the head, in one whole model.
#[test]
fn a_llama() {
    let llama = Llama { blocks: 1, width: 16, heads: 4, kv_heads: 2, inner: 24, vocabulary: 11, double: true };
    let mut module = onnx::import_bytes(llama.model().encode_to_vec().into(), None).unwrap();
    let pipeline = compile::pipeline(None, Some("float")).unwrap();
    pipelines::apply(&mut module, &pipeline, &PipelineOptions::default(), &mut |_, _, _| {}).unwrap_or_else(|report| panic!("{report}"));
    let mut inputs = open_weights(&mut module);
    inputs.push(("input_ids".into(), Constant::i64s(&[2, 5], &[1, 4, 7, 7, 0, 3, 10, 2, 1, 5])));
    assert_eq!(inputs.len(), 11, "tokens, seven weights of the block, embedding, head, and the gain that all norms share");
    compare("llama", &module, &inputs, 8);
}

/// Makes inputs of all weights, and the sum of squares of the logits an output; gives the weights.
fn open_weights(module: &mut Module) -> Named {
    let entry = module.entry;
    let is_weight = |graph: &Graph, value: &ValueId| {
        matches!(graph[*value].def, Def::Const(_))
            && graph.ty(*value).dims().is_some_and(|dims| dims.iter().filter_map(Dim::known).product::<i64>() >= 16)
    };
    let weights: Vec<ValueId> = module.main().value_ids().filter(|value| is_weight(module.main(), value)).collect();
    let named = weights.iter().enumerate().map(|(i, value)| {
        let id = module.main().constant(*value).unwrap();
        (format!("w{i}"), module.constants[id].clone())
    });
    let named: Named = named.collect();
    let editor = &mut Editor::new(module, entry);
    for ((name, constant), weight) in named.iter().zip(&weights) {
        let input = editor.add_input(name, Type::Tensor(constant.ty.clone()));
        editor.replace_uses(*weight, input);
    }
    let logits = editor.outputs()[0].value;
    let squares = apply(editor, BinaryKind::Mul, &[logits, logits]).unwrap();
    let loss = sum_of_all(editor, squares).unwrap();
    editor.add_output("loss", loss);
    named
}

#[test]
fn refusals_name_the_node_and_the_reason() {
    let inputs: [Input<'_>; 1] = [(&[2, 2], -1.0, 1.0)];
    let refused =
        |pipeline: &str, make: fn(&mut Editor<'_>, &[ValueId]) -> Made| with_gradient(&module(&inputs, make), pipeline).unwrap_err();
    let det = refused("grad", |editor, x| apply(editor, Det {}, x));
    assert!(det.contains("det") && det.contains("no rule"), "{det}");
    let missing = refused("grad{by=[\"z\"]}", |_, x| Ok(x[0]));
    assert!(missing.contains("no input \"z\""), "{missing}");
    let other = refused("grad{of=\"z\"}", |_, x| Ok(x[0]));
    assert!(other.contains("no output \"z\""), "{other}");
}

#[test]
fn rounding_passes_straight_through_when_asked_to() {
    let round = module(&[(&[3], -2.0, 2.0)], |editor, x| apply(editor, UnaryKind::Round, x));
    let x = [("x0".to_string(), doubles(&[3], &[0.2, 1.7, -1.4]))];
    let gradient = |pipeline: &str| output(&with_gradient(&round, pipeline).unwrap(), &x, "grad(x0)");
    assert_eq!(gradient("grad"), [0.0; 3]);
    assert_eq!(gradient("grad{straight_through=true}"), numbers(3, (-1.0, 1.0), 11));
}
