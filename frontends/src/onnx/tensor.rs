//! `TensorProto` to [`Constant`] and back, and tensor files (`.pb`).
//!
//! Elements lie in `raw_data` (taken as it is, without a copy), in an external file, or in one of the typed fields:
//! `int32_data` carries every type of 32 bits or less (f16, bf16 and 8-bit floats as bit patterns; 4- and 2-bit types
//! packed, one byte per entry). Nothing is allocated before the size was checked against the data that is there.

use super::external::External;
use super::proto::{EXTERNAL, SequenceProto, SparseTensorProto, TensorProto};
use bytes::Bytes;
use mokume_ir::constant::{Constant, packed_bytes};
use mokume_ir::diag::{Diagnostic, Report};
use mokume_ir::types::Elem;
use prost::Message;

/// Most bytes that a sparse tensor may take when it is made dense.
const DENSE_LIMIT: usize = 256 << 20;

const ELEMS: [(i32, Elem); 26] = [
    (1, Elem::F32),
    (2, Elem::U8),
    (3, Elem::I8),
    (4, Elem::U16),
    (5, Elem::I16),
    (6, Elem::I32),
    (7, Elem::I64),
    (8, Elem::String),
    (9, Elem::Bool),
    (10, Elem::F16),
    (11, Elem::F64),
    (12, Elem::U32),
    (13, Elem::U64),
    (14, Elem::C64),
    (15, Elem::C128),
    (16, Elem::BF16),
    (17, Elem::F8E4M3FN),
    (18, Elem::F8E4M3FNUZ),
    (19, Elem::F8E5M2),
    (20, Elem::F8E5M2FNUZ),
    (21, Elem::U4),
    (22, Elem::I4),
    (23, Elem::F4E2M1),
    (24, Elem::F8E8M0),
    (25, Elem::U2),
    (26, Elem::I2),
];

/// The element type with number `data_type` in `TensorProto.DataType`.
pub fn elem(data_type: i32) -> Result<Elem, Diagnostic> {
    let found = ELEMS.iter().find(|row| row.0 == data_type).map(|row| row.1);
    found.ok_or_else(|| match data_type {
        27 | 28 => Diagnostic::unsupported("onnx::tensor::elem_type", "6-bit floats are not supported"),
        0 => Diagnostic::input("onnx::tensor::elem_type", "the element type is not given"),
        _ => Diagnostic::input("onnx::tensor::elem_type", format!("{data_type} is not an ONNX element type")),
    })
}

/// The number of an element type in `TensorProto.DataType`; none for quantized types.
pub fn data_type(elem: Elem) -> Option<i32> {
    ELEMS.iter().find(|row| row.1 == elem).map(|row| row.0)
}

/// Reads a file that holds one `TensorProto`.
///
/// Errors  when the bytes are no tensor, or its data does not have the size that its type asks for.
pub fn read_pb(bytes: impl Into<Bytes>) -> Result<Constant, Report> {
    let proto = TensorProto::decode(bytes.into())
        .map_err(|error| Diagnostic::input("onnx::file::not_tensor", format!("not an ONNX tensor: {error}")))?;
    Ok(constant(&proto, &External::none())?)
}

/// Reads a file that holds one `SequenceProto` of tensors.
///
/// Errors  when the bytes are no sequence of tensors.
pub fn read_sequence_pb(bytes: impl Into<Bytes>) -> Result<Vec<Constant>, Report> {
    let proto = SequenceProto::decode(bytes.into())
        .map_err(|error| Diagnostic::input("onnx::file::not_sequence", format!("not an ONNX sequence: {error}")))?;
    if proto.elem_type != 1 {
        return Err(Diagnostic::unsupported("onnx::file::sequence_elem", "only sequences of dense tensors are supported").into());
    }
    let tensors = proto.tensor_values.iter().map(|tensor| constant(tensor, &External::none()));
    Ok(tensors.collect::<Result<_, _>>()?)
}

