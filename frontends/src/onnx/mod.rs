//! ONNX import.
//!
//! [`load`] maps the file and decodes its messages ([`proto`]) without copying weights; [`import`] walks graphs,
//! functions and subgraphs; [`ops`] holds one handler per ONNX operator, a file per family. The long tail of operators is
//! decomposed into the core ops of [`mokume_ir::op`].

pub mod attrs;
pub mod cx;
pub mod external;
mod functions;
pub mod import;
pub mod load;
mod numbers;
pub mod ops;
pub mod proto;
mod schedule;
pub mod subgraph;
pub mod tensor;
pub mod types;

use bytes::Bytes;
use external::External;
use mokume_ir::diag::Report;
use mokume_ir::graph::Module;
use std::path::Path;

/// Imports the model in the file at `path`.
///
/// Errors  when the file cannot be read, is not ONNX, or holds something wrong or unsupported; all findings at once.
pub fn import_file(path: impl AsRef<Path>) -> Result<Module, Report> {
    let path = path.as_ref();
    let model = load::load_file(path)?;
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_stem().map_or("model".into(), |stem| stem.to_string_lossy());
    import::import(&model, External::below(dir), &name)
}

/// Imports a model from memory; external data is looked for below `base_dir`.
///
/// Errors  as [`import_file`].
pub fn import_bytes(bytes: Bytes, base_dir: Option<&Path>) -> Result<Module, Report> {
    let model = load::decode(bytes)?;
    import::import(&model, base_dir.map_or_else(External::none, External::below), "model")
}

/// The metadata of the model at `path`: keys and values.
///
/// Errors  when the file cannot be read or is not ONNX.
pub fn metadata(path: impl AsRef<Path>) -> Result<Vec<(String, String)>, Report> {
    let model = load::load_file(path.as_ref())?;
    Ok(model.metadata_props.into_iter().map(|entry| (entry.key, entry.value)).collect())
}
