//! Levels of instruction sets that kernels are compiled for.

use std::fmt;

/// An instruction set level; those of one architecture from oldest to newest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IsaLevel {
    /// aarch64 NEON with dot products (Armv8.2, 2017).
    Neon,
    /// Every x86-64 CPU: SSE2.
    X86_64,
    /// AVX2 and what came with it (`x86-64-v3`, 2013).
    Avx2,
    /// AVX-512 with VNNI, VPOPCNTDQ, BITALG and VBMI (2019).
    Avx512,
}

impl IsaLevel {
    /// All of them, in order.
    pub const ALL: [IsaLevel; 4] = [IsaLevel::Neon, IsaLevel::X86_64, IsaLevel::Avx2, IsaLevel::Avx512];
    /// Its name in artifacts and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            IsaLevel::Neon => "neon",
            IsaLevel::X86_64 => "x86-64",
            IsaLevel::Avx2 => "avx2",
            IsaLevel::Avx512 => "avx512",
        }
    }
    /// The level called `name`.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.name() == name)
    }
    /// The newest level this machine runs; none when there is no level for it.
    pub fn detect() -> Option<Self> {
        Self::ALL.into_iter().rev().find(|level| level.is_supported())
    }
    /// Whether this machine runs the level.
    #[cfg(target_arch = "x86_64")]
    pub fn is_supported(self) -> bool {
        macro_rules! all {
            ($($feature:tt)+) => { true $(&& is_x86_feature_detected!($feature))+ };
        }
        match self {
            IsaLevel::Neon => false,
            IsaLevel::X86_64 => true,
            IsaLevel::Avx2 => all!("sse4.2" "popcnt" "avx" "avx2" "bmi1" "bmi2" "f16c" "fma" "lzcnt" "movbe"),
            IsaLevel::Avx512 => {
                IsaLevel::Avx2.is_supported()
                    && all!("avx512f" "avx512bw" "avx512cd" "avx512dq" "avx512vl" "avx512vnni" "avx512vpopcntdq" "avx512bitalg" "avx512vbmi")
            }
        }
    }
    /// Whether this machine runs the level.
    #[cfg(target_arch = "aarch64")]
    pub fn is_supported(self) -> bool {
        self == IsaLevel::Neon && std::arch::is_aarch64_feature_detected!("dotprod")
    }
    /// Whether this machine runs the level.
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    pub fn is_supported(self) -> bool {
        false
    }
}

impl fmt::Display for IsaLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
