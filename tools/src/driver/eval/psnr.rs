//! Peak signal to noise ratio of enlarged pictures, as papers on super resolution give it.

use super::{Evaluator, mean_and_error};
use crate::driver::calibration::images::{self, Layout, Range};
use crate::driver::image::Image;
use mokume_ir::diag::{Diagnostic, Report};
use mokume_ir::types::{Elem, Type};
use mokume_runtime::session::Session;
use mokume_runtime::tensor::Tensor;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// A small picture and the large one that it was made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// What both files have in common.
    pub name: String,
    /// The input of the model.
    pub small: PathBuf,
    /// What the model should give.
    pub large: PathBuf,
}

/// The pairs `NAME_LR.png`, `NAME_HR.png` of a folder.
///
/// Errors  `eval::pairs` when there are none, or a picture has no partner.
pub fn pairs(folder: &Path) -> Result<Vec<Pair>, Report> {
    let files = images::list(folder)?;
    let small = files.iter().filter_map(|path| Some((path, path.file_stem()?.to_str()?.strip_suffix("_LR")?)));
    let pairs = small.map(|(small, name)| {
        let large = small.with_file_name(format!("{name}_HR.png"));
        let finding = || Diagnostic::input("eval::pairs", format!("{} has no partner {}", small.display(), large.display()));
        if files.contains(&large) { Ok(Pair { name: name.into(), small: small.clone(), large }) } else { Err(finding()) }
    });
    let pairs = pairs.collect::<Result<Vec<_>, _>>()?;
    let finding = || Diagnostic::input("eval::pairs", format!("the folder {} has no pairs of pictures", folder.display()));
    if pairs.is_empty() { Err(finding().help("name them NAME_LR.png and NAME_HR.png").into()) } else { Ok(pairs) }
}

/// Pairs of pictures for a model that enlarges them.
#[derive(Debug, Clone)]
pub struct PsnrOf {
    /// The pairs.
    pub pairs: Vec<Pair>,
    /// What black and white are, in inputs and outputs.
    pub range: Range,
}

/// How near enlarged pictures are.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Psnr {
    /// Mean over the pictures, in dB.
    pub psnr_y: f64,
    /// Its standard error.
    pub standard_error: Option<f64>,
    /// The same for bicubic interpolation.
    pub bicubic: f64,
    /// Every picture.
    pub pictures: Vec<Enlarged>,
}

/// One picture.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Enlarged {
    /// Its name.
    pub name: String,
    /// Rows of the model's output for one of its input.
    pub scale: usize,
    /// In dB.
    pub psnr_y: f64,
    /// Of bicubic interpolation, in dB.
    pub bicubic: f64,
}

impl Evaluator for PsnrOf {
    type Score = Psnr;

    fn runs(&self) -> usize {
        self.pairs.len()
    }
    fn evaluate(&self, mut session: Session, done: &mut dyn FnMut()) -> Result<Psnr, Report> {
        let ports: Vec<(String, Type)> = session.inputs().iter().map(|port| (port.name.clone(), port.ty.clone())).collect();
        let (input, layout) = images::layout(&ports)?;
        let one = |pair: &Pair| {
            let enlarged = self.enlarge(&mut session, &input, &layout, pair).map_err(|report| report.within(&pair.name));
            done();
            enlarged
        };
        let pictures = self.pairs.iter().map(one).collect::<Result<Vec<_>, _>>()?;
        let (psnr_y, standard_error) = mean_and_error(&pictures.iter().map(|picture| picture.psnr_y).collect::<Vec<_>>());
        let (bicubic, _) = mean_and_error(&pictures.iter().map(|picture| picture.bicubic).collect::<Vec<_>>());
        Ok(Psnr { psnr_y, standard_error, bicubic, pictures })
    }
}

