//! Where long passes keep what they finished, so that a run that was killed goes on where it was.

use mokume_ir::diag::Report;

/// Keeps data under names. Passes check what comes back themselves: it may be from another time, or damaged.
pub trait Checkpoint: Sync {
    /// What was kept under `name`.
    ///
    /// Errors  when there is something that cannot be read.
    fn load(&self, name: &str) -> Result<Option<Vec<u8>>, Report>;
    /// Keeps `data` under `name`, all of it or nothing.
    ///
    /// Errors  when it cannot be written.
    fn store(&self, name: &str, data: &[u8]) -> Result<(), Report>;
}
