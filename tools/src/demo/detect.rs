//! Text detection with PP-OCR: a probability per pixel, grown into upright boxes.
//!
//! Source  Liao et al., "Real-time Scene Text Detection with Differentiable Binarization", 2020: threshold, then each region is
//!         expanded by area * ratio / perimeter, as the network learns shrunken regions.

use crate::driver::picture::{Picture, Rect};
use mokume_ir::diag::{Diagnostic, Report};
use mokume_runtime::session::Session;
use mokume_runtime::tensor::Tensor;

const MEAN: [f32; 3] = [0.485, 0.456, 0.406];
const DEVIATION: [f32; 3] = [0.229, 0.224, 0.225];
const THRESHOLD: f32 = 0.3;
const EXPAND: f32 = 1.6;
const SMALLEST: usize = 8;

/// The input of the detector for a picture whose sides are multiples of 32.
pub fn input(picture: &Picture) -> Vec<(String, Tensor)> {
    vec![("x".into(), picture.tensor(MEAN, DEVIATION))]
}

/// The probability map of a picture, `[1, 1, height, width]`.
///
/// Errors  when the run fails or the model is not a detector.
pub fn probabilities(session: &mut Session, picture: &Picture) -> Result<Tensor, Report> {
    let map = session.run(&input(picture))?.swap_remove(0).1;
    match map.dims() == [1, 1, picture.height, picture.width] {
        true => Ok(map),
        false => {
            Err(Diagnostic::input("demo::detector", format!("the detector gave {map:?} for {}x{}", picture.width, picture.height)).into())
        }
    }
}

/// Boxes of text, from top to bottom.
pub fn boxes(map: &Tensor, picture: &Picture) -> Vec<Rect> {
    let mut open: Vec<bool> = map.slice::<f32>().iter().map(|&p| p > THRESHOLD).collect();
    let mut found = Vec::new();
    for start in 0..open.len() {
        if open[start] {
            let region = flood(&mut open, start, picture.width);
            if region.width >= SMALLEST && region.height >= SMALLEST / 2 {
                found.push(expand(region, picture));
            }
        }
    }
    found.sort_by_key(|rect| (rect.y, rect.x));
    found
}

/// Clears the region connected to `start` and gives its bounding box.
fn flood(open: &mut [bool], start: usize, width: usize) -> Rect {
    let (mut left, mut right, mut top, mut bottom) = (usize::MAX, 0, usize::MAX, 0);
    let mut stack = vec![start];
    open[start] = false;
    while let Some(at) = stack.pop() {
        let (x, y) = (at % width, at / width);
        (left, right, top, bottom) = (left.min(x), right.max(x), top.min(y), bottom.max(y));
        let neighbors = [(x > 0).then(|| at - 1), (x + 1 < width).then_some(at + 1), at.checked_sub(width), Some(at + width)];
        for next in neighbors.into_iter().flatten() {
            if open.get(next).is_some_and(|&is_open| is_open) {
                open[next] = false;
                stack.push(next);
            }
        }
    }
    Rect { x: left, y: top, width: right - left + 1, height: bottom - top + 1 }
}

fn expand(rect: Rect, picture: &Picture) -> Rect {
    let distance = (rect.width * rect.height) as f32 * EXPAND / (2 * (rect.width + rect.height)) as f32;
    let by = distance.ceil() as usize;
    let (x, y) = (rect.x.saturating_sub(by), rect.y.saturating_sub(by));
    let (right, bottom) = ((rect.x + rect.width + by).min(picture.width), (rect.y + rect.height + by).min(picture.height));
    Rect { x, y, width: right - x, height: bottom - y }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_regions_give_two_boxes_from_top_to_bottom() {
        let picture = Picture::white(64, 64);
        let mut map = Tensor::f32s(&[1, 1, 64, 64], &[0.0; 64 * 64]);
        let cells = map.slice_mut::<f32>();
        for (x, y) in (20..40).flat_map(|x| (40..48).map(move |y| (x, y))).chain((4..16).flat_map(|x| (4..10).map(move |y| (x, y)))) {
            cells[y * 64 + x] = 0.9;
        }
        let found = boxes(&map, &picture);
        assert_eq!(found.len(), 2);
        assert!(found[0].y < found[1].y && found[1].x < 20 && found[1].width > 20);
    }
}
