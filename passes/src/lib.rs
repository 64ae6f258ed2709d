//! The rewrite passes of mokume: graph in, better graph out.
//!
//! A pass is one struct (its options), one `impl` [`Pass`](pass::Pass), one file and one row of the [`registry`].
//! A [`Pipeline`](pipeline::Pipeline) is a list of passes, written as text; [`run_pipeline`](manager::run_pipeline) runs it and
//! does everything that is common to all passes: dumps, verification, timing, remarks, bisection, crash reproducers.
//!
//! Passes import the IR only. A pass that must run the model asks the [`Executor`](executor::Executor) of its context.

pub mod checkpoint;
pub mod executor;
pub mod layer;
pub mod manager;
#[macro_use]
pub mod options;
pub mod pass;
pub mod pipeline;
pub mod presets;
pub mod query;
pub mod registry;
pub mod term;

pub mod canonicalize;
pub mod grad;
pub mod quantize;
pub mod rewrite;
pub mod simplify;
pub mod transform;

#[cfg(test)]
mod testing;
