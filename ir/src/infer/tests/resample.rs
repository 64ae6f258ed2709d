//! Resampling, boxes, signals.

use super::check;

fn resize(sizes: &str) -> String {
    let fixed = "mode = linear, coordinates = half_pixel, nearest = floor, cubic_a = -0.75, exclude_outside = false, extrapolation = 0.0";
    format!("resize {{{fixed}, antialias = false, axes = [2], roi = false, {sizes}}}")
}

#[test]
fn resize_sizes() {
    check(&resize("aspect = stretch, scales = [], sizes = [9]"), &["n x 3 x h x f32"], "n x 3 x 9 x f32");
    check(&resize("aspect = stretch, scales = [], sizes = operand(1)"), &["n x 3 x h x f32", "=[2*h]"], "n x 3 x 2*h x f32");
    check(&resize("aspect = stretch, scales = [], sizes = operand(1)"), &["n x 3 x h x f32", "1 x i64"], "n x 3 x ?0 x f32");
    check(&resize("aspect = not_larger, scales = [], sizes = [9]"), &["n x 3 x 6 x f32"], "n x 3 x 9 x f32");
    check(&resize("aspect = stretch, scales = [2.0]"), &["n x 3 x h x f32"], "n x 3 x 2*h x f32");
    check(&resize("aspect = stretch, scales = [0.5]"), &["n x 3 x h x f32"], "n x 3 x floordiv(h, 2) x f32");
    check(&resize("aspect = stretch, scales = [0.6]"), &["n x 3 x 10 x f32"], "n x 3 x 6 x f32");
    check(&resize("aspect = stretch, scales = [0.6]"), &["n x 3 x h x f32"], "n x 3 x ?0 x f32");
    check(&resize("aspect = stretch, scales = [], scales_operand = 1"), &["n x 3 x h x f32", "1 x f32"], "n x 3 x ?0 x f32");
    check(&resize("aspect = stretch, scales = [0.0]"), &["n x 3 x h x f32"], "resize: scale 0 is not positive");
    check(&resize("aspect = stretch, scales = [1.0, 2.0]"), &["n x 3 x h x f32"], "resize: 1 axes, but 2 scales");
}

#[test]
fn boxes() {
    check(
        "grid_sample {mode = linear, padding = zeros, align_corners = false}",
        &["n x 3 x h x w x f32", "n x a x b x 2 x f32"],
        "n x 3 x a x b x f32",
    );
    check("non_max_suppression {center = false}", &["n x k x 4 x f32", "n x c x k x f32", "i64", "f32", "f32"], "?0 x 3 x i64");
    check(
        "roi_align {max = false, half_pixel = true, height = 7, width = 5, sampling_ratio = 0, spatial_scale = 1.0}",
        &["n x 8 x h x w x f32", "r x 4 x f32", "r x i64"],
        "r x 8 x 7 x 5 x f32",
    );
}

#[test]
fn fourier() {
    check("dft {axis = 1, inverse = false, onesided = false}", &["b x 10 x 1 x f32"], "b x 10 x 2 x f32");
    check("dft {axis = 1, inverse = false, onesided = true}", &["b x n x 1 x f32"], "b x floordiv(n, 2) + 1 x 2 x f32");
    check("dft {axis = 1, length = operand(1), inverse = false, onesided = true}", &["b x n x 1 x f32", "=16"], "b x 9 x 2 x f32");
    check(
        "dft {axis = 2, inverse = false, onesided = true}",
        &["b x n x 1 x f32"],
        "dft: axis 2 of tensor<b x n x 1 x f32> holds the components",
    );
    check("stft {onesided = true}", &["b x n x 1 x f32", "=160", "400 x f32", "=400"], "b x floordiv(n + 80, 160) - 2 x 201 x 2 x f32");
}
