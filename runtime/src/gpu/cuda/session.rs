//! A program on the first device of the CUDA driver.

use super::{CudaDevice, Ptx, devices};
use crate::gpu::code::DeviceCode;
use crate::gpu::device::DeviceError;
use crate::program::Program;
use crate::session::Session;
use mokume_ir::diag::{Diagnostic, Report};
use std::sync::Arc;

/// A session of `program` on the first device, whose product kernels were checked against the definition.
///
/// Errors  when there is no device, the program has no code for it, or a kernel computes something else than it should.
pub fn session(program: Arc<Program>) -> Result<Session, Report> {
    let code = &program.kernels().device;
    let found = devices().map_err(Diagnostic::from)?;
    let first = found.first().ok_or_else(|| Diagnostic::from(DeviceError::Missing("the driver sees none".into())))?;
    let arch = code.arch_for(first.capability).ok_or_else(|| no_code(code, &first.name, first.capability))?;
    let texts = code.ptx.iter().filter_map(|(arch, text)| Some(Ptx { arch: *arch, text: std::str::from_utf8(text).ok()? }));
    let device = CudaDevice::open(0, &texts.collect::<Vec<_>>()).map_err(Diagnostic::from)?;
    let mut session = Session::on_device(program, Box::new(device), arch)?;
    session.check_kernels()?;
    Ok(session)
}

fn no_code(code: &DeviceCode, name: &str, (major, minor): (u32, u32)) -> Diagnostic {
    let archs: Vec<&str> = code.ptx.iter().map(|(arch, _)| arch.name()).collect();
    let held = if archs.is_empty() { "no device code".to_string() } else { archs.join(", ") };
    Diagnostic::from(DeviceError::WrongArch { device: format!("{name} (sm_{major}{minor})"), held })
}
