//! Adds the gradient of an output with respect to inputs.
//!
//! Before  graph("x", "w") -> ("loss")
//! After   graph("x", "w") -> ("loss", "grad(x)", "grad(w)")
//!
//! Legal when  the loss has one element, and every op between it and the inputs has a derivative (rules/mod.rs) and sizes that
//!             follow from those of the inputs.
//! Exactness   exact up to the order of sums. Where a function has a corner, one of the two slopes; ties of `max` share alike.
//! Cost        O(nodes), and nodes for two to three times as much work as before.
//! Source      Griewank and Walther, "Evaluating Derivatives", 2nd edition, 2008, chapter 3 (reverse mode); Bengio, Léonard and
//!             Courville, "Estimating or Propagating Gradients Through Stochastic Neurons", 2013 (straight-through).

use super::decompose::decompose;
use super::expr::{Builder, Expr};
use super::rules::{self, Seen};
use crate::pass::{Pass, PassContext, PassError};
use mokume_ir::diag::Diagnostic;
use mokume_ir::dim::Dim;
use mokume_ir::edit::Editor;
use mokume_ir::graph::Graph;
use mokume_ir::ids::{NodeId, ValueId};
use mokume_ir::loc::Loc;
use mokume_ir::order::order;
use mokume_ir::types::Elem;
use std::collections::{HashMap, HashSet};

options! {
    /// Gradients.
    Grad {
        /// the output that is differentiated; empty for the only one
        of: String = String::new(),
        /// the inputs it is differentiated by; empty for all that are float
        by: Vec<String> = vec![],
        /// rounding to the nearest and quantization count as the identity within their range; otherwise their derivative is 0
        straight_through: bool = false,
    }
}

impl Pass for Grad {
    fn run(&self, editor: &mut Editor<'_>, cx: &mut PassContext<'_>) -> Result<(), PassError> {
        if editor.function() != editor.module().entry {
            return Ok(());
        }
        let (loss, by) = (self.loss(editor)?, self.inputs(editor)?);
        if by.is_empty() || !cx.take() {
            return Ok(());
        }
        let values: Vec<ValueId> = by.iter().map(|(_, value)| *value).collect();
        let gradients = gradients(editor, loss, &values, self.straight_through)?;
        for ((name, _), gradient) in by.iter().zip(gradients) {
            editor.add_output(format!("grad({name})"), gradient);
        }
        Ok(())
    }
}

impl Grad {
    fn loss(&self, graph: &Graph) -> Result<ValueId, PassError> {
        let ports = graph.outputs();
        let port = match &self.of[..] {
            "" => ports.first().filter(|_| ports.len() == 1),
            name => ports.iter().find(|port| port.name == name),
        };
        let names = ports.iter().map(|port| format!("\"{}\"", port.name)).collect::<Vec<_>>().join(", ");
        let missing = || Diagnostic::input("grad::of", format!("there is no output \"{}\" to differentiate", self.of));
        port.map(|port| port.value).ok_or_else(|| missing().help(format!("set `of` to one of {names}")).into())
    }

    /// Names and values of the inputs to differentiate by.
    fn inputs(&self, graph: &Graph) -> Result<Vec<(String, ValueId)>, PassError> {
        let inputs = graph.inputs();
        if let Some(name) = self.by.iter().find(|name| inputs.iter().all(|port| port.name != **name)) {
            return Err(Diagnostic::input("grad::by", format!("there is no input \"{name}\"")).into());
        }
        let is_float = |value| graph.ty(value).elem().is_some_and(Elem::is_float);
        let wanted = inputs.iter().filter(|port| if self.by.is_empty() { is_float(port.value) } else { self.by.contains(&port.name) });
        Ok(wanted.map(|port| (port.name.clone(), port.value)).collect())
    }
}

/// The gradient of `loss`, which has one element, with respect to each of `by`, in the same type.
///
/// Errors  when the loss has more elements, an op between has no derivative, or a size is known at run time only.
pub fn gradients(editor: &mut Editor<'_>, loss: ValueId, by: &[ValueId], straight_through: bool) -> Result<Vec<ValueId>, PassError> {
    write_out(editor, by)?;
    let mut backward = Backward { straight_through, active: active(editor, by), adjoints: HashMap::new(), editor };
    backward.seed(loss)?;
    for id in order(backward.editor).into_iter().rev() {
        backward.node(id)?;
    }
    let gradients = by.iter().map(|&value| backward.gradient(value)).collect::<Result<Vec<_>, _>>()?;
    Ok(gradients)
}

