//! Pooling of regions of interest by bilinear samples.

use super::operands::{operand, operand_as, positive};
use super::real::{Real, for_reals};
use super::{OpContext, OpError};
use crate::tensor::Tensor;
use mokume_ir::op::RoiAlign;
use mokume_ir::types::Elem;
use rayon::prelude::*;

/// Maximum or mean of the samples of every bin of every region.
///
/// Errors  when the sizes do not fit, or a batch index is out of range.
/// Source  ONNX RoiAlign-16.
pub fn roi_align(op: &RoiAlign, inputs: &[&Tensor], cx: &OpContext<'_>) -> Result<Vec<Tensor>, OpError> {
    let x = operand(inputs, 0)?;
    let &[n, channels, height, width] = x.dims() else {
        return Err(OpError::operands(format!("an image [n, c, h, w] expected, not {:?}", x.dims())));
    };
    let regions = operand(inputs, 1)?.dims().first().copied().unwrap_or(0);
    let rois = operand_as(inputs, 1, x.elem(), &[regions, 4])?;
    let batch = operand_as(inputs, 2, Elem::I64, &[regions])?.slice::<i64>();
    if let Some(index) = batch.iter().find(|&&index| usize::try_from(index).map_or(true, |index| index >= n)) {
        return Err(OpError::operands(format!("batch index {index} of {n} images")));
    }
    let out = [positive(op.height, "the output height")?, positive(op.width, "the output width")?];
    if op.sampling_ratio as f64 > MOST_SAMPLES {
        return Err(OpError::unsupported(format!("{} samples per bin", op.sampling_ratio)));
    }
    let mut y = cx.alloc(&[regions, channels, out[0], out[1]], x.elem())?;
    let plane = height * width;
    for_reals!("roi_align", x.elem(), T => {
        if y.is_empty() || plane == 0 {
            y.slice_mut::<T>().fill(T::ZERO);
            return Ok(vec![y]);
        }
        let (x, rois) = (x.slice::<T>(), rois.slice::<T>());
        let large = |v: &T| (v.to_f64() * op.spatial_scale as f64).abs() > MOST_SAMPLES / 2.0 * out[0].min(out[1]) as f64;
        if op.sampling_ratio <= 0 && rois.iter().any(large) {
            return Err(OpError::unsupported(format!("regions with more than {MOST_SAMPLES} samples per bin")));
        }
        y.slice_mut::<T>().par_chunks_mut(channels * out[0] * out[1]).enumerate().for_each(|(region, y)| {
            let roi: Vec<f64> = rois[region * 4..][..4].iter().map(|v| v.to_f64()).collect();
            let bins = bins(op, &roi, out, [height, width]);
            let image = &x[batch[region] as usize * channels * plane..][..channels * plane];
            for (y, plane) in y.chunks_mut(bins.len()).zip(image.chunks(plane)) {
                y.iter_mut().zip(&bins).for_each(|(y, samples)| *y = T::of(pool(op.max, samples, plane)));
            }
        });
        Ok(vec![y])
    })
}

/// Four positions in a plane and their weights.
type Sample = [(usize, f64); 4];

fn pool<T: Real>(max: bool, samples: &[Sample], plane: &[T]) -> f64 {
    let terms = |sample: &Sample| sample.map(|(at, weight)| plane[at].to_f64() * weight);
    match max {
        true => samples.iter().flat_map(terms).reduce(f64::max).unwrap_or(0.0),
        false => samples.iter().flat_map(terms).sum::<f64>() / samples.len().max(1) as f64,
    }
}

/// The samples of every bin of a region `[x1, y1, x2, y2]`.
fn bins(op: &RoiAlign, roi: &[f64], out: [usize; 2], sizes: [usize; 2]) -> Vec<Vec<Sample>> {
    let shift = if op.half_pixel { 0.5 } else { 0.0 };
    let edge = |i: usize| roi[i] * op.spatial_scale as f64 - shift;
    let axis = |first: usize, last: usize, bins: usize| {
        let extent = edge(last) - edge(first);
        let extent = if op.half_pixel { extent } else { extent.max(1.0) };
        let adaptive = (extent / bins as f64).ceil();
        let samples = if op.sampling_ratio > 0 { op.sampling_ratio as f64 } else { adaptive };
        (edge(first), extent / bins as f64, samples as usize)
    };
    let (vertical, horizontal) = (axis(1, 3, out[0]), axis(0, 2, out[1]));
    let places = |(start, size, samples): (f64, f64, usize), bin: usize| {
        (0..samples).map(move |i| start + bin as f64 * size + (i as f64 + 0.5) * size / samples as f64)
    };
    let bin = |i: usize| {
        let rows = places(vertical, i / out[1]);
        rows.flat_map(|y| places(horizontal, i % out[1]).map(move |x| sample(y, x, sizes))).collect()
    };
    (0..out[0] * out[1]).map(bin).collect()
}

/// Most samples per bin and axis.
const MOST_SAMPLES: f64 = 1024.0;

fn sample(y: f64, x: f64, [height, width]: [usize; 2]) -> Sample {
    let outside = |v: f64, size: usize| !(-1.0..=size as f64).contains(&v);
    if outside(y, height) || outside(x, width) {
        return [(0, 0.0); 4];
    }
    let ((top, bottom, down), (left, right, along)) = (neighbors(y, height), neighbors(x, width));
    [
        (top * width + left, (1.0 - down) * (1.0 - along)),
        (top * width + right, (1.0 - down) * along),
        (bottom * width + left, down * (1.0 - along)),
        (bottom * width + right, down * along),
    ]
}

/// The positions around `v`, and how far it is from the first to the second.
fn neighbors(v: f64, size: usize) -> (usize, usize, f64) {
    let v = v.max(0.0);
    let low = v as usize;
    if low + 1 >= size { (size - 1, size - 1, 0.0) } else { (low, low + 1, v - low as f64) }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_close, refuses, run};
    use super::*;

    fn op(max: bool) -> RoiAlign {
        RoiAlign { max, half_pixel: true, height: 2, width: 2, sampling_ratio: 1, spatial_scale: 1.0 }
    }

    #[test]
    fn bins_sample_their_center() {
        let x = Tensor::f32s(&[1, 1, 3, 3], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]);
        let (roi, batch) = (Tensor::f32s(&[1, 4], &[0.5, 0.5, 2.5, 2.5]), Tensor::i64s(&[1], &[0]));
        let y = run(op(false), &[x.clone(), roi.clone(), batch]);
        assert_close(y[0].slice(), &[2.0, 3.0, 5.0, 6.0], 1e-6);
        assert!(refuses(op(false), &[x, roi, Tensor::i64s(&[1], &[1])]));
    }

    #[test]
    fn maxima_are_of_weighted_neighbors() {
        let x = Tensor::f32s(&[1, 1, 2, 2], &[4.0, 8.0, 12.0, 16.0]);
        let roi = Tensor::f32s(&[1, 4], &[0.5, 0.5, 1.5, 1.5]);
        let single = RoiAlign { height: 1, width: 1, ..op(true) };
        assert_close(run(single, &[x, roi, Tensor::i64s(&[1], &[0])])[0].slice(), &[4.0], 1e-6);
    }
}
