//! Bytes to messages: maps the file, checks its frame, decodes it.

use super::external::map_file;
use super::proto::ModelProto;
use bytes::Bytes;
use mokume_ir::diag::Diagnostic;
use prost::Message;
use std::path::Path;

/// Maps and decodes the model in the file at `path`.
///
/// Errors  `onnx::file::unreadable`, and those of [`decode`] with the path as place.
pub fn load_file(path: &Path) -> Result<ModelProto, Diagnostic> {
    let unreadable = |error| Diagnostic::input("onnx::file::unreadable", format!("cannot read the model: {error}"));
    let bytes = map_file(path).map_err(unreadable).map_err(|d| d.at(path.display().to_string()))?;
    decode(bytes).map_err(|finding| finding.within(&path.display().to_string()))
}

/// Decodes a model.
///
/// Errors  `onnx::file::truncated` with the byte where a field runs past the end, `onnx::file::not_onnx` when the bytes are no
/// model.
pub fn decode(bytes: Bytes) -> Result<ModelProto, Diagnostic> {
    check_frame(&bytes)?;
    let model = ModelProto::decode(bytes).map_err(|error| not_onnx(&format!("{error}")))?;
    match &model.graph {
        Some(_) => Ok(model),
        None => Err(not_onnx("it holds no graph")),
    }
}

fn not_onnx(why: &str) -> Diagnostic {
    Diagnostic::input("onnx::file::not_onnx", format!("not an ONNX model: {why}")).help("export the model again, or download it again")
}

/// Walks the outermost fields, so that a broken file is reported with the byte where it breaks.
fn check_frame(bytes: &[u8]) -> Result<(), Diagnostic> {
    if bytes.is_empty() {
        return Err(not_onnx("the file is empty"));
    }
    let mut at = 0;
    while at < bytes.len() {
        let start = at;
        let broken = || not_onnx("a field is malformed").at(format!("byte {start}"));
        let tag = varint(bytes, &mut at).ok_or_else(broken)?;
        let size = match tag & 7 {
            0 => varint(bytes, &mut at).map(|_| 0),
            1 => Some(8),
            2 => varint(bytes, &mut at),
            5 => Some(4),
            _ => None,
        };
        let size = size.ok_or_else(broken)?;
        let left = (bytes.len() - at) as u64;
        if size > left {
            return Err(truncated(tag >> 3, size, left).at(format!("byte {start}")));
        }
        at += size as usize;
    }
    Ok(())
}

fn truncated(field: u64, size: u64, left: u64) -> Diagnostic {
    let message = format!("the file ends too early: field {field} of the model takes {size} bytes, {left} are left");
    Diagnostic::input("onnx::file::truncated", message).help("download or copy the file again")
}

fn varint(bytes: &[u8], at: &mut usize) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.get(*at)?;
        *at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}
