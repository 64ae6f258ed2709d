//! Elements chosen by indices: what was read is added to where it was read from.

use super::{Parts, Seen, zeros};
use crate::grad::expr::{Expr, apply};
use mokume_ir::dim::Dim;
use mokume_ir::op::{Gather, GatherElements, GatherNd, ScatterElements, ScatterKind, ScatterNd, TopK};
use mokume_ir::types::Elem;

const ADD: ScatterNd = ScatterNd { kind: ScatterKind::Add };

/// Slices along an axis are added to zeros; the axis comes first meanwhile.
pub fn gather(node: &Seen<'_>, op: &Gather) -> Result<Parts, String> {
    let (dims, chosen, axis) = (node.dims(0)?, node.dims(1)?, op.axis as usize);
    let (rank, places) = (dims.len(), chosen.len());
    let to_front: Vec<usize> = (axis..axis + places).chain(0..axis).chain(axis + places..rank - 1 + places).collect();
    let first: Vec<Dim> = [&dims[axis..=axis], &dims[..axis], &dims[axis + 1..]].concat();
    let indices = node.x(1).cast(Elem::I64).reshape(&[&chosen[..], &[1i64.into()]].concat());
    let summed = apply(ADD, [zeros(&first), indices, node.g()?.transpose(&to_front)]);
    let back: Vec<usize> = (1..=axis).chain([0]).chain(axis + 1..rank).collect();
    Ok(node.first(summed.transpose(&back)))
}

/// Elements are added to zeros.
pub fn gather_elements(node: &Seen<'_>, op: &GatherElements) -> Result<Parts, String> {
    let scatter = ScatterElements { axis: op.axis, kind: ScatterKind::Add };
    Ok(node.first(apply(scatter, [zeros(&node.dims(0)?), node.x(1), node.g()?])))
}

/// Slices are added to zeros.
pub fn gather_nd(node: &Seen<'_>, op: &GatherNd) -> Result<Parts, String> {
    if op.batch_dims != 0 {
        return Err("it has batch axes".into());
    }
    Ok(node.first(apply(ADD, [zeros(&node.dims(0)?), node.x(1), node.g()?])))
}

/// What was written over gets nothing; an update gets what its place got. Of several updates of one place all do.
pub fn scatter_elements(node: &Seen<'_>, op: &ScatterElements) -> Result<Parts, String> {
    let (indices, g) = (node.x(1), node.g()?);
    let updates = apply(GatherElements { axis: op.axis }, [g.clone(), indices.clone()]);
    let kept = match op.kind {
        ScatterKind::Add => g,
        ScatterKind::None => apply(op.clone(), [g, indices, zeros(&node.dims(2)?)]),
        _ => return Err("it combines updates by comparison or product".into()),
    };
    Ok(vec![Some(kept), None, Some(updates)])
}

/// As [`scatter_elements`], by slices.
pub fn scatter_nd(node: &Seen<'_>, op: &ScatterNd) -> Result<Parts, String> {
    let (indices, g) = (node.x(1), node.g()?);
    let updates = apply(GatherNd { batch_dims: 0 }, [g.clone(), indices.clone()]);
    let kept = match op.kind {
        ScatterKind::Add => g,
        ScatterKind::None => apply(op.clone(), [g, indices, zeros(&node.dims(2)?)]),
        _ => return Err("it combines updates by comparison or product".into()),
    };
    Ok(vec![Some(kept), None, Some(updates)])
}

/// The values go back to where they stood.
pub fn top_k(node: &Seen<'_>, op: &TopK) -> Result<Parts, String> {
    let places: Expr = node.node.outputs[1].into();
    let scatter = ScatterElements { axis: op.axis, kind: ScatterKind::Add };
    Ok(node.first(apply(scatter, [zeros(&node.dims(0)?), places, node.g()?])))
}
