//! Memory for intermediate results of a task, kept per thread so that it is not paged in anew each time.

use bytemuck::Pod;
use std::cell::Cell;

thread_local! {
    static KEPT: Cell<Vec<u64>> = const { Cell::new(Vec::new()) };
}

/// Calls `body` with `len` elements whose values are unspecified.
pub fn with<T: Pod, R>(len: usize, body: impl FnOnce(&mut [T]) -> R) -> R {
    let mut memory = KEPT.take();
    let words = (len * size_of::<T>()).div_ceil(8);
    if memory.len() < words {
        memory = vec![0; words];
    }
    let result = body(&mut bytemuck::cast_slice_mut(&mut memory[..words])[..len]);
    KEPT.set(memory);
    result
}
