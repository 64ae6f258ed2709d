//! Gray pictures: drawing text, cropping, resizing, and turning them into model inputs.

use ab_glyph::{Font, FontRef, Glyph, PxScale, ScaleFont, point};
use mokume_runtime::tensor::Tensor;

/// A gray picture, row major, 0 black to 255 white.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// Pixels per row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// The pixels.
    pub pixels: Vec<u8>,
}

/// A part of a picture, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rect {
    /// Left edge.
    pub x: usize,
    /// Upper edge.
    pub y: usize,
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
}

impl Picture {
    /// A white picture.
    pub fn white(width: usize, height: usize) -> Self {
        Picture { width, height, pixels: vec![255; width * height] }
    }
    /// Draws a line of text in black, its baseline starting at `(x, y)`, `size` pixels high.
    pub fn draw_text(&mut self, text: &str, x: f32, y: f32, size: f32) {
        let Ok(font) = FontRef::try_from_slice(epaint_default_fonts::UBUNTU_LIGHT) else { return };
        let scale = PxScale::from(size);
        let scaled = font.as_scaled(scale);
        let mut pen = x;
        for character in text.chars() {
            let id = font.glyph_id(character);
            self.draw_glyph(&font, id.with_scale_and_position(scale, point(pen, y)));
            pen += scaled.h_advance(id);
        }
    }
    fn draw_glyph(&mut self, font: &FontRef<'_>, glyph: Glyph) {
        let Some(outline) = font.outline_glyph(glyph) else { return };
        let corner = outline.px_bounds().min;
        outline.draw(|dx, dy, cover| {
            let (x, y) = (corner.x as i64 + i64::from(dx), corner.y as i64 + i64::from(dy));
            if (0..self.width as i64).contains(&x) && (0..self.height as i64).contains(&y) {
                let pixel = &mut self.pixels[y as usize * self.width + x as usize];
                *pixel = (f32::from(*pixel) * (1.0 - cover.min(1.0))) as u8;
            }
        });
    }
    /// The part `rect`, which must lie inside.
    pub fn crop(&self, rect: Rect) -> Picture {
        let rows = self.pixels.chunks(self.width).skip(rect.y).take(rect.height);
        let pixels = rows.flat_map(|row| &row[rect.x..rect.x + rect.width]).copied().collect();
        Picture { width: rect.width, height: rect.height, pixels }
    }
    /// Resized by bilinear interpolation at pixel centers.
    pub fn resize(&self, width: usize, height: usize) -> Picture {
        let mut pixels = Vec::with_capacity(width * height);
        for y in 0..height {
            let (y0, y1, fy) = sample(y, height, self.height);
            for x in 0..width {
                let (x0, x1, fx) = sample(x, width, self.width);
                let at = |x: usize, y: usize| f32::from(self.pixels[y * self.width + x]);
                let upper = at(x0, y0) * (1.0 - fx) + at(x1, y0) * fx;
                let lower = at(x0, y1) * (1.0 - fx) + at(x1, y1) * fx;
                pixels.push((upper * (1.0 - fy) + lower * fy).round() as u8);
            }
        }
        Picture { width, height, pixels }
    }
    /// As a `[1, 3, height, width]` tensor of `(pixel/255 - mean)/deviation` per channel.
    pub fn tensor(&self, mean: [f32; 3], deviation: [f32; 3]) -> Tensor {
        let channel = |c: usize| self.pixels.iter().map(move |&p| (f32::from(p) / 255.0 - mean[c]) / deviation[c]);
        let values: Vec<f32> = (0..3).flat_map(channel).collect();
        Tensor::f32s(&[1, 3, self.height, self.width], &values)
    }
}

/// The two source indices of a target index and the weight of the second.
fn sample(index: usize, target: usize, source: usize) -> (usize, usize, f32) {
    let position = ((index as f32 + 0.5) * source as f32 / target as f32 - 0.5).clamp(0.0, (source - 1) as f32);
    let low = position as usize;
    (low, (low + 1).min(source - 1), position - low as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_crops_and_resizes() {
        let mut picture = Picture::white(64, 32);
        picture.draw_text("m", 4.0, 26.0, 30.0);
        assert!(picture.pixels.iter().any(|&p| p < 64));
        let part = picture.crop(Rect { x: 1, y: 2, width: 3, height: 4 });
        assert_eq!((part.width, part.height, part.pixels.len()), (3, 4, 12));
        assert_eq!(Picture::white(5, 5).resize(9, 3), Picture::white(9, 3));
        assert_eq!(picture.tensor([0.5; 3], [0.5; 3]).dims(), &[1, 3, 32, 64]);
    }
}
