//! Channels that a factor may pass: what divides them, and what multiplies them again.

use super::heads::{self, Projection};
use super::region::Slot;
use crate::quantize::sites::{self, Site};
use crate::query;
use mokume_ir::edit::Editor;
use mokume_ir::graph::{Graph, Use};
use mokume_ir::ids::{NodeId, ValueId};
use mokume_ir::op::{Attention, Op};

/// Channels between constants on both sides.
#[derive(Debug, Clone)]
pub struct Group {
    /// The value that has the channels, along its last axis.
    pub value: ValueId,
    /// Constants to divide.
    pub divided: Vec<Slot>,
    /// Constants to multiply.
    pub multiplied: Vec<Slot>,
    /// The factor of every channel of the value.
    pub channels: Vec<usize>,
    /// The factor of every channel of what is multiplied.
    pub reads: Vec<usize>,
    /// The factor of every channel of what is divided.
    pub writes: Vec<usize>,
    /// The value whose channels the factors multiply, where that is not the constants' doing alone.
    pub against: Option<ValueId>,
    /// The products that read the value; none where it is keys.
    pub readers: Vec<Site>,
}

/// Which groups to find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kinds {
    /// Values of attention.
    pub values: bool,
    /// Keys and queries.
    pub keys: bool,
}

/// The groups at `id`; of those that were asked for and do not exist, why.
pub fn groups(editor: &Editor<'_>, id: NodeId, kinds: Kinds) -> Vec<Result<Group, String>> {
    let node = &editor[id];
    match &node.op {
        Op::Attention(op) => {
            let values = kinds.values.then(|| values(editor, id, op).map_err(|why| format!("no factors for its values: {why}")));
            let keys = kinds.keys.then(|| keys(editor, id).map_err(|why| format!("no factors for its keys: {why}")));
            values.into_iter().chain(keys).collect()
        }
        Op::Activation(_) if kinds.values && readers(editor, id).is_some() => {
            vec![Err("no factors for its result: a factor does not pass it, as it is not linear".into())]
        }
        _ => direct(editor, id).map(Ok).into_iter().collect(),
    }
}

/// A norm or gate and the products that are its only readers.
fn direct(editor: &Editor<'_>, id: NodeId) -> Option<Group> {
    let divided = divided(editor, id)?;
    let readers = readers(editor, id)?;
    let identity: Vec<usize> = (0..readers[0].cols).collect();
    let multiplied = readers.iter().map(columns).collect();
    let value = query::output(&editor[id])?;
    Some(Group {
        value,
        divided,
        multiplied,
        channels: identity.clone(),
        reads: identity.clone(),
        writes: identity,
        against: None,
        readers,
    })
}

/// The products with weights of their own that are all that reads the result of `id`.
fn readers(editor: &Editor<'_>, id: NodeId) -> Option<Vec<Site>> {
    let read = |usage: &Use| match *usage {
        Use::Operand(node, 0) => sites::find(editor, node).ok().filter(|site| !site.conv && is_own(editor, node, 1)),
        _ => None,
    };
    let readers = editor[query::output(&editor[id])?].uses.iter().map(read).collect::<Option<Vec<Site>>>()?;
    (!readers.is_empty()).then_some(readers)
}

/// The constants that scale the channels of what `id` gives.
fn divided(editor: &Editor<'_>, id: NodeId) -> Option<Vec<Slot>> {
    let node = &editor[id];
    match &node.op {
        Op::RmsNorm(_) | Op::LayerNorm(_) => {
            let vector = |index: usize| query::constant(editor, node.inputs[index]).is_some_and(|constant| constant.dims().len() == 1);
            let slot = |operand: usize| vector(operand).then_some(Slot { node: id, operand, axis: 0, reads: false });
            (1..node.inputs.len()).map(slot).collect()
        }
        Op::Swiglu(_) => {
            let up = node.inputs[1];
            let (product, _) = editor.producer(up)?;
            let site = sites::find(editor, product).ok().filter(|site| !site.conv)?;
            let own = editor.single_user(up) == Some(id) && is_own(editor, product, 1);
            own.then(|| vec![Slot { node: product, operand: 1, axis: usize::from(site.transposed), reads: false }])
        }
        _ => None,
    }
}

