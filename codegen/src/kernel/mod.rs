//! What a `bit_matmul` kernel is, independent of the machine: its description, its cost, its packed weights.

pub mod cost;
pub mod pack;
pub mod tuning;

pub use mokume_runtime::cpu::spec::{
    BitProduct, ByteCode, CHUNK, KernelSpec, LANES, Layout, SHARED_ROWS, ScaleFormat, Store, Strategy, TABLE_SHIFT, Table, VECTOR, parts,
    tables,
};
