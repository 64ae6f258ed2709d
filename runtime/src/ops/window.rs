//! Where the windows of convolutions and pools lie.

use super::OpError;
use super::operands::positive;
use crate::tensor::Dims;
use mokume_ir::op::AutoPad;

/// Windows over the spatial axes of one plane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Windows {
    /// Input sizes.
    pub input: Dims,
    /// Window sizes.
    pub kernel: Dims,
    /// Distance of windows.
    pub strides: Dims,
    /// Distance of elements in a window.
    pub dilations: Dims,
    /// Padding before the first element.
    pub begin: Vec<isize>,
    /// Padding after the last element.
    pub end: Vec<isize>,
    /// Output sizes: how many windows.
    pub output: Dims,
}

/// How an op describes its windows.
pub struct Described<'a> {
    /// One per spatial axis.
    pub strides: &'a [i64],
    /// One per spatial axis.
    pub dilations: &'a [i64],
    /// Begin of every spatial axis, then end of every one.
    pub pads: &'a [i64],
    /// Derives pads instead.
    pub auto_pad: AutoPad,
    /// Output sizes round up.
    pub ceil: bool,
}

impl Windows {
    /// The windows of size `kernel` over a plane of size `input`.
    ///
    /// Errors  when the numbers of axes differ, a size is not positive, or a window does not fit.
    pub fn new(input: &[usize], kernel: &[usize], described: &Described<'_>) -> Result<Self, OpError> {
        let axes = input.len();
        check_axes(axes, kernel.len(), described)?;
        let sizes = |values: &[i64], what| values.iter().map(|&v| positive(v, what)).collect::<Result<Dims, _>>();
        let mut windows = Windows {
            input: input.into(),
            kernel: kernel.into(),
            strides: sizes(described.strides, "a stride")?,
            dilations: sizes(described.dilations, "a dilation")?,
            begin: vec![0; axes],
            end: vec![0; axes],
            output: Dims::from_elem(0, axes),
        };
        (0..axes).try_for_each(|axis| windows.place(axis, described))?;
        check_size(&windows.output)?;
        Ok(windows)
    }
    /// Elements that a window of `axis` spans.
    pub fn span(&self, axis: usize) -> usize {
        (self.kernel[axis] - 1) * self.dilations[axis] + 1
    }
    /// Number of windows.
    pub fn count(&self) -> usize {
        self.output.iter().product()
    }
    /// Number of elements of a window.
    pub fn taps(&self) -> usize {
        self.kernel.iter().product()
    }
    /// Number of input elements.
    pub fn plane(&self) -> usize {
        self.input.iter().product()
    }
    /// Number of spatial axes.
    pub fn rank(&self) -> usize {
        self.input.len()
    }
    /// Input position of element `tap` of window `at` along an axis; it lies outside the plane when in the padding.
    pub fn position(&self, axis: usize, at: usize, tap: usize) -> isize {
        (at * self.strides[axis] + tap * self.dilations[axis]) as isize - self.begin[axis]
    }
    /// True when every window is one element and windows cover the plane in order.
    pub fn is_identity(&self) -> bool {
        let ones = |sizes: &[usize]| sizes.iter().all(|&size| size == 1);
        ones(&self.kernel) && ones(&self.strides) && self.begin.iter().chain(&self.end).all(|&pad| pad == 0)
    }

    fn place(&mut self, axis: usize, described: &Described<'_>) -> Result<(), OpError> {
        let (input, stride, span) = (self.input[axis], self.strides[axis], self.span(axis));
        match described.auto_pad {
            AutoPad::Explicit => {
                self.begin[axis] = described.pads[axis] as isize;
                self.end[axis] = described.pads[axis + self.rank()] as isize;
            }
            AutoPad::Valid => {}
            AutoPad::SameUpper | AutoPad::SameLower => {
                let total = ((input.div_ceil(stride).max(1) - 1) * stride + span).saturating_sub(input) as isize;
                let (less, more) = (total / 2, total - total / 2);
                let upper = described.auto_pad == AutoPad::SameUpper;
                (self.begin[axis], self.end[axis]) = if upper { (less, more) } else { (more, less) };
            }
        }
        self.output[axis] = self.windows_along(axis, described.ceil)?;
        Ok(())
    }

