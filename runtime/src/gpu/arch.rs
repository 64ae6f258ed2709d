//! The architectures that kernels are compiled for, and what each can do.

use std::fmt;

/// An architecture of NVIDIA GPUs, oldest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Arch {
    /// A100.
    Sm80,
    /// GA10x: RTX 30, A10, A40.
    Sm86,
    /// Ada: RTX 40, L4, L40.
    Sm89,
    /// H100, H200; code of this name runs on nothing newer.
    Sm90a,
    /// B100, B200.
    Sm100,
    /// RTX 50.
    Sm120,
}

impl Arch {
    /// All of them.
    pub const ALL: [Arch; 6] = [Arch::Sm80, Arch::Sm86, Arch::Sm89, Arch::Sm90a, Arch::Sm100, Arch::Sm120];
    /// Its name in targets: `sm_90a`.
    pub fn name(self) -> &'static str {
        match self {
            Arch::Sm80 => "sm_80",
            Arch::Sm86 => "sm_86",
            Arch::Sm89 => "sm_89",
            Arch::Sm90a => "sm_90a",
            Arch::Sm100 => "sm_100",
            Arch::Sm120 => "sm_120",
        }
    }
    /// The architecture called `name`.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|arch| arch.name() == name)
    }
    /// Major and minor compute capability.
    pub fn capability(self) -> (u32, u32) {
        match self {
            Arch::Sm80 => (8, 0),
            Arch::Sm86 => (8, 6),
            Arch::Sm89 => (8, 9),
            Arch::Sm90a => (9, 0),
            Arch::Sm100 => (10, 0),
            Arch::Sm120 => (12, 0),
        }
    }
    /// Whether code for this architecture runs on a device of this compute capability.
    pub fn runs_on(self, device: (u32, u32)) -> bool {
        match self {
            Arch::Sm90a => device == self.capability(),
            _ => device >= self.capability(),
        }
    }
    /// Version of PTX that knows it, as LLVM writes it: 80 for 8.0.
    pub fn ptx_version(self) -> u32 {
        match self {
            Arch::Sm80 | Arch::Sm86 => 71,
            Arch::Sm89 => 78,
            Arch::Sm90a => 84,
            Arch::Sm100 => 86,
            Arch::Sm120 => 87,
        }
    }
    /// Whether `mma` of bits with `and` is an instruction of the machine; elsewhere it is emulated by integer ones.
    pub fn has_binary_mma(self) -> bool {
        self < Arch::Sm100
    }
    /// Whether `wgmma` exists.
    pub fn has_group_mma(self) -> bool {
        self == Arch::Sm90a
    }
    /// Bytes of shared memory that a block may have.
    pub fn shared_bytes(self) -> u32 {
        match self {
            Arch::Sm80 => 163 << 10,
            Arch::Sm86 | Arch::Sm89 | Arch::Sm120 => 99 << 10,
            Arch::Sm90a | Arch::Sm100 => 227 << 10,
        }
    }
}

/// `sm_90a`
impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_name_one_architecture() {
        for arch in Arch::ALL {
            assert_eq!(Arch::from_name(arch.name()), Some(arch));
            assert!(arch.runs_on(arch.capability()));
        }
        assert!(Arch::Sm80.runs_on((9, 0)) && !Arch::Sm90a.runs_on((10, 0)) && !Arch::Sm89.runs_on((8, 6)));
    }
}
