//! Where a function is cut: before the first of the products that read the same activations.
//!
//! At a cut everything before it has run and nothing behind it. What lies on both sides of it is live: for a transformer the
//! residual stream, the activations that are about to be read, masks and rotary tables. Only what later activations follow from
//! counts: what lies behind the last product never runs.

use super::rows::View;
use crate::quantize::sites::Site;
use mokume_ir::graph::{Def, Graph};
use mokume_ir::ids::{NodeId, ValueId};
use mokume_ir::order::order;
use mokume_ir::types::{Elem, Type};
use std::collections::{HashMap, HashSet};

/// Products that read the same activations in the same way, in canonical order.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// The activations.
    pub x: ValueId,
    /// How their rows are read.
    pub view: View,
    /// The products.
    pub sites: Vec<Site>,
}

/// Groups of products in canonical order, with a cut before each.
#[derive(Debug, Clone, PartialEq)]
pub struct Cuts {
    /// The products.
    pub groups: Vec<Group>,
    /// What is live at the cut before each group, the activations of the group among it; neither inputs nor constants.
    pub live: Vec<Vec<ValueId>>,
    /// Why there are no cuts, if that is so: the activations of every group follow from the inputs then, and only they are live.
    pub whole: Option<String>,
}

/// The cuts of `graph` before `sites`, which are in canonical order, on the way to what they read.
pub fn cuts(graph: &Graph, sites: &[Site]) -> Cuts {
    cuts_towards(graph, sites, &[])
}

/// The cuts of `graph` before `sites`; what `ends` follow from counts too.
pub fn cuts_towards(graph: &Graph, sites: &[Site], ends: &[ValueId]) -> Cuts {
    let groups = groups(graph, sites);
    let order = order(graph);
    let at: HashMap<NodeId, usize> = order.iter().enumerate().map(|(position, &id)| (id, position)).collect();
    let needed = needed(graph, groups.iter().map(|group| group.x).chain(ends.iter().copied()));
    let mut last_read: HashMap<ValueId, usize> = HashMap::new();
    let mut read = |value: ValueId, position: usize| {
        let last = last_read.entry(value).or_default();
        *last = position.max(*last);
    };
    for id in order.iter().filter(|id| needed.contains(id)) {
        graph[*id].inputs.iter().for_each(|&value| read(value, at[id]));
    }
    let places: Vec<usize> = groups.iter().map(|group| at[&group.sites[0].node]).collect();
    groups.iter().zip(&places).for_each(|(group, &place)| read(group.x, place));
    ends.iter().for_each(|&end| read(end, order.len()));
    let live_at = |place: usize| live(graph, &at, &last_read, place);
    let live: Vec<Vec<ValueId>> = places.iter().map(|&place| live_at(place)).collect();
    match uncuttable(graph, &live) {
        None => Cuts { groups, live, whole: None },
        whole => {
            let live = groups.iter().map(|group| vec![group.x].into_iter().filter(|&x| is_made(graph, x)).collect());
            Cuts { live: live.collect(), groups, whole }
        }
    }
}

fn groups(graph: &Graph, sites: &[Site]) -> Vec<Group> {
    let mut groups: Vec<Group> = vec![];
    for &site in sites {
        let view = View::of(graph, &site);
        match groups.iter_mut().find(|group| group.x == site.x && group.view == view) {
            Some(group) => group.sites.push(site),
            None => groups.push(Group { x: site.x, view, sites: vec![site] }),
        }
    }
    groups
}

/// The nodes that `values` follow from.
fn needed(graph: &Graph, values: impl Iterator<Item = ValueId>) -> HashSet<NodeId> {
    let (mut needed, mut open) = (HashSet::new(), values.collect::<Vec<_>>());
    while let Some(value) = open.pop() {
        if let Some((id, node)) = graph.producer(value)
            && needed.insert(id)
        {
            open.extend(&node.inputs);
        }
    }
    needed
}

/// Values that are made before `place` and read there or later, in the order in which they are made.
fn live(graph: &Graph, at: &HashMap<NodeId, usize>, last_read: &HashMap<ValueId, usize>, place: usize) -> Vec<ValueId> {
    let made = |value: ValueId| match graph[value].def {
        Def::Node(id, output) => Some((*at.get(&id)?, output)),
        _ => None,
    };
    let alive = |(&value, &last): (&ValueId, &usize)| {
        let made = made(value)?;
        (made.0 < place && last >= place).then_some((made, value))
    };
    let mut live: Vec<_> = last_read.iter().filter_map(alive).collect();
    live.sort();
    live.into_iter().map(|(_, value)| value).collect()
}

fn is_made(graph: &Graph, value: ValueId) -> bool {
    matches!(graph[value].def, Def::Node(..))
}

/// Why values cannot be handed from one part to the next.
fn uncuttable(graph: &Graph, live: &[Vec<ValueId>]) -> Option<String> {
    let types = || graph.node_ids().flat_map(|id| &graph[id].outputs).map(|&output| graph.ty(output));
    let is_unknown = |ty: &Type| {
        let mut unknown = false;
        ty.dims().unwrap_or_default().iter().for_each(|dim| dim.symbols(&mut |symbol| unknown |= symbol.is_unknown()));
        unknown
    };
    if types().any(is_unknown) {
        return Some("some sizes are known only when the model runs".into());
    }
    let is_plain = |ty: &Type| ty.dims().is_some() && ty.elem().is_some_and(|elem| elem != Elem::String);
    let odd = live.iter().flatten().find(|&&value| !is_plain(graph.ty(value)));
    odd.map(|&value| format!("a value of type {} lies between its products", graph.ty(value)))
}
