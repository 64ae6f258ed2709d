//! What a `bit_matmul` kernel is, independent of the machine: its description, its cost, its packed weights.

pub mod cost;
pub mod pack;

pub use mokume_runtime::cpu::spec::{BitProduct, ByteCode, CHUNK, KernelSpec, LANES, Layout, ScaleFormat, Store, Strategy, VECTOR, parts};
