//! Speed of any model: the same inputs again and again.

use super::samples::{Spread, repeat};
use mokume_ir::diag::Report;
use mokume_ir::graph::Graph;
use mokume_ir::ids::{ConstId, NodeId};
use mokume_ir::op::Op;
use mokume_runtime::profile::{Event, by_op};
use mokume_runtime::program::Program;
use mokume_runtime::session::Session;
use mokume_runtime::tensor::Tensor;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// Runs that are measured, at least.
const SAMPLES: usize = 5;

/// What all nodes of an op took in one run, without the nodes inside calls and loops.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OpRow {
    /// The op.
    pub op: &'static str,
    /// Nodes of it.
    pub count: usize,
    /// Milliseconds.
    pub ms: f64,
}

/// Seconds of a run without state.
///
/// Errors  when a run fails.
pub fn runs(session: &mut Session, inputs: &[(String, Tensor)], time: Duration) -> Result<Spread, Report> {
    let samples = repeat(time, SAMPLES, || {
        session.reset();
        session.run(inputs).map(drop)
    })?;
    Ok(Spread::of(samples))
}

/// Bytes of constants that one run reads: for every node the constants among its operands, of looked up tables nothing.
pub fn weight_bytes(program: &Program) -> usize {
    let module = &program.module;
    let size = |id: ConstId| program.kernels().weights.get(&id).map_or(module.constants[id].byte_len(), |packed| packed.bytes.len());
    let node = |graph: &Graph, id: NodeId| {
        let node = &graph[id];
        let read = node.inputs.iter().enumerate().filter(|(operand, _)| *operand > 0 || !looks_up(&node.op));
        read.filter_map(|(_, &value)| graph.constant(value)).map(size).sum::<usize>()
    };
    module.functions.iter().map(|(_, graph)| graph.node_ids().map(|id| node(graph, id)).sum::<usize>()).sum()
}

fn looks_up(op: &Op) -> bool {
    matches!(op, Op::Gather(_) | Op::BitGather(_) | Op::GatherElements(_) | Op::GatherNd(_))
}

/// What every op took in one of several runs, on average.
pub fn profile(program: &Program, runs: &[Vec<Event>]) -> Vec<OpRow> {
    let mut sums: BTreeMap<&'static str, (usize, f64)> = BTreeMap::new();
    for time in runs.iter().flat_map(|events| by_op(program, events)) {
        let sum = sums.entry(time.op).or_default();
        *sum = (sum.0 + time.count, sum.1 + time.self_ns as f64 / 1e6);
    }
    let count = runs.len().max(1);
    let mut rows: Vec<_> = sums.into_iter().map(|(op, (nodes, ms))| OpRow { op, count: nodes / count, ms: ms / count as f64 }).collect();
    rows.sort_by(|a, b| b.ms.total_cmp(&a.ms));
    rows
}
