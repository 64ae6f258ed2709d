//! Layer by layer comparison: which node loses how much, matched by the user's node names.

use crate::driver::compare::{Difference, difference};
use mokume_ir::diag::Report;
use mokume_runtime::session::Session;
use mokume_runtime::tensor::Tensor;
use std::collections::HashMap;
use std::rc::Rc;
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

/// What a node of the reference computed, and the name by which it was found.
type Expected = (Arc<str>, Rc<Tensor>);

/// What a node computed, under the user's names.
struct Layer {
    names: Names,
    output: Tensor,
}

/// Compares every layer of `candidate` with the last node of `reference` that shares a name and has the same sizes and type;
/// worst first.
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
    let mut layers = Vec::new();
    observe(candidate, &mut |names, output| layers.push(Layer { names: names.clone(), output: output.clone() }))?;
    let mut by_name: HashMap<Arc<str>, Vec<usize>> = HashMap::new();
    for (index, layer) in layers.iter().enumerate() {
        layer.names.iter().for_each(|name| by_name.entry(name.clone()).or_default().push(index));
    }
    let mut expected: Vec<Option<Expected>> = layers.iter().map(|_| None).collect();
    observe(reference, &mut |names, output| {
        let shared = Rc::new(output.clone());
        let of_name = |name: &Arc<str>| by_name.get(name).into_iter().flatten().map(|&index| (name.clone(), index)).collect::<Vec<_>>();
        for (name, index) in names.iter().flat_map(of_name).filter(|(_, index)| same_type(&layers[*index].output, output)) {
            expected[index] = Some((name, shared.clone()));
        }
    })?;
    let compare = |(layer, expected): (&Layer, &Option<Expected>)| {
        let (name, expected) = expected.as_ref()?;
        difference(name, expected, &layer.output)
    };
    Ok(layers.iter().zip(&expected).filter_map(compare).collect())
}

fn same_type(a: &Tensor, b: &Tensor) -> bool {
    a.dims() == b.dims() && a.elem() == b.elem()
}

/// Shows names and output of every node with one output.
fn observe(run: Run<'_>, see: &mut dyn FnMut(&Names, &Tensor)) -> Result<(), Report> {
    let program = run.session.program().clone();
    run.session.run_observed(run.inputs, &mut |function, node, outputs| {
        if let [output] = outputs {
            see(&program.module[function][node].loc.names, output);
        }
    })?;
    Ok(())
}
