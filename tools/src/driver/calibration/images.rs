//! Inputs of image models from PNG files.

use crate::driver::image::Image;
use mokume_ir::diag::{Diagnostic, Report};
use mokume_ir::dim::Dim;
use mokume_ir::types::{Elem, Type};
use mokume_runtime::file::unreadable;
use mokume_runtime::tensor::Tensor;
use std::path::{Path, PathBuf};

/// What black and white are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Range {
    /// 0 and 1
    #[default]
    Unit,
    /// 0 and 255
    Bytes,
    /// -1 and 1
    Signed,
    /// As networks trained on ImageNet expect: mean and deviation of every color
    Imagenet,
}

impl Range {
    /// The value of a pixel of color `plane`.
    fn value(self, pixel: u8, plane: usize) -> f32 {
        let pixel = f32::from(pixel);
        match self {
            Range::Unit => pixel / 255.0,
            Range::Bytes => pixel,
            Range::Signed => pixel / 127.5 - 1.0,
            Range::Imagenet => (pixel / 255.0 - MEAN[plane]) / DEVIATION[plane],
        }
    }
    /// The pixel that comes nearest to a value of color `plane`.
    pub fn pixel(self, value: f32, plane: usize) -> u8 {
        let pixel = match self {
            Range::Unit => value * 255.0,
            Range::Bytes => value,
            Range::Signed => (value + 1.0) * 127.5,
            Range::Imagenet => (value * DEVIATION[plane] + MEAN[plane]) * 255.0,
        };
        pixel.round() as u8
    }
}

/// Of the colors of ImageNet, where white is 1.
const MEAN: [f32; 3] = [0.485, 0.456, 0.406];
const DEVIATION: [f32; 3] = [0.229, 0.224, 0.225];

/// How a model takes pictures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// One for gray, three for colors.
    pub planes: usize,
    /// Whether the colors of a pixel are beside each other.
    pub channels_last: bool,
    /// Height and width, where the model fixes them.
    pub size: [Option<usize>; 2],
    elem: Elem,
}

/// The PNG files of a folder, by name.
///
/// Errors  `calibration::images` when there are none.
pub fn list(folder: &Path) -> Result<Vec<PathBuf>, Report> {
    let entries = std::fs::read_dir(folder).map_err(|e| unreadable(folder, &e))?;
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut paths: Vec<_> = paths.filter(|path| path.extension().is_some_and(|e| e.eq_ignore_ascii_case("png"))).collect();
    paths.sort();
    let finding = || Diagnostic::input("calibration::images", format!("the folder {} has no .png files", folder.display()));
    if paths.is_empty() { Err(finding().into()) } else { Ok(paths) }
}

/// One run on a picture: resized and cut to the size of the model where that is fixed, as it is otherwise.
///
/// Errors  when the file is broken, or the model has another input than one picture.
pub fn inputs(ports: &[(String, Type)], path: &Path, range: Range) -> Result<Vec<(String, Tensor)>, Report> {
    let (name, layout) = layout(ports)?;
    let image = Image::read(path)?.with_planes(layout.planes);
    Ok(vec![(name, layout.tensor(&image, range))])
}

/// The only input of a model, if it is a picture.
///
/// Errors  `calibration::input`
pub fn layout(ports: &[(String, Type)]) -> Result<(String, Layout), Report> {
    let refuse =
        |message: String| Err(Diagnostic::input("calibration::input", message).help("give the inputs of the model in a .npz").into());
    let [(name, ty)] = ports else {
        let names: Vec<_> = ports.iter().map(|(name, _)| format!("\"{name}\"")).collect();
        return refuse(format!("pictures are one input, and the model has {}: {}", names.len(), names.join(", ")));
    };
    match layout_of(ty) {
        Some(layout) => Ok((name.clone(), layout)),
        None => refuse(format!("input \"{name}\" is {ty}, which is no picture: [1, colors, height, width] or [1, height, width, colors]")),
    }
}