/// The bytes of a file that holds `constant` as a `TensorProto`; quantized constants are written as their codes in u8.
pub fn write_pb(constant: &Constant) -> Vec<u8> {
    to_proto(constant).encode_to_vec()
}

/// A constant as a message.
pub fn to_proto(constant: &Constant) -> TensorProto {
    let mut proto = TensorProto { dims: constant.dims().iter().map(|&d| d as i64).collect(), ..TensorProto::default() };
    match constant.ty.elem {
        Elem::String => proto.string_data = strings(&constant.data),
        _ => proto.raw_data = Some(constant.data.clone()),
    }
    proto.data_type = data_type(constant.ty.elem).unwrap_or(2);
    proto
}

/// The strings of a string constant's data: each a u32 length and bytes.
fn strings(data: &Bytes) -> Vec<Bytes> {
    let mut rest = data.clone();
    let mut strings = Vec::new();
    while let Some(length) = rest.first_chunk::<4>() {
        let end = (4 + u32::from_le_bytes(*length) as usize).min(rest.len());
        strings.push(rest.slice(4..end));
        rest = rest.slice(end..);
    }
    strings
}

/// A message as a constant; data that the model file does not hold comes from `external`.
pub fn constant(proto: &TensorProto, external: &External) -> Result<Constant, Diagnostic> {
    constant_of(proto, external).map_err(|finding| named(finding, &proto.name))
}

fn named(finding: Diagnostic, name: &str) -> Diagnostic {
    match (&finding.place, name) {
        (Some(_), _) | (None, "") => finding,
        (None, name) => finding.at(format!("tensor \"{name}\"")),
    }
}

fn constant_of(proto: &TensorProto, external: &External) -> Result<Constant, Diagnostic> {
    let elem = elem(proto.data_type)?;
    let dims = sizes(&proto.dims)?;
    if proto.segment.is_some() {
        return Err(Diagnostic::unsupported("onnx::tensor::segment", "tensors in segments are not supported"));
    }
    let size = packed_bytes(&dims, elem)
        .ok_or_else(|| Diagnostic::input("onnx::tensor::size", format!("the size of shape {dims:?} overflows")))?;
    if elem == Elem::String {
        return string_constant(proto, &dims);
    }
    let data = match (proto.data_location == EXTERNAL, &proto.raw_data) {
        (true, _) => external.data(&proto.external_data, size)?,
        (false, Some(raw)) if !raw.is_empty() || typed_len(proto) == 0 => raw.clone(),
        _ => typed_data(proto, elem),
    };
    if data.len() != size {
        let message = format!("shape {dims:?} of {elem} takes {size} bytes, the tensor holds {}", data.len());
        return Err(Diagnostic::input("onnx::tensor::size", message));
    }
    Ok(Constant::new(&dims, elem, if elem == Elem::Bool { normal_bools(data) } else { data }))
}

fn sizes(dims: &[i64]) -> Result<Vec<usize>, Diagnostic> {
    let sizes = dims.iter().map(|&d| usize::try_from(d)).collect::<Result<_, _>>();
    sizes.map_err(|_| Diagnostic::input("onnx::tensor::size", format!("shape {dims:?} has a negative size")))
}

fn typed_len(proto: &TensorProto) -> usize {
    proto.float_data.len()
        + proto.int32_data.len()
        + proto.int64_data.len()
        + proto.double_data.len()
        + proto.uint64_data.len()
        + proto.string_data.len()
}

