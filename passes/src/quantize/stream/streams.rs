//! The model twice, side by side: as it was and as far as it is rounded, stopped at one cut for every calibration sample.
//!
//! Memory  the live values of one cut, twice per sample, beside the inputs.

use super::cuts::Cuts;
use super::segment::{port, segment};
use crate::executor::{Executor, Named};
use mokume_ir::constant::{Constant, QuantData, packed_bytes};
use mokume_ir::dim::Symbol;
use mokume_ir::graph::Module;
use mokume_ir::ids::ValueId;
use mokume_ir::types::Elem;
use std::collections::HashMap;

/// Tensors of one sample.
pub type Values = HashMap<ValueId, Constant>;

/// Both models at a cut.
pub struct Streams<'c> {
    cuts: &'c Cuts,
    /// Inputs of every sample.
    inputs: Vec<Values>,
    /// The float model's live values of every sample.
    exact: Vec<Values>,
    /// Those of the model that is rounded.
    rounded: Vec<Values>,
    at: Option<usize>,
}

impl<'c> Streams<'c> {
    /// Before anything has run.
    ///
    /// Errors  when a sample lacks an input.
    pub fn new(module: &Module, cuts: &'c Cuts, samples: &[Named]) -> Result<Self, String> {
        let inputs = samples.iter().map(|sample| inputs(module, sample)).collect::<Result<Vec<_>, _>>()?;
        let none = || vec![Values::new(); samples.len()];
        Ok(Streams { cuts, inputs, exact: none(), rounded: none(), at: None })
    }
    /// Runs both models to the cut before group `to`; both are the same before the first group.
    ///
    /// Errors  when a sample does not run.
    pub fn advance(&mut self, exact: &Module, rounded: &Module, to: usize, executor: &dyn Executor) -> Result<(), String> {
        let part = Part { cuts: self.cuts, inputs: &self.inputs, from: self.at, to, executor };
        self.exact = part.run(exact, &self.exact)?;
        self.rounded = if to == 0 { self.exact.clone() } else { part.run(rounded, &self.rounded)? };
        self.at = Some(to);
        Ok(())
    }
    /// Runs the float model alone to the cut before group `to`; the other is the same there.
    ///
    /// Errors  when a sample does not run.
    pub fn follow(&mut self, exact: &Module, to: usize, executor: &dyn Executor) -> Result<(), String> {
        let part = Part { cuts: self.cuts, inputs: &self.inputs, from: self.at, to, executor };
        self.exact = part.run(exact, &self.exact)?;
        self.rounded = self.exact.clone();
        self.at = Some(to);
        Ok(())
    }
    /// A live value or input of a sample: of the float model, and of the one that is rounded.
    pub fn pair(&self, sample: usize, value: ValueId) -> Option<(&Constant, &Constant)> {
        let input = self.inputs[sample].get(&value);
        Some((self.exact[sample].get(&value).or(input)?, self.rounded[sample].get(&value).or(input)?))
    }
    /// Number of samples.
    pub fn samples(&self) -> usize {
        self.inputs.len()
    }
}

/// What lies between two cuts.
struct Part<'p> {
    cuts: &'p Cuts,
    inputs: &'p [Values],
    from: Option<usize>,
    to: usize,
    executor: &'p dyn Executor,
}

impl Part<'_> {
    /// The live values behind this part, of every sample.
    fn run(&self, module: &Module, before: &[Values]) -> Result<Vec<Values>, String> {
        let empty: &[ValueId] = &[];
        let live = self.from.filter(|_| self.cuts.whole.is_none()).map_or(empty, |from| &self.cuts.live[from]);
        let inputs = module.main().inputs().iter().map(|port| port.value);
        let given: Vec<ValueId> = inputs.chain(live.iter().copied()).collect();
        let (kept, made): (Vec<ValueId>, Vec<ValueId>) = self.cuts.live[self.to].iter().partition(|value| given.contains(value));
        let part = segment(module, &given, &made, self.executor)?;
        let samples: Vec<Named> = self.inputs.iter().zip(before).map(|(inputs, live)| arguments(&given, inputs, live)).collect();
        let outputs = self.executor.outputs_of_each(&part, &samples)?;
        let kept =
            before.iter().map(|before| kept.iter().filter_map(|value| Some((*value, before.get(value)?.clone()))).collect::<Values>());
        let made = outputs.into_iter().map(|outputs| made.iter().copied().zip(outputs.into_iter().map(|(_, tensor)| tensor)));
        Ok(kept.zip(made).map(|(kept, made)| kept.into_iter().chain(made).collect()).collect())
    }
}

