//! Products of matrices and convolutions.

use super::{Parts, Seen, sum_to};
use crate::grad::decompose::part;
use crate::grad::expr::{Expr, apply};
use mokume_ir::dim::Dim;
use mokume_ir::op::{AutoPad, Conv, ConvTranspose, Matmul};

/// `dA = g Bᵀ` and `dB = Aᵀ g`, each as its operand is stored, summed over batches that were broadcast.
pub fn matmul(node: &Seen<'_>, op: &Matmul) -> Result<Parts, String> {
    let (a, b, g) = (node.x(0), node.x(1), node.g()?);
    let left = match op.transpose_a {
        false => g.matmul(&b, (false, !op.transpose_b)),
        true => b.matmul(&g, (op.transpose_b, true)),
    };
    let right = match op.transpose_b {
        false => a.matmul(&g, (!op.transpose_a, false)),
        true => g.matmul(&a, (true, op.transpose_a)),
    };
    let batches = node.out_dims()?;
    let own = |part: Expr, index: usize| {
        let dims = node.dims(index)?;
        let lead = &batches[..batches.len() - 2];
        sum_to(part, &[lead, &dims[dims.len() - 2..]].concat(), &dims)
    };
    Ok(vec![Some(own(left, 0)?), Some(own(right, 1)?)])
}

/// A transposed convolution for the input; for the filters a convolution of inputs with gradients.
pub fn conv(node: &Seen<'_>, op: &Conv) -> Result<Parts, String> {
    let (dims, filters, g) = (node.dims(0)?, node.dims(1)?, node.g()?);
    let pads = pads(op.auto_pad, &op.pads, filters.len() - 2)?;
    let window = Window { strides: &op.strides, dilations: &op.dilations, pads: &pads, groups: op.groups };
    let back = ConvTranspose {
        strides: op.strides.clone(),
        dilations: op.dilations.clone(),
        pads: pads.clone(),
        auto_pad: AutoPad::Explicit,
        output_padding: window.left_over(&dims[2..], &filters[2..])?,
        output_shape: vec![],
        groups: op.groups,
    };
    let input = apply(back, [g.clone(), node.x(1)]);
    let filter = window.filters(&node.x(0), &dims, &g, &node.out_dims()?, &filters)?;
    with_bias(node, input, filter, &g)
}

/// A convolution for the input; the filters are found as those of a convolution in the other direction.
pub fn conv_transpose(node: &Seen<'_>, op: &ConvTranspose) -> Result<Parts, String> {
    if !op.output_shape.is_empty() {
        return Err("its padding follows from its output".into());
    }
    let (dims, filters, g) = (node.dims(0)?, node.dims(1)?, node.g()?);
    let pads = pads(op.auto_pad, &op.pads, filters.len() - 2)?;
    let window = Window { strides: &op.strides, dilations: &op.dilations, pads: &pads, groups: op.groups };
    let back = Conv {
        strides: op.strides.clone(),
        dilations: op.dilations.clone(),
        pads: pads.clone(),
        auto_pad: AutoPad::Explicit,
        groups: op.groups,
    };
    let input = apply(back, [g.clone(), node.x(1)]);
    let filter = window.filters(&g, &node.out_dims()?, &node.x(0), &dims, &filters)?;
    with_bias(node, input, filter, &g)
}

/// Explicit paddings.
pub fn pads(auto_pad: AutoPad, pads: &[i64], axes: usize) -> Result<Vec<i64>, String> {
    match auto_pad {
        AutoPad::Explicit => Ok(pads.to_vec()),
        AutoPad::Valid => Ok(vec![0; 2 * axes]),
        _ => Err("its padding is derived from the size of the image".into()),
    }
}

/// The parts of input and filters, and for a bias the sum over everything but channels.
fn with_bias(node: &Seen<'_>, input: Expr, filter: Expr, g: &Expr) -> Result<Parts, String> {
    let mut parts = vec![Some(input), Some(filter)];
    if node.node.inputs.len() > 2 {
        let rank = node.out_dims()?.len();
        parts.push(Some(g.sum((0..rank).filter(|&axis| axis != 1)).reshape(&node.dims(2)?)));
    }
    Ok(parts)
}

/// How windows lie on an image.
struct Window<'w> {
    strides: &'w [i64],
    dilations: &'w [i64],
    pads: &'w [i64],
    groups: i64,
}

