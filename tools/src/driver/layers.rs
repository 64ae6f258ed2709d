//! Layer by layer comparison: which node loses how much, matched by the user's node names.

use crate::driver::compare::{Difference, difference};
use mokume_ir::diag::Report;
use mokume_runtime::session::Session;
use mokume_runtime::tensor::Tensor;
use std::collections::HashMap;
use std::sync::Arc;

/// A session and what it runs on.
pub struct Run<'a> {
    /// The session, which has not run.
    pub session: &'a mut Session,
    /// Its inputs.
    pub inputs: &'a [(String, Tensor)],
}

/// The user's names of a node.
type Names = Arc<[Arc<str>]>;

/// What a node computed, under the user's names.
struct Layer {
    names: Names,
    output: Tensor,
}

/// Compares every layer of `candidate` with the node of `reference` that shares a name and has the same sizes and type; worst first.
///
/// Errors  when a run fails.
pub fn worst_first(reference: Run<'_>, candidate: Run<'_>) -> Result<Vec<Difference>, Report> {
    let mut differences = in_order(reference, candidate)?;
    differences.sort_by(|a, b| a.cosine.total_cmp(&b.cosine).then_with(|| a.name.cmp(&b.name)));
    Ok(differences)
}

/// The same in the order in which `candidate` runs.
///
/// Errors  when a run fails.
pub fn in_order(reference: Run<'_>, candidate: Run<'_>) -> Result<Vec<Difference>, Report> {
    let (layers, references) = (seen(candidate)?, seen(reference)?);
    let (own, others) = (by_name(&layers), by_name(&references));
    let expected = |index: usize| {
        let of_name = |name: &Arc<str>| Some((partner(index, &own[name], others.get(name)?, &layers, &references)?, name.clone()));
        layers[index].names.iter().filter_map(of_name).max_by_key(|(partner, _)| *partner)
    };
    let compare = |index: usize| {
        let (partner, name) = expected(index)?;
        difference(&name, &references[partner].output, &layers[index].output)
    };
    Ok((0..layers.len()).filter_map(compare).collect())
}

/// Which of the nodes of a name is the one at `index`: the one in the same place where both have as many, such as a scaled input and
/// the product itself; else the last.
fn partner(index: usize, own: &[usize], others: &[usize], layers: &[Layer], references: &[Layer]) -> Option<usize> {
    let output = &layers[index].output;
    let own: Vec<usize> = own.iter().copied().filter(|&own| same_type(&layers[own].output, output)).collect();
    let others: Vec<usize> = others.iter().copied().filter(|&other| same_type(&references[other].output, output)).collect();
    match own.iter().position(|&own| own == index) {
        Some(place) if own.len() == others.len() => Some(others[place]),
        _ => others.last().copied(),
    }
}

/// The layers of each name, in order.
fn by_name(layers: &[Layer]) -> HashMap<Arc<str>, Vec<usize>> {
    let mut by_name: HashMap<Arc<str>, Vec<usize>> = HashMap::new();
    for (index, layer) in layers.iter().enumerate() {
        layer.names.iter().for_each(|name| by_name.entry(name.clone()).or_default().push(index));
    }
    by_name
}

fn same_type(a: &Tensor, b: &Tensor) -> bool {
    a.dims() == b.dims() && a.elem() == b.elem()
}

/// Names and output of every node with one output, in the order in which they run.
fn seen(run: Run<'_>) -> Result<Vec<Layer>, Report> {
    let program = run.session.program().clone();
    let mut layers = vec![];
    run.session.run_observed(run.inputs, &mut |function, node, outputs| {
        if let [output] = outputs {
            layers.push(Layer { names: program.module[function][node].loc.names.clone(), output: output.clone() });
        }
    })?;
    Ok(layers)
}