impl PsnrOf {
    fn enlarge(&self, session: &mut Session, input: &str, layout: &Layout, pair: &Pair) -> Result<Enlarged, Report> {
        let small = Image::read(&pair.small)?.with_planes(layout.planes);
        check_size(layout, &small)?;
        session.reset();
        let outputs = session.run(&[(input.to_string(), layout.tensor(&small, self.range))])?;
        let output = outputs.first().map(|(_, tensor)| tensor);
        let output = output.and_then(|tensor| Planes::of_tensor(tensor, layout, self.range));
        let output = output.ok_or_else(|| Diagnostic::input("eval::output", "the first output of the model is no picture of floats"))?;
        let large = Planes::of_image(&Image::read(&pair.large)?.with_planes(layout.planes));
        let scale = scale(&small, &output, &large)?;
        let expected = large.luma();
        let psnr = |planes: &Planes| psnr(&planes.luma(), &expected, scale);
        let bicubic = Planes::of_image(&small).bicubic(scale);
        Ok(Enlarged { name: pair.name.clone(), scale, psnr_y: psnr(&output), bicubic: psnr(&bicubic) })
    }
}

fn check_size(layout: &Layout, small: &Image) -> Result<(), Report> {
    let [height, width] = [layout.size[0].unwrap_or(small.height()), layout.size[1].unwrap_or(small.width())];
    if [height, width] == [small.height(), small.width()] {
        return Ok(());
    }
    let message = format!("the picture is {} by {}, and the model takes {width} by {height}", small.width(), small.height());
    Err(Diagnostic::input("eval::size", message).help("export the model with symbolic sizes").into())
}

/// How many times the output is as large as the input; the large picture may have a few rows and columns more.
fn scale(small: &Image, output: &Planes, large: &Planes) -> Result<usize, Report> {
    let scale = output.width / small.width().max(1);
    let fits = |own: usize, output: usize, large: usize| output == own * scale && (output..output + scale).contains(&large);
    if scale > 0 && fits(small.width(), output.width, large.width) && fits(small.height(), output.height, large.height) {
        return Ok(scale);
    }
    let size = |width: usize, height: usize| format!("{width} by {height}");
    let (from, to) = (size(small.width(), small.height()), size(output.width, output.height));
    let message = format!("the model makes {from} into {to}, and the large picture is {}", size(large.width, large.height));
    Err(Diagnostic::input("eval::size", message).help("pairs must differ by the scale of the model").into())
}

/// Colors as numbers from 0 to 255.
struct Planes {
    width: usize,
    height: usize,
    planes: Vec<Vec<f64>>,
}

/// A luminance plane.
struct Luma {
    width: usize,
    height: usize,
    values: Vec<f64>,
}

impl Planes {
    fn of_image(image: &Image) -> Self {
        let planes = image.planes.iter().map(|plane| plane.pixels.iter().map(|&pixel| f64::from(pixel)).collect());
        Planes { width: image.width(), height: image.height(), planes: planes.collect() }
    }
    /// Rounded to bytes, as a picture would be kept.
    fn of_tensor(tensor: &Tensor, layout: &Layout, range: Range) -> Option<Self> {
        let &[1, a, b, c] = tensor.dims() else { return None };
        let (count, height, width) = if layout.channels_last { (c, a, b) } else { (a, b, c) };
        if tensor.elem() != Elem::F32 || count != layout.planes {
            return None;
        }
        let values = tensor.slice::<f32>();
        let at = |plane: usize, place: usize| if layout.channels_last { place * count + plane } else { plane * height * width + place };
        let pixel = |plane: usize, place: usize| f64::from(range.pixel(values[at(plane, place)], plane));
        let planes = (0..count).map(|plane| (0..height * width).map(|place| pixel(plane, place)).collect());
        Some(Planes { width, height, planes: planes.collect() })
    }
    /// Y of BT.601 in 16 to 235; gray is taken as it is.
    fn luma(&self) -> Luma {
        let values = match self.planes.as_slice() {
            [r, g, b] => {
                let y = |((r, g), b): ((&f64, &f64), &f64)| 16.0 + (65.481 * r + 128.553 * g + 24.966 * b) / 255.0;
                r.iter().zip(g).zip(b).map(y).collect()
            }
            planes => planes.first().cloned().unwrap_or_default(),
        };
        Luma { width: self.width, height: self.height, values }
    }
    /// Enlarged by cubic interpolation with a = -1/2, edges continued, rounded to bytes.
    fn bicubic(&self, scale: usize) -> Self {
        let (width, height) = (self.width * scale, self.height * scale);
        let (columns, rows) = (cubic_taps(self.width, scale), cubic_taps(self.height, scale));
        let enlarge = |plane: &Vec<f64>| {
            let wide: Vec<f64> = plane.chunks(self.width).flat_map(|row| columns.iter().map(|taps| taps.apply(|i| row[i]))).collect();
            let pixel = |y: usize, x: usize| rows[y].apply(|i| wide[i * width + x]).round().clamp(0.0, 255.0);
            (0..height).flat_map(|y| (0..width).map(move |x| (y, x))).map(|(y, x)| pixel(y, x)).collect()
        };
        Planes { width, height, planes: self.planes.iter().map(enlarge).collect() }
    }
}

