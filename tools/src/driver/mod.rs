//! The driver: import, rewrite, lower, run, compare. Every arrow of the architecture is one function here.

pub mod archive;
pub mod bench;
pub mod calibration;
pub mod checkpoint;
pub mod compare;
pub mod compile;
pub mod device;
pub mod eval;
pub mod executor;
pub mod generate;
pub mod image;
pub mod inputs;
pub mod layers;
pub mod picture;
pub mod pipelines;
pub mod report;
pub mod source;
pub mod tokens;
pub mod weights;
