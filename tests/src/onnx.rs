//! Short ways to write ONNX messages.

use bytes::Bytes;
use mokume_frontends::onnx::proto::*;

/// `TensorProto.FLOAT`.
pub const F32: i32 = 1;
/// `TensorProto.INT64`.
pub const I64: i32 = 7;
/// `TensorProto.BOOL`.
pub const BOOL: i32 = 9;
/// `TensorProto.DOUBLE`.
pub const F64: i32 = 11;

/// A node called after its output.
pub fn node(op: &str, inputs: &[&str], output: &str) -> NodeProto {
    let input = inputs.iter().map(|name| name.to_string()).collect();
    NodeProto { op_type: op.into(), name: format!("the_{output}"), input, output: vec![output.into()], ..NodeProto::default() }
}

/// The node with attributes.
pub fn with(mut node: NodeProto, attributes: Vec<AttributeProto>) -> NodeProto {
    node.attribute = attributes;
    node
}

fn attribute(name: &str, kind: i32) -> AttributeProto {
    AttributeProto { name: name.into(), r#type: kind, ..AttributeProto::default() }
}

/// An integer attribute.
pub fn int(name: &str, i: i64) -> AttributeProto {
    AttributeProto { i, ..attribute(name, attribute_type::INT) }
}

/// A float attribute.
pub fn float(name: &str, f: f32) -> AttributeProto {
    AttributeProto { f, ..attribute(name, attribute_type::FLOAT) }
}

/// A string attribute.
pub fn text(name: &str, text: &str) -> AttributeProto {
    AttributeProto { s: Bytes::from(text.to_string()), ..attribute(name, attribute_type::STRING) }
}

/// A list of integers as an attribute.
pub fn ints(name: &str, values: &[i64]) -> AttributeProto {
    AttributeProto { ints: values.to_vec(), ..attribute(name, attribute_type::INTS) }
}

/// A subgraph as an attribute.
pub fn graph(name: &str, graph: GraphProto) -> AttributeProto {
    AttributeProto { g: Some(Box::new(graph)), ..attribute(name, attribute_type::GRAPH) }
}

/// A tensor of little-endian data.
pub fn tensor(name: &str, data_type: i32, dims: &[i64], data: Vec<u8>) -> TensorProto {
    TensorProto { name: name.into(), dims: dims.into(), data_type, raw_data: Some(Bytes::from(data)), ..TensorProto::default() }
}

/// An input or output; dimensions that are no numbers are symbols.
pub fn value(name: &str, elem_type: i32, dims: &[&str]) -> ValueInfoProto {
    let dim = |text: &&str| match text.parse() {
        Ok(size) => DimensionProto { dim_value: Some(size), dim_param: None },
        Err(_) => DimensionProto { dim_value: None, dim_param: Some(text.to_string()) },
    };
    let tensor = TensorTypeProto { elem_type, shape: Some(TensorShapeProto { dim: dims.iter().map(dim).collect() }) };
    ValueInfoProto { name: name.into(), r#type: Some(TypeProto { tensor_type: Some(tensor), ..TypeProto::default() }) }
}