fn typed_data(proto: &TensorProto, elem: Elem) -> Bytes {
    fn bytes<T: Copy, const N: usize>(values: &[T], to: impl Fn(T) -> [u8; N]) -> Bytes {
        values.iter().flat_map(|&value| to(value)).collect::<Vec<u8>>().into()
    }
    match elem {
        Elem::F32 | Elem::C64 => bytes(&proto.float_data, f32::to_le_bytes),
        Elem::F64 | Elem::C128 => bytes(&proto.double_data, f64::to_le_bytes),
        Elem::I64 => bytes(&proto.int64_data, i64::to_le_bytes),
        Elem::U64 => bytes(&proto.uint64_data, u64::to_le_bytes),
        Elem::U32 => bytes(&proto.uint64_data, |v| (v as u32).to_le_bytes()),
        Elem::I32 => bytes(&proto.int32_data, i32::to_le_bytes),
        Elem::I16 | Elem::U16 | Elem::F16 | Elem::BF16 => bytes(&proto.int32_data, |v| (v as u16).to_le_bytes()),
        _ => bytes(&proto.int32_data, |v| [v as u8]),
    }
}

fn normal_bools(data: Bytes) -> Bytes {
    match data.iter().all(|&byte| byte < 2) {
        true => data,
        false => data.iter().map(|&byte| u8::from(byte != 0)).collect::<Vec<u8>>().into(),
    }
}

fn string_constant(proto: &TensorProto, dims: &[usize]) -> Result<Constant, Diagnostic> {
    let count = dims.iter().product::<usize>();
    if proto.string_data.len() != count {
        let message = format!("shape {dims:?} has {count} strings, the tensor holds {}", proto.string_data.len());
        return Err(Diagnostic::input("onnx::tensor::size", message));
    }
    let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec());
    let list = proto.string_data.iter().map(text).collect::<Result<Vec<_>, _>>();
    let list = list.map_err(|_| Diagnostic::input("onnx::tensor::utf8", "a string of the tensor is not UTF-8"))?;
    Ok(texts(dims, &list))
}

/// A constant of strings, as many as `dims` asks for.
pub fn texts(dims: &[usize], list: &[String]) -> Constant {
    let mut data = Vec::new();
    for text in list {
        data.extend((text.len() as u32).to_le_bytes());
        data.extend(text.as_bytes());
    }
    Constant::new(dims, Elem::String, data.into())
}

/// A sparse message as a dense constant; its name is that of the values.
pub fn dense(proto: &SparseTensorProto, external: &External) -> Result<Constant, Diagnostic> {
    let broken = |message: String| Diagnostic::input("onnx::tensor::sparse", message);
    let (Some(values), Some(indices)) = (&proto.values, &proto.indices) else {
        return Err(broken("a sparse tensor without values or indices".into()));
    };
    let (values, dims) = (constant(values, external)?, sizes(&proto.dims)?);
    let indices = constant(indices, external)?;
    let width = values.ty.elem.bits() as usize / 8;
    let size = packed_bytes(&dims, values.ty.elem).filter(|&size| size <= DENSE_LIMIT && width > 0);
    let size = size.ok_or_else(|| broken(format!("a sparse tensor of shape {dims:?} is too large or of too narrow a type")))?;
    let places = places(&indices, &dims, values.len()).ok_or_else(|| broken("indices of a sparse tensor do not fit".into()))?;
    let mut data = vec![0u8; size];
    for (place, value) in places.into_iter().zip(values.data.chunks(width)) {
        data[place * width..][..width].copy_from_slice(value);
    }
    Ok(Constant::new(&dims, values.ty.elem, data.into()))
}

/// Row-major places of the `count` values: `indices` holds them, `[count]`, or coordinates, `[count, rank]`.
fn places(indices: &Constant, dims: &[usize], count: usize) -> Option<Vec<usize>> {
    let numbers: Vec<usize> = indices.to_i64s()?.into_iter().map(|i| usize::try_from(i).ok()).collect::<Option<_>>()?;
    let places: Vec<usize> = match indices.dims()[..] {
        [_] => numbers,
        [_, rank] if rank == dims.len() && rank > 0 => numbers
            .chunks(rank)
            .map(|at| at.iter().zip(dims).try_fold(0usize, |place, (&i, &d)| (i < d).then(|| place * d + i)))
            .collect::<Option<_>>()?,
        _ => return None,
    };
    let total = dims.iter().product();
    (places.len() == count && places.iter().all(|&place| place < total)).then_some(places)
}
