//! Memory of tensors: heap blocks, views of mapped bytes, and parts of slabs.
//!
//! A [`Slab`] lends disjoint parts of itself and takes them back when they are dropped; it refuses a part that overlaps one
//! that is out. So a wrong memory plan costs heap memory, never correctness. A [`Ledger`] records when heap blocks came and
//! went, from which plans are made.

use bytes::Bytes;
use std::alloc::{Layout, alloc, alloc_zeroed, dealloc, handle_alloc_error};
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Alignment of every buffer, in bytes: a cache line, and the widest vector.
pub const ALIGN: usize = 64;

/// A piece of memory.
pub struct Buffer {
    ptr: *mut u8,
    len: usize,
    owner: Owner,
}

enum Owner {
    Heap(Layout, Option<(Arc<Ledger>, usize)>),
    /// Read only.
    Bytes(#[allow(dead_code, reason = "keeps the memory alive")] Bytes),
    /// Lent by a slab, from this offset on.
    Part(Arc<Slab>, usize),
}

// SAFETY: a buffer is plain memory; writes need `&mut Buffer`.
unsafe impl Send for Buffer {}
// SAFETY: shared access only reads.
unsafe impl Sync for Buffer {}

impl Buffer {
    /// Zeroed memory of `len` bytes, aligned to [`ALIGN`].
    pub fn zeroed(len: usize) -> Self {
        let Ok(layout) = Layout::from_size_align(len.max(1), ALIGN) else { handle_alloc_error(Layout::new::<u8>()) };
        // SAFETY: the layout has a non-zero size.
        let ptr = unsafe { alloc_zeroed(layout) };
        if ptr.is_null() {
            handle_alloc_error(layout);
        }
        Buffer { ptr, len, owner: Owner::Heap(layout, None) }
    }
    /// Whether the system would give `len` bytes now; it is not asked about small amounts.
    pub fn is_available(len: usize) -> bool {
        if len < 1 << 28 {
            return true;
        }
        let Ok(layout) = Layout::from_size_align(len, ALIGN) else { return false };
        // SAFETY: the layout has a non-zero size.
        let ptr = std::hint::black_box(unsafe { alloc(layout) });
        if !ptr.is_null() {
            // SAFETY: got with this layout just now.
            unsafe { dealloc(ptr, layout) };
        }
        !ptr.is_null()
    }
    /// A read-only view of bytes. Bytes not aligned to `align` are copied, as typed access needs alignment.
    pub fn from_bytes(bytes: Bytes, align: usize) -> Self {
        if !(bytes.as_ptr() as usize).is_multiple_of(align.max(1)) {
            let mut copy = Buffer::zeroed(bytes.len());
            copy.bytes_mut().copy_from_slice(&bytes);
            return copy;
        }
        Buffer { ptr: bytes.as_ptr().cast_mut(), len: bytes.len(), owner: Owner::Bytes(bytes) }
    }
    /// Size in bytes.
    pub fn len(&self) -> usize {
        self.len
    }
    /// True without bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
    /// Where it begins.
    pub fn address(&self) -> usize {
        self.ptr as usize
    }
    /// False for views of bytes.
    pub fn is_writable(&self) -> bool {
        !matches!(self.owner, Owner::Bytes(_))
    }
    /// True when a slab lent it.
    pub fn is_part(&self) -> bool {
        matches!(self.owner, Owner::Part(..))
    }
    /// The memory.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: `ptr` is valid for `len` bytes as long as the owner lives.
        unsafe { std::slice::from_raw_parts(self.ptr, self.len) }
    }
    /// The memory, writable.
    ///
    /// Panics  for a view of bytes.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        assert!(self.is_writable(), "a view of bytes is read only");
        // SAFETY: as `bytes`, and `&mut self` excludes other access.
        unsafe { std::slice::from_raw_parts_mut(self.ptr, self.len) }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        match &self.owner {
            Owner::Heap(layout, ledger) => {
                // SAFETY: allocated with this layout.
                unsafe { dealloc(self.ptr, *layout) }
                if let Some((ledger, ticket)) = ledger {
                    ledger.ended(*ticket);
                }
            }
            Owner::Bytes(_) => {}
            Owner::Part(slab, offset) => slab.take_back(*offset, self.len),
        }
    }
}

