//! Squared gradients of a loss by the outputs of products, stop by stop through the model.
//!
//! The model runs forth and what is live at every stop is kept; then back, from stop to stop, each part with its own gradient graph,
//! which computes again what lies between.
//!
//! Memory  the live values of all stops for a few samples, and one part with its gradients.
//! Time    two runs forth and one back per sample.

use super::loss::Loss;
use super::weighing::Weighing;
use crate::executor::{Executor, Named};
use crate::grad::expr::{Builder, Expr};
use crate::grad::gradients;
use crate::quantize::sites::Site;
use crate::quantize::stream::cuts::cuts_towards;
use crate::quantize::stream::segment::{port, segment};
use crate::quantize::stream::streams::{Values, inputs};
use mokume_ir::constant::Constant;
use mokume_ir::edit::Editor;
use mokume_ir::graph::{Graph, Module};
use mokume_ir::ids::{NodeId, ValueId};
use mokume_ir::loc::Loc;
use mokume_ir::order::order;
use mokume_ir::types::Elem;
use std::collections::{HashMap, HashSet};

/// Groups of products between two stops: those of a block of a transformer.
const GROUPS: usize = 4;
/// Samples that run side by side.
const SAMPLES: usize = 4;

/// How much errors of every product count for `loss`. `done` is told how many samples are over.
///
/// Errors  with why the loss has no gradient, or why a sample does not run.
pub fn weigh(
    module: &Module,
    sites: &[Site],
    samples: &[Named],
    loss: &Loss,
    executor: &dyn Executor,
    done: &mut dyn FnMut(usize),
) -> Result<Vec<Weighing>, String> {
    let walk = Walk::new(module, sites, loss, executor)?;
    let mut weighings: Vec<Weighing> = sites.iter().map(|site| Weighing::new(site.rows)).collect();
    for (batch, samples) in samples.chunks(SAMPLES).enumerate() {
        walk.batch(batch * SAMPLES, samples, &mut weighings)?;
        done(batch * SAMPLES + samples.len());
    }
    Ok(weighings.into_iter().map(Weighing::finish).collect())
}

/// A way through the model.
struct Walk<'w> {
    module: &'w Module,
    sites: &'w [Site],
    loss: &'w Loss,
    executor: &'w dyn Executor,
    /// The model's inputs.
    inputs: Vec<ValueId>,
    /// To the first stop.
    start: Module,
    legs: Vec<Leg>,
}

/// From one stop to the next.
struct Leg {
    /// What is live where it begins.
    live: Vec<ValueId>,
    /// What it makes of that, and how.
    made: Vec<ValueId>,
    forth: Module,
    /// By which of its results there are gradients.
    given: Vec<ValueId>,
    /// By which of the values where it begins it gives gradients, and then by the outputs of which products.
    found: (Vec<ValueId>, Vec<usize>),
    back: Module,
}

impl<'w> Walk<'w> {
    fn new(module: &'w Module, sites: &'w [Site], loss: &'w Loss, executor: &'w dyn Executor) -> Result<Self, String> {
        let (graph, ends) = (module.main(), loss.ends());
        let cuts = cuts_towards(graph, sites, &ends);
        if let Some(why) = cuts.whole {
            return Err(why);
        }
        let at: HashMap<NodeId, usize> = order(graph).into_iter().enumerate().map(|(position, id)| (id, position)).collect();
        let stops: Vec<usize> = (0..cuts.groups.len()).step_by(GROUPS).collect();
        let place = |stop: usize| at[&cuts.groups[stops[stop]].sites[0].node];
        let leg_of = |site: &Site| (1..stops.len()).take_while(|&stop| place(stop) <= at[&site.node]).count();
        let inputs: Vec<ValueId> = graph.inputs().iter().map(|port| port.value).collect();
        let follows = follows(graph, sites);
        let first = stops.first().map_or(&ends, |&stop| &cuts.live[stop]);
        let start = segment(module, &inputs, &without(first, &inputs), executor)?;
        let mut legs = vec![];
        for (number, &stop) in stops.iter().enumerate() {
            let next = stops.get(number + 1).map_or(&ends, |&next| &cuts.live[next]);
            let own = sites.iter().enumerate().filter(|(_, site)| leg_of(site) == number).map(|(index, _)| index).collect();
            let section = Section { module, inputs: &inputs, live: &cuts.live[stop], next, follows: &follows, executor };
            legs.push(section.leg(sites, own)?);
        }
        Ok(Walk { module, sites, loss, executor, inputs, start, legs })
    }

