//! State on a device: what outputs gave stays there until the next run.

use super::memory::DeviceTensor;
use crate::bind::{Constraint, Declared, Got};
use mokume_ir::graph::State;

/// The states of a program and what they hold.
pub(crate) struct DeviceStates {
    states: Vec<State>,
    held: Vec<Option<DeviceTensor>>,
}

impl DeviceStates {
    pub(crate) fn new(states: &[State]) -> Self {
        DeviceStates { states: states.to_vec(), held: vec![None; states.len()] }
    }
    pub(crate) fn reset(&mut self) {
        self.held.fill(None);
    }
    /// Bytes of what is held, without room to grow.
    pub(crate) fn bytes(&self) -> usize {
        self.held.iter().flatten().map(DeviceTensor::bytes).sum()
    }
    /// What the held states, and the emptiness of growing ones, say about symbols.
    pub(crate) fn constraints<'a>(&self, declared: &'a [Declared]) -> Vec<Constraint<'a>> {
        let mut all = Vec::new();
        for (state, held) in self.states.iter().zip(&self.held) {
            let input = &declared[state.input as usize];
            for (axis, dim) in input.ty.dims().unwrap_or(&[]).iter().enumerate() {
                let size = match (held, state.axis) {
                    (Some(tensor), _) => tensor.dims.get(axis).map(|&size| size as i64),
                    (None, Some(grows)) if grows as usize == axis => Some(0),
                    _ => None,
                };
                all.extend(size.map(|size| Constraint { input, axis, dim, size, got: Got::State(axis, size) }));
            }
        }
        all
    }
    /// The state that input `index` is, and what it holds, which leaves here.
    pub(crate) fn take(&mut self, index: usize) -> Option<(State, Option<DeviceTensor>)> {
        let at = self.states.iter().position(|state| state.input as usize == index)?;
        Some((self.states[at].clone(), self.held[at].take()))
    }
    /// Keeps output `index` if it is a state; else gives it back.
    pub(crate) fn keep(&mut self, index: usize, output: DeviceTensor) -> Option<DeviceTensor> {
        match self.states.iter().position(|state| state.output as usize == index) {
            Some(at) => {
                self.held[at] = Some(output);
                None
            }
            None => Some(output),
        }
    }
}
