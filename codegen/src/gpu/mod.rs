//! Kernels of GPUs.

pub mod emulate;
