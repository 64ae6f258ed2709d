//! Where a program runs: on this machine's processor, or on a GPU.

use mokume_ir::diag::{Diagnostic, Report};
use mokume_runtime::gpu::code::DeviceCode;
use mokume_runtime::gpu::cuda::{self, CudaDevice, Ptx};
use mokume_runtime::gpu::device::DeviceError;
use mokume_runtime::program::Program;
use mokume_runtime::session::{Session, SessionOptions};
use std::sync::Arc;

/// Where to run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Place {
    /// The processor.
    #[default]
    Cpu,
    /// The first GPU of the CUDA driver.
    Cuda,
}

/// A session of a program there.
///
/// Errors  when there is no such device, or the program has no code for it.
pub fn session(program: Program, place: Place, options: SessionOptions) -> Result<Session, Report> {
    match place {
        Place::Cpu => Session::new(Arc::new(program), options),
        Place::Cuda => on_cuda(program),
    }
}

fn on_cuda(program: Program) -> Result<Session, Report> {
    let code = &program.kernels().device;
    let found = cuda::devices().map_err(Diagnostic::from)?;
    let first = found.first().ok_or_else(|| Diagnostic::from(DeviceError::Missing("the driver sees none".into())))?;
    let arch = code.arch_for(first.capability).ok_or_else(|| no_code(code, &first.name, first.capability))?;
    let texts = code.ptx.iter().filter_map(|(arch, text)| Some(Ptx { arch: *arch, text: std::str::from_utf8(text).ok()? }));
    let device = CudaDevice::open(0, &texts.collect::<Vec<_>>()).map_err(Diagnostic::from)?;
    Session::on_device(Arc::new(program), Box::new(device), arch)
}

fn no_code(code: &DeviceCode, name: &str, (major, minor): (u32, u32)) -> Diagnostic {
    let archs: Vec<&str> = code.ptx.iter().map(|(arch, _)| arch.name()).collect();
    let held = if archs.is_empty() { "no device code".to_string() } else { archs.join(", ") };
    Diagnostic::from(DeviceError::WrongArch { device: format!("{name} (sm_{major}{minor})"), held })
}