/// Values of attention: every channel of a key head, as many times as query heads read it.
fn values(editor: &Editor<'_>, id: NodeId, op: &Attention) -> Result<Group, String> {
    let readers = readers(editor, id).filter(|_| op.join_heads).ok_or("something else than products reads what is attended to")?;
    let value = editor[id].inputs[2];
    let projection = heads::projection(editor, value, id)?;
    let (heads, channels) = heads_and_channels(editor, value).ok_or("the sizes of heads are not known")?;
    let repeats = readers[0].cols / (heads * channels).max(1);
    let reads: Vec<usize> = (0..readers[0].cols).map(|at| at / channels / repeats.max(1) * channels + at % channels).collect();
    let multiplied = readers.iter().map(columns).collect();
    let value = query::output(&editor[id]).ok_or("it has several results")?;
    let writes = (0..heads * channels).collect();
    Ok(Group { value, divided: projection.slots, multiplied, channels: reads.clone(), reads, writes, against: None, readers })
}

/// Keys, which factors divide, and queries, which they multiply: one factor for both channels that positions rotate, in all heads.
fn keys(editor: &Editor<'_>, id: NodeId) -> Result<Group, String> {
    let [queries, keys] = [0, 1].map(|operand| heads::projection(editor, editor[id].inputs[operand], id));
    let (queries, keys) = (queries?, keys?);
    let (_, channels) = heads_and_channels(editor, keys.heads).ok_or("the sizes of heads are not known")?;
    let (query_heads, _) = heads_and_channels(editor, queries.heads).ok_or("the sizes of heads are not known")?;
    let (key_heads, _) = heads_and_channels(editor, keys.heads).ok_or("the sizes of heads are not known")?;
    let tied = tied(&keys, &queries, channels)?;
    let repeated = |heads: usize| (0..heads * channels).map(|at| tied[at % channels]).collect();
    let (reads, writes): (Vec<usize>, Vec<usize>) = (repeated(query_heads), repeated(key_heads));
    let against = Some(queries.heads);
    Ok(Group { value: keys.heads, divided: keys.slots, multiplied: queries.slots, channels: tied, reads, writes, against, readers: vec![] })
}

/// The factor of every channel of a head: pairs that turn into each other share one.
fn tied(keys: &Projection, queries: &Projection, channels: usize) -> Result<Vec<usize>, String> {
    if keys.rotary != queries.rotary {
        return Err("positions turn keys and queries differently".into());
    }
    let Some(rotary) = &keys.rotary else { return Ok((0..channels).collect()) };
    let turned = if rotary.dims == 0 { channels } else { rotary.dims as usize };
    Ok((0..channels)
        .map(|at| {
            if at >= turned {
                at
            } else if rotary.interleaved {
                at / 2 * 2
            } else {
                at % (turned / 2)
            }
        })
        .collect())
}

fn heads_and_channels(graph: &Graph, value: ValueId) -> Option<(usize, usize)> {
    let [_, heads, _, channels] = graph.ty(value).dims()? else { return None };
    Some((usize::try_from(heads.known()?).ok()?, usize::try_from(channels.known()?).ok().filter(|&channels| channels > 0)?))
}

/// The slot of the channels that a product sums over.
fn columns(site: &Site) -> Slot {
    Slot { node: site.node, operand: 1, axis: usize::from(!site.transposed), reads: true }
}

/// Whether only this operand reads the value.
fn is_own(editor: &Editor<'_>, node: NodeId, operand: usize) -> bool {
    editor[editor[node].inputs[operand]].uses.len() == 1
}
