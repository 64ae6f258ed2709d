//! Devices of the CUDA driver. The driver is loaded when the first device is opened, so that nothing depends on it before.
//!
//! Everything runs on one stream, in order. A batch is recorded and runs as a CUDA graph.

mod batch;
mod blas;
mod code;
mod driver;
mod session;

pub use code::Ptx;
pub use session::session;

use super::device::{Address, Device, DeviceError, Launch, Mark, Product};
use batch::Batches;
use blas::Blas;
use code::{Code, refused};
use cudarc::driver::result;
use cudarc::driver::sys::{self, CUevent_flags};
use driver::{Context, Result, check, describe, is_out_of_memory};
use std::collections::BTreeMap;
use std::ffi::c_void;

/// A device of the CUDA driver with the kernels of one artifact.
pub struct CudaDevice {
    context: Context,
    code: Code,
    batches: Batches,
    blas: Option<Blas>,
    /// Allocations and their sizes.
    held: BTreeMap<Address, usize>,
    /// Events, of which the first are marks.
    marks: Vec<sys::CUevent>,
    /// How many marks there are.
    marked: usize,
    /// The kernel launched last, for errors that show later.
    last: String,
}

// SAFETY: the driver's objects may be used by any thread that has made the context current, as every method does first.
unsafe impl Send for CudaDevice {}

/// What the driver says of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceInfo {
    /// Its name.
    pub name: String,
    /// Major and minor compute capability.
    pub capability: (u32, u32),
    /// Free bytes of its memory.
    pub free_bytes: usize,
}

/// All devices.
///
/// Errors  [`DeviceError::Missing`] when there is no driver, it is too old, or it sees no device.
pub fn devices() -> Result<Vec<DeviceInfo>> {
    (0..driver::devices()?).map(info).collect()
}

fn info(ordinal: usize) -> Result<DeviceInfo> {
    let context = Context::open(ordinal)?;
    Ok(DeviceInfo { name: context.name.clone(), capability: context.capability, free_bytes: context.free_bytes() })
}

