//! Opens a model by its extension: `.onnx`, `.gir` (with its sidecar) or `.mok`.

use bytes::Bytes;
use mokume_ir::diag::{Diagnostic, Report};
use mokume_ir::graph::Module;
use mokume_ir::text;
use mokume_runtime::artifact;
use mokume_runtime::file;
use mokume_runtime::program::Program;
use std::io::Read;
use std::path::{Path, PathBuf};

/// A model as found in a file.
pub enum Source {
    /// A graph, still to be lowered.
    Graph(Module),
    /// A compiled artifact.
    Compiled(Box<Program>),
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

/// Whether `mokume verb` can write to `path`, which must end in `.extension`.
///
/// Errors  `file::unwritable`, `file::format`.
pub fn check_output(path: &Path, verb: &str, extension: &str) -> Result<(), Report> {
    file::check_writable(path)?;
    if path.extension().is_some_and(|found| found == extension) {
        return Ok(());
    }
    let finding = Diagnostic::input("file::format", format!("`mokume {verb}` writes .{extension}, not {}", path.display()));
    Err(finding.help(format!("-o {}", path.with_extension(extension).display())).into())
}

/// Opens a model.
///
/// Errors  when the file is missing, broken or holds something that is not supported.
pub fn open(path: &Path, options: &artifact::ReadOptions) -> Result<Source, Report> {
    match Format::of(path)? {
        Format::Mok => artifact::read(path, options).map(|program| Source::Compiled(Box::new(program))),
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
    let parsed = match std::fs::File::open(&sidecar) {
        Ok(opened) => {
            // SAFETY: as for every mapped model file, nobody changes it while it is open.
            let map = unsafe { memmap2::Mmap::map(&opened) }.map_err(|e| file::unreadable(&sidecar, &e))?;
            let weights = text::sidecar::read(Bytes::from_owner(map)).map_err(|report| report.within(&sidecar.display().to_string()))?;
            text::parse(&source, &|hash| weights.get(hash))
        }
        Err(_) => text::parse(&source, &text::no_data).map_err(|report| without_sidecar(report, &sidecar)),
    };
    parsed.map_err(|report| report.within(&path.display().to_string()))
}

/// One finding instead of one for every constant.
fn without_sidecar(report: Report, sidecar: &Path) -> Report {
    let count = report.findings().len();
    if report.findings().iter().any(|finding| finding.code != "text::constant::missing") {
        return report;
    }
    let message = format!("the data of {count} constants is not there: it belongs in {}", sidecar.display());
    Diagnostic::input("text::constant::missing", message).help("keep the weights file beside the text, or begin with the .onnx").into()
}

fn read_text(path: &Path) -> Result<String, Report> {
    if path == Path::new("-") {
        let mut source = String::new();
        std::io::stdin().read_to_string(&mut source).map_err(|e| file::unreadable(path, &e))?;
        return Ok(source);
    }
    std::fs::read_to_string(path).map_err(|e| file::unreadable(path, &e))
}

/// Where the large constants of a `.gir` are.
pub fn sidecar_path(path: &Path) -> PathBuf {
    path.with_extension("safetensors")
}

/// Writes a graph as text, and its large constants beside it.
///
/// Errors  when a file cannot be written; then neither is left behind half written.
pub fn write_text(module: &Module, path: &Path) -> Result<(), Report> {
    let printed = text::print(module);
    let sidecar = text::sidecar::write(module);
    if !sidecar.is_empty() {
        file::write(&sidecar_path(path), |out| sidecar.pieces().try_for_each(|piece| out.write_all(piece)))?;
    }
    file::write(path, |out| out.write_all(printed.as_bytes()))
}
