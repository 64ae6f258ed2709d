//! Declares past key and value inputs as state that the runtime keeps.
//!
//! Before  graph("ids", "past_key_values.0.key", …) -> ("logits", "present.0.key", …)
//! After   the same, with state("past_key_values.0.key" <- "present.0.key" axis 2): neither is seen by the user
//!
//! Legal when  names pair up and the two types are equal, or equal but for one axis that the output has longer.
//! Exactness   exact: a run continues where the last one ended.
//! Cost        O(inputs * outputs).

use crate::pass::{Pass, PassContext, PassError};
use mokume_ir::edit::Editor;
use mokume_ir::graph::{Graph, State};

options! {
    /// Past and present key values as state.
    DeclareState {
        /// how names of state inputs begin
        past: String = "past_key_values.".into(),
        /// how names of the outputs that feed them begin
        present: String = "present.".into(),
    }
}

impl Pass for DeclareState {
    fn run(&self, editor: &mut Editor<'_>, cx: &mut PassContext<'_>) -> Result<(), PassError> {
        if editor.function() != editor.module().entry {
            return Ok(());
        }
        for state in self.pairs(editor) {
            if !cx.take() {
                return Ok(());
            }
            editor.declare_state(state);
        }
        Ok(())
    }
}

impl DeclareState {
    /// Pairs that are not declared yet.
    fn pairs(&self, graph: &Graph) -> Vec<State> {
        let inputs = graph.inputs().iter().enumerate().filter(|(i, _)| graph.states.iter().all(|s| s.input as usize != *i));
        inputs.filter_map(|(input, port)| self.pair(graph, input, port.name.strip_prefix(&self.past)?)).collect()
    }
    fn pair(&self, graph: &Graph, input: usize, rest: &str) -> Option<State> {
        let output = graph.outputs().iter().position(|port| port.name.strip_prefix(&self.present) == Some(rest))?;
        let axis = growing_axis(graph, input, output)?;
        Some(State { input: input as u32, output: output as u32, axis })
    }
}

/// None: the types do not fit. `Some(None)`: equal types. `Some(Some(axis))`: the output is longer along one axis.
fn growing_axis(graph: &Graph, input: usize, output: usize) -> Option<Option<u32>> {
    let past = graph.ty(graph.inputs()[input].value).as_tensor()?;
    let present = graph.ty(graph.outputs()[output].value).as_tensor()?;
    let (before, after) = (past.shape.dims()?, present.shape.dims()?);
    if past.elem != present.elem || before.len() != after.len() {
        return None;
    }
    let different: Vec<usize> = (0..before.len()).filter(|&axis| before[axis] != after[axis]).collect();
    match different[..] {
        [] => Some(None),
        [axis] if before[axis].as_symbol().is_some() => Some(Some(axis as u32)),
        _ => None,
    }
}