impl CudaDevice {
    /// The device with this number, with kernels from the PTX for the newest architecture that it runs.
    ///
    /// Errors  when there is no such device, no code for it, or the driver refuses the code.
    pub fn open(ordinal: usize, code: &[Ptx<'_>]) -> Result<Self> {
        let context = Context::open(ordinal)?;
        let mut device = CudaDevice {
            code: Code::default(),
            batches: Batches::new(),
            blas: None,
            held: BTreeMap::new(),
            marks: Vec::new(),
            marked: 0,
            last: String::new(),
            context,
        };
        device.code = Code::load(&device.context, code)?;
        device.blas = Blas::open()?;
        Ok(device)
    }
    /// Ends the open batch and waits; an error is said to come from the kernel launched last.
    fn finish(&mut self) -> Result<()> {
        self.context.bind()?;
        self.batches.end(&self.context)?;
        // SAFETY: the stream is the context's.
        let done = unsafe { result::stream::synchronize(self.context.stream) };
        self.batches.synchronized();
        done.map_err(|error| refused(&self.last, format!("this kernel or one before it: {}", describe(error))))
    }
    /// Whether `bytes` from `address` on are inside one allocation.
    fn check_range(&self, address: Address, bytes: usize) -> Result<()> {
        let inside = self.held.range(..=address).next_back().is_some_and(|(start, held)| (address - start) as usize + bytes <= *held);
        if inside { Ok(()) } else { Err(DeviceError::BadRange { address, bytes }) }
    }
}

impl Device for CudaDevice {
    fn name(&self) -> String {
        let (major, minor) = self.context.capability;
        format!("{} (sm_{major}{minor})", self.context.name)
    }
    fn alloc(&mut self, bytes: usize) -> Result<Address> {
        self.context.bind()?;
        // SAFETY: the context is current. The driver refuses 0 bytes, so at least one is asked for.
        let address = match unsafe { result::malloc_sync(bytes.max(1)) } {
            Err(error) if is_out_of_memory(error) => return Err(DeviceError::OutOfMemory { bytes, free: self.context.free_bytes() }),
            other => check(other, "allocating device memory")?,
        };
        self.held.insert(address, bytes);
        Ok(address)
    }
    fn free(&mut self, address: Address) -> Result<()> {
        self.finish()?;
        self.held.remove(&address).ok_or(DeviceError::BadRange { address, bytes: 0 })?;
        // SAFETY: allocated by `alloc`, and everything that used it is done.
        check(unsafe { result::free_sync(address) }, "freeing device memory")
    }
    fn write(&mut self, to: Address, bytes: &[u8]) -> Result<()> {
        self.check_range(to, bytes.len())?;
        self.context.bind()?;
        if self.batches.write(&self.context, to, bytes)? {
            return Ok(());
        }
        self.finish()?;
        // SAFETY: the range was checked, and nothing else runs.
        check(unsafe { result::memcpy_htod_sync(to, bytes) }, "copying to the device")
    }
    fn read(&mut self, from: Address, bytes: &mut [u8]) -> Result<()> {
        self.check_range(from, bytes.len())?;
        self.finish()?;
        // SAFETY: the range was checked, and nothing else runs.
        check(unsafe { result::memcpy_dtoh_sync(bytes, from) }, "copying to the host")
    }
    fn copy(&mut self, to: Address, from: Address, bytes: usize) -> Result<()> {
        self.check_range(to, bytes)?;
        self.check_range(from, bytes)?;
        self.context.bind()?;
        // SAFETY: both ranges were checked.
        check(unsafe { result::memcpy_dtod_async(to, from, bytes, self.context.stream) }, "copying on the device")
    }
    fn fill(&mut self, to: Address, byte: u8, bytes: usize) -> Result<()> {
        self.check_range(to, bytes)?;
        self.context.bind()?;
        // SAFETY: the range was checked.
        check(unsafe { result::memset_d8_async(to, byte, bytes, self.context.stream) }, "filling device memory")
    }
    fn launch(&mut self, launch: &Launch<'_>) -> Result<()> {
        self.context.bind()?;
        if launch.shared_bytes > self.context.shared_bytes {
            let why = format!("{} bytes of shared memory, of at most {}", launch.shared_bytes, self.context.shared_bytes);
            return Err(refused(launch.kernel, why));
        }
        let function = self.code.function(launch.kernel, launch.shared_bytes)?;
        let mut args: Vec<*mut c_void> = launch.args.iter().map(|arg| std::ptr::from_ref(arg).cast_mut().cast()).collect();
        let ([gx, gy, gz], [bx, by, bz]) = (launch.grid, launch.block);
        // SAFETY: the kernel is loaded, and every argument lies in the low bytes of its word; the caller vouches for addresses.
        let enqueued = unsafe {
            result::launch_kernel(function.handle, (gx, gy, gz), (bx, by, bz), launch.shared_bytes, self.context.stream, &mut args)
        };
        self.last.clear();
        self.last.push_str(launch.kernel);
        enqueued.map_err(|error| refused(launch.kernel, format!("grid {:?}, block {:?}: {}", launch.grid, launch.block, describe(error))))
    }
    fn synchronize(&mut self) -> Result<()> {
        self.finish()
    }
    fn begin_batch(&mut self) -> Result<()> {
        self.context.bind()?;
        self.batches.begin(&self.context)
    }
    fn end_batch(&mut self) -> Result<()> {
        self.context.bind()?;
        self.batches.end(&self.context)
    }
    fn mark(&mut self) -> Result<Mark> {
        self.context.bind()?;
        self.batches.end(&self.context)?;
        if self.marked == self.marks.len() {
            self.marks.push(check(result::event::create(CUevent_flags::CU_EVENT_DEFAULT), "making an event")?);
        }
        let number = self.marked;
        self.marked += 1;
        // SAFETY: event and stream are of the same context.
        check(unsafe { result::event::record(self.marks[number], self.context.stream) }, "recording an event")?;
        Ok(Mark(number))
    }
    fn elapsed_ns(&mut self, from: Mark, to: Mark) -> Result<u64> {
        if from.0.max(to.0) >= self.marked {
            return Err(DeviceError::Driver("a mark that the device does not know".into()));
        }
        self.finish()?;
        // SAFETY: both events were recorded, and everything is done.
        let milliseconds = check(unsafe { result::event::elapsed(self.marks[from.0], self.marks[to.0]) }, "reading an event")?;
        Ok((f64::from(milliseconds) * 1e6) as u64)
    }
    fn forget_marks(&mut self) {
        self.marked = 0;
    }
    fn multiply(&mut self, product: &Product) -> Result<bool> {
        let Some(blas) = &self.blas else { return Ok(false) };
        self.context.bind()?;
        blas.multiply(&self.context, product).map(|()| true)
    }
}

impl Drop for CudaDevice {
    fn drop(&mut self) {
        // Errors have nobody left to go to.
        let _ = self.finish();
        self.batches.free();
        self.blas.iter_mut().for_each(Blas::free);
        for &event in &self.marks {
            // SAFETY: the event is ours and done.
            let _ = unsafe { result::event::destroy(event) };
        }
        for &address in self.held.keys() {
            // SAFETY: allocated by `alloc`; nothing runs.
            let _ = unsafe { result::free_sync(address) };
        }
        self.code.unload();
    }
}
