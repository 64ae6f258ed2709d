//! Sliding windows: convolution, transposed convolution, pooling.

use super::cx::{Cx, Result, ceil_div};
use crate::dim::{Dim, DimFn};
use crate::op::{AutoPad, Conv, ConvTranspose, Pool};
use crate::types::{Elem, Shape, Type};

/// How a window slides.
pub(super) struct Slide<'a> {
    pub strides: &'a [i64],
    pub dilations: &'a [i64],
    pub pads: &'a [i64],
    pub auto_pad: AutoPad,
    pub ceil: bool,
}

impl Slide<'_> {
    /// Checks the attributes against the number of spatial axes.
    fn check(&self, cx: &Cx<'_>, spatial: usize) -> Result<()> {
        let explicit = self.auto_pad == AutoPad::Explicit;
        if self.strides.len() != spatial || self.dilations.len() != spatial || (explicit && self.pads.len() != 2 * spatial) {
            let lens = [self.strides.len(), self.dilations.len(), self.pads.len()];
            return cx.fail(format!("{spatial} spatial axes, but {lens:?} strides, dilations and pads"));
        }
        match self.strides.iter().chain(self.dilations).find(|&&step| step < 1) {
            Some(step) => cx.fail(format!("strides and dilations must be positive, not {step}")),
            None => Ok(()),
        }
    }
    /// The output size along spatial axis `axis`.
    fn size(&self, cx: &Cx<'_>, axis: usize, input: &Dim, kernel: &Dim) -> Result<Dim> {
        let stride = self.strides[axis];
        let (begin, end) = match self.auto_pad {
            AutoPad::SameUpper | AutoPad::SameLower => return Ok(ceil_div(input, stride)),
            AutoPad::Valid => (0, 0),
            AutoPad::Explicit => (self.pads[axis], self.pads[axis + self.strides.len()]),
        };
        let room = input.plus(&Dim::from(begin)).plus(&Dim::from(end)).minus(&extent(kernel, self.dilations[axis]));
        if room.known().is_some_and(|room| room < 0) {
            return cx.fail(format!(
                "a window of {kernel} (dilation {}) does not fit {input} padded by {begin} and {end}",
                self.dilations[axis]
            ));
        }
        let one = Dim::from(1i64);
        if !self.ceil {
            return Ok(room.floor_div(&Dim::from(stride)).plus(&one));
        }
        // A window that would start in the padding at the end is left out.
        let starts = input.plus(&Dim::from(begin.saturating_sub(1))).floor_div(&Dim::from(stride));
        Ok(ceil_div(&room, stride).call(DimFn::Min, &starts).plus(&one))
    }
    /// The output sizes of all spatial axes.
    pub fn sizes(&self, cx: &Cx<'_>, input: &[Dim], kernel: &[Dim]) -> Result<Vec<Dim>> {
        if kernel.len() != input.len() {
            return cx.fail(format!("a window of {} axes on {} spatial axes", kernel.len(), input.len()));
        }
        self.check(cx, input.len())?;
        if let Some(size) = kernel.iter().find(|size| size.known().is_some_and(|size| size < 1)) {
            return cx.fail(format!("window sizes must be positive, not {size}"));
        }
        (0..input.len()).map(|axis| self.size(cx, axis, &input[axis], &kernel[axis])).collect()
    }
}

/// `dilation * (kernel - 1) + 1`
fn extent(kernel: &Dim, dilation: i64) -> Dim {
    let one = Dim::from(1i64);
    kernel.minus(&one).times(&Dim::from(dilation)).plus(&one)
}

pub(super) fn conv(cx: &Cx<'_>, op: &Conv) -> Result<Type> {
    cx.count(2..=3)?;
    let x = cx.float(0)?;
    check_operands(cx)?;
    let (Some(x_dims), Some(w_dims)) = (cx.rank_in(0, 3..=usize::MAX)?, cx.rank_in(1, 3..=usize::MAX)?) else {
        return Ok(Type::tensor(Shape::Unranked, x.elem));
    };
    check_groups(cx, op.groups, &x_dims[1], &w_dims[1])?;
    if let Some(out) = w_dims[0].known()
        && out % op.groups != 0
    {
        return cx.fail(format!("{out} output channels in {} groups", op.groups));
    }
    bias_is(cx, &w_dims[0])?;
    let slide = Slide { strides: &op.strides, dilations: &op.dilations, pads: &op.pads, auto_pad: op.auto_pad, ceil: false };
    let sizes = slide.sizes(cx, &x_dims[2..], &w_dims[2..])?;
    let dims = [x_dims[0].clone(), w_dims[0].clone()].into_iter().chain(sizes);
    Ok(Type::tensor(dims.collect(), x.elem))
}

