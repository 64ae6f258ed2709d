//! Pooling.

use super::product::pads;
use super::{Parts, Seen, sign, zeros};
use crate::grad::expr::{Expr, apply, output, select};
use mokume_ir::dim::Dim;
use mokume_ir::op::{AutoPad, BinaryKind, ConvTranspose, Pool, PoolKind, ScatterElements, ScatterKind};

/// Averages and norms go back to all elements of their windows, maxima to the largest.
pub fn pool(node: &Seen<'_>, op: &Pool) -> Result<Parts, String> {
    let part = match op.kind {
        PoolKind::Max => maximum(node, op)?,
        PoolKind::Average => spread(node, op, average(node, op)?)?,
        PoolKind::Lp => norm(node, op)?,
    };
    Ok(node.first(part))
}

fn maximum(node: &Seen<'_>, op: &Pool) -> Result<Expr, String> {
    let dims = node.dims(0)?;
    let all = |dims: &[Dim]| [dims.iter().fold(Dim::from(1i64), |product, dim| product.times(dim))];
    let flat = all(&node.out_dims()?);
    let indexed = Pool { indices: true, column_major: false, ..op.clone() };
    let indices = output(indexed, [node.x(0)], 1).reshape(&flat);
    let scatter = ScatterElements { axis: 0, kind: ScatterKind::Add };
    Ok(apply(scatter, [zeros(&all(&dims)), indices, node.g()?.reshape(&flat)]).reshape(&dims))
}

/// The gradient per window, divided by how many elements its average was of.
fn average(node: &Seen<'_>, op: &Pool) -> Result<Expr, String> {
    let volume = op.kernel.iter().product::<i64>() as f64;
    if op.count_include_pad || op.pads.iter().all(|&pad| pad == 0) {
        return Ok(node.g()? * (1.0 / volume));
    }
    let ones = Expr::from(1.0).broadcast(&node.dims(0)?);
    let fraction = apply(Pool { count_include_pad: true, ..op.clone() }, [ones]);
    Ok(node.g()? / (fraction * volume))
}

/// `g y^(1-p) |x|^(p-1) sign x`; 0 where the norm is.
fn norm(node: &Seen<'_>, op: &Pool) -> Result<Expr, String> {
    let (x, y, p) = (node.x(0), node.y(), op.p as f64);
    let positive = y.above(0.0);
    let factor = select(positive.clone(), y, 1.0).binary(BinaryKind::Pow, 1.0 - p);
    let spread = spread(node, op, select(positive, node.g()? * factor, 0.0))?;
    let power = (x.clone() * sign(&x)).binary(BinaryKind::Pow, p - 1.0);
    Ok(spread * power * sign(&x))
}

/// The sum, for every element of the operand, of what the windows over it have.
fn spread(node: &Seen<'_>, op: &Pool, windows: Expr) -> Result<Expr, String> {
    if op.ceil {
        return Err("its last windows may reach beyond the padding".into());
    }
    let (dims, out) = (node.dims(0)?, node.out_dims()?);
    let axes = op.kernel.len();
    let pads = pads(op.auto_pad, &op.pads, axes)?;
    let alone = |dims: &[Dim]| [&[dims[0].times(&dims[1]), 1i64.into()], &dims[2..]].concat();
    let left_over = |axis: usize| -> Result<i64, String> {
        let known = dims[2 + axis].known().filter(|_| op.strides[axis] > 1);
        let reach = op.dilations[axis] * (op.kernel[axis] - 1) + 1;
        match known {
            Some(size) => Ok((size + pads[axis] + pads[axis + axes] - reach).rem_euclid(op.strides[axis])),
            None if op.strides[axis] == 1 => Ok(0),
            None => Err(format!("with strides, {} must be a number", dims[2 + axis])),
        }
    };
    let back = ConvTranspose {
        strides: op.strides.clone(),
        dilations: op.dilations.clone(),
        output_padding: (0..axes).map(left_over).collect::<Result<_, _>>()?,
        pads: pads.clone(),
        auto_pad: AutoPad::Explicit,
        output_shape: vec![],
        groups: 1,
    };
    let ones: Vec<Dim> = [1, 1].into_iter().chain(op.kernel.iter().copied()).map(Dim::from).collect();
    Ok(apply(back, [windows.reshape(&alone(&out)), Expr::from(1.0).broadcast(&ones)]).reshape(&dims))
}