    /// Counts the gradients of some samples, of which the first has a number.
    fn batch(&self, first: usize, samples: &[Named], weighings: &mut [Weighing]) -> Result<(), String> {
        let inputs = samples.iter().map(|sample| inputs(self.module, sample)).collect::<Result<Vec<_>, _>>()?;
        let mut stops = vec![self.begin(&inputs)?];
        for leg in &self.legs[..self.legs.len().saturating_sub(1)] {
            let live = self.forth(leg, &inputs, stops.last().map_or(&[], Vec::as_slice))?;
            stops.push(live);
        }
        let mut adjoints: Vec<Values> = vec![Values::new(); samples.len()];
        for (number, (leg, live)) in self.legs.iter().zip(stops).enumerate().rev() {
            let is_last = number + 1 == self.legs.len();
            for (sample, adjoint) in adjoints.iter_mut().enumerate() {
                if is_last {
                    *adjoint = self.end(leg, &inputs[sample], &live[sample], first + sample)?;
                }
            }
            let arguments = inputs.iter().zip(&live).zip(&adjoints).map(|((inputs, live), adjoints)| {
                let adjoints = leg.given.iter().filter_map(|&value| Some((adjoint(value), adjoints.get(&value)?.clone())));
                self.arguments(leg, inputs, live).into_iter().chain(adjoints).collect()
            });
            let gradients = self.executor.outputs_of_each(&leg.back, &arguments.collect::<Vec<Named>>())?;
            for (sample, gradients) in gradients.into_iter().enumerate() {
                adjoints[sample] = self.count(leg, gradients, weighings)?;
            }
        }
        Ok(())
    }

    fn begin(&self, inputs: &[Values]) -> Result<Vec<Values>, String> {
        let arguments: Vec<Named> = inputs.iter().map(|inputs| named(&self.inputs, &[inputs])).collect();
        let outputs = self.executor.outputs_of_each(&self.start, &arguments)?;
        let made = self.legs.first().map(|leg| without(&leg.live, &self.inputs)).unwrap_or_default();
        Ok(outputs.into_iter().map(|outputs| values(&made, outputs)).collect())
    }

    /// What is live where the next leg begins.
    fn forth(&self, leg: &Leg, inputs: &[Values], live: &[Values]) -> Result<Vec<Values>, String> {
        let arguments: Vec<Named> = inputs.iter().zip(live).map(|(inputs, live)| self.arguments(leg, inputs, live)).collect();
        let outputs = self.executor.outputs_of_each(&leg.forth, &arguments)?;
        let next = outputs.into_iter().zip(live).map(|(outputs, live)| {
            let mut next = live.clone();
            next.extend(values(&leg.made, outputs));
            next
        });
        Ok(next.collect())
    }

    /// A gradient of the loss by the outputs of one sample.
    fn end(&self, leg: &Leg, inputs: &Values, live: &Values, sample: usize) -> Result<Values, String> {
        let made = values(&leg.made, self.executor.outputs(&leg.forth, &self.arguments(leg, inputs, live))?);
        let ends = self.loss.ends();
        let outputs = ends.iter().map(|end| made.get(end).or(live.get(end)).or(inputs.get(end))).collect::<Option<Vec<_>>>();
        let outputs = outputs.ok_or("an output was not computed")?;
        let gradient = self.loss.gradient(sample, &outputs).ok_or("an output is no f32 tensor with rows")?;
        Ok(ends.into_iter().zip(gradient).collect())
    }

    fn arguments(&self, leg: &Leg, inputs: &Values, live: &Values) -> Named {
        let given: Vec<ValueId> = self.inputs.iter().chain(&leg.live).copied().collect();
        named(&given, &[inputs, live])
    }

    /// The gradients where a leg begins; those of its products are counted.
    fn count(&self, leg: &Leg, gradients: Named, weighings: &mut [Weighing]) -> Result<Values, String> {
        let (before, products) = &leg.found;
        let mut gradients = gradients.into_iter();
        let before = values(before, gradients.by_ref().take(before.len()).collect());
        for (&index, (_, gradient)) in products.iter().zip(gradients) {
            let axis = if self.sites[index].conv { 1 } else { gradient.dims().len().saturating_sub(1) };
            weighings[index].add(&gradient, axis)?;
        }
        Ok(before)
    }
}