fn check_operands(cx: &Cx<'_>) -> Result<()> {
    for index in 1..cx.types.len() {
        cx.same_elem(0, index)?;
    }
    Ok(())
}

/// Checks that `channels` is `groups * per_group`.
pub(super) fn check_groups(cx: &Cx<'_>, groups: i64, channels: &Dim, per_group: &Dim) -> Result<()> {
    if groups < 1 {
        return cx.fail(format!("groups must be positive, not {groups}"));
    }
    cx.equal(channels, &per_group.times(&Dim::from(groups)), "input channels and those of the weights times groups").map(|_| ())
}

fn bias_is(cx: &Cx<'_>, channels: &Dim) -> Result<()> {
    if cx.types.len() < 3 {
        return Ok(());
    }
    cx.rank_is(2, 1)?;
    cx.size_is(2, 0, channels)
}

pub(super) fn conv_transpose(cx: &Cx<'_>, op: &ConvTranspose) -> Result<Type> {
    cx.count(2..=3)?;
    let x = cx.float(0)?;
    check_operands(cx)?;
    let (Some(x_dims), Some(w_dims)) = (cx.rank_in(0, 3..=usize::MAX)?, cx.rank_in(1, 3..=usize::MAX)?) else {
        return Ok(Type::tensor(Shape::Unranked, x.elem));
    };
    check_groups(cx, op.groups, &x_dims[1], &w_dims[0].exact_div(&Dim::from(op.groups.max(1))).unwrap_or_else(|| cx.fresh()))?;
    let channels = w_dims[1].times(&Dim::from(op.groups));
    bias_is(cx, &channels)?;
    let sizes = transposed_sizes(cx, op, &x_dims[2..], &w_dims[2..])?;
    Ok(Type::tensor([x_dims[0].clone(), channels].into_iter().chain(sizes).collect(), x.elem))
}

fn transposed_sizes(cx: &Cx<'_>, op: &ConvTranspose, input: &[Dim], kernel: &[Dim]) -> Result<Vec<Dim>> {
    let spatial = input.len();
    let slide = Slide { strides: &op.strides, dilations: &op.dilations, pads: &op.pads, auto_pad: op.auto_pad, ceil: false };
    slide.check(cx, spatial)?;
    if kernel.len() != spatial || op.output_padding.len() != spatial {
        return cx.fail(format!(
            "{spatial} spatial axes, but {} of weights and {} of output padding",
            kernel.len(),
            op.output_padding.len()
        ));
    }
    match op.output_shape.len() {
        0 => (0..spatial).map(|axis| transposed_size(cx, op, axis, &input[axis], &kernel[axis])).collect(),
        n if n == spatial => Ok(op.output_shape.iter().map(|&size| Dim::from(size)).collect()),
        n => cx.fail(format!("{spatial} spatial axes, but an output shape of {n}")),
    }
}

fn transposed_size(cx: &Cx<'_>, op: &ConvTranspose, axis: usize, input: &Dim, kernel: &Dim) -> Result<Dim> {
    let stride = Dim::from(op.strides[axis]);
    let spatial = op.strides.len();
    let pads = match op.auto_pad {
        AutoPad::SameUpper | AutoPad::SameLower => return Ok(input.times(&stride)),
        AutoPad::Valid => 0,
        AutoPad::Explicit => op.pads[axis].saturating_add(op.pads[axis + spatial]),
    };
    let size = input.minus(&Dim::from(1i64)).times(&stride).plus(&extent(kernel, op.dilations[axis]));
    let size = size.plus(&Dim::from(op.output_padding[axis])).minus(&Dim::from(pads));
    match size.known() {
        Some(n) if n < 0 => cx.fail(format!("pads {pads} remove more than there is: {n}")),
        _ => Ok(size),
    }
}

pub(super) fn pool(cx: &Cx<'_>, op: &Pool) -> Result<Vec<Type>> {
    cx.count(1..=1)?;
    let x = cx.tensor_of(0, "a number", |elem| elem.is_float() || elem.is_int())?;
    let shape = match cx.rank_in(0, 3..=usize::MAX)? {
        Some(dims) => {
            let kernel: Vec<Dim> = op.kernel.iter().map(|&size| Dim::from(size)).collect();
            let slide = Slide { strides: &op.strides, dilations: &op.dilations, pads: &op.pads, auto_pad: op.auto_pad, ceil: op.ceil };
            let sizes = slide.sizes(cx, &dims[2..], &kernel)?;
            dims[..2].iter().cloned().chain(sizes).collect()
        }
        None => Shape::Unranked,
    };
    let indices = op.indices.then(|| Type::tensor(shape.clone(), Elem::I64));
    Ok([Type::tensor(shape.clone(), x.elem)].into_iter().chain(indices).collect())
}
