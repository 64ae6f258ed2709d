//! Equality saturation over regions of elementwise arithmetic, transposes and reshapes.
//!
//! Before  %1 = transpose %0 {perm = [0, 2, 3, 1]} ; %2 = mul %1, 2.0 ; %3 = mul %2, 3.0 ; %4 = transpose %3 {perm = [0, 3, 1, 2]}
//! After   %4 = mul %0, 6.0
//!
//! A region is a tree: a node and the operands that only it reads, down to values that others read too or that other ops make.
//! Its expression is saturated with the rules of [`rules`], within limits of nodes and iterations but not of time, so that
//! the result does not depend on the machine. The cheapest equal expression replaces the region if it touches fewer elements.
//!
//! Exactness   float arithmetic is reassociated: within a few roundings.
//! Cost        bounded by `nodes` and `iterations` per region.
//! Source      Willsey et al. 2021, egg, arXiv 2004.03082.

mod language;
mod region;
pub mod rules;

use crate::pass::{Pass, PassContext, PassError};
use crate::term;
use egg::{Runner, SimpleScheduler, StopReason};
use language::Touched;
use mokume_ir::edit::Editor;
use mokume_ir::order::order;
use std::time::Duration;

options! {
    /// Algebraic simplification.
    Simplify {
        /// largest e-graph of a region
        nodes: usize = 2000,
        /// rounds of rewriting per region
        iterations: usize = 12,
    }
}

/// Saturation is bounded by nodes and iterations; this only has to be longer than those take.
const NO_TIME_LIMIT: Duration = Duration::from_secs(1 << 32);

impl Pass for Simplify {
    fn run(&self, editor: &mut Editor<'_>, cx: &mut PassContext<'_>) -> Result<(), PassError> {
        let rules = rules::all();
        let mut ids = order(editor);
        ids.reverse();
        for id in ids {
            if editor.node(id).is_none() || !region::is_root(editor, id) {
                continue;
            }
            let Some(region) = region::read(editor, id) else { continue };
            let runner = Runner::default()
                .with_expr(&region)
                .with_node_limit(self.nodes)
                .with_iter_limit(self.iterations)
                .with_time_limit(NO_TIME_LIMIT)
                .with_scheduler(SimpleScheduler)
                .run(&rules);
            if let Some(limit) = limit(runner.stop_reason.as_ref()) {
                cx.remark(editor, id, limit);
            }
            let before = Touched(&runner.egraph).of(&region);
            let (after, best) = egg::Extractor::new(&runner.egraph, Touched(&runner.egraph)).find_best(runner.roots[0]);
            if after < before && cx.take() {
                let replacement = region::term(editor, &best);
                term::replace(editor, id, replacement)?;
            }
        }
        Ok(())
    }
}

fn limit(reason: Option<&StopReason>) -> Option<&'static str> {
    match reason {
        Some(StopReason::IterationLimit(_)) => Some("the search for a simpler form stopped at the limit of iterations"),
        Some(StopReason::NodeLimit(_)) => Some("the search for a simpler form stopped at the limit of nodes"),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
