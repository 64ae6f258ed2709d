//! What a user reads when a model is broken or not supported.
#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use mokume_frontends::onnx::proto::*;
use mokume_frontends::onnx::{import_bytes, import_file};
use prost::Message;

fn value(name: &str, elem: i32, dims: &[i64]) -> ValueInfoProto {
    let dim = dims.iter().map(|&d| DimensionProto { dim_value: Some(d), dim_param: None }).collect();
    let tensor = TensorTypeProto { elem_type: elem, shape: Some(TensorShapeProto { dim }) };
    ValueInfoProto { name: name.into(), r#type: Some(TypeProto { tensor_type: Some(tensor), ..TypeProto::default() }) }
}

fn node(op: &str, inputs: &[&str], output: &str) -> NodeProto {
    let input = inputs.iter().map(|name| name.to_string()).collect();
    NodeProto { op_type: op.into(), name: format!("the_{output}"), input, output: vec![output.into()], ..NodeProto::default() }
}

fn weights(name: &str) -> TensorProto {
    TensorProto { name: name.into(), dims: vec![4], data_type: 1, raw_data: Some(Bytes::from(vec![0; 16])), ..TensorProto::default() }
}

fn model(nodes: Vec<NodeProto>) -> ModelProto {
    let graph = GraphProto {
        name: "small".into(),
        node: nodes,
        initializer: vec![weights("w")],
        input: vec![value("x", 1, &[2, 4])],
        output: vec![value("y", 1, &[2, 4])],
        ..GraphProto::default()
    };
    let opset_import = vec![OperatorSetIdProto { domain: String::new(), version: 17 }];
    ModelProto { ir_version: 8, graph: Some(graph), opset_import, ..ModelProto::default() }
}

fn small() -> ModelProto {
    model(vec![node("Add", &["x", "w"], "s"), node("Relu", &["s"], "y")])
}

fn errors(model: &ModelProto) -> String {
    import_bytes(Bytes::from(model.encode_to_vec()), None).unwrap_err().to_string()
}

fn external(entries: &[(&str, &str)]) -> ModelProto {
    let mut model = small();
    let tensor = &mut model.graph.as_mut().unwrap().initializer[0];
    let entry = |(key, value): &(&str, &str)| StringStringEntryProto { key: key.to_string(), value: value.to_string() };
    tensor.raw_data = None;
    tensor.data_location = EXTERNAL;
    tensor.external_data = entries.iter().map(entry).collect();
    model
}

#[test]
fn a_small_model_imports() {
    let module = import_bytes(Bytes::from(small().encode_to_vec()), None).unwrap();
    assert_eq!(module.main().node_count(), 2);
}

#[test]
fn broken_files_are_named() {
    let bytes = small().encode_to_vec();
    let cut = import_bytes(Bytes::from(bytes[..bytes.len() / 2].to_vec()), None).unwrap_err().to_string();
    assert!(cut.starts_with("error[onnx::file::truncated]: the file ends too early: field 7 of the model takes"), "{cut}");
    assert!(cut.contains("\n  at: byte 2"), "{cut}");
    let text = import_bytes(Bytes::from_static(b"this is no model"), None).unwrap_err().to_string();
    assert!(text.starts_with("error[onnx::file::"), "{text}");
    let empty = import_bytes(Bytes::new(), None).unwrap_err().to_string();
    assert!(empty.starts_with("error[onnx::file::not_onnx]: not an ONNX model: the file is empty"), "{empty}");
    let missing = import_file("/no/such/model.onnx").unwrap_err().to_string();
    assert!(missing.starts_with("error[onnx::file::unreadable]: cannot read the model"), "{missing}");
}

#[test]
fn all_unsupported_nodes_are_listed() {
    let text = errors(&model(vec![node("Foo", &["x"], "a"), node("Bar", &["a"], "b"), node("Relu", &["b"], "y")]));
    let expected = "error[onnx::op::unsupported]: Foo (ai.onnx, opset 17): the operator is not supported
  at: node \"the_a\"
error[onnx::op::unsupported]: Bar (ai.onnx, opset 17): the operator is not supported
  at: node \"the_b\"";
    assert_eq!(text, expected);
}

#[test]
fn external_data_stays_inside() {
    let escape = errors_in_dir(&external(&[("location", "../w.bin")]));
    assert!(escape.starts_with("error[onnx::file::external_escape]: the external file \"../w.bin\""), "{escape}");
    let absolute = errors_in_dir(&external(&[("location", "/etc/passwd")]));
    assert!(absolute.starts_with("error[onnx::file::external_escape]"), "{absolute}");
    let missing = errors_in_dir(&external(&[("location", "no_such_file.bin")]));
    assert!(missing.starts_with("error[onnx::file::external_missing]: the external file \"no_such_file.bin\""), "{missing}");
    let range = errors_in_dir(&external(&[("location", "Cargo.toml"), ("offset", "999999999")]));
    assert!(range.starts_with("error[onnx::file::external_range]: 16 bytes from byte 999999999 of \"Cargo.toml\""), "{range}");
    let length = errors_in_dir(&external(&[("location", "Cargo.toml"), ("length", "8")]));
    assert!(length.contains("the tensor takes 16 bytes, \"Cargo.toml\" gives 8\n  at: tensor \"w\""), "{length}");
}

fn errors_in_dir(model: &ModelProto) -> String {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    import_bytes(Bytes::from(model.encode_to_vec()), Some(dir)).unwrap_err().to_string()
}

#[test]
fn broken_graphs_are_named() {
    let cycle = errors(&model(vec![node("Add", &["x", "b"], "a"), node("Relu", &["a"], "b"), node("Relu", &["b"], "y")]));
    assert_eq!(cycle, "error[onnx::graph::cycle]: 3 nodes are on or behind a cycle: \"the_a\", \"the_b\", \"the_y\"");
    let twice = errors(&model(vec![node("Relu", &["x"], "y"), node("Abs", &["x"], "y")]));
    assert_eq!(twice, "error[onnx::graph::duplicate_name]: \"y\" is defined more than once");
    let undefined = errors(&model(vec![node("Relu", &["nothing"], "y")]));
    assert!(undefined.contains("Relu (ai.onnx, opset 17): reads \"nothing\", which nothing defines"), "{undefined}");
}

#[test]
fn wrong_types_and_versions_are_named() {
    let mut wrong = small();
    wrong.graph.as_mut().unwrap().output = vec![value("y", 7, &[2, 4])];
    let text = errors(&wrong);
    assert_eq!(text, "error[onnx::type::mismatch]: declared as i64, but the graph computes f32\n  at: output \"y\"");
    let mut future = small();
    future.opset_import[0].version = 99;
    assert!(errors(&future).starts_with("error[onnx::model::opset]: opset 99 of ai.onnx is not known"));
    let mut size = small();
    size.graph.as_mut().unwrap().initializer[0].dims = vec![5];
    let text = errors(&size);
    assert_eq!(text, "error[onnx::tensor::size]: shape [5] of f32 takes 20 bytes, the tensor holds 16\n  at: tensor \"w\"");
}
