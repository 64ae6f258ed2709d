//! What is needed of the CUDA driver: a context with one stream, and errors that say what was being done.

use crate::gpu::device::DeviceError;
use cudarc::driver::result::{self, DriverError};
use cudarc::driver::sys::{self, CUdevice_attribute, CUresult};

/// The oldest driver that has all functions: that of CUDA 12.0.
const OLDEST: i32 = 12_000;

pub(super) type Result<T> = std::result::Result<T, DeviceError>;

/// Turns an error of the driver into one that says what was being done.
pub(super) fn check<T>(result: std::result::Result<T, DriverError>, doing: &str) -> Result<T> {
    result.map_err(|error| DeviceError::Driver(format!("{doing}: {}", describe(error))))
}

/// `CUDA_ERROR_NO_DEVICE: no CUDA-capable device is detected`
pub(super) fn describe(error: DriverError) -> String {
    let text = |text: std::result::Result<&std::ffi::CStr, DriverError>| text.map(|text| text.to_string_lossy().into_owned()).ok();
    let name = text(error.error_name()).unwrap_or_else(|| format!("{:?}", error.0));
    text(error.error_string()).map_or(name.clone(), |string| format!("{name}: {string}"))
}

/// Whether an allocation failed for want of memory.
pub(super) fn is_out_of_memory(error: DriverError) -> bool {
    error.0 == CUresult::CUDA_ERROR_OUT_OF_MEMORY
}

/// Devices that the driver sees.
///
/// Errors  [`DeviceError::Missing`] when there is no driver, it is too old, or it sees none.
pub(super) fn devices() -> Result<usize> {
    // SAFETY: looking for a library runs its initializers, which for the driver do nothing visible.
    if !unsafe { sys::is_culib_present() } {
        return Err(DeviceError::Missing("the library of the CUDA driver (libcuda) is not installed".into()));
    }
    let missing = |error| DeviceError::Missing(format!("the CUDA driver says {}", describe(error)));
    let mut version = 0;
    // SAFETY: the library is there; the version goes to our variable. It may be asked for before initialization.
    unsafe { sys::cuDriverGetVersion(&mut version) }.result().map_err(missing)?;
    if version < OLDEST {
        let has = format!("the CUDA driver is of version {}.{}", version / 1000, version % 1000 / 10);
        return Err(DeviceError::Missing(format!("{has}, 12.0 is the oldest that will do")));
    }
    result::init().map_err(missing)?;
    match result::device::get_count().map_err(missing)? {
        0 => Err(DeviceError::Missing("the CUDA driver sees no device".into())),
        count => Ok(count as usize),
    }
}

/// A device, its primary context, and the stream on which everything runs.
pub(super) struct Context {
    device: sys::CUdevice,
    context: sys::CUcontext,
    pub(super) stream: sys::CUstream,
    pub(super) name: String,
    /// Major and minor compute capability.
    pub(super) capability: (u32, u32),
    /// The most dynamic shared memory of a block.
    pub(super) shared_bytes: u32,
}

impl Context {
    /// The device with this number.
    pub(super) fn open(ordinal: usize) -> Result<Self> {
        let count = devices()?;
        if ordinal >= count {
            return Err(DeviceError::Missing(format!("there is no device {ordinal}, the driver sees {count}")));
        }
        let device = check(result::device::get(ordinal as i32), "opening the device")?;
        let name = check(result::device::get_name(device), "asking for the device's name")?;
        // SAFETY: the device comes from the driver; its context is released when this value is dropped.
        let context = check(unsafe { result::primary_ctx::retain(device) }, "making a context")?;
        let mut open = Context { device, context, stream: std::ptr::null_mut(), name, capability: (0, 0), shared_bytes: 0 };
        open.bind()?;
        open.stream = check(result::stream::create(result::stream::StreamKind::NonBlocking), "making a stream")?;
        let major = open.attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
        let minor = open.attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
        open.capability = (major, minor);
        open.shared_bytes = open.attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)?;
        Ok(open)
    }
    fn attribute(&self, attribute: CUdevice_attribute) -> Result<u32> {
        // SAFETY: the device comes from the driver.
        let value = unsafe { result::device::get_attribute(self.device, attribute) };
        check(value, "asking for an attribute of the device").map(|value| value as u32)
    }
    /// Makes the context the current one of this thread.
    pub(super) fn bind(&self) -> Result<()> {
        // SAFETY: the context lives as long as this value.
        check(unsafe { result::ctx::set_current(self.context) }, "entering the context")
    }
    /// Free bytes of device memory.
    pub(super) fn free_bytes(&self) -> usize {
        let (mut free, mut total) = (0, 0);
        // SAFETY: the context is current; both numbers go to our variables.
        let asked = unsafe { sys::cuMemGetInfo_v2(&mut free, &mut total) };
        asked.result().map_or(0, |()| free)
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: stream and context are ours, and whoever used them is gone. Errors have nobody left to go to.
        unsafe {
            if !self.stream.is_null() {
                let _ = result::ctx::set_current(self.context);
                let _ = result::stream::destroy(self.stream);
            }
            let _ = result::primary_ctx::release(self.device);
        }
    }
}
