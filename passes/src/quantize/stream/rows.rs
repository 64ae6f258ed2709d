//! The rows of numbers that products read: tokens of matmuls, windows of convolutions.

use crate::quantize::sites::Site;
use mokume_ir::constant::Constant;
use mokume_ir::graph::Graph;
use mokume_ir::op::{AutoPad, Conv, Op};

/// Windows of one picture that are looked at, evenly spread: neighbors hardly differ.
const MAX_WINDOWS: usize = 4096;

/// How the rows of a product lie in its activations.
#[derive(Debug, Clone, PartialEq)]
pub enum View {
    /// The last axis.
    Tokens,
    /// Windows of a convolution, tap by tap, channels innermost, as its weights are laid out.
    Windows {
        /// The convolution.
        conv: Conv,
        /// Sizes of the kernel.
        kernel: Vec<usize>,
    },
}

impl View {
    /// How `site` reads its activations.
    pub fn of(graph: &Graph, site: &Site) -> Self {
        let node = &graph[site.node];
        match &node.op {
            Op::Conv(conv) => {
                let dims = graph.ty(node.inputs[1]).dims().unwrap_or_default().iter().skip(2);
                View::Windows { conv: conv.clone(), kernel: dims.map(|dim| dim.known().unwrap_or(1).max(1) as usize).collect() }
            }
            _ => View::Tokens,
        }
    }
    /// How many parts of the channels are read apart: the groups of a convolution.
    pub fn parts(&self) -> usize {
        match self {
            View::Tokens => 1,
            View::Windows { conv, .. } => conv.groups.max(1) as usize,
        }
    }
    /// The rows of every part, row by row; none when `x` is no f32 tensor of the right rank.
    pub fn rows(&self, x: &Constant) -> Option<Vec<Vec<f32>>> {
        let values = x.to_f32s()?;
        match self {
            View::Tokens => Some(vec![values]),
            View::Windows { conv, kernel } => {
                let windows = Windows::new(conv, kernel, &x.dims())?;
                Some((0..self.parts()).map(|part| windows.rows(&values, part)).collect())
            }
        }
    }
}

/// Windows over pictures `[n, c, …]`.
struct Windows<'w> {
    conv: &'w Conv,
    kernel: &'w [usize],
    /// Pictures.
    count: usize,
    /// Channels of a part, and of all.
    channels: (usize, usize),
    input: Vec<usize>,
    /// Padding before the first element, by axis.
    begin: Vec<isize>,
    output: Vec<usize>,
}

impl<'w> Windows<'w> {
    fn new(conv: &'w Conv, kernel: &'w [usize], dims: &[usize]) -> Option<Self> {
        let [count, channels, ref input @ ..] = *dims else { return None };
        let places = input.iter().zip(kernel).enumerate().map(|(axis, (&size, &kernel))| place(conv, axis, size, kernel));
        let (begin, output) = places.collect::<Option<Vec<_>>>()?.into_iter().unzip();
        let channels = (channels / conv.groups.max(1) as usize, channels);
        (input.len() == kernel.len()).then(|| Windows { conv, kernel, count, channels, input: input.to_vec(), begin, output })
    }
    fn rows(&self, values: &[f32], part: usize) -> Vec<f32> {
        let all: usize = self.output.iter().product();
        let (taps, plane): (usize, usize) = (self.kernel.iter().product(), self.input.iter().product());
        let taken = all.min(MAX_WINDOWS);
        let mut rows = Vec::with_capacity(self.count * taken * taps * self.channels.0);
        for picture in 0..self.count {
            let first = (picture * self.channels.1 + part * self.channels.0) * plane;
            let channels = values[first..first + self.channels.0 * plane].chunks_exact(plane.max(1));
            for window in (0..taken).map(|i| i * all / taken) {
                for tap in 0..taps {
                    match self.offset(window, tap) {
                        Some(offset) => rows.extend(channels.clone().map(|channel| channel[offset])),
                        None => rows.extend(std::iter::repeat_n(0.0, self.channels.0)),
                    }
                }
            }
        }
        rows
    }
    /// Where in a channel an element of a window lies; none in the padding.
    fn offset(&self, mut window: usize, mut tap: usize) -> Option<usize> {
        let (mut offset, mut stride) = (0, 1);
        for axis in (0..self.input.len()).rev() {
            let at = window % self.output[axis] * self.conv.strides[axis] as usize
                + tap % self.kernel[axis] * self.conv.dilations[axis] as usize;
            let at = usize::try_from(at as isize - self.begin[axis]).ok().filter(|&at| at < self.input[axis])?;
            offset += at * stride;
            (window, tap, stride) = (window / self.output[axis], tap / self.kernel[axis], stride * self.input[axis]);
        }
        Some(offset)
    }
}

