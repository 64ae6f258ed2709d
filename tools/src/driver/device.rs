//! Where a program runs: on this machine's processor, or on a GPU.

use mokume_ir::diag::Report;
use mokume_runtime::gpu::cuda;
use mokume_runtime::program::Program;
use mokume_runtime::session::{Session, SessionOptions};
use std::sync::Arc;

/// Where to run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Place {
    /// The processor.
    #[default]
    Cpu,
    /// The first GPU of the CUDA driver.
    Cuda,
}

/// A session of a program there.
///
/// Errors  when there is no such device, or the program has no code for it.
pub fn session(program: Program, place: Place, options: SessionOptions) -> Result<Session, Report> {
    match place {
        Place::Cpu => Session::new(Arc::new(program), options),
        Place::Cuda => cuda::session(Arc::new(program)),
    }
}
