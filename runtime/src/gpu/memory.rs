//! Memory of a device: what is freed is kept for the next tensor of its size, so that repeated runs allocate nothing.

use super::codes::CodeRow;
use super::device::{Address, Device, DeviceError};
use crate::tensor::{Dims, elem_bytes};
use mokume_ir::types::Elem;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Addresses that nobody uses, by size.
#[derive(Default)]
struct Free(Mutex<BTreeMap<usize, Vec<Address>>>);

impl Free {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<usize, Vec<Address>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A piece of device memory; goes back to the pool when dropped.
pub(crate) struct Block {
    pub(crate) address: Address,
    bytes: usize,
    free: Arc<Free>,
}

impl Drop for Block {
    fn drop(&mut self) {
        self.free.lock().entry(self.bytes).or_default().push(self.address);
    }
}

/// Lends device memory.
#[derive(Default)]
pub(crate) struct Pool {
    free: Arc<Free>,
    live: usize,
}

impl Pool {
    /// At least `bytes` of memory, of unspecified contents.
    pub(crate) fn alloc(&mut self, device: &mut dyn Device, bytes: usize) -> Result<Arc<Block>, DeviceError> {
        let bytes = class(bytes);
        let kept = self.free.lock().get_mut(&bytes).and_then(Vec::pop);
        let address = match kept {
            Some(address) => address,
            None => self.fresh(device, bytes)?,
        };
        Ok(Arc::new(Block { address, bytes, free: self.free.clone() }))
    }
    /// Bytes taken from the device.
    pub(crate) fn bytes(&self) -> usize {
        self.live
    }
    /// Memory from the device; when it has no more, what the pool keeps is given back first.
    fn fresh(&mut self, device: &mut dyn Device, bytes: usize) -> Result<Address, DeviceError> {
        let address = match device.alloc(bytes) {
            Err(DeviceError::OutOfMemory { .. }) => {
                self.trim(device)?;
                device.alloc(bytes)?
            }
            other => other?,
        };
        self.live += bytes;
        Ok(address)
    }
    fn trim(&mut self, device: &mut dyn Device) -> Result<(), DeviceError> {
        for (bytes, addresses) in std::mem::take(&mut *self.free.lock()) {
            for address in addresses {
                device.free(address)?;
                self.live -= bytes;
            }
        }
        Ok(())
    }
}

/// Sizes are rounded up, so that tensors of nearly the same size share memory.
fn class(bytes: usize) -> usize {
    bytes.max(1).next_multiple_of((bytes.next_power_of_two() / 8).max(256))
}

/// A tensor on a device: row major; blocks of the axes from `spare.0` on may lie further apart than their size.
#[derive(Clone)]
pub(crate) struct DeviceTensor {
    pub(crate) dims: Dims,
    pub(crate) elem: Elem,
    block: Arc<Block>,
    /// Axis and elements between blocks, for state that has room to grow.
    pub(crate) spare: Option<(usize, usize)>,
}

impl DeviceTensor {
    pub(crate) fn new(block: Arc<Block>, dims: &[usize], elem: Elem) -> Self {
        DeviceTensor { dims: dims.into(), elem, block, spare: None }
    }
    /// The same memory as blocks of the axes from `axis` on, `stride` elements apart.
    pub(crate) fn with_spare(self, dims: &[usize], axis: usize, stride: usize) -> Self {
        DeviceTensor { dims: dims.into(), spare: Some((axis, stride)), ..self }
    }
    /// The same memory, other sizes.
    pub(crate) fn with_sizes(self, dims: &[usize]) -> Self {
        DeviceTensor { dims: dims.into(), ..self }
    }
    pub(crate) fn address(&self) -> Address {
        self.block.address
    }
    pub(crate) fn len(&self) -> usize {
        self.dims.iter().product()
    }
    /// The same memory, another element type.
    pub(crate) fn with_elem(self, elem: Elem) -> Self {
        DeviceTensor { elem, ..self }
    }
    pub(crate) fn bytes(&self) -> usize {
        let width = self.dims.last().copied().unwrap_or(0);
        match self.elem.quant().and_then(|ty| CodeRow::of(&ty, width).ok()) {
            Some(row) => self.len() / width * row.bytes(),
            None => self.len() * elem_bytes(self.elem),
        }
    }
    /// Elements between blocks of the axes from `axis` on; bytes between those of codes, which have room to grow.
    pub(crate) fn block_stride(&self, axis: usize) -> Option<usize> {
        match self.spare {
            None => Some(self.dims[axis..].iter().product()),
            Some((at, stride)) => (at == axis).then_some(stride),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::class;

    #[test]
    fn sizes_are_rounded_a_little() {
        assert_eq!([0, 1, 256, 257, 5000, 1 << 20, (1 << 20) + 1].map(class), [256, 256, 256, 512, 5120, 1 << 20, (1 << 20) + (1 << 18)]);
    }
}
