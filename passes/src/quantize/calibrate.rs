//! Ranges of activations, seen while the model runs on calibration data.

use super::round::range;
use crate::executor::{Executor, Named};
use mokume_ir::constant::Constant;
use mokume_ir::diag::{Diagnostic, Report};
use mokume_ir::graph::{Def, Module};
use mokume_ir::ids::{FuncId, ValueId};
use std::collections::HashMap;

/// Smallest and largest number of every value that was asked for and seen; 0 always lies between.
pub type Ranges = HashMap<(FuncId, ValueId), (f32, f32)>;

/// Runs every sample and keeps the ranges of `wanted`.
///
/// Errors  when a sample does not run.
pub fn ranges(module: &Module, wanted: &[(FuncId, ValueId)], samples: &[Named], executor: &dyn Executor) -> Result<Ranges, Report> {
    let mut ranges: Ranges = HashMap::new();
    let mut by_node: HashMap<_, Vec<(ValueId, usize)>> = HashMap::new();
    for &(function, value) in wanted {
        match module[function][value].def {
            Def::Node(node, output) => by_node.entry((function, node)).or_default().push((value, output as usize)),
            Def::Input(index) if function == module.entry => see_input(module, value, index, samples, &mut ranges),
            _ => {}
        }
    }
    for sample in samples {
        let mut observe = |function, node, outputs: &[Constant]| {
            for &(value, output) in by_node.get(&(function, node)).into_iter().flatten() {
                outputs.get(output).into_iter().for_each(|seen| widen(&mut ranges, (function, value), seen));
            }
        };
        executor.run(module, sample, &mut observe).map_err(|why| {
            Report::from(Diagnostic::input("quantize::calibration", format!("the model does not run on the calibration data: {why}")))
        })?;
    }
    Ok(ranges)
}

fn see_input(module: &Module, value: ValueId, index: u32, samples: &[Named], ranges: &mut Ranges) {
    let name = &module.main().inputs()[index as usize].name;
    let tensors = samples.iter().flatten().filter(|(input, _)| input == name);
    tensors.for_each(|(_, tensor)| widen(ranges, (module.entry, value), tensor));
}

fn widen(ranges: &mut Ranges, key: (FuncId, ValueId), seen: &Constant) {
    let Some(values) = seen.to_f32s() else { return };
    let (low, high) = range(&values);
    let entry = ranges.entry(key).or_insert((0.0, 0.0));
    *entry = (entry.0.min(low), entry.1.max(high));
}
