//! Where a model can be quantized: products of activations with constant weights.

use crate::query;
use mokume_ir::constant::Constant;
use mokume_ir::edit::Editor;
use mokume_ir::graph::{Graph, Node};
use mokume_ir::ids::{ConstId, NodeId, ValueId};
use mokume_ir::op::{Matmul, Op};
use mokume_ir::types::Elem;
use std::collections::BTreeSet;

/// A product with a constant weight.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Site {
    /// The matmul or convolution.
    pub node: NodeId,
    /// The activations.
    pub x: ValueId,
    /// The weight.
    pub weight: ConstId,
    /// Output channels.
    pub rows: usize,
    /// Terms of a sum.
    pub cols: usize,
    /// Elements of the kernel of a convolution; 1 for a matmul.
    pub taps: usize,
    /// The weight is stored `[cols, rows]`.
    pub transposed: bool,
    /// A convolution, else a matmul.
    pub conv: bool,
}

/// A weight as products read it: constant, columns and layout. Products with the same one have the same codes.
pub type WeightKey = (ConstId, usize, bool);

impl Site {
    /// Numbers of the weight, at least 1.
    pub fn elements(&self) -> f64 {
        (self.rows * self.cols).max(1) as f64
    }
    /// Its weight.
    pub fn key(&self) -> WeightKey {
        (self.weight, self.cols, self.transposed)
    }
    /// A convolution of single pixels, as in squeeze and excitation: its few activations vary from picture to picture, and
    /// finding their range at run time costs nothing.
    pub fn is_pooled(&self, graph: &Graph) -> bool {
        let spatial = graph.ty(self.x).dims().and_then(|dims| dims.get(2..)).unwrap_or_default();
        self.conv && spatial.iter().all(|dim| dim.known() == Some(1))
    }
}

/// Why a node is no site.
#[derive(Debug, Clone, PartialEq)]
pub enum Miss {
    /// It is another op.
    NoMatch,
    /// It could have been one.
    Skip(String),
}

fn skip<T>(why: impl Into<String>) -> Result<T, Miss> {
    Err(Miss::Skip(why.into()))
}

/// The site at `node`.
pub fn find(editor: &Editor<'_>, id: NodeId) -> Result<Site, Miss> {
    let node = &editor[id];
    match &node.op {
        Op::Matmul(op) => matmul(editor, id, node, op),
        Op::Conv(op) => conv(editor, id, node, op.groups),
        Op::ConvTranspose(_) => skip("transposed convolutions stay float"),
        Op::Recurrent(_) => skip("recurrent layers stay float"),
        _ => Err(Miss::NoMatch),
    }
}

fn matmul(editor: &Editor<'_>, id: NodeId, node: &Node, op: &Matmul) -> Result<Site, Miss> {
    let (x, w) = (node.inputs[0], node.inputs[1]);
    if editor.constant(w).is_none() && query::constant(editor, x).is_some_and(|constant| constant.dims().len() == 2) {
        return skip("the constant is the left operand");
    }
    let (weight, constant) = weight(editor, w)?;
    activations(editor, x)?;
    if op.transpose_a {
        return skip("the activations are transposed");
    }
    let [first, second] = constant.dims()[..] else { return skip("the weight is not a matrix") };
    let (rows, cols) = if op.transpose_b { (first, second) } else { (second, first) };
    Ok(Site { node: id, x, weight, rows, cols, taps: 1, transposed: !op.transpose_b, conv: false })
}

fn conv(editor: &Editor<'_>, id: NodeId, node: &Node, groups: i64) -> Result<Site, Miss> {
    let (weight, constant) = weight(editor, node.inputs[1])?;
    activations(editor, node.inputs[0])?;
    let dims = constant.dims();
    if groups > 1 && dims[1] == 1 {
        return skip("depthwise: there is one input channel per output, so codes would save nothing");
    }
    let (rows, cols, taps) = (dims[0], dims[1..].iter().product(), dims[2..].iter().product());
    Ok(Site { node: id, x: node.inputs[0], weight, rows, cols, taps, transposed: false, conv: true })
}

fn weight<'e>(editor: &'e Editor<'_>, value: ValueId) -> Result<(ConstId, &'e Constant), Miss> {
    match (editor.constant(value), query::constant(editor, value)) {
        (Some(id), Some(constant)) if constant.ty.elem == Elem::F32 => Ok((id, constant)),
        (_, Some(constant)) => skip(format!("the weight is {}", constant.ty.elem)),
        _ => skip("the weight is not constant"),
    }
}

fn activations(editor: &Editor<'_>, value: ValueId) -> Result<(), Miss> {
    match editor.ty(value).elem() {
        Some(Elem::F32) if editor.ty(value).dims().is_some() => Ok(()),
        Some(Elem::F32) => skip("the rank of the activations is unknown"),
        _ => skip(format!("the activations are {}", editor.ty(value))),
    }
}

/// Takes those of `sites` away behind which there is no other, unless that is all.
pub fn split_heads(graph: &Graph, sites: &mut Vec<Site>) -> Vec<Site> {
    let mut before: BTreeSet<NodeId> = BTreeSet::new();
    let mut open: Vec<ValueId> = sites.iter().map(|site| site.x).collect();
    while let Some(value) = open.pop() {
        if let Some((id, node)) = graph.producer(value).filter(|(id, _)| !before.contains(id)) {
            before.insert(id);
            open.extend(&node.inputs);
        }
    }
    let (inner, heads): (Vec<Site>, Vec<Site>) = sites.iter().partition(|site| before.contains(&site.node));
    if inner.is_empty() {
        return vec![];
    }
    *sites = inner;
    heads
}

/// Whether `pattern` (with `*` for anything) matches `name` or one of its parts between slashes.
pub fn name_matches(pattern: &str, name: &str) -> bool {
    glob(pattern.as_bytes(), name.as_bytes()) || name.split('/').any(|part| glob(pattern.as_bytes(), part.as_bytes()))
}

/// Greedy matching with one point of return: linear in practice, quadratic at worst.
fn glob(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n, mut star) = (0, 0, None);
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => (star, p) = (Some((p, n)), p + 1),
            Some(c) if *c == name[n] => (p, n) = (p + 1, n + 1),
            _ => match star {
                Some((at, from)) => (star, p, n) = (Some((at, from + 1)), at + 1, from + 1),
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|&c| c == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_names_and_parts() {
        assert!(name_matches("lm_head", "/lm_head/MatMul"));
        assert!(name_matches("*mlp*", "/model/layers.3/mlp/down_proj/MatMul"));
        assert!(name_matches("/model/layers.*/o_proj/*", "/model/layers.12/o_proj/MatMul"));
        assert!(name_matches("**", ""));
        assert!(!name_matches("lm_head", "/lm_heads/MatMul"));
        assert!(!name_matches("a*b", "abc"));
        assert!(!name_matches("", "a"));
    }
}
