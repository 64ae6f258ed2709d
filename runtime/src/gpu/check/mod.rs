//! The self-check of kernels on a device: random operands, and what the ops of the CPU make of them, bit for bit.

mod product;
mod rows;

pub use product::{check, step_of};
pub use rows::{check_range, check_rows, places};

use super::device::{Address, Device, DeviceError};

/// Why a kernel is not to be used.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum CheckError {
    /// The device failed.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The kernel computes something else.
    #[error("kernel {kernel}: row {row}, column {column} is {is}, not {expected}")]
    Wrong {
        /// The kernel.
        kernel: String,
        /// Where.
        row: usize,
        /// Where.
        column: usize,
        /// What the device computed.
        is: f32,
        /// What the reference computed.
        expected: f32,
    },
    /// The kernel packs something else.
    #[error("kernel {kernel}: byte {byte} of the {part} is {is}, not {expected}")]
    WrongRows {
        /// The kernel.
        kernel: String,
        /// What it wrote.
        part: &'static str,
        /// Where.
        byte: usize,
        /// What the device wrote.
        is: u8,
        /// What the ops of the CPU make.
        expected: u8,
    },
}

/// Memory of a device that a check uses.
#[derive(Default)]
struct Memory(Vec<Address>);

impl Memory {
    fn upload(&mut self, device: &mut dyn Device, bytes: &[u8]) -> Result<Address, DeviceError> {
        let address = device.alloc(bytes.len())?;
        self.0.push(address);
        device.write(address, bytes)?;
        Ok(address)
    }
}

/// Runs `work`, then frees the memory that it used.
fn with_memory<T>(
    device: &mut dyn Device,
    work: impl FnOnce(&mut dyn Device, &mut Memory) -> Result<T, DeviceError>,
) -> Result<T, DeviceError> {
    let mut memory = Memory::default();
    let result = work(device, &mut memory);
    memory.0.into_iter().try_for_each(|address| device.free(address))?;
    result
}

/// The same numbers every time.
struct Random(u64);

impl Random {
    fn new() -> Self {
        Random(0x9e37_79b9_7f4a_7c15)
    }
    fn below(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % below
    }
    /// Between -4 and 4.
    fn floats(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.below(1 << 16) as f32 / 8192.0 - 4.0).collect()
    }
}
