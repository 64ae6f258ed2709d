//! An allocator that counts, and refuses what goes beyond a limit.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);
static LIMIT: AtomicUsize = AtomicUsize::new(usize::MAX);

/// The system's allocator with a count of the bytes that are out. Install it with `#[global_allocator]`.
pub struct Counting;

// SAFETY: memory comes from the system's allocator with the caller's layout; the rest is counting.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller promises.
        take(layout.size(), || unsafe { System.alloc(layout) })
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller promises.
        take(layout.size(), || unsafe { System.alloc_zeroed(layout) })
    }
    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(ptr, layout) };
        LIVE.fetch_sub(layout.size(), Relaxed);
    }
}

fn take(size: usize, allocate: impl FnOnce() -> *mut u8) -> *mut u8 {
    let live = LIVE.fetch_add(size, Relaxed).saturating_add(size);
    let ptr = if live > LIMIT.load(Relaxed) { std::ptr::null_mut() } else { allocate() };
    if ptr.is_null() {
        LIVE.fetch_sub(size, Relaxed);
    } else {
        PEAK.fetch_max(live, Relaxed);
    }
    ptr
}

/// What `work` gives, and how many bytes more than before it had out at once. It gets no more than `limit`: an allocation
/// beyond that fails, which ends the process unless the code can do without.
pub fn measured<T>(limit: usize, work: impl FnOnce() -> T) -> (T, usize) {
    let before = LIVE.load(Relaxed);
    PEAK.store(before, Relaxed);
    LIMIT.store(before.saturating_add(limit), Relaxed);
    let result = work();
    LIMIT.store(usize::MAX, Relaxed);
    (result, PEAK.load(Relaxed) - before)
}
