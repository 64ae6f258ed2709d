//! Takes what follows an integer product into it: bias, residual, gate and activation, in any order.

use crate::pass::{PassContext, PassError};
use crate::query::{self, output, same_type};
use crate::term::{self, Term};
use mokume_ir::constant::Constant;
use mokume_ir::edit::Editor;
use mokume_ir::graph::Node;
use mokume_ir::ids::{NodeId, ValueId};
use mokume_ir::op::{ActivationKind, BinaryKind, Epilogue, Op, UnaryKind};
use mokume_ir::order::order;

/// Extends every integer product by the only reader of its result, as long as that fits.
pub(super) fn fuse(editor: &mut Editor<'_>, cx: &mut PassContext<'_>) -> Result<(), PassError> {
    for id in order(editor) {
        let mut product = id;
        while let Some((reader, term)) = editor.node(product).and_then(|node| extend(editor, node)) {
            if !cx.take() {
                return Ok(());
            }
            let loc = editor[product].loc.clone();
            term::replace(editor, reader, term)?;
            editor.add_loc(reader, &loc);
            product = reader;
        }
    }
    Ok(())
}

/// The reader of the product at `node`, and the product that does the reader's work too.
fn extend(editor: &Editor<'_>, node: &Node) -> Option<(NodeId, Term)> {
    epilogue(&node.op)?;
    let y = output(node)?;
    let reader = editor.single_user(y)?;
    let steps = steps(editor, y, reader, channel_axis(&node.op, editor.ty(y).dims()?.len()))?;
    let mut op = node.op.clone();
    let mut operands: Vec<Term> = node.inputs.iter().map(|&input| input.into()).collect();
    for (step, operand) in steps {
        epilogue_mut(&mut op)?.push(step);
        operands.extend(operand);
    }
    Some((reader, Term::Apply(op, operands)))
}

fn epilogue(op: &Op) -> Option<&[Epilogue]> {
    match op {
        Op::BitMatmul(op) => Some(&op.epilogue),
        Op::BitConv(op) => Some(&op.epilogue),
        _ => None,
    }
}

fn epilogue_mut(op: &mut Op) -> Option<&mut Vec<Epilogue>> {
    match op {
        Op::BitMatmul(op) => Some(&mut op.epilogue),
        Op::BitConv(op) => Some(&mut op.epilogue),
        _ => None,
    }
}

/// The axis of output channels, counted from the back.
fn channel_axis(op: &Op, rank: usize) -> usize {
    if matches!(op, Op::BitConv(_)) { rank - 1 } else { 1 }
}

/// What `reader` does to `y`, as steps with their operands.
fn steps(editor: &Editor<'_>, y: ValueId, reader: NodeId, channels: usize) -> Option<Vec<(Epilogue, Option<Term>)>> {
    let node = &editor[reader];
    if !same_type(editor, output(node)?, y) {
        return None;
    }
    let alone = |step: Epilogue| Some(vec![(step, None)]);
    match &node.op {
        Op::Unary(UnaryKind::Relu) => alone(Epilogue::Relu),
        Op::Unary(UnaryKind::Sigmoid) => alone(Epilogue::Sigmoid),
        Op::Activation(op) => match op.kind {
            ActivationKind::Silu if op.alpha == 1.0 => alone(Epilogue::Silu),
            ActivationKind::Gelu => alone(Epilogue::Gelu),
            ActivationKind::GeluTanh => alone(Epilogue::GeluTanh),
            ActivationKind::HardSwish => alone(Epilogue::HardSwish),
            _ => None,
        },
        Op::Swiglu(_) if node.inputs[0] == y => Some(vec![(Epilogue::Silu, None), (Epilogue::Mul, Some(node.inputs[1].into()))]),
        Op::Binary(kind) => binary(editor, y, *kind, node, channels).map(|step| vec![step]),
        _ => None,
    }
}

fn binary(editor: &Editor<'_>, y: ValueId, kind: BinaryKind, node: &Node, channels: usize) -> Option<(Epilogue, Option<Term>)> {
    let other = if node.inputs[0] == y { node.inputs[1] } else { node.inputs[0] };
    match kind {
        BinaryKind::Add => match bias(editor, y, other, channels) {
            Some(bias) => Some((Epilogue::Bias, Some(bias.into()))),
            None => same_type(editor, other, y).then(|| (Epilogue::Add, Some(other.into()))),
        },
        BinaryKind::Mul => same_type(editor, other, y).then(|| (Epilogue::Mul, Some(other.into()))),
        _ => None,
    }
}

/// A constant with one number per channel, as a vector.
fn bias(editor: &Editor<'_>, y: ValueId, value: ValueId, channels: usize) -> Option<Constant> {
    let constant = query::constant(editor, value)?;
    let dims = constant.dims();
    let at = dims.len().checked_sub(channels)?;
    let size = editor.ty(y).dims()?.iter().nth_back(channels - 1)?.known()?;
    let fits = dims.iter().enumerate().all(|(axis, &dim)| dim == if axis == at { size as usize } else { 1 });
    fits.then(|| Constant::new(&[dims[at]], constant.ty.elem, constant.data.clone()))
}