/// Padding before the first element along an axis, and how many windows there are.
fn place(conv: &Conv, axis: usize, size: usize, kernel: usize) -> Option<(isize, usize)> {
    let (stride, dilation) = (*conv.strides.get(axis)? as usize, *conv.dilations.get(axis)? as usize);
    let span = (kernel - 1) * dilation + 1;
    let (begin, end) = match conv.auto_pad {
        AutoPad::Explicit => (*conv.pads.get(axis)? as isize, *conv.pads.get(axis + conv.strides.len())? as isize),
        AutoPad::Valid => (0, 0),
        AutoPad::SameUpper | AutoPad::SameLower => {
            let total = ((size.div_ceil(stride).max(1) - 1) * stride + span).saturating_sub(size) as isize;
            let (less, more) = (total / 2, total - total / 2);
            if conv.auto_pad == AutoPad::SameUpper { (less, more) } else { (more, less) }
        }
    };
    let room = usize::try_from(size as isize + begin + end - span as isize).ok()?;
    Some((begin, room / stride + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conv(groups: i64, pads: [i64; 2], stride: i64) -> Conv {
        Conv { strides: vec![stride], dilations: vec![1], pads: pads.to_vec(), auto_pad: AutoPad::Explicit, groups }
    }

    #[test]
    fn windows_go_tap_by_tap_with_zeros_for_padding() {
        let view = View::Windows { conv: conv(1, [1, 0], 2), kernel: vec![2] };
        let x = Constant::f32s(&[1, 2, 3], &[1.0, 2.0, 3.0, 10.0, 20.0, 30.0]);
        assert_eq!(view.rows(&x), Some(vec![vec![0.0, 0.0, 1.0, 10.0, 2.0, 20.0, 3.0, 30.0]]));
    }

    #[test]
    fn groups_of_channels_are_read_apart() {
        let view = View::Windows { conv: conv(2, [0, 0], 1), kernel: vec![1] };
        let x = Constant::f32s(&[2, 2, 1], &[1.0, 2.0, 3.0, 4.0]);
        assert_eq!(view.rows(&x), Some(vec![vec![1.0, 3.0], vec![2.0, 4.0]]));
    }

    #[test]
    fn many_windows_are_sampled_evenly() {
        let view = View::Windows { conv: conv(1, [0, 0], 1), kernel: vec![1] };
        let count = 4 * MAX_WINDOWS;
        let rows = view.rows(&Constant::f32s(&[1, 1, count], &(0..count).map(|i| i as f32).collect::<Vec<_>>())).unwrap();
        assert_eq!((rows[0].len(), rows[0][1], rows[0].last()), (MAX_WINDOWS, 4.0, Some(&(count as f32 - 4.0))));
    }

    #[test]
    fn what_does_not_fit_has_no_rows() {
        let view = View::Windows { conv: conv(1, [0, 0], 1), kernel: vec![4] };
        assert_eq!(view.rows(&Constant::f32s(&[1, 1, 3], &[0.0; 3])), None);
        assert_eq!(View::Tokens.rows(&Constant::i64s(&[1], &[1])), None);
    }
}
