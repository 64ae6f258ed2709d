//! What tests of the command line share: small models, tensors, and running the program in a folder of its own.

use bytes::Bytes;
use mokume_frontends::onnx::proto::*;
use mokume_runtime::npy;
use mokume_runtime::tensor::Tensor;
use prost::Message;
use serde_json::Value;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};
use tempfile::TempDir;

/// Runs every line; one snapshot with all that was said.
macro_rules! check {
    ($name:literal, $desk:expr, [$($line:expr),+ $(,)?]) => {
        let reports = [$($desk.report($line)),+];
        insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
            insta::assert_snapshot!($name, reports.join("\n"));
        });
    };
}

const F32: i32 = 1;

/// A folder with models and tensors, in which commands run.
pub struct Desk(TempDir);

impl Desk {
    /// An empty folder.
    pub fn new() -> Self {
        Desk(tempfile::tempdir().unwrap())
    }
    /// The path of a file in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
    /// Writes a file.
    pub fn put(&self, name: &str, data: impl AsRef<[u8]>) {
        fs::write(self.path(name), data).unwrap();
    }
    /// Writes a tensor.
    pub fn put_tensor(&self, name: &str, tensor: &Tensor) {
        self.put(name, npy::write(tensor).unwrap());
    }
    /// Names of all files in the folder.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(self.0.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
    /// `mokume` with `line` as arguments, to be run here.
    pub fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mokume"));
        command.current_dir(self.0.path()).args(words(line)).env_remove("RUST_BACKTRACE");
        command
    }
    /// Runs `mokume` here.
    pub fn mokume(&self, line: &str) -> Output {
        self.command(line).output().unwrap()
    }
    /// What a command that works prints as JSON.
    pub fn json(&self, line: &str) -> Value {
        let output = self.mokume(line);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }
    /// Runs `mokume` here: the command, its exit code, and what it said.
    pub fn report(&self, line: &str) -> String {
        let output = self.mokume(line);
        let code = output.status.code().map_or("none".to_string(), |code| code.to_string());
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        let stdout = if stdout.is_empty() { stdout } else { format!("\nstdout:\n{stdout}") };
        format!("$ mokume {line}\nexit {code}\n{stderr}{stdout}")
    }
}

/// Words apart at spaces; "quotes" hold them together.
fn words(line: &str) -> Vec<String> {
    let parts = line.split('"').enumerate();
    let words = parts.flat_map(|(i, part)| match i % 2 {
        0 => part.split_whitespace().map(str::to_string).collect(),
        _ => vec![part.to_string()],
    });
    words.collect()
}

/// A named f32 value; sizes are numbers or symbols.
pub fn value(name: &str, dims: &[&str]) -> ValueInfoProto {
    let dim = |text: &&str| match text.parse() {
        Ok(size) => DimensionProto { dim_value: Some(size), dim_param: None },
        Err(_) => DimensionProto { dim_value: None, dim_param: Some(text.to_string()) },
    };
    let tensor = TensorTypeProto { elem_type: F32, shape: Some(TensorShapeProto { dim: dims.iter().map(dim).collect() }) };
    ValueInfoProto { name: name.into(), r#type: Some(TypeProto { tensor_type: Some(tensor), ..TypeProto::default() }) }
}

/// A node with one output.
pub fn node(op: &str, inputs: &[&str], output: &str) -> NodeProto {
    let input = inputs.iter().map(|name| name.to_string()).collect();
    NodeProto { op_type: op.into(), name: format!("the_{output}"), input, output: vec![output.into()], ..NodeProto::default() }
}

/// An f32 weight with values that repeat seldom.
pub fn weight(name: &str, dims: &[i64]) -> TensorProto {
    let count = dims.iter().product::<i64>();
    let values = (0..count).map(|i| ((i * 7919 + 13) % 1009) as f32 / 1009.0 - 0.5);
    let data: Vec<u8> = values.flat_map(f32::to_le_bytes).collect();
    TensorProto { name: name.into(), dims: dims.into(), data_type: F32, raw_data: Some(Bytes::from(data)), ..TensorProto::default() }
}

/// The bytes of a model file.
pub fn onnx(nodes: Vec<NodeProto>, weights: Vec<TensorProto>, input: ValueInfoProto, output: ValueInfoProto) -> Vec<u8> {
    let graph = GraphProto {
        name: "small".into(),
        node: nodes,
        initializer: weights,
        input: vec![input],
        output: vec![output],
        ..GraphProto::default()
    };
    let opset_import = vec![OperatorSetIdProto { domain: String::new(), version: 17 }];
    ModelProto { ir_version: 8, graph: Some(graph), opset_import, ..ModelProto::default() }.encode_to_vec()
}

/// `y = relu(x w + b)`, x with 64 columns.
pub fn small_model() -> Vec<u8> {
    let nodes = vec![node("MatMul", &["x", "w"], "p"), node("Add", &["p", "b"], "s"), node("Relu", &["s"], "y")];
    onnx(nodes, vec![weight("w", &[64, 32]), weight("b", &[32])], value("x", &["rows", "64"]), value("y", &["rows", "32"]))
}

/// `depth` products of `width` by `width` in a row, each followed by a relu.
pub fn deep_model(depth: usize, width: i64) -> Vec<u8> {
    let size = width.to_string();
    let layer = |i: usize| {
        let (from, product, to) = (format!("x{i}"), format!("p{i}"), format!("x{}", i + 1));
        [node("MatMul", &[&from, &format!("w{i}")], &product), node("Relu", &[&product], &to)]
    };
    let weights = (0..depth).map(|i| weight(&format!("w{i}"), &[width, width])).collect();
    onnx((0..depth).flat_map(layer).collect(), weights, value("x0", &["rows", &size]), value(&format!("x{depth}"), &["rows", &size]))
}

/// Two convolutions with a relu between.
pub fn conv_model() -> Vec<u8> {
    let nodes = vec![node("Conv", &["x", "w", "b"], "c"), node("Relu", &["c"], "r"), node("Conv", &["r", "v"], "y")];
    let weights = vec![weight("w", &[32, 16, 3, 3]), weight("b", &[32]), weight("v", &[16, 32, 3, 3])];
    onnx(nodes, weights, value("x", &["1", "16", "12", "12"]), value("y", &["1", "16", "8", "8"]))
}