impl Window<'_> {
    /// What the windows leave over at the end of every axis.
    fn left_over(&self, image: &[Dim], kernel: &[Dim]) -> Result<Vec<i64>, String> {
        (0..image.len()).map(|axis| self.left_over_along(axis, &image[axis], &kernel[axis])).collect()
    }
    fn left_over_along(&self, axis: usize, image: &Dim, kernel: &Dim) -> Result<i64, String> {
        if self.strides[axis] == 1 {
            return Ok(0);
        }
        let known = |dim: &Dim| dim.known().ok_or_else(|| format!("with strides, {dim} must be a number"));
        let reach = self.dilations[axis] * (known(kernel)? - 1) + 1;
        let padded = known(image)? + self.pads[axis] + self.pads[axis + self.strides.len()];
        Ok((padded - reach).rem_euclid(self.strides[axis]))
    }
    /// The gradient of filters `[small channels, large channels / groups, kernel...]` between a large image and a small one, whose
    /// pixels are the windows: strides and dilations change places, and each pair of channels of a group is a filter of its own.
    fn filters(&self, large: &Expr, large_dims: &[Dim], small: &Expr, small_dims: &[Dim], filters: &[Dim]) -> Result<Expr, String> {
        let sums = if self.groups == 1 {
            self.of_one_group(large, small, filters.len())
        } else {
            self.of_groups(large, large_dims, small, small_dims, filters)?
        };
        let kernel = filters.iter().enumerate().skip(2);
        Ok(kernel.fold(sums, |sums, (axis, size)| part(&sums, axis, &0i64.into(), size)))
    }
    fn swapped(&self, groups: i64) -> Conv {
        Conv {
            strides: self.dilations.to_vec(),
            dilations: self.strides.to_vec(),
            pads: self.pads.to_vec(),
            auto_pad: AutoPad::Explicit,
            groups,
        }
    }
    /// Images and channels change places, so that sums go over images.
    fn of_one_group(&self, large: &Expr, small: &Expr, rank: usize) -> Expr {
        let swap: Vec<usize> = [1, 0].into_iter().chain(2..rank).collect();
        apply(self.swapped(1), [large.transpose(&swap), small.transpose(&swap)]).transpose(&swap)
    }
    /// Every channel of every image is a group, so that the sum over images remains.
    fn of_groups(&self, large: &Expr, large_dims: &[Dim], small: &Expr, small_dims: &[Dim], filters: &[Dim]) -> Result<Expr, String> {
        let known = |dim: &Dim| dim.known().ok_or_else(|| format!("with groups of channels, {dim} must be a number"));
        let (n, groups) = (known(&large_dims[0])?, self.groups);
        let (from, to) = (known(&large_dims[1])? / groups, known(&small_dims[1])? / groups);
        let sizes =
            |lead: &[i64], dims: &[Dim]| -> Vec<Dim> { lead.iter().map(|&size| size.into()).chain(dims[2..].iter().cloned()).collect() };
        let image = large.reshape(&sizes(&[1, n * groups * from], large_dims));
        let apart = small.reshape(&sizes(&[n, groups, 1, to], small_dims));
        let windows = apart.broadcast(&sizes(&[n, groups, from, to], small_dims)).reshape(&sizes(&[n * groups * from * to, 1], small_dims));
        let pairs = apply(self.swapped(n * groups * from), [image, windows]);
        let kernel = self.found_kernel(large_dims, small_dims)?;
        let summed = pairs.reshape(&[&[n, groups, from, to].map(Dim::from)[..], &kernel].concat()).sum([0]);
        let rank = kernel.len() + 3;
        let alone = summed.reshape(&[&[groups, from, to].map(Dim::from)[..], &kernel].concat());
        let perm: Vec<usize> = [0, 2, 1].into_iter().chain(3..rank).collect();
        Ok(alone.transpose(&perm).reshape(&[&filters[..2], &kernel].concat()))
    }
    /// Sizes of the swapped convolution: those of the kernel, and what windows left over.
    fn found_kernel(&self, large: &[Dim], small: &[Dim]) -> Result<Vec<Dim>, String> {
        let axes = self.strides.len();
        let along = |axis: usize| {
            let known = |dim: &Dim| dim.known().ok_or_else(|| format!("with groups of channels, {dim} must be a number"));
            let padded = known(&large[2 + axis])? + self.pads[axis] + self.pads[axis + axes];
            let reach = self.strides[axis] * (known(&small[2 + axis])? - 1) + 1;
            Ok(Dim::from((padded - reach) / self.dilations[axis] + 1))
        };
        (0..axes).map(along).collect()
    }
}
