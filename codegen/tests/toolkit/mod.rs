//! NVIDIA's assembler and disassembler, where they are installed.

#![allow(clippy::print_stdout, dead_code, reason = "says when it skips; shared by several tests")]

use mokume_runtime::gpu::arch::Arch;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The tools.
pub struct Toolkit {
    ptxas: PathBuf,
    nvdisasm: PathBuf,
}

/// An assembled kernel.
#[derive(Debug, Default)]
pub struct Kernel {
    /// Registers of a thread.
    pub registers: u32,
    /// Bytes that registers are spilled to.
    pub spilled: u32,
    /// Its instructions, disassembled.
    pub code: String,
}

/// An assembled module.
#[derive(Debug)]
pub struct Assembled {
    /// Kernels by name.
    pub kernels: BTreeMap<String, Kernel>,
    /// What the assembler said.
    pub log: String,
}

impl Toolkit {
    /// The tools beside `$MOKUME_PTXAS`, or those that `tools/setup gpu` installs; says so when there are none.
    pub fn find() -> Option<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent()?;
        let home = std::env::var_os("MOKUME_HOME").map_or_else(|| root.join(".mokume"), PathBuf::from);
        let installed = home.join("cuda/bin/ptxas");
        let ptxas = std::env::var_os("MOKUME_PTXAS").map_or(installed, PathBuf::from);
        let nvdisasm = ptxas.with_file_name("nvdisasm");
        if !ptxas.is_file() || !nvdisasm.is_file() {
            println!("skipped: no ptxas and nvdisasm at {}; tools/setup gpu installs them", ptxas.display());
            return None;
        }
        Some(Toolkit { ptxas, nvdisasm })
    }
    /// Assembles PTX.
    pub fn assemble(&self, name: &str, ptx: &str, arch: Arch) -> Result<Assembled, String> {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("ptx-{}", std::process::id()));
        std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
        let (source, object) = (folder.join(format!("{name}.ptx")), folder.join(format!("{name}.cubin")));
        std::fs::write(&source, ptx).map_err(|error| error.to_string())?;
        let mut command = Command::new(&self.ptxas);
        command.arg("-v").arg(format!("-arch={arch}")).arg(&source).arg("-o").arg(&object);
        let log = output(&mut command, true).map_err(|log| format!("ptxas {}: {log}", source.display()))?;
        let mut kernels = statistics(&log);
        let listing = output(Command::new(&self.nvdisasm).arg("-c").arg(&object), false)?;
        code(&listing).into_iter().for_each(|(name, code)| kernels.entry(name).or_default().code = code);
        [&source, &object].map(std::fs::remove_file).into_iter().for_each(drop);
        Ok(Assembled { kernels, log })
    }
}

fn output(command: &mut Command, log: bool) -> Result<String, String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match output.status.success() {
        true => Ok(text(if log { &output.stderr } else { &output.stdout })),
        false => Err(text(&output.stderr)),
    }
}

/// Registers and spills of every kernel, from the assembler's log.
fn statistics(log: &str) -> BTreeMap<String, Kernel> {
    let mut kernels: BTreeMap<String, Kernel> = BTreeMap::new();
    let mut name = String::new();
    for line in log.lines() {
        if let Some(rest) = line.split("Function properties for ").nth(1) {
            name = rest.trim().to_string();
        }
        let number = |before: &str| -> Option<u32> { line.split(before).next()?.split([' ', ',']).rfind(|w| !w.is_empty())?.parse().ok() };
        let kernel = kernels.entry(name.clone()).or_default();
        if line.contains("bytes spill stores") {
            kernel.spilled = number(" bytes spill stores").unwrap_or(0);
        }
        if line.contains(" registers") {
            kernel.registers = number(" registers").unwrap_or(0);
        }
    }
    kernels.remove("");
    kernels
}

/// Instructions of every kernel, from the disassembler's listing.
fn code(listing: &str) -> BTreeMap<String, String> {
    let sections = listing.split("\t.section\t.text.").skip(1);
    sections.filter_map(|section| Some((section.split(',').next()?.to_string(), section.to_string()))).collect()
}
