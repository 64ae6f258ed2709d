//! The weights beside a text: a safetensors file with the constants that the text names by hash.
//!
//! Every constant is a tensor named by its hash in hexadecimal; a quantized one has `<hash>.scales` (F32) and, with zero
//! points, `<hash>.zero_points` (I32) beside it. Types that safetensors does not know are stored as bytes (U8).

use super::number::Numbers;
use super::{Blob, hex, is_inline, unhex};
use crate::constant::{Constant, Hash, QuantData};
use crate::diag::{Diagnostic, Report};
use crate::graph::Module;
use crate::types::Elem;
use bytes::Bytes;
use safetensors::SafeTensors;
use std::collections::HashMap;
use std::fmt::Write;

/// A safetensors file as its pieces, in order; no tensor is copied.
#[derive(Debug, Clone)]
pub struct Sidecar {
    /// Length and description of the tensors.
    pub header: Vec<u8>,
    /// The contents of the tensors.
    pub tensors: Vec<Bytes>,
}

impl Sidecar {
    /// Whether there are no tensors, so that no file is needed.
    pub fn is_empty(&self) -> bool {
        self.tensors.is_empty()
    }
    /// The pieces of the file, in order.
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        std::iter::once(&self.header[..]).chain(self.tensors.iter().map(|tensor| &tensor[..]))
    }
    /// The file in memory.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.pieces().collect::<Vec<_>>().concat()
    }
}

/// The sidecar of the text of `module`.
pub fn write(module: &Module) -> Sidecar {
    let constants = Numbers::new(module).constants;
    let constants = constants.into_iter().filter_map(|id| module.constants.get(id)).filter(|constant| !is_inline(constant));
    let mut entries: Vec<Entry> = constants.flat_map(entries).collect();
    // The widest first, so that all stay aligned; then by name, so that equal modules have equal files.
    entries.sort_by(|a, b| b.width.cmp(&a.width).then_with(|| a.name.cmp(&b.name)));
    Sidecar { header: header(&entries), tensors: entries.into_iter().map(|entry| entry.data).collect() }
}

struct Entry {
    name: String,
    dtype: &'static str,
    width: usize,
    dims: Vec<usize>,
    data: Bytes,
}

fn entries(constant: &Constant) -> Vec<Entry> {
    let name = hex(&constant.hash);
    let data = constant.data.clone();
    let mut entries = vec![match dtype(constant.ty.elem) {
        Some((dtype, width)) => Entry { name: name.clone(), dtype, width, dims: constant.dims(), data },
        None => Entry { name: name.clone(), dtype: "U8", width: 1, dims: vec![data.len()], data },
    }];
    if let Some(quant) = &constant.quant {
        let words = |what, dtype, data: &Bytes| Entry {
            name: format!("{name}.{what}"),
            dtype,
            width: 4,
            dims: vec![data.len() / 4],
            data: data.clone(),
        };
        entries.push(words("scales", "F32", &quant.scales));
        if !quant.zero_points.is_empty() {
            entries.push(words("zero_points", "I32", &quant.zero_points));
        }
    }
    entries
}

/// The safetensors type of the same layout, and its bytes per element.
fn dtype(elem: Elem) -> Option<(&'static str, usize)> {
    Some(match elem {
        Elem::Bool => ("BOOL", 1),
        Elem::I8 => ("I8", 1),
        Elem::I16 => ("I16", 2),
        Elem::I32 => ("I32", 4),
        Elem::I64 => ("I64", 8),
        Elem::U8 => ("U8", 1),
        Elem::U16 => ("U16", 2),
        Elem::U32 => ("U32", 4),
        Elem::U64 => ("U64", 8),
        Elem::F16 => ("F16", 2),
        Elem::BF16 => ("BF16", 2),
        Elem::F32 => ("F32", 4),
        Elem::F64 => ("F64", 8),
        _ => return None,
    })
}

fn header(entries: &[Entry]) -> Vec<u8> {
    let mut json = String::from("{\"__metadata__\":{\"format\":\"mokume\"}");
    let mut start = 0;
    for Entry { name, dtype, dims, data, .. } in entries {
        let end = start + data.len();
        // Writing to a string cannot fail.
        let _ = write!(json, ",\"{name}\":{{\"dtype\":\"{dtype}\",\"shape\":{dims:?},\"data_offsets\":[{start},{end}]}}");
        start = end;
    }
    json.push('}');
    json.extend(std::iter::repeat_n(' ', json.len().next_multiple_of(8) - json.len()));
    [&(json.len() as u64).to_le_bytes()[..], json.as_bytes()].concat()
}

/// The tensors of a sidecar file; slices of it, not copies.
#[derive(Debug, Clone, Default)]
pub struct Weights {
    tensors: HashMap<String, Bytes>,
}

impl Weights {
    /// The contents of the constant with this hash.
    pub fn get(&self, hash: &Hash) -> Option<Blob> {
        let name = hex(hash);
        let data = self.tensors.get(&name)?.clone();
        let part = |what| self.tensors.get(&format!("{name}.{what}")).cloned();
        let quant = part("scales").map(|scales| QuantData { scales, zero_points: part("zero_points").unwrap_or_default() });
        Some(Blob { data, quant })
    }
}

/// Reads a sidecar file.
///
/// Errors  when it is not a safetensors file, or a tensor is not named by a hash.
pub fn read(file: Bytes) -> Result<Weights, Report> {
    let malformed = |error| Diagnostic::input("text::sidecar::malformed", format!("the weights are not a safetensors file: {error}"));
    let (length, metadata) = SafeTensors::read_metadata(&file).map_err(malformed)?;
    let body = file.slice(8 + length..);
    let mut weights = Weights::default();
    for (name, info) in metadata.tensors() {
        let hash = name.split('.').next().unwrap_or_default();
        if unhex(hash).is_none() {
            return Err(Diagnostic::input("text::sidecar::name", format!("the tensor \"{name}\" is not named by a hash")).into());
        }
        let (start, end) = info.data_offsets;
        if start > end || end > body.len() {
            return Err(Diagnostic::input("text::sidecar::range", format!("the tensor \"{name}\" is outside the file")).into());
        }
        weights.tensors.insert(name, body.slice(start..end));
    }
    Ok(weights)
}