    fn windows_along(&self, axis: usize, ceil: bool) -> Result<usize, OpError> {
        let (stride, span) = (self.strides[axis] as isize, self.span(axis) as isize);
        let padded = self.input[axis] as isize + self.begin[axis] + self.end[axis];
        let room = padded - span;
        if room < 0 {
            return match self.input[axis] {
                0 => Ok(0),
                _ => Err(OpError::operands(format!("a window of {span} does not fit into {padded} elements of axis {axis}"))),
            };
        }
        let rounded = if ceil { (room + stride - 1) / stride } else { room / stride };
        // A window that would begin beyond the input and its leading padding is left out.
        let outside = ceil && rounded * stride >= self.input[axis] as isize + self.begin[axis];
        Ok((rounded + 1 - outside as isize) as usize)
    }
}

fn check_axes(axes: usize, kernel: usize, described: &Described<'_>) -> Result<(), OpError> {
    let pads = if described.auto_pad == AutoPad::Explicit { described.pads.len() } else { 2 * axes };
    if kernel != axes || described.strides.len() != axes || described.dilations.len() != axes || pads != 2 * axes {
        return Err(OpError::operands(format!("kernel, strides, dilations and pads do not fit {axes} spatial axes")));
    }
    match described.pads.iter().find(|pad| pad.unsigned_abs() >= 1 << 31) {
        Some(pad) => Err(OpError::operands(format!("padding of {pad}"))),
        None => Ok(()),
    }
}

/// Refuses sizes whose product is unreasonable (2^40 or more).
pub fn check_size(sizes: &[usize]) -> Result<(), OpError> {
    match sizes.iter().try_fold(1usize, |product, &size| product.checked_mul(size)) {
        Some(product) if product < 1 << 40 => Ok(()),
        _ => Err(OpError::operands(format!("{sizes:?} is too large"))),
    }
}

/// Advances `at` to the next index of a grid of `sizes`, last axis first; false after the last one.
pub fn advance(at: &mut [usize], sizes: &[usize]) -> bool {
    for (at, &size) in at.iter_mut().zip(sizes).rev() {
        *at += 1;
        if *at < size {
            return true;
        }
        *at = 0;
    }
    false
}

/// The index of flat position `flat` in a grid of `sizes`.
pub fn unflatten(mut flat: usize, sizes: &[usize]) -> Dims {
    let mut at = Dims::from_elem(0, sizes.len());
    for (at, &size) in at.iter_mut().zip(sizes).rev() {
        *at = flat % size;
        flat /= size;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(input: usize, kernel: usize, stride: i64, pads: [i64; 2], auto_pad: AutoPad, ceil: bool) -> Windows {
        let described = Described { strides: &[stride], dilations: &[1], pads: &pads, auto_pad, ceil };
        Windows::new(&[input], &[kernel], &described).unwrap()
    }

    #[test]
    fn output_sizes_follow_onnx() {
        assert_eq!(one(5, 3, 2, [1, 1], AutoPad::Explicit, false).output[0], 3);
        assert_eq!(one(5, 2, 2, [0, 0], AutoPad::Explicit, true).output[0], 3);
        assert_eq!(one(4, 1, 3, [0, 0], AutoPad::Explicit, true).output[0], 2);
        assert_eq!(one(2, 1, 3, [0, 2], AutoPad::Explicit, true).output[0], 1);
        let lower = one(4, 2, 1, [0, 0], AutoPad::SameLower, false);
        assert_eq!((lower.output[0], lower.begin[0], lower.end[0]), (4, 1, 0));
        let upper = one(4, 2, 1, [0, 0], AutoPad::SameUpper, false);
        assert_eq!((upper.output[0], upper.begin[0], upper.end[0]), (4, 0, 1));
    }

    #[test]
    fn a_window_larger_than_the_plane_is_refused() {
        let described = Described { strides: &[1], dilations: &[2], pads: &[0, 0], auto_pad: AutoPad::Explicit, ceil: false };
        assert!(Windows::new(&[4], &[3], &described).is_err());
        assert!(Windows::new(&[5], &[3], &described).is_ok());
    }
}
