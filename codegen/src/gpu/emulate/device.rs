//! The emulator as a device of the runtime.

use super::{Emulator, Fault};
use mokume_runtime::gpu::device::{Address, Device, DeviceError, Launch, Mark};
use std::time::Instant;

// SAFETY: compiled code and LLVM's objects belong to the emulator alone, and only one thread at a time has it.
unsafe impl Send for Emulator {}

impl Device for Emulator {
    fn name(&self) -> String {
        "emulator".to_string()
    }
    fn alloc(&mut self, bytes: usize) -> Result<Address, DeviceError> {
        Ok(Emulator::alloc(self, bytes))
    }
    fn free(&mut self, address: Address) -> Result<(), DeviceError> {
        self.global.free(address).map_err(|_| DeviceError::BadRange { address, bytes: 0 })
    }
    fn write(&mut self, address: Address, bytes: &[u8]) -> Result<(), DeviceError> {
        self.global.write(address, bytes).map_err(|_| DeviceError::BadRange { address, bytes: bytes.len() })
    }
    fn read(&mut self, address: Address, bytes: &mut [u8]) -> Result<(), DeviceError> {
        self.global.read(address, bytes).map_err(|_| DeviceError::BadRange { address, bytes: bytes.len() })
    }
    fn copy(&mut self, to: Address, from: Address, bytes: usize) -> Result<(), DeviceError> {
        let bad = |address| move |_| DeviceError::BadRange { address, bytes };
        let content = self.global.content(from, bytes).map_err(bad(from))?;
        self.global.write(to, &content).map_err(bad(to))
    }
    fn fill(&mut self, to: Address, byte: u8, bytes: usize) -> Result<(), DeviceError> {
        self.global.write(to, &vec![byte; bytes]).map_err(|_| DeviceError::BadRange { address: to, bytes })
    }
    fn launch(&mut self, launch: &Launch<'_>) -> Result<(), DeviceError> {
        if !self.has(launch.kernel) {
            return Err(DeviceError::NoKernel(launch.kernel.to_string()));
        }
        let refused = |fault: Fault| DeviceError::Launch { kernel: launch.kernel.to_string(), why: fault.to_string() };
        Emulator::launch(self, launch).map_err(refused)
    }
    fn synchronize(&mut self) -> Result<(), DeviceError> {
        Ok(())
    }
    fn mark(&mut self) -> Result<Mark, DeviceError> {
        self.marks.push(Instant::now());
        Ok(Mark(self.marks.len() - 1))
    }
    fn elapsed_ns(&mut self, from: Mark, to: Mark) -> Result<u64, DeviceError> {
        match (self.marks.get(from.0), self.marks.get(to.0)) {
            (Some(from), Some(to)) => Ok(to.duration_since(*from).as_nanos() as u64),
            _ => Err(DeviceError::Driver("a mark that the emulator does not know".into())),
        }
    }
    fn forget_marks(&mut self) {
        self.marks.clear();
    }
}
