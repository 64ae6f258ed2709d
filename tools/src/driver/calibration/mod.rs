//! Calibration data: text, tokens, images and arrays as inputs that stand for the use of a model.
//!
//! Texts and tokens are cut into windows side by side. Of all windows and images some are chosen by a seed and used in the order of the
//! files; archives of arrays are all used.

pub mod images;
pub mod language;
mod streams;

use crate::driver::inputs::SplitMix;
use crate::driver::tokens::{self, Bos, Part};
use crate::driver::{archive, inputs};
use images::Range;
use mokume_ir::diag::{Diagnostic, Report};
use mokume_ir::graph::Module;
use mokume_ir::types::Type;
use mokume_passes::executor::Named;
use mokume_runtime::convert;
use mokume_runtime::tensor::Tensor;
use std::path::{Path, PathBuf};
pub use streams::TokenWidth;
use tokenizers::Tokenizer;

/// A text of varied subjects, for language models whose user gives no data.
pub const DEFAULT_TEXT: &str = include_str!("default.txt");

/// Windows and images that are used where no number is given.
const SAMPLES: usize = 32;

/// Where calibration data comes from.
#[derive(Debug, Clone)]
pub struct Calibration {
    /// Texts, token files, archives of arrays, images, folders of images.
    pub files: Vec<PathBuf>,
    /// Of texts. With a tokenizer and without files, a language model gets [`DEFAULT_TEXT`].
    pub tokenizer: Option<PathBuf>,
    /// The part of every text that is used.
    pub part: Part,
    /// Tokens of a window.
    pub window: usize,
    /// Windows and images to choose; at most 32 where nothing is said.
    pub samples: Option<usize>,
    /// Which are chosen.
    pub seed: u64,
    /// Bytes of a token in `.bin` files.
    pub width: TokenWidth,
    /// What black and white are in images.
    pub range: Range,
}

impl Default for Calibration {
    fn default() -> Self {
        Calibration {
            files: Vec::new(),
            tokenizer: None,
            part: Part::ALL,
            window: 512,
            samples: None,
            seed: 0,
            width: TokenWidth::U16,
            range: Range::Unit,
        }
    }
}

/// One run of a model, before its inputs are made.
enum Sample {
    Window(Vec<i64>),
    Image(PathBuf),
}

impl Calibration {
    /// Only these files, read as usual.
    pub fn of(files: Vec<PathBuf>) -> Self {
        Calibration { files, ..Calibration::default() }
    }
    /// Inputs of the runs of a model. States that the module declares begin empty.
    ///
    /// Errors  when a file is missing or broken, has not enough data, or does not fit the inputs of the model.
    pub fn sets(&self, module: &Module) -> Result<Vec<Named>, Report> {
        let ports = ports(module);
        let (mut sets, mut samples) = (Vec::new(), Vec::new());
        for path in &self.files {
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("npz") => sets.push(arrays(path, &ports)?),
                Some("png") => samples.push(Sample::Image(path.clone())),
                _ if path.is_dir() => samples.extend(images::list(path)?.into_iter().map(Sample::Image)),
                _ => samples.extend(self.windows_of(path)?.into_iter().map(Sample::Window)),
            }
        }
        if self.files.is_empty() && self.tokenizer.is_some() && language::takes_tokens(&ports) {
            let windows = self.cut(&tokens::encode(&self.open_tokenizer("text")?, DEFAULT_TEXT)?, "the built-in text")?;
            samples.extend(windows.into_iter().map(Sample::Window));
        }
        for sample in self.choose(samples)? {
            sets.push(match sample {
                Sample::Window(tokens) => language::inputs(&ports, &tokens)?,
                Sample::Image(path) => images::inputs(&ports, &path, self.range)?,
            });
        }
        Ok(sets.into_iter().map(constants).collect())
    }

    fn windows_of(&self, path: &Path) -> Result<Vec<Vec<i64>>, Report> {
        let opener = || self.open_tokenizer(&path.display().to_string());
        match streams::read(path, self.width, &opener)? {
            streams::Tokens::Windows(windows) => Ok(self.part.of(&windows).to_vec()),
            streams::Tokens::Stream(stream) => self.cut(&stream, &path.display().to_string()),
        }
    }
    /// Windows side by side; a text that is shorter than a window is one.
    fn cut(&self, stream: &[i64], name: &str) -> Result<Vec<Vec<i64>>, Report> {
        let bos = self.tokenizer.as_ref().map_or(Ok(None), |_| Bos::Auto.token(&self.open_tokenizer(name)?))?;
        let part = self.part.of(stream);
        let own = self.window.saturating_sub(usize::from(bos.is_some())).clamp(1, part.len().max(1));
        let windows: Vec<Vec<i64>> = part.chunks_exact(own).map(|chunk| bos.iter().chain(chunk).copied().collect()).collect();
        let finding = || Diagnostic::input("calibration::empty", format!("{name} has no tokens to calibrate with"));
        if windows.is_empty() { Err(finding().into()) } else { Ok(windows) }
    }
    fn open_tokenizer(&self, name: &str) -> Result<Tokenizer, Report> {
        let Some(path) = &self.tokenizer else {
            let finding = Diagnostic::input("calibration::tokenizer", format!("{name} is text, and there is no tokenizer for it"));
            return Err(finding.help("--tokenizer tokenizer.json; other data are .npz, .npy, .bin, .jsonl and folders of .png").into());
        };
        tokens::open(path)
    }
    /// Some of all samples, in their order.
    fn choose(&self, mut samples: Vec<Sample>) -> Result<Vec<Sample>, Report> {
        let count = self.samples.unwrap_or(samples.len().min(SAMPLES));
        if count > samples.len() && !(samples.is_empty() && self.files.is_empty()) {
            let message = format!("the calibration data has {} windows and images, not {count}", samples.len());
            let help = format!("--calib-samples {}, a smaller --calib-window, or more data", samples.len());
            return Err(Diagnostic::input("calibration::samples", message).help(help).into());
        }
        let mut chosen = draw(samples.len(), count.min(samples.len()), self.seed).into_iter().peekable();
        let mut index = 0;
        samples.retain(|_| {
            index += 1;
            chosen.next_if_eq(&(index - 1)).is_some()
        });
        Ok(samples)
    }
}

