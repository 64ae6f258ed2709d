//! Launches of the tests as files for a machine with a GPU; see `tools/gpu/pack`.

use mokume_codegen::gpu::emulate::Emulator;
use mokume_runtime::gpu::arch::Arch;
use std::path::PathBuf;

/// One in so many cases is recorded.
const EVERY: usize = 5;

/// Has the launches of case number `turn` recorded in `$MOKUME_GPU_CASES`, if that is set.
pub fn attach(device: &mut Emulator, turn: usize, archs: &[Arch]) {
    if turn.is_multiple_of(EVERY) {
        attach_all(device, archs, usize::MAX);
    }
}

/// Has launches recorded, of every kernel at most `most`.
pub fn attach_all(device: &mut Emulator, archs: &[Arch], most: usize) {
    if let Some(folder) = std::env::var_os("MOKUME_GPU_CASES") {
        device.record(&PathBuf::from(folder), archs, most);
    }
}
