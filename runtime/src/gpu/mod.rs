//! Programs on a GPU: what a device is, how kernels are described and named, how a program runs on one.
//!
//! Codegen emits kernels ahead of time, PTX per architecture; this module needs no compiler.

pub mod abi;
pub mod arch;
pub mod check;
pub mod choose;
mod cluster;
pub mod code;
pub mod codes;
pub mod cost;
pub mod cuda;
pub mod device;
pub(crate) mod exec;
pub mod kernel;
mod launch;
pub mod map;
mod memory;
pub mod plan;
pub mod quantize;
pub mod rows;
pub mod spec;
mod state;
mod tile;
mod timeline;
pub mod tuning;
