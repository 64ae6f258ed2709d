//! Artifacts: programs as one file, `.mok`. Written whole or not at all, mapped when read, and checked before use.
//!
//! A file is a container of sections, the first of which is the manifest; large constants and kernels are
//! sections of their own that stay mapped. Equal programs give equal bytes.
//!
//! Checks. Reading a file that is cut off, corrupt, from the future or hostile gives a report that names what is wrong:
//! header, table, checksums of every section (of the weights too, unless [`ReadOptions::check_data`] is off), the manifest,
//! and the module itself through the IR's verifier. Native code runs as [`Trust`] says. The file must not change while it is mapped.

mod container;
mod decode;
mod dense;
mod encode;
mod manifest;
mod trust;

pub use trust::Trust;

use crate::file;
use crate::program::Program;
use bytes::Bytes;
use container::Section;
use decode::Decoder;
use encode::Encoder;
use mokume_ir::diag::Report;
use mokume_ir::verify::verify_compiled;
use prost::Message;
use std::fs::File;
use std::path::Path;

/// How an artifact is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadOptions {
    /// Check the checksums of data sections too, which reads the whole file once.
    pub check_data: bool,
    /// Which native code is run.
    pub trust: Trust,
}

impl Default for ReadOptions {
    fn default() -> Self {
        ReadOptions { check_data: true, trust: Trust::Owner }
    }
}

/// Writes a program to `path`, whole or not at all.
///
/// Errors  when the file cannot be written; then `path` is as before.
pub fn write(program: &Program, path: &Path) -> Result<(), Report> {
    let sections = sections(program);
    file::write(path, |out| container::write(&sections, out))
}

/// A program as the bytes of its file.
pub fn to_bytes(program: &Program) -> Bytes {
    let mut bytes = Vec::new();
    container::write(&sections(program), &mut bytes).expect("writing to memory does not fail");
    Bytes::from(bytes)
}

/// Reads the program in the file at `path`, which stays mapped.
///
/// Errors  when it cannot be opened, or as [`from_bytes`].
pub fn read(path: &Path, options: &ReadOptions) -> Result<Program, Report> {
    let failed = |error: std::io::Error| file::unreadable(path, &error);
    let file = File::open(path).map_err(failed)?;
    if file.metadata().map_err(failed)?.is_dir() {
        return Err(failed(std::io::ErrorKind::IsADirectory.into()));
    }
    // SAFETY: the file must not change while it is mapped, as the module documentation says.
    let map = unsafe { memmap2::Mmap::map(&file) }.map_err(failed)?;
    let vouched = || if options.trust == Trust::Owner { trust::check_owner(&file) } else { Ok(()) };
    program(Bytes::from_owner(map), options, &vouched).map_err(|report| report.within(&path.display().to_string()))
}

/// Reads a program; large constants are views of `bytes`.
///
/// Errors  naming everything that is wrong with the bytes.
pub fn from_bytes(bytes: Bytes, options: &ReadOptions) -> Result<Program, Report> {
    program(bytes, options, &|| Ok(()))
}

/// The program; `vouched` is asked before native code is loaded.
fn program(bytes: Bytes, options: &ReadOptions, vouched: &dyn Fn() -> Result<(), Report>) -> Result<Program, Report> {
    let sections = container::read(&bytes, options.check_data)?;
    let manifest = sections.first().map(|section| section.bytes.clone()).unwrap_or_default();
    let manifest = manifest::Manifest::decode(manifest).map_err(|error| decode::broken(error.to_string()))?;
    let decoder = Decoder::new(&sections);
    let module = decoder.module(&manifest)?;
    verify_compiled(&module)?;
    let kernels = decoder.kernels(&manifest)?;
    if options.trust == Trust::Never {
        return Ok(Program::unloaded(module, kernels));
    }
    if !kernels.objects.is_empty() || !kernels.device.ptx.is_empty() {
        vouched()?;
    }
    Program::compiled(module, kernels)
}

fn sections(program: &Program) -> Vec<Section> {
    let mut encoder = Encoder::default();
    let manifest = encoder.program(program);
    encoder.sections(manifest.encode_to_vec().into())
}
