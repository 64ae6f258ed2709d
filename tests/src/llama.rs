//! A small Llama with random weights, as exporters write it: no composites, shapes computed by nodes.

use crate::onnx::{F32, F64, I64, int, ints, node, tensor, value, with};
use mokume_frontends::onnx::proto::*;
use mokume_ir::constant::Constant;
use mokume_passes::executor::Named;

/// Sizes of a model.
#[derive(Debug, Clone, Copy)]
pub struct Llama {
    /// Blocks.
    pub blocks: usize,
    /// Width of the residual stream.
    pub width: usize,
    /// Heads of queries.
    pub heads: usize,
    /// Heads of keys and values.
    pub kv_heads: usize,
    /// Width between the products of the MLP.
    pub inner: usize,
    /// Tokens.
    pub vocabulary: usize,
    /// Whether numbers are f64 rather than f32.
    pub double: bool,
}

/// Sizes of the 260 thousand parameters that write little stories.
pub const STORIES: Llama = Llama { blocks: 5, width: 64, heads: 8, kv_heads: 4, inner: 172, vocabulary: 512, double: false };

/// `count` windows of tokens for [`STORIES`], each longer than the one before.
pub fn windows(count: usize) -> Vec<Named> {
    let token = |window: usize, at: usize| ((window * 7919 + at * 104_729 + at * at * 31) % 512) as i64;
    let window = |i: usize| {
        let tokens: Vec<i64> = (0..20 + i).map(|at| token(i, at)).collect();
        vec![("input_ids".to_string(), Constant::i64s(&[1, tokens.len()], &tokens))]
    };
    (0..count).map(window).collect()
}

impl Llama {
    /// The model: `input_ids [b, s]` to `logits [b, s, vocabulary]`.
    pub fn model(&self) -> ModelProto {
        let mut writer = Writer { elem: if self.double { F64 } else { F32 }, ..Writer::default() };
        writer.whole();
        let logits = self.logits(&mut writer);
        writer.nodes.push(node("Identity", &[&logits], "logits"));
        let graph = GraphProto {
            name: "llama".into(),
            input: vec![value("input_ids", I64, &["b", "s"])],
            output: vec![value("logits", writer.elem, &["b", "s", &self.vocabulary.to_string()])],
            node: writer.nodes,
            initializer: writer.tensors,
            ..GraphProto::default()
        };
        let opset_import = vec![OperatorSetIdProto { domain: String::new(), version: 17 }];
        ModelProto { ir_version: 8, graph: Some(graph), opset_import, ..ModelProto::default() }
    }

    fn logits(&self, w: &mut Writer) -> String {
        let embedding = w.weight("embed_tokens.weight", &[self.vocabulary, self.width], 1.0);
        let mut x = w.op("Gather", &[&embedding, "input_ids"]);
        let places = self.places(w);
        for block in 0..self.blocks {
            x = self.block(w, &format!("layers.{block}"), &x, &places);
        }
        let x = self.norm(w, "norm", &x);
        w.product("lm_head", &x, self.width, self.vocabulary)
    }

    /// Cosines and sines `[s, d]`, and what is added to scores `[s, s]`.
    fn places(&self, w: &mut Writer) -> Places {
        let half = self.head() / 2;
        let frequencies: Vec<f32> = (0..half).map(|i| 10000f32.powf(-(i as f32) / half as f32)).collect();
        w.floats("frequencies", &[1, half], &frequencies);
        let shape = w.op("Shape", &["input_ids"]);
        let length = w.op("Gather", &[&shape, "one"]);
        let length_at = w.op("Unsqueeze", &[&length, "first"]);
        let positions = w.op("Range", &["zero", &length, "one"]);
        let positions = w.op_with("Cast", &[&positions], vec![int("to", w.elem.into())]);
        let positions = w.op("Unsqueeze", &[&positions, "second"]);
        let angles = w.op("Mul", &[&positions, "frequencies"]);
        let angles = w.op_with("Concat", &[&angles, &angles], vec![int("axis", -1)]);
        let sides = w.op_with("Concat", &[&length_at, &length_at], vec![int("axis", 0)]);
        let ones = w.op("Expand", &["lowest", &sides]);
        let mask = w.op_with("Trilu", &[&ones, "one"], vec![int("upper", 1)]);
        Places { cos: w.op("Cos", &[&angles]), sin: w.op("Sin", &[&angles]), mask }
    }

