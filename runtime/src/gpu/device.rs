//! What a program needs of a device: memory, and kernels launched by name.
//!
//! Implemented over the CUDA driver, and by the emulator of codegen, which runs the same kernels on the host. A device holds
//! its kernels from the beginning; whoever makes one gives it their code.

use mokume_ir::diag::Diagnostic;

/// An address in the memory of a device; 0 is no memory.
pub type Address = u64;

/// A kernel launch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Launch<'a> {
    /// Name of the kernel.
    pub kernel: &'a str,
    /// Blocks along x, y, z; none of them 0.
    pub grid: [u32; 3],
    /// Threads of a block along x, y, z; none of them 0.
    pub block: [u32; 3],
    /// Bytes of dynamic shared memory.
    pub shared_bytes: u32,
    /// The parameters in order, each in the low bytes of a word: addresses, i64, i32, and the bits of f32.
    pub args: &'a [u64],
}

/// A device with memory and kernels. What is enqueued runs in order; reading waits for it.
pub trait Device: Send {
    /// What the device is, for reports: `NVIDIA H100 (sm_90)`, `emulator`.
    fn name(&self) -> String;
    /// Memory of `bytes`, aligned to 256 bytes, of unspecified contents; an address other than 0 also for 0 bytes.
    ///
    /// Errors  when so much is not free.
    fn alloc(&mut self, bytes: usize) -> Result<Address, DeviceError>;
    /// Takes back memory that [`Device::alloc`] gave, when everything enqueued before is done.
    ///
    /// Errors  when `address` is not the beginning of such memory.
    fn free(&mut self, address: Address) -> Result<(), DeviceError>;
    /// Copies from the host.
    ///
    /// Errors  when the range is not inside one allocation.
    fn write(&mut self, to: Address, bytes: &[u8]) -> Result<(), DeviceError>;
    /// Copies to the host, when everything enqueued before is done.
    ///
    /// Errors  when the range is not inside one allocation, or an earlier launch failed.
    fn read(&mut self, from: Address, bytes: &mut [u8]) -> Result<(), DeviceError>;
    /// Copies on the device; the ranges do not overlap.
    ///
    /// Errors  when a range is not inside one allocation.
    fn copy(&mut self, to: Address, from: Address, bytes: usize) -> Result<(), DeviceError>;
    /// Fills with a byte.
    ///
    /// Errors  when the range is not inside one allocation.
    fn fill(&mut self, to: Address, byte: u8, bytes: usize) -> Result<(), DeviceError>;
    /// Enqueues a kernel.
    ///
    /// Errors  when there is no such kernel or the launch is refused; faults of the kernel may only show at a later call.
    fn launch(&mut self, launch: &Launch<'_>) -> Result<(), DeviceError>;
    /// Waits until everything enqueued is done.
    ///
    /// Errors  when a launch failed.
    fn synchronize(&mut self) -> Result<(), DeviceError>;
    /// Begins a batch: what is enqueued until its end may be recorded and run all at once then. Reading, synchronizing and
    /// freeing end it too. Nothing when a batch is open.
    ///
    /// Errors  when the device refuses.
    fn begin_batch(&mut self) -> Result<(), DeviceError> {
        Ok(())
    }
    /// Ends a batch. Nothing when none is open.
    ///
    /// Errors  when what the batch holds is refused.
    fn end_batch(&mut self) -> Result<(), DeviceError> {
        Ok(())
    }
    /// Notes the time when the device comes here, after everything enqueued before. Ends a batch.
    ///
    /// Errors  when the device refuses.
    fn mark(&mut self) -> Result<Mark, DeviceError>;
    /// Nanoseconds from one mark to the other; waits for both.
    ///
    /// Errors  when they are not marks of this device, or a launch failed.
    fn elapsed_ns(&mut self, from: Mark, to: Mark) -> Result<u64, DeviceError>;
    /// Nobody asks for earlier marks any more.
    fn forget_marks(&mut self);
    /// Enqueues a product of f32 matrices by a library of the device; false when it has none.
    ///
    /// Errors  when the library refuses.
    fn multiply(&mut self, product: &Product) -> Result<bool, DeviceError> {
        let _ = product;
        Ok(false)
    }
}

/// A moment that [`Device::mark`] noted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark(pub usize);

/// Products `c = a b` of f32 matrices in rows: `a` `[m, k]`, `b` `[k, n]` or transposed `[n, k]`, `c` `[m, n]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Product {
    /// How many products.
    pub batch: usize,
    /// Rows of `c`.
    pub m: usize,
    /// Columns of `c`.
    pub n: usize,
    /// Elements of a sum.
    pub k: usize,
    /// The first `a`.
    pub a: Address,
    /// Elements from one `a` to the next; 0 for one that all share.
    pub a_stride: usize,
    /// The first `b`.
    pub b: Address,
    /// Elements from one `b` to the next; 0 for one that all share.
    pub b_stride: usize,
    /// Whether `b` is `[n, k]`.
    pub b_transposed: bool,
    /// The first `c`.
    pub c: Address,
    /// Elements from one `c` to the next.
    pub c_stride: usize,
}

/// Why a device did not do what it was asked to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// There is no driver, or no device behind it.
    #[error("there is no CUDA device: {0}")]
    Missing(String),
    /// The artifact has no code that this device runs.
    #[error("no code for {device}: the artifact has {held}")]
    WrongArch {
        /// The device.
        device: String,
        /// Architectures in the artifact.
        held: String,
    },
    /// Not so much memory.
    #[error("out of device memory: {bytes} bytes asked for, {free} free")]
    OutOfMemory {
        /// Asked for.
        bytes: usize,
        /// Still free.
        free: usize,
    },
    /// An address or range that is not allocated.
    #[error("{bytes} bytes at {address:#x} are not inside one allocation")]
    BadRange {
        /// Where it begins.
        address: Address,
        /// How long it is.
        bytes: usize,
    },
    /// No such kernel.
    #[error("there is no kernel `{0}`")]
    NoKernel(String),
    /// A launch that was refused or failed.
    #[error("kernel `{kernel}`: {why}")]
    Launch {
        /// The kernel.
        kernel: String,
        /// What the device says.
        why: String,
    },
    /// Anything else that the driver says.
    #[error("device: {0}")]
    Driver(String),
}

impl From<DeviceError> for Diagnostic {
    fn from(error: DeviceError) -> Self {
        match &error {
            DeviceError::Missing(_) => {
                Diagnostic::unsupported("gpu::device::missing", error.to_string()).help("run without --device cuda to use the CPU")
            }
            DeviceError::WrongArch { .. } => Diagnostic::unsupported("gpu::device::arch", error.to_string())
                .help("compile with --target and the architecture of this device"),
            DeviceError::OutOfMemory { .. } => Diagnostic::input("gpu::device::memory", error.to_string()),
            _ => Diagnostic::input("gpu::device::failed", error.to_string()),
        }
    }
}