/// What a leg is made of.
struct Section<'s> {
    module: &'s Module,
    inputs: &'s [ValueId],
    live: &'s [ValueId],
    next: &'s [ValueId],
    /// Values that depend on a product.
    follows: &'s HashSet<ValueId>,
    executor: &'s dyn Executor,
}

impl Section<'_> {
    fn leg(&self, sites: &[Site], own: Vec<usize>) -> Result<Leg, String> {
        let given: Vec<ValueId> = self.inputs.iter().chain(self.live).copied().collect();
        let made = without(self.next, &given);
        let forth = segment(self.module, &given, &made, self.executor)?;
        let (ahead, before) = (self.differentiable(self.next), self.differentiable(self.live));
        let products: Vec<ValueId> = own.iter().map(|&index| self.module.main()[sites[index].node].outputs[0]).collect();
        let back = self.back(&given, &ahead, &before, &products)?;
        Ok(Leg { live: self.live.to_vec(), made, forth, given: ahead, found: (before, own), back })
    }
    /// Of `values` those by which there are gradients that lead to a product.
    fn differentiable(&self, values: &[ValueId]) -> Vec<ValueId> {
        let graph = self.module.main();
        let is_real = |value: ValueId| graph.ty(value).elem() == Some(Elem::F32);
        values.iter().copied().filter(|value| self.follows.contains(value) && is_real(*value)).collect()
    }
    /// From gradients by `ahead` to gradients by `before` and `products`.
    fn back(&self, given: &[ValueId], ahead: &[ValueId], before: &[ValueId], products: &[ValueId]) -> Result<Module, String> {
        let wanted: Vec<ValueId> = ahead.iter().chain(products).copied().collect();
        let mut part = segment(self.module, given, &wanted, self.executor)?;
        let entry = part.entry;
        let editor = &mut Editor::new(&mut part, entry);
        let ports: Vec<ValueId> = editor.outputs().iter().map(|port| port.value).collect();
        let terms = ahead.iter().zip(&ports).map(|(&value, &output)| term(editor, value, output)).collect::<Result<Vec<_>, _>>()?;
        let loss = terms.into_iter().reduce(|sum, term| sum + term).ok_or("the loss does not depend on a product")?;
        let loss = Builder::new(editor, Elem::F32, Loc::default()).build(&loss).map_err(|error| error.to_string())?;
        let input = |value: &ValueId| editor.inputs().iter().find(|input| input.name == port(*value)).map(|input| input.value);
        let by: Vec<ValueId> = before.iter().filter_map(input).chain(ports[ahead.len()..].iter().copied()).collect();
        let found = gradients(editor, loss, &by, false).map_err(|error| error.to_string())?;
        (0..ports.len()).for_each(|_| editor.remove_output(0));
        found.iter().enumerate().for_each(|(index, &gradient)| editor.add_output(format!("gradient.{index}"), gradient));
        Ok(part)
    }
}

/// `Σ output * gradient`, with the gradient as an input.
fn term(editor: &mut Editor<'_>, value: ValueId, output: ValueId) -> Result<Expr, String> {
    let ty = editor.ty(output).clone();
    let rank = ty.dims().ok_or("the rank of a value is unknown")?.len();
    let gradient = editor.add_input(adjoint(value), ty);
    Ok((Expr::from(output) * Expr::from(gradient)).sum(0..rank).reshape(&[]))
}

fn adjoint(value: ValueId) -> String {
    format!("gradient({})", port(value))
}

/// All values that depend on the output of a product.
fn follows(graph: &Graph, sites: &[Site]) -> HashSet<ValueId> {
    let products: HashSet<NodeId> = sites.iter().map(|site| site.node).collect();
    let mut follows = HashSet::new();
    for id in order(graph) {
        if products.contains(&id) || graph[id].inputs.iter().any(|input| follows.contains(input)) {
            follows.extend(&graph[id].outputs);
        }
    }
    follows
}

fn without(values: &[ValueId], others: &[ValueId]) -> Vec<ValueId> {
    values.iter().filter(|value| !others.contains(value)).copied().collect()
}

fn named(values: &[ValueId], from: &[&Values]) -> Named {
    values.iter().filter_map(|value| Some((port(*value), from.iter().find_map(|values| values.get(value))?.clone()))).collect()
}

fn values(ids: &[ValueId], outputs: Named) -> Values {
    let tensors: Vec<Constant> = outputs.into_iter().map(|(_, tensor)| tensor).collect();
    ids.iter().copied().zip(tensors).collect()
}
