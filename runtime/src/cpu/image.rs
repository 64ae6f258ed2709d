//! Images as convolutions read them: one byte per element, channels last, padding written out.
//!
//! So a patch is a few runs of neighboring bytes: one per kernel row when the taps of a row are neighbors, else one per tap.

use super::spec::CHUNK;
use super::transpose::interleave;
use crate::ops::OpError;
use crate::ops::conv::Shape;
use crate::ops::window::{Windows, unflatten};
use rayon::prelude::*;
use std::ops::Range;

/// Bytes that one task of filling writes, at least.
const TASK_BYTES: usize = 1 << 15;

/// Where the bytes of padded images and of their patches lie.
#[derive(Debug)]
pub struct Image {
    axes: Vec<Axis>,
    /// Channels of all groups.
    all: usize,
    /// Bytes from one pixel to the next.
    pixel: usize,
    /// Channels of one group.
    channels: usize,
    /// Whether pixels are patches, with 0 up to a whole number of chunks.
    is_rows: bool,
    /// Start and length of every run of a patch.
    runs: Vec<(usize, usize)>,
}

/// One spatial axis.
#[derive(Debug, Clone)]
struct Axis {
    input: usize,
    output: usize,
    /// Padding before the first element; negative where elements are left out.
    begin: isize,
    /// Pixels with padding, as far as windows reach.
    padded: usize,
    /// Bytes from one pixel to the next.
    bytes: usize,
    /// Pixels from one window to the next.
    stride: usize,
}

impl Image {
    /// The images of a convolution.
    ///
    /// Errors  when an image with padding is too large to address.
    pub fn new(shape: &Shape) -> Result<Self, OpError> {
        let (all, windows) = (shape.groups * shape.channels, &shape.windows);
        let is_rows = windows.is_identity() && shape.groups == 1;
        let pixel = if is_rows { all.next_multiple_of(CHUNK) } else { all };
        let mut axes = if windows.is_identity() { vec![Axis::line(windows.plane())] } else { Axis::all(windows) };
        let mut bytes = pixel;
        for axis in axes.iter_mut().rev() {
            axis.bytes = bytes;
            bytes = bytes.checked_mul(axis.padded).ok_or_else(|| OpError::operands("the padded image is too large"))?;
        }
        let runs = if windows.is_identity() { vec![(0, shape.channels)] } else { runs(windows, &axes, shape.channels) };
        Ok(Image { axes, all, pixel, is_rows, channels: shape.channels, runs })
    }
    /// Bytes of one image.
    pub fn bytes(&self) -> usize {
        self.axes.iter().map(|axis| axis.padded).product::<usize>() * self.pixel
    }
    /// Writes images, one after the other, from bytes `[image, channel, pixels]`, with `pad` around them.
    pub fn fill(&self, x: &[u8], pad: u8, images: &mut [u8]) {
        let Some((last, outer)) = self.axes.split_last() else { return };
        let (line_bytes, plane) = (last.padded * last.bytes, self.axes.iter().map(|axis| axis.input).product::<usize>());
        let padded: Vec<usize> = outer.iter().map(|axis| axis.padded).collect();
        let lines = padded.iter().product::<usize>().max(1);
        let per_task = (TASK_BYTES / line_bytes.max(1)).max(1);
        images.par_chunks_mut(line_bytes.max(1)).enumerate().with_min_len(per_task).for_each(|(i, line)| {
            let x = &x[i / lines * plane * self.all..][..plane * self.all];
            match input_line(outer, &unflatten(i % lines, &padded)) {
                Some(at) => last.fill(&x[at * last.input..], plane, self.all, pad, line),
                None => line.fill(pad),
            }
        });
    }
    /// The patches of windows `range` where they lie, as rows of whole chunks; none when they must be gathered.
    pub fn rows<'i>(&self, image: &'i [u8], range: &Range<usize>) -> Option<&'i [u8]> {
        self.is_rows.then(|| &image[range.start * self.pixel..range.end * self.pixel])
    }
    /// Copies the patches of windows `range` of a group to the beginnings of `rows`.
    pub fn patches(&self, image: &[u8], group: usize, range: Range<usize>, rows: &mut [u8]) {
        let Some(last) = self.axes.last() else { return };
        let (step, from) = (last.stride * last.bytes, group * self.channels);
        let row_bytes = rows.len() / range.len().max(1);
        let mut rows = rows.chunks_exact_mut(row_bytes.max(1));
        let mut window = range.start;
        while window < range.end {
            let at = window % last.output;
            let count = (last.output - at).min(range.end - window);
            let start = from + self.window_line(window / last.output) + at * step;
            for (i, row) in rows.by_ref().take(count).enumerate() {
                copy_runs(&image[start + i * step..], &self.runs, row);
            }
            window += count;
        }
    }
    /// Where the first window of a line of windows begins.
    fn window_line(&self, mut line: usize) -> usize {
        let mut start = 0;
        for axis in self.axes.iter().rev().skip(1) {
            start += line % axis.output * axis.stride * axis.bytes;
            line /= axis.output;
        }
        start
    }
}

