//! How far the largest channel of what products read lies above the others, under a rotation.

use super::region::Region;
use crate::pass::{PassContext, PassError};
use crate::quantize::calibrate;
use mokume_ir::constant::Constant;
use mokume_ir::edit::Editor;
use mokume_ir::graph::{Graph, Module};
use mokume_ir::ids::{FuncId, NodeId};
use mokume_ir::op::Op;
use std::collections::{BTreeSet, HashMap};

/// Rows of what products with constant weights read, by the node that gives them.
pub type Rows = HashMap<(FuncId, NodeId), Vec<f32>>;

/// Rows that are kept per node.
const KEPT: usize = 64;

/// Runs the calibration data; without any there are no rows.
///
/// Errors  when a sample does not run.
pub fn watch(module: &Module, cx: &PassContext<'_>) -> Result<Rows, PassError> {
    let mut rows: Rows = module.functions.ids().flat_map(|function| sources(module, function)).map(|key| (key, vec![])).collect();
    let mut observe = |function: FuncId, node: NodeId, outputs: &[Constant]| {
        let (Some(rows), [output]) = (rows.get_mut(&(function, node)), outputs) else { return };
        let numbers = output.to_f32s().unwrap_or_default();
        let missing = (KEPT * output.dims().last().copied().unwrap_or(0)).saturating_sub(rows.len());
        rows.extend(&numbers[..missing.min(numbers.len())]);
    };
    for sample in &cx.calibration {
        cx.executor.run(module, sample, &mut observe).map_err(calibrate::failed)?;
    }
    Ok(rows)
}

/// The nodes that give what products with constant weights read.
fn sources(module: &Module, function: FuncId) -> Vec<(FuncId, NodeId)> {
    let graph: &Graph = &module[function];
    let nodes = graph.node_ids().map(|id| &graph[id]);
    let products = nodes.filter(|node| matches!(node.op, Op::Matmul(_)) && graph.constant(node.inputs[1]).is_some());
    products.filter_map(|node| graph.producer(node.inputs[0]).map(|(id, _)| (function, id))).collect()
}

/// The rows that products read in a region.
pub fn of_region<'r>(editor: &Editor<'_>, rows: &'r Rows, region: &Region) -> Vec<&'r [f32]> {
    let reads = region.slots.iter().filter(|slot| slot.reads);
    let sources: BTreeSet<NodeId> = reads.filter_map(|slot| Some(editor.producer(editor[slot.node].inputs[0])?.0)).collect();
    sources.into_iter().filter_map(|id| rows.get(&(editor.function(), id))).filter(|rows| !rows.is_empty()).map(Vec::as_slice).collect()
}

/// Mean over rotated blocks of the squared peak over the mean square.
pub fn height(rows: &[&[f32]], block: usize, rotate: &dyn Fn(&mut [f64])) -> f64 {
    let mut heights = vec![];
    for block in rows.iter().flat_map(|rows| rows.chunks_exact(block.max(1))) {
        let mut rotated: Vec<f64> = block.iter().map(|&x| f64::from(x)).collect();
        rotate(&mut rotated);
        let (peak, sum) = rotated.iter().fold((0f64, 0f64), |(peak, sum), x| (peak.max(x * x), sum + x * x));
        if sum > 0.0 {
            heights.push(peak * block.len() as f64 / sum);
        }
    }
    heights.iter().sum::<f64>() / heights.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rotation_lowers_peaks() {
        let rows: &[f32] = &[8.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0];
        assert_eq!(height(&[rows], 4, &|_| ()), 2.5);
        let hadamard = mokume_ir::hadamard::Hadamard::new(4).unwrap();
        assert_eq!(height(&[&rows[..4]], 4, &|x| hadamard.apply(x)), 1.0);
    }
}
