//! What the model does on calibration data: ranges of activations, and which nodes run at all.

use super::round::range;
use super::sites::Site;
use crate::executor::{Executor, Named};
use mokume_ir::constant::Constant;
use mokume_ir::diag::{Diagnostic, Report};
use mokume_ir::graph::{Def, Module};
use mokume_ir::ids::{FuncId, NodeId, ValueId};
use std::collections::{HashMap, HashSet};

/// Smallest and largest number of every value that was asked for and seen; 0 always lies between.
pub type Ranges = HashMap<(FuncId, ValueId), (f32, f32)>;

/// What was seen of sites.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// Ranges of their activations.
    pub ranges: Ranges,
    /// Some of the numbers of each of them, evenly spread, where any are asked for.
    pub numbers: HashMap<(FuncId, ValueId), Vec<f32>>,
    /// The sites that ran.
    pub ran: HashSet<(FuncId, NodeId)>,
}

/// Runs every sample and looks at `sites`; `numbers` of every tensor are kept.
///
/// Errors  when a sample does not run.
pub fn watch(
    module: &Module,
    sites: &[(FuncId, Site)],
    samples: &[Named],
    numbers: usize,
    executor: &dyn Executor,
) -> Result<Seen, Report> {
    let mut seen = Seen::default();
    let mut by_node: HashMap<_, Vec<(ValueId, usize)>> = HashMap::new();
    for &(function, Site { node, x, .. }) in sites {
        by_node.entry((function, node)).or_default();
        match module[function][x].def {
            Def::Node(node, output) => by_node.entry((function, node)).or_default().push((x, output as usize)),
            Def::Input(index) if function == module.entry => see_input(module, x, index, samples, numbers, &mut seen),
            _ => {}
        }
    }
    for sample in samples {
        let mut observe = |function, node, outputs: &[Constant]| {
            let Some(values) = by_node.get(&(function, node)) else { return };
            seen.ran.insert((function, node));
            for &(value, output) in values {
                outputs.get(output).into_iter().for_each(|tensor| seen.add((function, value), tensor, numbers));
            }
        };
        executor.run(module, sample, &mut observe).map_err(failed)?;
    }
    Ok(seen)
}

/// The report of a calibration sample that does not run.
pub(crate) fn failed(why: String) -> Report {
    Diagnostic::input("quantize::calibration", format!("the model does not run on the calibration data: {why}")).into()
}

fn see_input(module: &Module, value: ValueId, index: u32, samples: &[Named], numbers: usize, seen: &mut Seen) {
    let name = &module.main().inputs()[index as usize].name;
    let tensors = samples.iter().flatten().filter(|(input, _)| input == name);
    tensors.for_each(|(_, tensor)| seen.add((module.entry, value), tensor, numbers));
}

impl Seen {
    fn add(&mut self, key: (FuncId, ValueId), tensor: &Constant, numbers: usize) {
        let Some(values) = tensor.to_f32s() else { return };
        let (low, high) = range(&values);
        let entry = self.ranges.entry(key).or_insert((0.0, 0.0));
        *entry = (entry.0.min(low), entry.1.max(high));
        let taken = numbers.min(values.len());
        self.numbers.entry(key).or_default().extend((0..taken).map(|i| values[i * values.len() / taken]));
    }
}
