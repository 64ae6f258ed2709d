//! Greedy selection of boxes that overlap little.
//!
//! Source  ONNX NonMaxSuppression-11.

use super::layout::operands;
use super::{OpContext, OpError};
use crate::tensor::Tensor;
use mokume_ir::op::NonMaxSuppression;
use mokume_ir::types::Elem;

/// Runs a non_max_suppression: rows of batch, class and box, best score first within a class.
pub fn non_max_suppression(op: &NonMaxSuppression, inputs: &[&Tensor], cx: &OpContext<'_>) -> Result<Vec<Tensor>, OpError> {
    let [boxes, scores, most, overlap, least] = operands(inputs)?;
    let limits = Limits::read(most, overlap, least)?;
    let bad = || OpError::operands(format!("non_max_suppression of boxes {boxes:?} and scores {scores:?}"));
    let (&[batch, count, 4], &[same_batch, classes, same_count]) = (boxes.dims(), scores.dims()) else { return Err(bad()) };
    if (batch, count) != (same_batch, same_count) || [boxes.elem(), scores.elem()] != [Elem::F32; 2] {
        return Err(bad());
    }
    let corners: Vec<Rectangle> = boxes.slice::<f32>().as_chunks::<4>().0.iter().map(|&values| Rectangle::new(values, op.center)).collect();
    let mut rows = Vec::new();
    for group in 0..batch * classes {
        let (b, class) = (group / classes, group % classes);
        let kept = select(&corners[b * count..][..count], &scores.slice::<f32>()[group * count..][..count], &limits);
        rows.extend(kept.into_iter().flat_map(|i| [b as i64, class as i64, i as i64]));
    }
    let mut out = cx.alloc(&[rows.len() / 3, 3], Elem::I64)?;
    out.slice_mut::<i64>().copy_from_slice(&rows);
    Ok(vec![out])
}

struct Limits {
    most: usize,
    overlap: f32,
    least: f32,
}

impl Limits {
    fn read(most: &Tensor, overlap: &Tensor, least: &Tensor) -> Result<Self, OpError> {
        let ok = [most, overlap, least].map(Tensor::len) == [1; 3]
            && [most.elem(), overlap.elem(), least.elem()] == [Elem::I64, Elem::F32, Elem::F32];
        if !ok {
            return Err(OpError::operands(format!("non_max_suppression with limits {most:?}, {overlap:?}, {least:?}")));
        }
        let most = usize::try_from(most.slice::<i64>()[0]).unwrap_or(0);
        Ok(Limits { most, overlap: overlap.slice::<f32>()[0], least: least.slice::<f32>()[0] })
    }
}

/// Indices of the kept boxes of one class.
fn select(boxes: &[Rectangle], scores: &[f32], limits: &Limits) -> Vec<usize> {
    let mut order: Vec<usize> = (0..boxes.len()).filter(|&i| scores[i] > limits.least).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    let mut kept: Vec<usize> = Vec::new();
    for i in order {
        if kept.len() >= limits.most {
            break;
        }
        if kept.iter().all(|&other| boxes[i].overlap(boxes[other]) <= limits.overlap) {
            kept.push(i);
        }
    }
    kept
}

#[derive(Clone, Copy)]
struct Rectangle {
    low: [f32; 2],
    high: [f32; 2],
}

impl Rectangle {
    /// Two opposite corners, or center and size.
    fn new([a, b, c, d]: [f32; 4], center: bool) -> Self {
        if center {
            return Rectangle { low: [a - c / 2.0, b - d / 2.0], high: [a + c / 2.0, b + d / 2.0] };
        }
        Rectangle { low: [a.min(c), b.min(d)], high: [a.max(c), b.max(d)] }
    }
    fn area(self) -> f32 {
        (self.high[0] - self.low[0]) * (self.high[1] - self.low[1])
    }
    /// Intersection over union; 0 where either is nothing.
    fn overlap(self, other: Rectangle) -> f32 {
        let side = |axis: usize| self.high[axis].min(other.high[axis]) - self.low[axis].max(other.low[axis]);
        let (width, height) = (side(0), side(1));
        if !(width > 0.0 && height > 0.0 && self.area() > 0.0 && other.area() > 0.0) {
            return 0.0;
        }
        width * height / (self.area() + other.area() - width * height)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::tests::{fails, run_op as run};

    fn limits(most: i64, overlap: f32, least: f32) -> [Tensor; 3] {
        [Tensor::i64s(&[1], &[most]), Tensor::f32s(&[1], &[overlap]), Tensor::f32s(&[1], &[least])]
    }

    #[test]
    fn overlapping_boxes_are_dropped() {
        let boxes = Tensor::f32s(&[1, 3, 4], &[0.0, 0.0, 1.0, 1.0, 0.0, 0.1, 1.0, 1.1, 2.0, 2.0, 3.0, 3.0]);
        let scores = Tensor::f32s(&[1, 1, 3], &[0.5, 0.9, 0.7]);
        let kept = |most, overlap, least| {
            let [a, b, c] = limits(most, overlap, least);
            run(NonMaxSuppression { center: false }, &[&boxes, &scores, &a, &b, &c])[0].slice::<i64>().to_vec()
        };
        assert_eq!(kept(5, 0.5, 0.0), [0, 0, 1, 0, 0, 2]);
        assert_eq!(kept(1, 0.5, 0.0), [0, 0, 1]);
        assert_eq!(kept(5, 0.95, 0.6), [0, 0, 1, 0, 0, 2]);
        assert!(kept(0, 0.5, 0.0).is_empty());
        let [a, b, c] = limits(1, 0.5, 0.0);
        assert!(fails(NonMaxSuppression { center: false }, &[&boxes, &boxes, &a, &b, &c]));
    }
}
