//! Kernels of a device: PTX that the driver compiles for it.

use super::driver::{Context, Result, check, describe};
use crate::gpu::arch::Arch;
use crate::gpu::device::DeviceError;
use cudarc::driver::result::{self, DriverError};
use cudarc::driver::sys::{self, CUfunction_attribute, CUjit_option, CUresult};
use std::collections::HashMap;
use std::ffi::{CString, c_void};

/// Bytes of the log of the driver's compiler.
const LOG_BYTES: usize = 8 << 10;
/// Dynamic shared memory that a kernel may have without being asked.
const PLAIN_SHARED: u32 = 48 << 10;

/// PTX for one architecture.
#[derive(Debug, Clone, Copy)]
pub struct Ptx<'a> {
    /// The architecture it was made for.
    pub arch: Arch,
    /// The text.
    pub text: &'a str,
}

/// A kernel that can be launched.
#[derive(Clone, Copy)]
pub(super) struct Function {
    pub(super) handle: sys::CUfunction,
    /// Dynamic shared memory that it may have.
    shared_bytes: u32,
}

/// The modules that were loaded.
#[derive(Default)]
pub(super) struct Code {
    modules: Vec<sys::CUmodule>,
    functions: HashMap<String, Function>,
}

impl Code {
    /// Loads what was made for the newest architecture that this device runs.
    pub(super) fn load(context: &Context, held: &[Ptx<'_>]) -> Result<Self> {
        let best = held.iter().map(|ptx| ptx.arch).filter(|arch| arch.runs_on(context.capability)).max();
        let Some(arch) = best else { return Err(wrong_arch(context, held)) };
        let mut code = Code::default();
        for ptx in held.iter().filter(|ptx| ptx.arch == arch) {
            code.modules.push(compile(context, ptx, held)?);
        }
        Ok(code)
    }
    /// The kernel called `name`, allowed so much dynamic shared memory.
    pub(super) fn function(&mut self, name: &str, shared_bytes: u32) -> Result<Function> {
        let function = match self.functions.get(name) {
            Some(function) => *function,
            None => self.find(name)?,
        };
        if shared_bytes <= function.shared_bytes {
            return Ok(function);
        }
        let attribute = CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
        // SAFETY: the function belongs to a module that is loaded.
        let set = unsafe { result::function::set_function_attribute(function.handle, attribute, shared_bytes as i32) };
        set.map_err(|error| refused(name, format!("{shared_bytes} bytes of shared memory: {}", describe(error))))?;
        let function = Function { shared_bytes, ..function };
        self.functions.insert(name.to_string(), function);
        Ok(function)
    }
    fn find(&mut self, name: &str) -> Result<Function> {
        let missing = || DeviceError::NoKernel(name.to_string());
        let text = CString::new(name).map_err(|_| missing())?;
        // SAFETY: the modules are loaded.
        let handle = self.modules.iter().find_map(|&module| unsafe { result::module::get_function(module, text.clone()) }.ok());
        let function = Function { handle: handle.ok_or_else(missing)?, shared_bytes: PLAIN_SHARED };
        self.functions.insert(name.to_string(), function);
        Ok(function)
    }
    /// Unloads everything; the context is current.
    pub(super) fn unload(&mut self) {
        for module in self.modules.drain(..) {
            // SAFETY: nothing of the module is used any more. An error has nobody left to go to.
            let _ = unsafe { result::module::unload(module) };
        }
    }
}

pub(super) fn refused(kernel: &str, why: String) -> DeviceError {
    DeviceError::Launch { kernel: kernel.to_string(), why }
}

fn wrong_arch(context: &Context, held: &[Ptx<'_>]) -> DeviceError {
    let mut names: Vec<&str> = held.iter().map(|ptx| ptx.arch.name()).collect();
    names.sort_unstable();
    names.dedup();
    let held = if names.is_empty() { "no device code".to_string() } else { names.join(", ") };
    let (major, minor) = context.capability;
    DeviceError::WrongArch { device: format!("{} (sm_{major}{minor})", context.name), held }
}

/// Has the driver compile a text; its log goes into the error.
fn compile(context: &Context, ptx: &Ptx<'_>, held: &[Ptx<'_>]) -> Result<sys::CUmodule> {
    let text = CString::new(ptx.text).map_err(|_| DeviceError::Driver("device code with a zero byte in it".into()))?;
    let mut log = vec![0u8; LOG_BYTES];
    let mut options = [CUjit_option::CU_JIT_ERROR_LOG_BUFFER, CUjit_option::CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES];
    let mut values = [log.as_mut_ptr().cast::<c_void>(), LOG_BYTES as *mut c_void];
    let mut module = std::ptr::null_mut();
    // SAFETY: the context is current; text, log and options outlive the call, and the log's size is given.
    let loaded = unsafe { sys::cuModuleLoadDataEx(&mut module, text.as_ptr().cast(), 2, options.as_mut_ptr(), values.as_mut_ptr()) };
    match loaded {
        CUresult::CUDA_SUCCESS => Ok(module),
        CUresult::CUDA_ERROR_NO_BINARY_FOR_GPU => Err(wrong_arch(context, held)),
        error => {
            let end = log.iter().position(|&byte| byte == 0).unwrap_or(log.len());
            let said = String::from_utf8_lossy(&log[..end]).trim().to_string();
            check(Err(DriverError(error)), &format!("compiling kernels for {}: {said}", ptx.arch))
        }
    }
}
