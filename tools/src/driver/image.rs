//! Pictures in PNG files, as planes of bytes.

use crate::driver::picture::{Picture, Rect};
use mokume_ir::diag::{Diagnostic, Report};
use mokume_runtime::file;
use std::io::Cursor;
use std::path::Path;

/// A picture in color or gray: three planes or one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Red, green and blue; or gray.
    pub planes: Vec<Picture>,
}

impl Image {
    /// Reads a PNG file of any kind; 16 bits become 8, transparency is left out.
    ///
    /// Errors  when the file is missing or broken.
    pub fn read(path: &Path) -> Result<Self, Report> {
        let data = file::read(path)?;
        decode(&data).map_err(|error| {
            let finding = Diagnostic::input("image::broken", format!("{} is not a PNG picture: {error}", path.display()));
            finding.help("convert it to PNG").into()
        })
    }
    /// Pixels per row.
    pub fn width(&self) -> usize {
        self.planes[0].width
    }
    /// Rows.
    pub fn height(&self) -> usize {
        self.planes[0].height
    }
    /// With one plane or three: gray is luminance as in BT.601, and all three colors of what was gray.
    pub fn with_planes(self, count: usize) -> Image {
        match (count, self.planes.as_slice()) {
            (1, [r, g, b]) => Image { planes: vec![luminance(r, g, b)] },
            (3, [gray]) => Image { planes: vec![gray.clone(); 3] },
            _ => self,
        }
    }
    /// Resized so that it covers `width` by `height`, and cut to that around the middle.
    pub fn cover(&self, width: usize, height: usize) -> Image {
        let by_width = self.height() * width >= self.width() * height;
        let (wide, high) = match by_width {
            true => (width, (self.height() * width).div_ceil(self.width())),
            false => ((self.width() * height).div_ceil(self.height()), height),
        };
        let rect = Rect { x: (wide - width) / 2, y: (high - height) / 2, width, height };
        Image { planes: self.planes.iter().map(|plane| plane.resize(wide, high).crop(rect)).collect() }
    }
}

fn luminance(r: &Picture, g: &Picture, b: &Picture) -> Picture {
    let pixel = |((&r, &g), &b): ((&u8, &u8), &u8)| (0.299 * f32::from(r) + 0.587 * f32::from(g) + 0.114 * f32::from(b)).round() as u8;
    let pixels = r.pixels.iter().zip(&g.pixels).zip(&b.pixels).map(pixel).collect();
    Picture { width: r.width, height: r.height, pixels }
}

fn decode(data: &[u8]) -> Result<Image, png::DecodingError> {
    let mut decoder = png::Decoder::new(Cursor::new(data));
    decoder.set_transformations(png::Transformations::normalize_to_color8());
    let mut reader = decoder.read_info()?;
    let mut pixels = vec![0; reader.output_buffer_size().ok_or(png::DecodingError::LimitsExceeded)?];
    let frame = reader.next_frame(&mut pixels)?;
    let samples = frame.color_type.samples();
    let colors = if samples < 3 { 1 } else { 3 };
    let plane = |color: usize| Picture {
        width: frame.width as usize,
        height: frame.height as usize,
        pixels: pixels.iter().skip(color).step_by(samples).copied().collect(),
    };
    Ok(Image { planes: (0..colors).map(plane).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(color: png::ColorType, pixels: &[u8]) -> Vec<u8> {
        let mut file = Vec::new();
        let mut encoder = png::Encoder::new(&mut file, 2, 1);
        encoder.set_color(color);
        encoder.write_header().unwrap().write_image_data(pixels).unwrap();
        file
    }

    fn planes(image: &Image) -> Vec<&[u8]> {
        image.planes.iter().map(|plane| plane.pixels.as_slice()).collect()
    }

    #[test]
    fn pictures_become_planes_without_transparency() {
        let color = decode(&encoded(png::ColorType::Rgba, &[1, 2, 3, 4, 5, 6, 7, 8])).unwrap();
        assert_eq!(planes(&color), [[1, 5], [2, 6], [3, 7]]);
        let gray = decode(&encoded(png::ColorType::Grayscale, &[9, 10])).unwrap();
        assert_eq!(planes(&gray.clone().with_planes(3)), [[9, 10]; 3]);
        assert_eq!(planes(&color.with_planes(1)), [[2, 6]]);
        assert!(decode(b"no picture").is_err());
    }

    #[test]
    fn covering_keeps_proportions() {
        let row = Picture { width: 4, height: 2, pixels: vec![0, 100, 200, 250, 0, 100, 200, 250] };
        let covered = Image { planes: vec![row] }.cover(2, 2);
        assert_eq!(planes(&covered), [[100, 200, 100, 200]]);
        assert_eq!((covered.width(), covered.height()), (2, 2));
    }
}
