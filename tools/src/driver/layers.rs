//! Layer by layer comparison: which node loses how much, matched by the user's node names.

use crate::driver::compare::{Difference, difference};
use mokume_ir::diag::Report;
use mokume_runtime::session::Session;
use mokume_runtime::tensor::Tensor;
use std::collections::HashMap;

/// What a node computed, under the user's names.
struct Layer {
    names: Vec<String>,
    output: Tensor,
}

/// Runs both sessions and compares every layer of `candidate` with the node of `reference` that it ends in; worst first.
///
/// Errors  when a run fails.
pub fn compare_layers(reference: &mut Session, candidate: &mut Session, inputs: &[(String, Tensor)]) -> Result<Vec<Difference>, Report> {
    let expected = record(reference, inputs)?;
    let mut by_name: HashMap<&str, usize> = HashMap::new();
    for (index, layer) in expected.iter().enumerate() {
        layer.names.iter().for_each(|name| {
            by_name.insert(name, index);
        });
    }
    let got = record(candidate, inputs)?;
    let mut differences: Vec<_> = got.iter().filter_map(|layer| compare_layer(layer, &expected, &by_name)).collect();
    differences.sort_by(|a, b| a.cosine.total_cmp(&b.cosine).then_with(|| a.name.cmp(&b.name)));
    Ok(differences)
}

fn record(session: &mut Session, inputs: &[(String, Tensor)]) -> Result<Vec<Layer>, Report> {
    let program = session.program().clone();
    let mut layers = Vec::new();
    session.run_observed(inputs, &mut |function, node, outputs| {
        let loc = &program.module[function][node].loc;
        if let [output] = outputs {
            layers.push(Layer { names: loc.names.iter().map(ToString::to_string).collect(), output: output.clone() });
        }
    })?;
    Ok(layers)
}

/// Against the last reference node that shares a name and has the same sizes and type.
fn compare_layer(layer: &Layer, expected: &[Layer], by_name: &HashMap<&str, usize>) -> Option<Difference> {
    let same = |index: &usize| {
        let output = &expected[*index].output;
        output.dims() == layer.output.dims() && output.elem() == layer.output.elem()
    };
    let (name, index) = layer
        .names
        .iter()
        .filter_map(|name| Some((name, *by_name.get(name.as_str())?)))
        .filter(|(_, index)| same(index))
        .max_by_key(|(_, index)| *index)?;
    difference(name, &expected[index].output, &layer.output)
}