/// Four source pixels and their weights.
struct Taps([(usize, f64); 4]);

impl Taps {
    fn apply(&self, source: impl Fn(usize) -> f64) -> f64 {
        self.0.iter().map(|&(index, weight)| weight * source(index)).sum()
    }
}

fn cubic_taps(size: usize, scale: usize) -> Vec<Taps> {
    let taps = |target: usize| {
        let position = (target as f64 + 0.5) / scale as f64 - 0.5;
        let first = position.floor() - 1.0;
        let tap = |i: usize| {
            let place = first + i as f64;
            (place.clamp(0.0, (size - 1) as f64) as usize, cubic((position - place).abs()))
        };
        Taps([tap(0), tap(1), tap(2), tap(3)])
    };
    (0..size * scale).map(taps).collect()
}

/// Keys 1981 with a = -1/2.
fn cubic(distance: f64) -> f64 {
    match distance {
        d if d <= 1.0 => (1.5 * d - 2.5) * d * d + 1.0,
        d if d < 2.0 => ((-0.5 * d + 2.5) * d - 4.0) * d + 2.0,
        _ => 0.0,
    }
}

/// `10 log10(255² / mse)` without `border` pixels on every side of `got`, which lies at the upper left of `expected`.
fn psnr(got: &Luma, expected: &Luma, border: usize) -> f64 {
    let (mut sum, mut count) = (0.0, 0usize);
    for y in border..got.height.saturating_sub(border) {
        for x in border..got.width.saturating_sub(border) {
            let error = got.values[y * got.width + x] - expected.values[y * expected.width + x];
            sum += error * error;
            count += 1;
        }
    }
    10.0 * (255.0 * 255.0 * count as f64 / sum).log10()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gray(width: usize, values: &[f64]) -> Planes {
        Planes { width, height: values.len() / width, planes: vec![values.to_vec()] }
    }

    #[test]
    fn the_border_is_not_counted() {
        let expected = gray(3, &[0.0; 9]).luma();
        let got = gray(3, &[9.0, 9.0, 9.0, 9.0, 1.0, 9.0, 9.0, 9.0, 9.0]).luma();
        assert!((psnr(&got, &expected, 1) - 20.0 * 255.0f64.log10()).abs() < 1e-12);
        assert_eq!(psnr(&expected, &expected, 0), f64::INFINITY);
    }

    #[test]
    fn enlarging_keeps_flat_pictures_and_ramps() {
        assert!(gray(2, &[7.0; 4]).bicubic(4).planes[0].iter().all(|&v| v == 7.0));
        let ramp: Vec<f64> = (0..8).map(|i| f64::from(i) * 20.0).collect();
        let large = gray(8, &ramp).bicubic(2);
        assert_eq!((large.width, large.height), (16, 2));
        assert_eq!(large.planes[0][4..8], [35.0, 45.0, 55.0, 65.0]);
    }

    #[test]
    fn white_is_235_in_luminance() {
        let white = Planes { width: 1, height: 1, planes: vec![vec![255.0]; 3] };
        assert!((white.luma().values[0] - 235.0).abs() < 1e-9);
    }
}
