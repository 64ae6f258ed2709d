//! Opens a model by its extension: `.onnx`, `.gir` (with its sidecar) or `.mok`.

use bytes::Bytes;
use mokume_ir::diag::{Diagnostic, Report};
use mokume_ir::graph::Module;
use mokume_ir::text;
use mokume_runtime::artifact;
use mokume_runtime::program::Program;
use std::io::Read;
use std::path::{Path, PathBuf};

/// A model as found in a file.
pub enum Source {
    /// A graph, still to be lowered.
    Graph(Module),
    /// A compiled artifact.
    Compiled(Program),
}

/// What a file holds, by its extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `.onnx`
    Onnx,
    /// `.gir`
    Gir,
    /// `.mok`
    Mok,
}

impl Format {
    /// The format of `path`; `-` is text.
    ///
    /// Errors  `file::format` for any other extension.
    pub fn of(path: &Path) -> Result<Self, Report> {
        match path.extension().and_then(|e| e.to_str()) {
            Some("onnx") => Ok(Format::Onnx),
            Some("gir") => Ok(Format::Gir),
            Some("mok") => Ok(Format::Mok),
            _ if path == Path::new("-") => Ok(Format::Gir),
            _ => Err(Diagnostic::input("file::format", format!("{} is not a model file", path.display()))
                .help("give a file that ends in .onnx, .gir or .mok")
                .into()),
        }
    }
}

/// Opens a model.
///
/// Errors  when the file is missing, broken or holds something that is not supported.
pub fn open(path: &Path, options: &artifact::ReadOptions) -> Result<Source, Report> {
    match Format::of(path)? {
        Format::Mok => artifact::read(path, options).map(Source::Compiled),
        _ => open_graph(path).map(Source::Graph),
    }
}

/// Opens a graph: `.onnx` or `.gir`.
///
/// Errors  as [`open`]; an artifact is refused, as its weights are already laid out for kernels.
pub fn open_graph(path: &Path) -> Result<Module, Report> {
    match Format::of(path)? {
        Format::Onnx => mokume_frontends::onnx::import_file(path),
        Format::Gir => open_text(path),
        Format::Mok => Err(Diagnostic::input("file::format", format!("{} is already compiled", path.display()))
            .help("give the .onnx or .gir it was compiled from")
            .into()),
    }
}

fn open_text(path: &Path) -> Result<Module, Report> {
    let source = read_text(path)?;
    let sidecar = sidecar_path(path);
    match std::fs::File::open(&sidecar) {
        Ok(file) => {
            // SAFETY: as for every mapped model file, nobody changes it while it is open.
            let map = unsafe { memmap2::Mmap::map(&file) }.map_err(|e| unreadable(&sidecar, &e))?;
            let weights = text::sidecar::read(Bytes::from_owner(map))?;
            text::parse(&source, &|hash| weights.get(hash))
        }
        Err(_) => text::parse(&source, &text::no_data),
    }
}

fn read_text(path: &Path) -> Result<String, Report> {
    if path == Path::new("-") {
        let mut source = String::new();
        std::io::stdin().read_to_string(&mut source).map_err(|e| unreadable(path, &e))?;
        return Ok(source);
    }
    std::fs::read_to_string(path).map_err(|e| unreadable(path, &e))
}

/// Where the large constants of a `.gir` are.
pub fn sidecar_path(path: &Path) -> PathBuf {
    path.with_extension("safetensors")
}

/// A file that cannot be read.
pub fn unreadable(path: &Path, error: &std::io::Error) -> Report {
    Diagnostic::input("file::unreadable", format!("cannot read {}: {error}", path.display())).into()
}

/// A file that cannot be written.
pub fn unwritable(path: &Path, error: &std::io::Error) -> Report {
    Diagnostic::input("file::unwritable", format!("cannot write {}: {error}", path.display())).into()
}

/// Writes a graph as text, and its large constants beside it; `-` prints the text alone.
///
/// Errors  when a file cannot be written; then neither is left behind half written.
pub fn write_text(module: &Module, path: &Path) -> Result<(), Report> {
    use std::io::Write;
    let printed = text::print(module);
    if path == Path::new("-") {
        return std::io::stdout().write_all(printed.as_bytes()).map_err(|e| unwritable(path, &e));
    }
    let sidecar = text::sidecar::write(module);
    if !sidecar.is_empty() {
        let target = sidecar_path(path);
        write_atomic(&target, |file| sidecar.pieces().try_for_each(|piece| file.write_all(piece)))?;
    }
    write_atomic(path, |file| file.write_all(printed.as_bytes()))
}

/// Writes a file under a temporary name beside its place and renames it when complete.
///
/// Errors  when it cannot be written; then the place is as it was.
pub fn write_atomic(path: &Path, write: impl FnOnce(&mut std::io::BufWriter<&std::fs::File>) -> std::io::Result<()>) -> Result<(), Report> {
    use std::io::Write;
    let folder = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let attempt = || -> std::io::Result<()> {
        let file = tempfile::NamedTempFile::new_in(folder)?;
        let mut writer = std::io::BufWriter::new(file.as_file());
        write(&mut writer)?;
        writer.flush()?;
        drop(writer);
        file.persist(path)?;
        Ok(())
    };
    attempt().map_err(|e| unwritable(path, &e))
}