/// `count` different numbers below `all`, ascending.
fn draw(all: usize, count: usize, seed: u64) -> Vec<usize> {
    let mut random = SplitMix(seed);
    let mut numbers: Vec<usize> = (0..all).collect();
    for place in 0..count {
        let other = place + (random.bits() % (all - place) as u64) as usize;
        numbers.swap(place, other);
    }
    numbers.truncate(count);
    numbers.sort_unstable();
    numbers
}

/// Inputs of the model that its user gives.
fn ports(module: &Module) -> Vec<(String, Type)> {
    let main = module.main();
    let is_state = |index: usize| main.states.iter().any(|state| state.input as usize == index);
    let ports = main.inputs().iter().enumerate().filter(|(index, _)| !is_state(*index));
    ports.map(|(_, port)| (port.name.clone(), main.ty(port.value).clone())).collect()
}

fn arrays(path: &Path, ports: &[(String, Type)]) -> Result<Vec<(String, Tensor)>, Report> {
    let arrays = archive::read_npz(path)?;
    inputs::check_archive(path, &arrays, ports.iter())?;
    Ok(arrays)
}

fn constants(tensors: Vec<(String, Tensor)>) -> Named {
    tensors.into_iter().map(|(name, tensor)| (name, convert::to_constant(&tensor))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drawn_numbers_are_different_and_follow_the_seed() {
        let drawn = draw(100, 10, 7);
        assert!(drawn.windows(2).all(|pair| pair[0] < pair[1]) && drawn.len() == 10);
        assert_eq!(drawn, draw(100, 10, 7));
        assert_ne!(drawn, draw(100, 10, 8));
        assert_eq!(draw(4, 4, 1), [0, 1, 2, 3]);
    }

    #[test]
    fn the_built_in_text_is_small_and_plain() {
        assert!(DEFAULT_TEXT.len() <= 100_000 && DEFAULT_TEXT.len() > 20_000, "{}", DEFAULT_TEXT.len());
        assert!(!DEFAULT_TEXT.contains('\t') && !DEFAULT_TEXT.contains('\r'));
    }

    #[test]
    fn streams_are_cut_side_by_side_and_short_ones_are_one_window() {
        let calibration = Calibration { window: 3, part: Part::new(0.0, 0.8).unwrap(), ..Calibration::default() };
        assert_eq!(calibration.cut(&(0..10).collect::<Vec<_>>(), "x").unwrap(), [[0, 1, 2], [3, 4, 5]]);
        assert_eq!(calibration.cut(&[7, 8], "x").unwrap(), [[7]]);
        assert!(calibration.cut(&[], "x").unwrap_err().to_string().contains("x has no tokens"));
    }
}