fn arguments(given: &[ValueId], inputs: &Values, live: &Values) -> Named {
    given.iter().filter_map(|value| Some((port(*value), inputs.get(value).or(live.get(value))?.clone()))).collect()
}

/// The inputs of one sample; states begin empty.
///
/// Errors  when one is missing.
pub fn inputs(module: &Module, sample: &Named) -> Result<Values, String> {
    let main = module.main();
    let given = |index: usize| sample.iter().find(|(name, _)| *name == main.inputs()[index].name).map(|(_, tensor)| tensor);
    let size_of = |symbol: &Symbol| {
        let sizes = main.inputs().iter().enumerate().filter_map(|(index, port)| Some((main.ty(port.value).dims()?, given(index)?.dims())));
        let mut pairs = sizes.flat_map(|(dims, sizes)| dims.iter().zip(sizes));
        pairs.find(|(dim, _)| dim.as_symbol() == Some(symbol)).map(|(_, size)| size as i64)
    };
    // Data that was gathered before a pass declared state may have it, empty, in the type that it had then.
    let value = |index: usize| match empty_state(module, index, &size_of) {
        Some(state) => given(index).filter(|tensor| tensor.byte_len() > 0).cloned().or(Some(state)),
        None => given(index).cloned(),
    };
    let ports = main.inputs().iter().enumerate();
    let found =
        ports.map(|(index, port)| Ok((port.value, value(index).ok_or_else(|| format!("a sample has no input \"{}\"", port.name))?)));
    found.collect()
}

/// What state input `index` holds before the first run.
fn empty_state(module: &Module, index: usize, size_of: &dyn Fn(&Symbol) -> Option<i64>) -> Option<Constant> {
    let main = module.main();
    let state = main.states.iter().find(|state| state.input as usize == index)?;
    let ty = main.ty(main.inputs()[index].value).as_tensor()?;
    let sizes = ty.shape.dims()?.iter().enumerate().map(|(axis, dim)| match state.axis {
        Some(growing) if growing as usize == axis => Some(0),
        _ => usize::try_from(dim.eval(size_of)?).ok(),
    });
    let sizes = sizes.collect::<Option<Vec<usize>>>()?;
    let codes = ty.elem.quant().map(|_| QuantData { scales: vec![].into(), zero_points: vec![].into() });
    let bytes = packed_bytes(&sizes, ty.elem).filter(|&bytes| ty.elem != Elem::String && (codes.is_none() || bytes == 0))?;
    Some(Constant::with_quant(&sizes, ty.elem, vec![0u8; bytes].into(), codes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use mokume_ir::text;

    const STATEFUL: &str = "module \"m\"

graph @f0 \"main\"(%0 \"x\": tensor<b x 1 x s x 4 x f32>, %1 \"past\": tensor<b x 1 x t x 4 x !quant<4, unsigned, row, zero_point>>) -> (\"y\", \"present\")
  state(\"past\" <- \"present\" axis 2) {
  %2 = quantize %0 {to = !quant<4, unsigned, row, zero_point>} : tensor<b x 1 x s x 4 x !quant<4, unsigned, row, zero_point>>
  %3 = concat %1, %2 {axis = 2} : tensor<b x 1 x s + t x 4 x !quant<4, unsigned, row, zero_point>>
  %4 = dequantize %3 : tensor<b x 1 x s + t x 4 x f32>
  return %4, %3
}
";

    #[test]
    fn states_begin_empty_in_the_type_that_they_have_now() {
        let module = text::parse(STATEFUL, &text::no_data).unwrap_or_else(|report| panic!("{report}"));
        let past = module.main().inputs()[1].value;
        let x = ("x".to_string(), Constant::f32s(&[1, 1, 2, 4], &[0.0; 8]));
        let float = ("past".to_string(), Constant::f32s(&[1, 1, 0, 4], &[]));
        for sample in [vec![x.clone()], vec![x, float]] {
            let state = &inputs(&module, &sample).unwrap()[&past];
            assert_eq!((state.dims(), state.ty.elem), (vec![1, 1, 0, 4], module.main().ty(past).elem().unwrap()));
        }
        assert!(inputs(&module, &vec![]).unwrap_err().contains("no input \"x\""));
    }
}
