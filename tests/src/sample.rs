//! A small ONNX model with a bit of everything: products, a convolution, moves, a loop, a branch.

use crate::onnx::{BOOL, F32, I64, float, graph, int, ints, node, tensor, text, value, with};
use mokume_frontends::onnx::proto::*;
use mokume_runtime::tensor::Tensor;

/// `ir_version` of the sample.
pub const IR_VERSION: i64 = 9;
/// Opset of the sample.
pub const OPSET: i64 = 18;

/// The model, as of `ir_version` and `opset`.
pub fn model(ir_version: i64, opset: i64) -> ModelProto {
    let graph = GraphProto {
        name: "sample".into(),
        node: nodes(),
        initializer: initializers(),
        input: vec![value("x", F32, &["rows", "8"])],
        output: vec![value("y", F32, &["rows", "2", "1", "1"]), value("z", F32, &[])],
        ..GraphProto::default()
    };
    let opset_import = vec![OperatorSetIdProto { domain: String::new(), version: opset }];
    ModelProto { ir_version, graph: Some(graph), opset_import, ..ModelProto::default() }
}

/// Inputs for three rows.
pub fn inputs() -> Vec<(String, Tensor)> {
    vec![("x".into(), Tensor::f32s(&[3, 8], &(0..24).map(|i| (i as f32 * 0.7).sin()).collect::<Vec<_>>()))]
}

fn nodes() -> Vec<NodeProto> {
    vec![
        node("MatMul", &["x", "w"], "p"),
        node("Add", &["p", "b"], "s"),
        node("Relu", &["s"], "r"),
        node("Reshape", &["r", "apart"], "h"),
        with(node("Transpose", &["h"], "t"), vec![ints("perm", &[0, 2, 1])]),
        with(node("Softmax", &["t"], "m"), vec![int("axis", -1)]),
        node("Unsqueeze", &["m", "one"], "u"),
        with(node("Conv", &["u", "v"], "c"), vec![ints("pads", &[1, 1, 1, 1]), text("auto_pad", "NOTSET")]),
        with(node("LeakyRelu", &["c"], "l"), vec![float("alpha", 0.1)]),
        node("Slice", &["l", "from", "to", "axes"], "d"),
        node("GlobalAveragePool", &["d"], "g"),
        with(node("Loop", &["trips", "", "g"], "y"), vec![graph("body", body())]),
        node("ReduceSum", &["y"], "sum"),
        with(node("ReduceMax", &["sum"], "top"), vec![int("keepdims", 0)]),
        node("Greater", &["top", "zero"], "positive"),
        with(node("If", &["positive"], "z"), vec![graph("then_branch", branch("Exp")), graph("else_branch", branch("Neg"))]),
    ]
}

fn initializers() -> Vec<TensorProto> {
    let wave = |name: &str, dims: &[i64]| {
        let data = (0..dims.iter().product::<i64>()).flat_map(|i| (i as f32 * 1.3).cos().to_le_bytes()).collect::<Vec<u8>>();
        tensor(name, F32, dims, data)
    };
    let whole = |name: &str, values: &[i64]| {
        tensor(name, I64, &[values.len() as i64], values.iter().flat_map(|value| value.to_le_bytes()).collect())
    };
    vec![
        wave("w", &[8, 8]),
        wave("b", &[8]),
        wave("v", &[2, 1, 3, 3]),
        whole("apart", &[-1, 2, 4]),
        whole("one", &[1]),
        whole("from", &[0, 1]),
        whole("to", &[4, 9223372036854775807]),
        whole("axes", &[2, 3]),
        tensor("trips", I64, &[], 3i64.to_le_bytes().to_vec()),
        tensor("zero", F32, &[], 0f32.to_le_bytes().to_vec()),
        tensor("half", F32, &[], 0.5f32.to_le_bytes().to_vec()),
    ]
}

/// `a * 0.5`, as often as the loop says.
fn body() -> GraphProto {
    GraphProto {
        name: "body".into(),
        node: vec![node("Identity", &["go"], "go_on"), node("Mul", &["a", "half"], "a_next")],
        input: vec![value("i", I64, &[]), value("go", BOOL, &[]), value("a", F32, &["rows", "2", "1", "1"])],
        output: vec![value("go_on", BOOL, &[]), value("a_next", F32, &["rows", "2", "1", "1"])],
        ..GraphProto::default()
    }
}

fn branch(op: &str) -> GraphProto {
    let name = format!("{op}_branch");
    let output = value(&name, F32, &[]);
    GraphProto { name: name.clone(), node: vec![node(op, &["top"], &name)], output: vec![output], ..GraphProto::default() }
}
