//! Native kernels on the CPU: what a kernel is, how its operands lie in memory, how it is loaded and called.
//!
//! Codegen emits kernels ahead of time, one object file per [`isa::IsaLevel`]; this module needs no compiler. A kernel
//! computes a tile of `bit_matmul`; everything around it (quantizing rows, patches of a convolution, epilogue steps, threads)
//! is here, in Rust, and gives the same bits at every level and for any number of threads.

pub mod abi;
pub mod call;
pub mod image;
pub mod isa;
pub mod kernels;
pub mod loader;
pub mod rows;
pub mod run;
pub mod spec;
pub mod table;
mod tables;
pub mod transpose;
