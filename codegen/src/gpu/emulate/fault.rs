//! What a kernel did wrong, and where.

use std::fmt;

/// The kind of a mistake of a kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// A launch that no device accepts: an unknown kernel, wrong arguments, too many threads.
    Launch,
    /// An address outside every allocation.
    OutOfBounds,
    /// An address that is no multiple of the access's alignment.
    Misaligned,
    /// A read of memory that nobody wrote.
    Uninitialized,
    /// Shared memory used by two threads, one of them writing, with no barrier between.
    MissingBarrier,
    /// An asynchronous copy or product used before the wait for it.
    MissingWait,
    /// Threads of a warp that should run a collective operation together and do not.
    Divergence,
    /// A barrier that not all of its threads reach.
    Barrier,
    /// An operation with operands that its definition excludes.
    Operand,
    /// The kernel's own trap.
    Trap,
}

impl FaultKind {
    /// Its name in messages.
    pub fn name(self) -> &'static str {
        match self {
            FaultKind::Launch => "bad launch",
            FaultKind::OutOfBounds => "out of bounds",
            FaultKind::Misaligned => "misaligned",
            FaultKind::Uninitialized => "uninitialized",
            FaultKind::MissingBarrier => "missing barrier",
            FaultKind::MissingWait => "missing wait",
            FaultKind::Divergence => "divergent collective",
            FaultKind::Barrier => "barrier misuse",
            FaultKind::Operand => "bad operand",
            FaultKind::Trap => "trap",
        }
    }
}

/// A mistake of a kernel: what, in which thread, at which instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What it did.
    pub kind: FaultKind,
    /// The kernel's name.
    pub kernel: String,
    /// The block (CTA) of threads.
    pub block: [u32; 3],
    /// The thread in its block.
    pub thread: [u32; 3],
    /// The address, as the kernel saw it.
    pub address: Option<u64>,
    /// The instruction, as LLVM prints it.
    pub instruction: String,
    /// What exactly is wrong, in a sentence.
    pub detail: String,
}

/// ``missing barrier in kernel `k`, block (0, 0, 0), thread (5, 0, 0): …; at `%7 = load …` ``
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in kernel `{}`", self.kind.name(), self.kernel)?;
        if self.kind != FaultKind::Launch {
            let ([bx, by, bz], [tx, ty, tz]) = (self.block, self.thread);
            write!(f, ", block ({bx}, {by}, {bz}), thread ({tx}, {ty}, {tz})")?;
        }
        write!(f, ": {}", self.detail)?;
        match self.instruction.as_str() {
            "" => Ok(()),
            instruction => write!(f, "; at `{instruction}`"),
        }
    }
}

impl std::error::Error for Fault {}

/// A fault before it is known where: what the operations of the emulator return.
#[derive(Debug, Clone)]
pub(super) struct Stop {
    pub(super) kind: FaultKind,
    pub(super) address: Option<u64>,
    pub(super) detail: String,
}

impl Stop {
    pub(super) fn new(kind: FaultKind, detail: impl Into<String>) -> Self {
        Stop { kind, address: None, detail: detail.into() }
    }
    pub(super) fn at(kind: FaultKind, address: u64, detail: impl Into<String>) -> Self {
        Stop { kind, address: Some(address), detail: detail.into() }
    }
}
