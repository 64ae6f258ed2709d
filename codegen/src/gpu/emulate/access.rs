//! One access to memory: where, how much, and what for.

use inkwell::AddressSpace;

/// What an access does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Read,
    Write,
    /// Reads and writes at once.
    Atomic,
}

/// The address space that an instruction names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Space {
    /// Any.
    Generic,
    Global,
    Shared,
}

impl Space {
    /// That of pointers of a kernel.
    pub(super) fn of(space: AddressSpace) -> Self {
        match space {
            space if space == AddressSpace::from(1u16) => Space::Global,
            space if space == AddressSpace::from(3u16) => Space::Shared,
            _ => Space::Generic,
        }
    }
}

/// An access of one thread.
#[derive(Debug, Clone, Copy)]
pub(super) struct Access {
    pub(super) address: u64,
    pub(super) bytes: u32,
    /// log2 of the alignment that the instruction counts on.
    pub(super) align: u8,
    pub(super) kind: Kind,
    pub(super) space: Space,
}

impl Access {
    /// An access to shared memory that must be aligned to its size.
    pub(super) fn shared(address: u64, bytes: u32, kind: Kind) -> Self {
        Access { address, bytes, align: bytes.trailing_zeros() as u8, kind, space: Space::Shared }
    }
    /// Everything but the address in one word, for compiled code.
    pub(super) fn encode(bytes: u32, align: u8, kind: Kind, space: Space) -> u64 {
        u64::from(bytes) | u64::from(align) << 32 | (kind as u64) << 40 | (space as u64) << 48
    }
    /// The inverse of [`Access::encode`].
    pub(super) fn decode(address: u64, word: u64) -> Self {
        let kind = match (word >> 40) as u8 {
            0 => Kind::Read,
            1 => Kind::Write,
            _ => Kind::Atomic,
        };
        let space = match (word >> 48) as u8 {
            0 => Space::Generic,
            1 => Space::Global,
            _ => Space::Shared,
        };
        Access { address, bytes: word as u32, align: (word >> 32) as u8, kind, space }
    }
    /// What it does, for messages.
    pub(super) fn verb(&self) -> &'static str {
        match self.kind {
            Kind::Read => "reads",
            Kind::Write => "writes",
            Kind::Atomic => "changes",
        }
    }
}
