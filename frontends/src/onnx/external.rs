//! External tensor data: files beside the model, mapped once each.
//!
//! Source: <https://github.com/onnx/onnx/blob/main/docs/ExternalData.md>. A location is a relative path below the
//! model's directory; anything that leaves it is refused. Ranges are checked against the file before they are used.

use super::proto::StringStringEntryProto;
use bytes::Bytes;
use memmap2::Mmap;
use mokume_ir::diag::Diagnostic;
use std::collections::HashMap;
use std::fs::File;
use std::path::{Component, Path, PathBuf};
use std::sync::Mutex;

/// Where external data is looked for.
#[derive(Debug, Default)]
pub struct External {
    dir: Option<PathBuf>,
    files: Mutex<HashMap<PathBuf, Bytes>>,
}

impl External {
    /// Files below `dir`.
    pub fn below(dir: impl Into<PathBuf>) -> Self {
        External { dir: Some(dir.into()), files: Mutex::default() }
    }
    /// No files: every reference is an error.
    pub fn none() -> Self {
        External::default()
    }
    /// The `size` bytes that the entries of a tensor name.
    pub fn data(&self, entries: &[StringStringEntryProto], size: usize) -> Result<Bytes, Diagnostic> {
        let entry = |key: &str| entries.iter().find(|e| e.key == key).map(|e| e.value.as_str());
        let location =
            entry("location").ok_or_else(|| fault("onnx::file::external_location", "external data without a location".into()))?;
        let offset = number(entry("offset"), "offset")?.unwrap_or(0);
        let length = number(entry("length"), "length")?.unwrap_or(size);
        let file = self.open(location)?;
        if length != size {
            return Err(fault("onnx::file::external_range", format!("the tensor takes {size} bytes, \"{location}\" gives {length}")));
        }
        let end = offset.checked_add(length).filter(|&end| end <= file.len());
        let end = end.ok_or_else(|| {
            let message = format!("{length} bytes from byte {offset} of \"{location}\" are past its end at {}", file.len());
            fault("onnx::file::external_range", message)
        })?;
        Ok(file.slice(offset..end))
    }
    fn open(&self, location: &str) -> Result<Bytes, Diagnostic> {
        let Some(dir) = &self.dir else {
            let message = format!("data is in \"{location}\", but there is no directory to find it in");
            return Err(fault("onnx::file::external_missing", message));
        };
        let path = Path::new(location);
        let inside = path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        if !inside || location.is_empty() {
            let message = format!("the external file \"{location}\" is not a path below the model's directory");
            return Err(fault("onnx::file::external_escape", message));
        }
        self.map(dir.join(path), location)
    }
    fn map(&self, path: PathBuf, location: &str) -> Result<Bytes, Diagnostic> {
        let mut files = self.files.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(bytes) = files.get(&path) {
            return Ok(bytes.clone());
        }
        let bytes = map_file(&path).map_err(|error| {
            fault("onnx::file::external_missing", format!("the external file \"{location}\" cannot be read: {error}"))
                .help("keep the data file beside the model, under the name it was exported with")
        })?;
        files.insert(path, bytes.clone());
        Ok(bytes)
    }
}

/// The contents of a file, mapped.
pub fn map_file(path: &Path) -> std::io::Result<Bytes> {
    let file = File::open(path)?;
    if !file.metadata()?.is_file() {
        return Err(std::io::Error::other("not a regular file"));
    }
    // SAFETY: the map is read only; a file that changes while mapped changes the tensors read from it, which the format
    // cannot prevent, but every read stays inside the map.
    let map = unsafe { Mmap::map(&file)? };
    Ok(Bytes::from_owner(map))
}

fn number(text: Option<&str>, what: &str) -> Result<Option<usize>, Diagnostic> {
    let Some(text) = text else { return Ok(None) };
    let number = text.trim().parse().map_err(|_| fault("onnx::file::external_range", format!("{what} \"{text}\" is not a size")))?;
    Ok(Some(number))
}

fn fault(code: &'static str, message: String) -> Diagnostic {
    Diagnostic::input(code, message)
}
