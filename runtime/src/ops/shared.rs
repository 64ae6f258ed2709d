//! A slice that several threads write, each its own elements.

use std::marker::PhantomData;

/// A mutable slice handed to several tasks.
pub struct Shared<'a, T> {
    ptr: *mut T,
    len: usize,
    slice: PhantomData<&'a mut [T]>,
}

// SAFETY: elements are reached only through `part`, whose caller promises that tasks do not overlap.
unsafe impl<T: Send> Send for Shared<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Shared<'_, T> {}

impl<'a, T> Shared<'a, T> {
    /// Takes the slice.
    pub fn new(slice: &'a mut [T]) -> Self {
        Shared { ptr: slice.as_mut_ptr(), len: slice.len(), slice: PhantomData }
    }
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.len
    }
    /// True without elements.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
    /// The elements `start..start + len`.
    ///
    /// # Safety
    /// While the part lives, no other part holds any of its elements.
    ///
    /// Panics  when the range does not lie in the slice.
    #[allow(clippy::mut_from_ref, reason = "the caller promises that parts are disjoint")]
    pub unsafe fn part(&self, start: usize, len: usize) -> &mut [T] {
        assert!(start.checked_add(len).is_some_and(|end| end <= self.len), "part out of range");
        // SAFETY: in range by the check above, disjoint by the promise of the caller.
        unsafe { std::slice::from_raw_parts_mut(self.ptr.add(start), len) }
    }
    /// A pointer to element `start`.
    ///
    /// Panics  when it is not in the slice.
    pub fn at(&self, start: usize) -> *mut T {
        assert!(start < self.len, "element out of range");
        // SAFETY: in range by the check above.
        unsafe { self.ptr.add(start) }
    }
}
