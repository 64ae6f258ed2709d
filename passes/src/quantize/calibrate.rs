//! What the model does on calibration data: ranges of activations, and which nodes run at all.

use super::round;
use super::sites::Site;
use crate::executor::{Executor, Named};
use mokume_ir::constant::Constant;
use mokume_ir::diag::{Diagnostic, Report};
use mokume_ir::graph::{Def, Module};
use mokume_ir::ids::{FuncId, NodeId, ValueId};
use std::collections::{HashMap, HashSet};

/// What the levels of activations span.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Range {
    /// From the one number to the other: known before the model runs.
    Fixed(f32, f32),
    /// This part of the range that is found of every row as the model runs.
    Part(f32),
}

/// Of the activations of which something is known.
pub type Ranges = HashMap<Activation, Range>;

/// A value that products read.
pub type Activation = (FuncId, ValueId);

/// What was seen of sites.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// Smallest and largest number of their activations; 0 always lies between.
    pub spans: HashMap<Activation, (f32, f32)>,
    /// How many numbers of every tensor are kept.
    pub kept: usize,
    /// Those of each of them, evenly spread.
    pub numbers: HashMap<Activation, Vec<f32>>,
    /// The sites that ran.
    pub ran: HashSet<(FuncId, NodeId)>,
}

/// What looks at the model while it runs.
pub trait Watch {
    /// The node of a site is about to run, or what it reads was computed.
    fn ran(&mut self, _site: (FuncId, NodeId)) {}
    /// What a site reads, once for every value and run.
    fn read(&mut self, key: Activation, tensor: &Constant);
}

/// Runs every sample and shows `seen` what `sites` do.
///
/// Errors  when a sample does not run.
pub fn watch(
    module: &Module,
    sites: &[(FuncId, Site)],
    samples: &[Named],
    seen: &mut dyn Watch,
    executor: &dyn Executor,
) -> Result<(), Report> {
    let (mut by_node, mut inputs) = (HashMap::<_, Vec<(ValueId, usize)>>::new(), HashSet::new());
    for &(function, Site { node, x, .. }) in sites {
        by_node.entry((function, node)).or_default();
        match module[function][x].def {
            Def::Node(node, output) => {
                let values = by_node.entry((function, node)).or_default();
                if !values.contains(&(x, output as usize)) {
                    values.push((x, output as usize));
                }
            }
            Def::Input(index) if function == module.entry && inputs.insert(x) => see_input(module, x, index, samples, seen),
            _ => {}
        }
    }
    for sample in samples {
        let mut observe = |function, node, outputs: &[Constant]| {
            let Some(values) = by_node.get(&(function, node)) else { return };
            seen.ran((function, node));
            for &(value, output) in values {
                outputs.get(output).into_iter().for_each(|tensor| seen.read((function, value), tensor));
            }
        };
        executor.run(module, sample, &mut observe).map_err(failed)?;
    }
    Ok(())
}

/// The report of a calibration sample that does not run.
pub(crate) fn failed(why: String) -> Report {
    Diagnostic::input("quantize::calibration", format!("the model does not run on the calibration data: {why}")).into()
}

fn see_input(module: &Module, value: ValueId, index: u32, samples: &[Named], seen: &mut dyn Watch) {
    let name = &module.main().inputs()[index as usize].name;
    let tensors = samples.iter().flatten().filter(|(input, _)| input == name);
    tensors.for_each(|(_, tensor)| seen.read((module.entry, value), tensor));
}

impl Watch for Seen {
    fn ran(&mut self, site: (FuncId, NodeId)) {
        self.ran.insert(site);
    }
    fn read(&mut self, key: Activation, tensor: &Constant) {
        let Some(values) = tensor.to_f32s() else { return };
        let (low, high) = round::range(&values);
        let span = self.spans.entry(key).or_insert((0.0, 0.0));
        *span = (span.0.min(low), span.1.max(high));
        let taken = self.kept.min(values.len());
        self.numbers.entry(key).or_default().extend((0..taken).map(|i| values[i * values.len() / taken]));
    }
}