/// A block of memory that lends parts of itself.
pub struct Slab {
    /// Never accessed but through the parts.
    memory: Buffer,
    /// The parts that are out.
    lent: Mutex<Vec<Range<usize>>>,
}

impl Slab {
    /// A slab of `len` bytes.
    pub fn new(len: usize) -> Arc<Self> {
        Arc::new(Slab { memory: Buffer::zeroed(len), lent: Mutex::default() })
    }
    /// Size in bytes.
    pub fn len(&self) -> usize {
        self.memory.len
    }
    /// True without bytes.
    pub fn is_empty(&self) -> bool {
        self.memory.len == 0
    }
    /// The part `offset..offset + len`, of unspecified contents; none when a byte of it is out or not of the slab.
    pub fn lend(self: &Arc<Self>, offset: usize, len: usize) -> Option<Buffer> {
        let end = offset.checked_add(len).filter(|&end| end <= self.memory.len)?;
        let mut lent = locked(&self.lent);
        if lent.iter().any(|part| part.start < end && offset < part.end) {
            return None;
        }
        lent.push(offset..end);
        // SAFETY: in range; the part is exclusive until it is dropped, as parts that are out do not overlap.
        let ptr = unsafe { self.memory.ptr.add(offset) };
        Some(Buffer { ptr, len, owner: Owner::Part(self.clone(), offset) })
    }
    fn take_back(&self, offset: usize, len: usize) {
        let mut lent = locked(&self.lent);
        if let Some(at) = lent.iter().position(|part| *part == (offset..offset + len)) {
            lent.swap_remove(at);
        }
    }
}

/// Records the life of heap blocks. Time is counted in allocations.
#[derive(Default)]
pub struct Ledger {
    lives: Mutex<Vec<Life>>,
    live_bytes: AtomicUsize,
    peak_bytes: AtomicUsize,
}

/// The life of a block: from its own allocation until before allocation number `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Life {
    /// Size.
    pub bytes: usize,
    /// None: still alive.
    pub end: Option<usize>,
}

impl Ledger {
    /// A heap block whose life is recorded.
    pub fn heap(self: &Arc<Self>, len: usize) -> Buffer {
        let mut buffer = Buffer::zeroed(len);
        let mut lives = locked(&self.lives);
        if let Owner::Heap(_, ledger) = &mut buffer.owner {
            *ledger = Some((self.clone(), lives.len()));
        }
        lives.push(Life { bytes: len, end: None });
        let live = self.live_bytes.fetch_add(len, Ordering::Relaxed) + len;
        self.peak_bytes.fetch_max(live, Ordering::Relaxed);
        buffer
    }
    fn ended(&self, ticket: usize) {
        let mut lives = locked(&self.lives);
        let now = lives.len();
        lives[ticket].end = Some(now);
        self.live_bytes.fetch_sub(lives[ticket].bytes, Ordering::Relaxed);
    }
    /// The lives so far, in order of allocation.
    pub fn lives(&self) -> Vec<Life> {
        locked(&self.lives).clone()
    }
    /// The most bytes that were alive together.
    pub fn peak_bytes(&self) -> usize {
        self.peak_bytes.load(Ordering::Relaxed)
    }
}

/// The contents; they are consistent between any two operations, so a panic elsewhere does not matter.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slab_lends_no_byte_twice() {
        let slab = Slab::new(256);
        let mut first = slab.lend(0, 128).unwrap();
        assert!(slab.lend(64, 64).is_none());
        assert!(slab.lend(192, 128).is_none());
        let second = slab.lend(128, 128).unwrap();
        first.bytes_mut().fill(7);
        assert_eq!(second.bytes(), [0; 128]);
        drop(first);
        assert_eq!(slab.lend(64, 64).unwrap().bytes(), [7; 64]);
    }

    #[test]
    fn a_ledger_knows_lives_and_peak() {
        let ledger = Arc::new(Ledger::default());
        let a = ledger.heap(100);
        let b = ledger.heap(50);
        drop(a);
        let c = ledger.heap(60);
        assert_eq!(ledger.lives()[..2], [Life { bytes: 100, end: Some(2) }, Life { bytes: 50, end: None }]);
        assert_eq!(ledger.peak_bytes(), 150);
        drop((b, c));
    }
}