fn layout_of(ty: &Type) -> Option<Layout> {
    let [_, second, third, last] = ty.dims()? else { return None };
    let elem = ty.elem().filter(|elem| matches!(elem, Elem::F32 | Elem::U8))?;
    let size = |dim: &Dim| dim.known().and_then(|size| usize::try_from(size).ok());
    let planes = |dim: &Dim| size(dim).filter(|planes| [1, 3].contains(planes));
    match (planes(second), planes(last)) {
        (Some(planes), _) => Some(Layout { planes, channels_last: false, size: [size(third), size(last)], elem }),
        (None, Some(planes)) => Some(Layout { planes, channels_last: true, size: [size(second), size(third)], elem }),
        _ => None,
    }
}

impl Layout {
    /// A picture with as many planes as the layout, as an input.
    pub fn tensor(&self, image: &Image, range: Range) -> Tensor {
        let [height, width] = [self.size[0].unwrap_or(image.height()), self.size[1].unwrap_or(image.width())];
        let fits = [height, width] == [image.height(), image.width()];
        let fitted = if fits { image.clone() } else { image.cover(width, height) };
        let dims = if self.channels_last { [1, height, width, self.planes] } else { [1, self.planes, height, width] };
        let at = |index: usize| match self.channels_last {
            true => (index % self.planes, index / self.planes),
            false => (index / (height * width), index % (height * width)),
        };
        let pixel = |(plane, place): (usize, usize)| fitted.planes[plane].pixels[place];
        let mut tensor = Tensor::zeros(&dims, self.elem);
        match self.elem {
            Elem::U8 => tensor.slice_mut::<u8>().iter_mut().enumerate().for_each(|(i, v)| *v = pixel(at(i))),
            _ => tensor.slice_mut::<f32>().iter_mut().enumerate().for_each(|(i, v)| *v = range.value(pixel(at(i)), at(i).0)),
        }
        tensor
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::picture::Picture;
    use mokume_ir::text;

    fn port(ty: &str) -> Vec<(String, Type)> {
        let source = format!("module \"m\"\n\ngraph @f0 \"main\"(%0 \"x\": {ty}) -> (\"y\") {{\n  return %0\n}}\n");
        super::super::ports(&text::parse(&source, &text::no_data).unwrap())
    }

    fn image() -> Image {
        let plane = |first: u8| Picture { width: 2, height: 1, pixels: vec![first, first + 1] };
        Image { planes: vec![plane(0), plane(10), plane(254)] }
    }

    #[test]
    fn colors_go_where_the_model_has_them() {
        let layout = |ty: &str| layout(&port(ty)).unwrap().1;
        let first = layout("tensor<1 x 3 x h x w x f32>").tensor(&image(), Range::Bytes);
        assert_eq!((first.dims(), first.slice::<f32>()), (&[1, 3, 1, 2][..], &[0.0, 1.0, 10.0, 11.0, 254.0, 255.0][..]));
        let last = layout("tensor<n x h x w x 3 x u8>").tensor(&image(), Range::Unit);
        assert_eq!((last.dims(), last.slice::<u8>()), (&[1, 1, 2, 3][..], &[0, 10, 254, 1, 11, 255][..]));
        assert_eq!(layout("tensor<1 x 1 x 8 x 4 x f32>").size, [Some(8), Some(4)]);
        let fixed = layout("tensor<1 x 3 x 4 x 4 x f32>").tensor(&image(), Range::Unit);
        assert_eq!(fixed.dims(), [1, 3, 4, 4]);
    }

    #[test]
    fn ranges_are_what_networks_expect() {
        assert_eq!(Range::Unit.value(255, 0), 1.0);
        assert_eq!((Range::Signed.value(0, 0), Range::Signed.value(255, 0)), (-1.0, 1.0));
        assert!((Range::Imagenet.value(124, 0)).abs() < 0.01);
        for range in [Range::Unit, Range::Bytes, Range::Signed, Range::Imagenet] {
            assert!((0..=255).all(|pixel| range.pixel(range.value(pixel, 1), 1) == pixel), "{range:?}");
        }
        assert_eq!((Range::Unit.pixel(-1.0, 0), Range::Unit.pixel(2.0, 0)), (0, 255));
    }

    #[test]
    fn what_is_no_picture_is_refused() {
        assert!(layout(&port("tensor<1 x 4 x h x w x f32>")).unwrap_err().to_string().contains("no picture"));
        assert!(layout(&[]).unwrap_err().to_string().contains("the model has 0"));
    }
}
