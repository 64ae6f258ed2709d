//! Launches as files, with what the memory held before and after: with them a device is checked where no compiler is.
//!
//! A file is the length of a JSON header (u64, little endian), the header, then the contents that it refers to. The header has `kernel`, `grid`,
//! `block`, `shared`, `archs` (for each there is `KERNEL.ARCH.ptx` beside it), `args` (`{"value": v}` or `{"buffer": i, "offset": o}`), and
//! `buffers`, each with its size; contents are all buffers before, then all after the launch.

use super::global::Global;
use mokume_runtime::gpu::arch::Arch;
use mokume_runtime::gpu::device::Launch;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Result, Write};
use std::path::PathBuf;

/// Where launches are recorded, and for which architectures.
pub(super) struct Recorder {
    folder: PathBuf,
    archs: Vec<Arch>,
    /// Files of a kernel at most.
    most: usize,
}

/// What a launch may touch: the allocations that its arguments point into.
pub(super) struct Snapshot {
    args: Vec<String>,
    addresses: Vec<(u64, usize)>,
    before: Vec<u8>,
}

impl Recorder {
    pub(super) fn new(folder: PathBuf, archs: &[Arch], most: usize) -> Self {
        Recorder { folder, archs: archs.to_vec(), most }
    }
    /// What memory holds before a launch.
    pub(super) fn before(&self, global: &mut Global, launch: &Launch<'_>) -> Snapshot {
        let mut snapshot = Snapshot { args: Vec::new(), addresses: Vec::new(), before: Vec::new() };
        for &arg in launch.args {
            let text = match global.allocation(arg) {
                None => format!("{{\"value\": {arg}}}"),
                Some((start, bytes)) => format!("{{\"buffer\": {}, \"offset\": {}}}", snapshot.buffer(start, bytes), arg - start),
            };
            snapshot.args.push(text);
        }
        snapshot.before = contents(global, &snapshot.addresses);
        snapshot
    }
    /// Writes the launch with what memory holds now; `ptx` makes the code of its module.
    pub(super) fn write(
        &self,
        global: &mut Global,
        launch: &Launch<'_>,
        snapshot: &Snapshot,
        ptx: impl Fn(Arch) -> Result<String>,
    ) -> Result<()> {
        let sizes: Vec<String> = snapshot.addresses.iter().map(|(_, bytes)| bytes.to_string()).collect();
        let archs: Vec<String> = self.archs.iter().map(|arch| format!("\"{arch}\"")).collect();
        let Launch { kernel, grid, block, shared_bytes, .. } = launch;
        let header = format!(
            "{{\"kernel\": \"{kernel}\", \"grid\": {grid:?}, \"block\": {block:?}, \"shared\": {shared_bytes}, \
             \"archs\": [{}], \"buffers\": [{}], \"args\": [{}]}}",
            archs.join(", "),
            sizes.join(", "),
            snapshot.args.join(", "),
        );
        let Some(mut file) = self.fresh(kernel)? else { return Ok(()) };
        for &arch in &self.archs {
            self.write_ptx(kernel, arch, &ptx)?;
        }
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(header.as_bytes())?;
        file.write_all(&snapshot.before)?;
        file.write_all(&contents(global, &snapshot.addresses))
    }
    /// Code of a kernel, once.
    fn write_ptx(&self, kernel: &str, arch: Arch, ptx: &impl Fn(Arch) -> Result<String>) -> Result<()> {
        let path = self.folder.join(format!("{kernel}.{arch}.ptx"));
        if path.exists() {
            return Ok(());
        }
        std::fs::write(path, ptx(arch)?)
    }
    /// The first free name; none when there are enough files.
    fn fresh(&self, kernel: &str) -> Result<Option<File>> {
        for number in 0..self.most {
            let path = self.folder.join(format!("{kernel}.{number}.case"));
            match OpenOptions::new().write(true).create_new(true).open(path) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                other => return other.map(Some),
            }
        }
        Ok(None)
    }
}

impl Snapshot {
    /// The number of a buffer.
    fn buffer(&mut self, start: u64, bytes: usize) -> usize {
        let known = self.addresses.iter().position(|(address, _)| *address == start);
        known.unwrap_or_else(|| {
            self.addresses.push((start, bytes));
            self.addresses.len() - 1
        })
    }
}

fn contents(global: &mut Global, addresses: &[(u64, usize)]) -> Vec<u8> {
    addresses.iter().flat_map(|&(address, bytes)| global.content(address, bytes).unwrap_or_default()).collect()
}
