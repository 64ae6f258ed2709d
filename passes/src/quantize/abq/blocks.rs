//! Finding the blocks of a Llama by their data flow, whatever exporter wrote them.

use crate::quantize::sites::{self, Site};
use crate::query::output;
use mokume_ir::edit::Editor;
use mokume_ir::graph::Use;
use mokume_ir::ids::{NodeId, ValueId};
use mokume_ir::op::{BinaryKind, Op, Rotary};
use mokume_ir::order::order;

/// A block: `mid = input + o(attention(norm(input)))`, `end = mid + down(swiglu(norm(mid)))`.
#[derive(Debug, Clone)]
pub struct Block {
    /// The residual stream before.
    pub input: ValueId,
    /// The residual stream behind.
    pub end: ValueId,
    /// Before attention.
    pub norm1: NodeId,
    /// Attention.
    pub attention: NodeId,
    /// Before the MLP.
    pub norm2: NodeId,
    /// The products.
    pub q: Site,
    pub k: Site,
    pub v: Site,
    pub o: Site,
    pub gate: Site,
    pub up: Site,
    pub down: Site,
    /// Queries and keys turn by halves of whole heads, so that channel `i` and `i + d/2` may share a scale.
    pub halves: bool,
}

impl Block {
    /// The products, in the order they run.
    pub fn sites(&self) -> [Site; 7] {
        [self.q, self.k, self.v, self.o, self.gate, self.up, self.down]
    }
}

/// The blocks, in order; each begins where the one before ends.
///
/// Errors  with what the first attention that is part of no such block lacks.
pub fn blocks(editor: &Editor<'_>) -> Result<Vec<Block>, String> {
    let attentions = order(editor).into_iter().filter(|&id| matches!(editor[id].op, Op::Attention(_)));
    let found = attentions.map(|id| block(editor, id).map_err(|why| format!("{}: {why}", editor[id].loc)));
    let blocks = found.collect::<Result<Vec<_>, _>>()?;
    match blocks.windows(2).find(|pair| pair[0].end != pair[1].input) {
        _ if blocks.is_empty() => Err("there is no attention".into()),
        Some(pair) => Err(format!("{}: its block does not begin where the one before ends", editor[pair[1].attention].loc)),
        None => Ok(blocks),
    }
}

fn block(editor: &Editor<'_>, attention: NodeId) -> Result<Block, String> {
    let operands = &editor[attention].inputs;
    let [q, k, v] = [0, 1, 2].map(|index| source(editor, operands[index]));
    let (q, k, v) =
        (q.ok_or("queries come from no product")?, k.ok_or("keys come from no product")?, v.ok_or("values come from no product")?);
    if k.x != q.x || v.x != q.x {
        return Err("queries, keys and values read different values".into());
    }
    let (norm1, input) = norm(editor, q.x)?;
    let o = target(editor, output(&editor[attention]).ok_or("attention has two outputs")?).ok_or("no product reads attention")?;
    let mid = residual(editor, o, input)?;
    let norm2 = readers(editor, mid).find(|&id| is_norm(editor, id)).ok_or("no RMSNorm reads the stream behind attention")?;
    let normed = output(&editor[norm2]).ok_or("a norm has two outputs")?;
    let swiglu = readers(editor, normed).filter_map(|id| output(&editor[id])).flat_map(|value| readers(editor, value));
    let swiglu = swiglu.into_iter().find(|&id| matches!(editor[id].op, Op::Swiglu(_))).ok_or("its MLP is no SwiGLU")?;
    let [gate, up] = [0, 1].map(|index| source(editor, editor[swiglu].inputs[index]));
    let (gate, up) = (gate.ok_or("the gate comes from no product")?, up.ok_or("the other half of SwiGLU comes from no product")?);
    let down = target(editor, editor[swiglu].outputs[0]).ok_or("no product reads the MLP")?;
    let end = residual(editor, down, mid)?;
    Ok(Block { input, end, norm1, attention, norm2, q, k, v, o, gate, up, down, halves: halves(editor, attention) })
}

/// The product that a value is made of by moving and turning.
fn source(editor: &Editor<'_>, value: ValueId) -> Option<Site> {
    let (id, node) = editor.producer(value)?;
    match &node.op {
        Op::Matmul(_) => sites::find(editor, id).ok(),
        Op::Reshape(_) | Op::Transpose(_) | Op::Squeeze(_) | Op::Unsqueeze(_) | Op::Rotary(_) => source(editor, node.inputs[0]),
        // New keys and values behind past ones.
        Op::Concat(_) => node.inputs.iter().rev().find_map(|&input| source(editor, input)),
        _ => None,
    }
}

/// The product that reads a value, moved or not.
fn target(editor: &Editor<'_>, value: ValueId) -> Option<Site> {
    readers(editor, value).find_map(|id| match &editor[id].op {
        Op::Matmul(_) => sites::find(editor, id).ok().filter(|site| site.x == value),
        Op::Reshape(_) | Op::Transpose(_) => target(editor, output(&editor[id])?),
        _ => None,
    })
}

fn readers<'e>(editor: &'e Editor<'_>, value: ValueId) -> impl Iterator<Item = NodeId> + 'e {
    editor[value].uses.iter().filter_map(|usage| match *usage {
        Use::Operand(node, _) => Some(node),
        Use::Output(_) => None,
    })
}

fn is_norm(editor: &Editor<'_>, id: NodeId) -> bool {
    matches!(editor[id].op, Op::RmsNorm(_)) && editor.constant(editor[id].inputs[1]).is_some()
}

/// The RMSNorm that gives a value, and what it reads.
fn norm(editor: &Editor<'_>, value: ValueId) -> Result<(NodeId, ValueId), String> {
    let made = editor.producer(value).filter(|(id, _)| is_norm(editor, *id));
    made.map(|(id, node)| (id, node.inputs[0])).ok_or_else(|| "queries, keys and values read no RMSNorm".into())
}

/// `stream + product`
fn residual(editor: &Editor<'_>, product: Site, stream: ValueId) -> Result<ValueId, String> {
    let product = output(&editor[product.node]).ok_or("a product has two outputs")?;
    let sum = readers(editor, product).find(|&id| editor[id].op == Op::Binary(BinaryKind::Add) && editor[id].inputs.contains(&stream));
    sum.and_then(|id| output(&editor[id])).ok_or_else(|| "a product is not added to the stream that its norm reads".into())
}

fn halves(editor: &Editor<'_>, attention: NodeId) -> bool {
    let turns = |index: usize| rotary(editor, editor[attention].inputs[index]).is_some_and(|op| !op.interleaved && op.dims == 0);
    turns(0) && turns(1)
}

fn rotary<'e>(editor: &'e Editor<'_>, value: ValueId) -> Option<&'e Rotary> {
    let (_, node) = editor.producer(value)?;
    match &node.op {
        Op::Rotary(op) => Some(op),
        Op::Reshape(_) | Op::Transpose(_) => rotary(editor, node.inputs[0]),
        Op::Concat(_) => node.inputs.iter().rev().find_map(|&input| rotary(editor, input)),
        _ => None,
    }
}
