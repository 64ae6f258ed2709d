//! Tensor files: `.npy`, `.npz` and ONNX `.pb`, by extension.

use mokume_ir::diag::{Diagnostic, Report};
use mokume_runtime::convert;
use mokume_runtime::file::{self, unreadable, unwritable};
use mokume_runtime::npy;
use mokume_runtime::tensor::Tensor;
use std::io::{Cursor, Read, Write};
use std::path::Path;

/// Reads one tensor from `.npy` or `.pb`.
///
/// Errors  when the file is missing or broken.
pub fn read_tensor(path: &Path) -> Result<Tensor, Report> {
    let data = file::read(path)?;
    if path.extension().is_some_and(|e| e == "pb") {
        let constant = mokume_frontends::onnx::tensor::read_pb(data)?;
        return convert::to_tensor(&constant).map_err(|e| broken(path, &e.to_string()));
    }
    npy::read(&data).map_err(|message| broken(path, &message))
}

/// Reads every array of a `.npz`, named as there.
///
/// Errors  when the file is missing or broken.
pub fn read_npz(path: &Path) -> Result<Vec<(String, Tensor)>, Report> {
    let file = std::fs::File::open(path).map_err(|e| unreadable(path, &e))?;
    let mut archive = zip::ZipArchive::new(std::io::BufReader::new(file)).map_err(|e| broken(path, &e.to_string()))?;
    let mut tensors = Vec::new();
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).map_err(|e| broken(path, &e.to_string()))?;
        let name = entry.name().trim_end_matches(".npy").to_string();
        let mut data = Vec::new();
        entry.read_to_end(&mut data).map_err(|e| unreadable(path, &e))?;
        let tensor = npy::read(&data).map_err(|message| broken(path, &format!("array \"{name}\": {message}")))?;
        tensors.push((name, tensor));
    }
    Ok(tensors)
}

/// Writes tensors as an uncompressed `.npz`.
///
/// Errors  when a tensor has no numpy type or the file cannot be written.
pub fn write_npz(path: &Path, tensors: &[(String, Tensor)]) -> Result<(), Report> {
    let arrays = tensors.iter().map(|(name, tensor)| Ok((name, npy::write_named(name, tensor)?))).collect::<Result<Vec<_>, Report>>()?;
    let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored).large_file(true);
    let mut fill = || -> std::io::Result<()> {
        for (name, data) in &arrays {
            archive.start_file(format!("{name}.npy"), options).map_err(std::io::Error::other)?;
            archive.write_all(data)?;
        }
        Ok(())
    };
    fill().map_err(|e| unwritable(path, &e))?;
    let bytes = archive.finish().map_err(|e| unwritable(path, &std::io::Error::other(e)))?.into_inner();
    file::write(path, |out| out.write_all(&bytes))
}

fn broken(path: &Path, message: &str) -> Report {
    let finding = Diagnostic::input("tensor::broken", format!("{} is not a tensor file: {message}", path.display()));
    finding.help("write it with numpy.save or numpy.savez").into()
}
