//! Global memory of the emulated device: every allocation in a range of addresses of its own, so that a wild address is never
//! inside another one.

use super::access::{Access, Kind};
use super::fault::{FaultKind, Stop};

/// Bit that tells addresses of global memory from shared and local ones.
const GLOBAL: u64 = 1 << 62;
/// log2 of the distance between allocations.
const SLOT_BITS: u32 = 36;

/// Host bytes aligned for every vector type.
#[derive(Clone, Copy)]
#[repr(C, align(128))]
struct Line([u8; 128]);

/// All allocations, freed ones included.
#[derive(Default)]
pub(super) struct Global {
    slots: Vec<Slot>,
}

struct Slot {
    lines: Vec<Line>,
    bytes: usize,
    live: bool,
    /// A flag per byte: whether it was written. Empty when all were.
    written: Vec<u8>,
}

impl Global {
    /// Addresses that this memory answers for.
    pub(super) fn contains(address: u64) -> bool {
        address & GLOBAL != 0 && address >> 63 == 0
    }
    /// Room for `bytes`, with content that nobody wrote.
    pub(super) fn alloc(&mut self, bytes: usize) -> u64 {
        let poison = Line([0xff; 128]);
        self.slots.push(Slot { lines: vec![poison; bytes.div_ceil(128)], bytes, live: true, written: vec![0; bytes] });
        GLOBAL | ((self.slots.len() - 1) as u64) << SLOT_BITS
    }
    /// Ends an allocation; its address is never used again.
    pub(super) fn free(&mut self, address: u64) -> Result<(), Stop> {
        let (slot, offset) = self.slot(address)?;
        if offset != 0 {
            return Err(Stop::at(FaultKind::OutOfBounds, address, "no allocation begins at this address"));
        }
        *slot = Slot { lines: Vec::new(), bytes: slot.bytes, live: false, written: Vec::new() };
        Ok(())
    }
    /// The bytes from `address` on, all written from now on.
    pub(super) fn write(&mut self, address: u64, bytes: &[u8]) -> Result<(), Stop> {
        let (slot, offset) = self.range(address, bytes.len())?;
        slot.mark(offset, bytes.len());
        slot.bytes_mut()[offset..offset + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }
    /// Reads what is at `address`, written or not.
    pub(super) fn read(&mut self, address: u64, into: &mut [u8]) -> Result<(), Stop> {
        let (slot, offset) = self.range(address, into.len())?;
        into.copy_from_slice(&slot.bytes_mut()[offset..offset + into.len()]);
        Ok(())
    }
    /// Start and size of the allocation that `address` points into.
    pub(super) fn allocation(&mut self, address: u64) -> Option<(u64, usize)> {
        let (slot, offset) = self.slot(address).ok()?;
        (offset <= slot.bytes).then_some((address - offset as u64, slot.bytes))
    }
    /// What is at `address`.
    pub(super) fn content(&mut self, address: u64, bytes: usize) -> Result<Vec<u8>, Stop> {
        let (slot, offset) = self.range(address, bytes)?;
        Ok(slot.bytes_mut()[offset..offset + bytes].to_vec())
    }
    /// The host address of an access, which is recorded.
    pub(super) fn access(&mut self, access: &Access) -> Result<*mut u8, Stop> {
        let bytes = access.bytes as usize;
        let (slot, offset) = self.range(access.address, bytes)?;
        match access.kind {
            Kind::Write => slot.mark(offset, bytes),
            Kind::Read | Kind::Atomic => slot.is_written(access, offset)?,
        }
        Ok(slot.bytes_mut()[offset..].as_mut_ptr())
    }
    fn range(&mut self, address: u64, bytes: usize) -> Result<(&mut Slot, usize), Stop> {
        let (slot, offset) = self.slot(address)?;
        if offset > slot.bytes || slot.bytes - offset < bytes {
            let detail = format!("{bytes} bytes at offset {offset} of an allocation of {} bytes", slot.bytes);
            return Err(Stop::at(FaultKind::OutOfBounds, address, detail));
        }
        Ok((slot, offset))
    }
    fn slot(&mut self, address: u64) -> Result<(&mut Slot, usize), Stop> {
        let index = ((address & !GLOBAL) >> SLOT_BITS) as usize;
        let outside = |detail| Stop::at(FaultKind::OutOfBounds, address, detail);
        if !Global::contains(address) || index >= self.slots.len() {
            return Err(outside(format!("{address:#x} is no address of global memory")));
        }
        let slot = &mut self.slots[index];
        if !slot.live {
            return Err(outside(format!("an allocation of {} bytes that was freed", slot.bytes)));
        }
        Ok((slot, (address & ((1 << SLOT_BITS) - 1)) as usize))
    }
}

impl Slot {
    fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: `Line` is plain bytes; `bytes` is at most what the lines hold.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.bytes) }
    }
    fn mark(&mut self, offset: usize, bytes: usize) {
        if bytes == self.bytes {
            self.written = Vec::new();
        }
        if !self.written.is_empty() {
            self.written[offset..offset + bytes].fill(1);
        }
    }
    fn is_written(&self, access: &Access, offset: usize) -> Result<(), Stop> {
        let range = offset..offset + access.bytes as usize;
        if self.written.is_empty() || !self.written[range].contains(&0) {
            return Ok(());
        }
        let detail = format!("reads {} bytes of global memory that nobody wrote, at offset {offset} of {}", access.bytes, self.bytes);
        Err(Stop::at(FaultKind::Uninitialized, access.address, detail))
    }
}