impl Axis {
    /// All pixels as one axis without padding.
    fn line(plane: usize) -> Self {
        Axis { input: plane, output: plane, begin: 0, padded: plane, bytes: 0, stride: 1 }
    }
    fn all(windows: &Windows) -> Vec<Self> {
        let axis = |a: usize| Axis {
            input: windows.input[a],
            output: windows.output[a],
            begin: windows.begin[a],
            padded: windows.output[a].saturating_sub(1) * windows.strides[a] + windows.span(a),
            bytes: 0,
            stride: windows.strides[a],
        };
        (0..windows.rank()).map(axis).collect()
    }
    /// The input index of a padded one.
    fn inside(&self, padded: usize) -> Option<usize> {
        padded.checked_add_signed(-self.begin).filter(|&at| at < self.input)
    }
    /// Writes the last axis of a line of pixels; `x` begins at the line in the first of the planes.
    fn fill(&self, x: &[u8], plane: usize, channels: usize, pad: u8, line: &mut [u8]) {
        if self.bytes > channels {
            line.fill(0);
        }
        let before = self.begin.max(0).unsigned_abs().min(self.padded);
        let after = self.input.saturating_add_signed(self.begin).clamp(before, self.padded);
        line[..before * self.bytes].fill(pad);
        line[after * self.bytes..].fill(pad);
        let skipped = (-self.begin).max(0).unsigned_abs();
        if before < after {
            interleave(&x[skipped..], plane, channels, self.bytes, &mut line[before * self.bytes..after * self.bytes]);
        }
    }
}

/// The line of input pixels that a line of padded ones holds; none in the padding.
fn input_line(outer: &[Axis], at: &[usize]) -> Option<usize> {
    outer.iter().zip(at).try_fold(0, |line, (axis, &at)| Some(line * axis.input + axis.inside(at)?))
}

fn runs(windows: &Windows, axes: &[Axis], channels: usize) -> Vec<(usize, usize)> {
    let mut runs: Vec<(usize, usize)> = vec![];
    for tap in 0..windows.taps() {
        let tap = unflatten(tap, &windows.kernel);
        let start = axes.iter().enumerate().map(|(a, axis)| tap[a] * windows.dilations[a] * axis.bytes).sum();
        match runs.last_mut() {
            Some((from, len)) if *from + *len == start => *len += channels,
            _ => runs.push((start, channels)),
        }
    }
    runs
}

fn copy_runs(image: &[u8], runs: &[(usize, usize)], row: &mut [u8]) {
    let mut at = 0;
    for &(start, len) in runs {
        row[at..at + len].copy_from_slice(&image[start..start + len]);
        at += len;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::patches::gather;
    use crate::ops::window::Described;
    use mokume_ir::op::AutoPad;

    fn check(x: &[usize], groups: usize, kernel: &[usize], strides: &[i64], dilations: &[i64], pads: &[i64]) {
        let described = Described { strides, dilations, pads, auto_pad: AutoPad::Explicit, ceil: false };
        let shape = Shape::with(x, (groups, x[1] / groups), kernel, &described, groups as i64).unwrap();
        let codes: Vec<u8> = (0..x.iter().product()).map(|i: usize| (i * 31 % 251) as u8).collect();
        let image = Image::new(&shape).unwrap();
        let mut images = vec![7; shape.n * image.bytes()];
        image.fill(&codes, 99, &mut images);
        let (taps, range) = (shape.windows.taps(), 1..shape.windows.count());
        let (depth, width) = (shape.depth(), range.len());
        for (n, group) in (0..shape.n).flat_map(|n| (0..groups).map(move |group| (n, group))) {
            let mut rows = vec![0; width * depth];
            image.patches(&images[n * image.bytes()..], group, range.clone(), &mut rows);
            let mut columns = vec![0; depth * width];
            gather(
                &codes[shape.input_at(n, group)..][..shape.channels * shape.windows.plane()],
                &shape.windows,
                range.clone(),
                99,
                &mut columns,
            );
            let column = |k: usize| k % shape.channels * taps + k / shape.channels;
            let want: Vec<u8> = (0..rows.len()).map(|i| columns[column(i % depth) * width + i / depth]).collect();
            assert_eq!(rows, want, "{x:?}");
        }
    }

    #[test]
    fn patches_of_any_rank_stride_dilation_padding_and_group() {
        check(&[2, 3, 17], 1, &[5], &[2], &[3], &[4, 1]);
        check(&[2, 20, 9, 18], 1, &[3, 3], &[1, 1], &[1, 1], &[1; 4]);
        check(&[1, 4, 9, 11], 2, &[3, 2], &[2, 3], &[2, 1], &[0, 2, 1, 1]);
        check(&[1, 6, 9, 9], 1, &[3, 3], &[1, 2], &[1, 1], &[-1, 2, 0, -2]);
        check(&[1, 2, 4, 5, 6], 1, &[2, 3, 2], &[1, 2, 1], &[1, 1, 2], &[1, 0, 1, 0, 1, 1]);
        check(&[2, 40, 5, 7], 1, &[1, 1], &[1, 1], &[1, 1], &[0; 4]);
        check(&[1, 8, 5, 7], 2, &[1, 1], &[2, 2], &[1, 1], &[0; 4]);
    }
}
