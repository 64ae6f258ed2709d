//! Strided copies: transpose, broadcast, slice, split, concat, padding, appending to state.

use super::emit::{Emit, int_type};
use super::strided;
use crate::gpu::build::{Build, Result};
use mokume_runtime::gpu::kernel::THREADS;

/// A thread per element.
pub(super) fn copy(build: &Build<'_>, name: &str, bytes: u8) -> Result<()> {
    let e = &Emit::new(build, name, &strided(2, 1, 3), THREADS);
    let (from, to, len) = (e.address(), e.address(), e.size());
    let (dims, from_strides, to_strides) = (e.sizes(), e.sizes(), e.sizes());
    let index = e.global_thread(THREADS);
    e.when(index.below(len), || {
        let [source, place] = e.place(index, dims, [from_strides, to_strides]);
        let word = int_type(build, u32::from(bytes) * 8);
        to.store(place, from.load(word.into(), source));
    });
    e.end()
}