/// Writes out composites that depend on any of `by`.
fn write_out(editor: &mut Editor<'_>, by: &[ValueId]) -> Result<(), PassError> {
    let active = active(editor, by);
    for id in order(editor).into_iter().filter(|&id| active.contains(&editor[id].outputs[0])).collect::<Vec<_>>() {
        decompose(editor, id)?.map_err(|why| no_derivative(editor, id, &why))?;
    }
    Ok(())
}

/// The values that depend on any of `by`.
fn active(graph: &Graph, by: &[ValueId]) -> HashSet<ValueId> {
    let mut active: HashSet<ValueId> = by.iter().copied().collect();
    for id in order(graph) {
        if graph[id].inputs.iter().any(|input| active.contains(input)) {
            active.extend(&graph[id].outputs);
        }
    }
    active
}

/// A walk from the loss to the inputs.
struct Backward<'b, 'm> {
    editor: &'b mut Editor<'m>,
    straight_through: bool,
    /// What depends on the inputs.
    active: HashSet<ValueId>,
    /// The derivative of the loss by each value, as far as its readers are known.
    adjoints: HashMap<ValueId, ValueId>,
}

impl Backward<'_, '_> {
    fn seed(&mut self, loss: ValueId) -> Result<(), PassError> {
        let ty = self.editor.ty(loss).as_tensor().filter(|ty| ty.elem.is_float());
        let dims = ty.and_then(|ty| ty.shape.dims()).filter(|dims| dims.iter().all(|dim| dim.known() == Some(1)));
        let Some(dims) = dims.map(<[Dim]>::to_vec) else {
            let message = format!("the loss is {}, not one number", self.editor.ty(loss));
            return Err(Diagnostic::input("grad::loss", message).help("reduce it, for example with a sum").into());
        };
        let one = self.build(loss, &Expr::from(1.0).reshape(&dims), &Loc::default())?;
        self.adjoints.insert(loss, one);
        Ok(())
    }

    /// Adds what the readers of the operands of `id` learn from it.
    fn node(&mut self, id: NodeId) -> Result<(), PassError> {
        let outputs = self.editor[id].outputs.clone();
        let grads: Vec<Option<ValueId>> = outputs.iter().map(|output| self.adjoints.get(output).copied()).collect();
        if grads.iter().all(Option::is_none) || !outputs.iter().any(|output| self.active.contains(output)) {
            return Ok(());
        }
        let seen = Seen { editor: self.editor, node: &self.editor[id], grads: &grads, straight_through: self.straight_through };
        let parts = rules::backward(&seen).map_err(|why| no_derivative(self.editor, id, &why))?;
        let loc = self.editor[id].loc.clone();
        for (operand, part) in self.editor[id].inputs.clone().into_iter().zip(parts) {
            if let Some(part) = part.filter(|_| self.active.contains(&operand)) {
                self.add(operand, &part, &loc)?;
            }
        }
        Ok(())
    }

    fn add(&mut self, operand: ValueId, part: &Expr, loc: &Loc) -> Result<(), PassError> {
        let part = self.build(operand, part, loc)?;
        let sum = match self.adjoints.get(&operand) {
            Some(&before) => self.build(operand, &(Expr::from(before) + part), loc)?,
            None => part,
        };
        self.adjoints.insert(operand, sum);
        Ok(())
    }

    /// The gradient by a value; zeros where nothing depends on it.
    fn gradient(&mut self, value: ValueId) -> Result<ValueId, PassError> {
        if let Some(&gradient) = self.adjoints.get(&value) {
            return Ok(gradient);
        }
        let Some(dims) = self.editor.ty(value).dims().map(<[Dim]>::to_vec) else {
            return Err(Diagnostic::unsupported("grad::rank", format!("the rank of {} is unknown", self.editor.ty(value))).into());
        };
        self.build(value, &Expr::from(0.0).broadcast(&dims), &Loc::default())
    }

    /// An expression in numbers of the type of `like`.
    fn build(&mut self, like: ValueId, expr: &Expr, loc: &Loc) -> Result<ValueId, PassError> {
        let elem = self.editor.ty(like).elem().filter(|elem| elem.is_float()).unwrap_or(Elem::F32);
        Ok(Builder::new(self.editor, elem, loc.clone()).build(expr)?)
    }
}

fn no_derivative(graph: &Graph, id: NodeId, why: &str) -> PassError {
    let message = format!("{} ({}) has no gradient: {why}", graph[id].loc, graph[id].op.name());
    Diagnostic::unsupported("grad::rule", message).into()
}
