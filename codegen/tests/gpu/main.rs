//! Device kernels of ops in the emulator, against the CPU's op library; whole programs against the CPU backend.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod bench;
mod ops;
mod programs;
#[allow(dead_code, reason = "shared with other tests")]
#[path = "../recording/mod.rs"]
mod recording;