    fn block(&self, w: &mut Writer, name: &str, x: &str, places: &Places) -> String {
        let normed = self.norm(w, &format!("{name}.input_layernorm"), x);
        let attended = self.attention(w, &format!("{name}.self_attn"), &normed, places);
        let x = w.op("Add", &[x, &attended]);
        let normed = self.norm(w, &format!("{name}.post_attention_layernorm"), &x);
        let projected = self.mlp(w, &format!("{name}.mlp"), &normed);
        w.op("Add", &[&x, &projected])
    }

    /// RMSNorm, written out.
    fn norm(&self, w: &mut Writer, name: &str, x: &str) -> String {
        let gain: Vec<f32> = (0..self.width).map(|i| 1.0 + 0.3 * (i as f32 * 0.7).sin()).collect();
        let gain = w.floats(&format!("{name}.weight"), &[self.width], &gain);
        let squares = w.op("Pow", &[x, "two"]);
        let mean = w.op_with("ReduceMean", &[&squares], vec![ints("axes", &[-1])]);
        let mean = w.op("Add", &[&mean, "epsilon"]);
        let root = w.op("Sqrt", &[&mean]);
        let normed = w.op("Div", &[x, &root]);
        w.op("Mul", &[&gain, &normed])
    }

    fn attention(&self, w: &mut Writer, name: &str, x: &str, places: &Places) -> String {
        let q = self.heads_of(w, &format!("{name}.q_proj"), x, self.heads);
        let k = self.heads_of(w, &format!("{name}.k_proj"), x, self.kv_heads);
        let v = self.heads_of(w, &format!("{name}.v_proj"), x, self.kv_heads);
        let (q, k) = (self.rotated(w, &q, places), self.rotated(w, &k, places));
        let (k, v) = (self.repeated(w, &k), self.repeated(w, &v));
        let k = w.op_with("Transpose", &[&k], vec![ints("perm", &[0, 1, 3, 2])]);
        let scores = w.op("MatMul", &[&q, &k]);
        let scale = w.floats(&format!("{name}.scale"), &[], &[(self.head() as f32).sqrt()]);
        let scores = w.op("Div", &[&scores, &scale]);
        let scores = w.op("Add", &[&scores, &places.mask]);
        let weights = w.op_with("Softmax", &[&scores], vec![int("axis", -1)]);
        let heads = w.op("MatMul", &[&weights, &v]);
        let joined = w.op_with("Transpose", &[&heads], vec![ints("perm", &[0, 2, 1, 3])]);
        let joined = w.reshape(&joined, &[0, 0, self.width as i64]);
        w.product(&format!("{name}.o_proj"), &joined, self.width, self.width)
    }

    /// A projection as `[b, heads, s, d]`.
    fn heads_of(&self, w: &mut Writer, name: &str, x: &str, heads: usize) -> String {
        let y = w.product(name, x, self.width, heads * self.head());
        let y = w.reshape(&y, &[0, 0, heads as i64, self.head() as i64]);
        w.op_with("Transpose", &[&y], vec![ints("perm", &[0, 2, 1, 3])])
    }

    fn rotated(&self, w: &mut Writer, x: &str, places: &Places) -> String {
        let half = (self.head() / 2) as i64;
        let bound = |w: &mut Writer, at: i64| w.integers(&[at]);
        let (zero, middle, end) = (bound(w, 0), bound(w, half), bound(w, 2 * half));
        let first = w.op("Slice", &[x, &zero, &middle, "last_axis"]);
        let second = w.op("Slice", &[x, &middle, &end, "last_axis"]);
        let negative = w.op("Neg", &[&second]);
        let turned = w.op_with("Concat", &[&negative, &first], vec![int("axis", -1)]);
        let (straight, across) = (w.op("Mul", &[x, &places.cos]), w.op("Mul", &[&turned, &places.sin]));
        w.op("Add", &[&straight, &across])
    }

