//! Ops that only move elements: gradients move back.

use super::{Parts, Seen, zeros};
use crate::grad::decompose::part;
use crate::grad::expr::{Expr, apply};
use mokume_ir::attr::Ints;
use mokume_ir::dim::Dim;
use mokume_ir::op::{Concat, Pad, PadMode, Slice, Split, Tile, Transpose, Trilu};

/// By the inverse permutation.
pub fn transpose(node: &Seen<'_>, op: &Transpose) -> Result<Parts, String> {
    let mut inverse = vec![0; op.perm.len()];
    op.perm.iter().enumerate().for_each(|(i, &axis)| inverse[axis as usize] = i);
    Ok(node.first(node.g()?.transpose(&inverse)))
}

/// Zeros around the window, and between its elements.
pub fn slice(node: &Seen<'_>, op: &Slice) -> Result<Parts, String> {
    let (dims, out) = (node.dims(0)?, node.out_dims()?);
    let late = "its bounds are known at run time only";
    let (starts, axes, steps) = (op.starts.known().ok_or(late)?, op.axes.numbers().ok_or(late)?, op.steps.numbers().ok_or(late)?);
    let mut part = node.g()?;
    let mut sizes = out.clone();
    for ((start, axis), step) in starts.iter().zip(axes).zip(steps) {
        let axis = axis as usize;
        let first = first_index(start, &dims[axis], step)?;
        let line = Line { axis, step: step.abs(), sizes: sizes.clone() };
        let (forward, first) = match step {
            1.. => (part, first),
            _ => (reversed(&part, axis), first.minus(&out[axis].minus(&1i64.into()).times(&step.abs().into()))),
        };
        part = line.placed(forward, &first, &dims[axis]);
        sizes[axis] = dims[axis].clone();
    }
    Ok(node.first(part))
}

/// The first index that a slice takes of an axis.
fn first_index(start: &Dim, size: &Dim, step: i64) -> Result<Dim, String> {
    match (start.known(), size.known()) {
        (Some(start), Some(size)) => {
            let counted = if start < 0 { start.saturating_add(size) } else { start };
            Ok(counted.clamp(0, if step > 0 { size } else { size - 1 }).into())
        }
        (Some(start), None) if start < 0 && start > i64::from(i32::MIN) => Ok(size.plus(&start.into())),
        (Some(start), None) if step < 0 && start >= i64::from(i32::MAX) => Ok(size.minus(&1i64.into())),
        _ => Ok(start.clone()),
    }
}

fn reversed(x: &Expr, axis: usize) -> Expr {
    let (starts, ends) = (Ints::of([-1]), Ints::of([i64::MIN]));
    apply(Slice { starts, ends, axes: Ints::of([axis as i64]), steps: Ints::of([-1]) }, [x.clone()])
}

/// An axis of a tensor, whose elements go `step` apart.
struct Line {
    axis: usize,
    step: i64,
    sizes: Vec<Dim>,
}

impl Line {
    /// The elements from `first` on in an axis of `size`, zeros elsewhere.
    fn placed(&self, x: Expr, first: &Dim, size: &Dim) -> Expr {
        let reach = self.sizes[self.axis].times(&self.step.into());
        let apart = if self.step == 1 { x } else { self.apart(x, &reach) };
        pad_axis(apart, self.axis, first, &size.minus(first).minus(&reach))
    }
    /// Zeros behind every element.
    fn apart(&self, x: Expr, reach: &Dim) -> Expr {
        let mut alone = self.sizes.clone();
        alone.insert(self.axis + 1, 1i64.into());
        let mut together = self.sizes.clone();
        together[self.axis] = reach.clone();
        pad_axis(x.reshape(&alone), self.axis + 1, &0i64.into(), &(self.step - 1).into()).reshape(&together)
    }
}

/// Zeros before and behind an axis; fewer elements where counts are negative.
fn pad_axis(x: Expr, axis: usize, before: &Dim, behind: &Dim) -> Expr {
    let pads = Ints::Known(vec![before.clone(), behind.clone()]);
    apply(Pad { mode: PadMode::Constant, pads, axes: Ints::of([axis as i64]), value: false }, [x])
}

/// The parts side by side, zeros for those that nothing reads.
pub fn split(node: &Seen<'_>, op: &Split) -> Result<Parts, String> {
    let parts = node.node.outputs.iter().zip(node.grads).map(|(&output, grad)| match grad {
        Some(grad) => Ok((*grad).into()),
        None => super::dims(node.editor, output).map(|dims| zeros(&dims)),
    });
    let parts = parts.collect::<Result<Vec<Expr>, String>>()?;
    Ok(node.first(apply(Concat { axis: op.axis }, parts)))
}

/// To every operand its part.
pub fn concat(node: &Seen<'_>, op: &Concat) -> Result<Parts, String> {
    let (g, axis) = (node.g()?, op.axis as usize);
    let mut from = Dim::from(0i64);
    (0..node.node.inputs.len())
        .map(|index| {
            let to = from.plus(&node.dims(index)?[axis]);
            let part = part(&g, axis, &from, &to);
            from = to;
            Ok(Some(part))
        })
        .collect()
}

/// What was added is taken away, and what was taken away is zero.
pub fn pad(node: &Seen<'_>, op: &Pad) -> Result<Parts, String> {
    let known = op.pads.known().filter(|_| op.mode == PadMode::Constant);
    let pads = known.ok_or("it repeats elements, or its pads are known at run time only")?;
    let opposite = pads.iter().map(|pad| Dim::from(0i64).minus(pad)).collect();
    let back = Pad { pads: Ints::Known(opposite), value: false, ..op.clone() };
    let axes = node.node.inputs[1 + usize::from(op.value)..].iter().map(|&axes| axes.into());
    let part = apply(back, [node.g()?].into_iter().chain(axes));
    let mut parts = node.first(part.clone());
    if op.value {
        let (rank, inner) = (node.out_dims()?.len(), part.sum(0..node.dims(0)?.len()));
        parts[1] = Some((node.g()?.sum(0..rank) - inner).reshape(&node.dims(1)?));
    }
    Ok(parts)
}

/// The sum of the copies.
pub fn tile(node: &Seen<'_>, op: &Tile) -> Result<Parts, String> {
    let (dims, repeats) = (node.dims(0)?, op.repeats.known().ok_or("its repeats are known at run time only")?);
    let apart: Vec<Dim> = repeats.iter().zip(&dims).flat_map(|(times, dim)| [times.clone(), dim.clone()]).collect();
    let summed = node.g()?.reshape(&apart).sum((0..dims.len()).map(|axis| 2 * axis));
    Ok(node.first(summed.reshape(&dims)))
}

/// The same triangle.
pub fn trilu(node: &Seen<'_>, op: &Trilu) -> Result<Parts, String> {
    let diagonal = node.node.inputs[1..].iter().map(|&value| value.into());
    Ok(node.first(apply(op.clone(), [node.g()?].into_iter().chain(diagonal))))
}