    /// Every head of keys or values as often as queries share it.
    fn repeated(&self, w: &mut Writer, x: &str) -> String {
        let (heads, times, size) = (self.kv_heads as i64, (self.heads / self.kv_heads) as i64, self.head() as i64);
        let apart = w.op("Unsqueeze", &[x, "third"]);
        let shape = w.integers(&[1, 1, times, 1, 1]);
        let expanded = w.op("Expand", &[&apart, &shape]);
        w.reshape(&expanded, &[0, heads * times, -1, size])
    }

    fn mlp(&self, w: &mut Writer, name: &str, x: &str) -> String {
        let gate = w.product(&format!("{name}.gate_proj"), x, self.width, self.inner);
        let up = w.product(&format!("{name}.up_proj"), x, self.width, self.inner);
        let sigmoid = w.op("Sigmoid", &[&gate]);
        let silu = w.op("Mul", &[&gate, &sigmoid]);
        let inner = w.op("Mul", &[&silu, &up]);
        w.product(&format!("{name}.down_proj"), &inner, self.inner, self.width)
    }

    fn head(&self) -> usize {
        self.width / self.heads
    }
}

/// What depends on positions.
struct Places {
    cos: String,
    sin: String,
    mask: String,
}

#[derive(Default)]
struct Writer {
    nodes: Vec<NodeProto>,
    tensors: Vec<TensorProto>,
    /// Element type of numbers.
    elem: i32,
    seed: u32,
}

impl Writer {
    /// Small constants.
    fn whole(&mut self) {
        for (name, dims, number) in
            [("zero", &[][..], 0i64), ("one", &[], 1), ("first", &[1], 0), ("second", &[1], 1), ("third", &[1], 2), ("last_axis", &[1], 3)]
        {
            self.tensors.push(tensor(name, I64, dims, number.to_le_bytes().to_vec()));
        }
        for (name, number) in [("two", 2f32), ("epsilon", 1e-5), ("lowest", f32::MIN)] {
            self.floats(name, &[], &[number]);
        }
    }
    fn op(&mut self, op: &str, inputs: &[&str]) -> String {
        self.op_with(op, inputs, vec![])
    }
    fn op_with(&mut self, op: &str, inputs: &[&str], attributes: Vec<AttributeProto>) -> String {
        let output = format!("{op}_{}", self.nodes.len());
        self.nodes.push(with(node(op, inputs, &output), attributes));
        output
    }
    /// A matmul called `name`.
    fn product(&mut self, name: &str, x: &str, k: usize, n: usize) -> String {
        let weight = self.weight(&format!("{name}.weight"), &[k, n], (k as f32).powf(-0.5));
        let output = self.op("MatMul", &[x, &weight]);
        if let Some(node) = self.nodes.last_mut() {
            node.name = format!("/model/{}/MatMul", name.replace('.', "/"));
        }
        output
    }
    fn reshape(&mut self, x: &str, shape: &[i64]) -> String {
        let shape = self.integers(shape);
        self.op("Reshape", &[x, &shape])
    }
    fn integers(&mut self, numbers: &[i64]) -> String {
        let name = format!("integers_{}", self.tensors.len());
        let data = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        self.tensors.push(tensor(&name, I64, &[numbers.len() as i64], data));
        name
    }
    fn floats(&mut self, name: &str, dims: &[usize], numbers: &[f32]) -> String {
        let dims: Vec<i64> = dims.iter().map(|&dim| dim as i64).collect();
        let bytes = |&number: &f32| match self.elem {
            F64 => f64::from(number).to_le_bytes().to_vec(),
            _ => number.to_le_bytes().to_vec(),
        };
        self.tensors.push(tensor(name, self.elem, &dims, numbers.iter().flat_map(bytes).collect()));
        name.to_string()
    }
    /// Numbers about as wide as `scale`, like normal ones, the same in every run.
    fn weight(&mut self, name: &str, dims: &[usize], scale: f32) -> String {
        let numbers: Vec<f32> = (0..dims.iter().product()).map(|_| scale * self.normal()).collect();
        self.floats(name, dims, &numbers)
    }
    /// The sum of twelve uniform numbers, less six.
    fn normal(&mut self) -> f32 {
        let mut sum = -6.0;
        for _ in 0..12 {
            self.seed = self.seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            sum += (self.seed >> 8) as f32 / (1 << 24) as f32;
        }
        sum
    }
}
