//! Text recognition with PP-OCR: a line of text to characters by connectionist temporal classification.

use crate::driver::picture::Picture;
use mokume_ir::diag::{Diagnostic, Report};
use mokume_runtime::session::Session;
use mokume_runtime::tensor::Tensor;

const HEIGHT: usize = 48;

/// The input of the recognizer: the line scaled to 48 rows, values in -1..1.
pub fn input(line: &Picture) -> Vec<(String, Tensor)> {
    let width = (line.width * HEIGHT).div_ceil(line.height).max(HEIGHT);
    vec![("x".into(), line.resize(width, HEIGHT).tensor([0.5; 3], [0.5; 3]))]
}

/// Class probabilities along a line, `[1, steps, classes]`.
///
/// Errors  when the run fails or the model is not a recognizer.
pub fn classes(session: &mut Session, line: &Picture, alphabet: &[String]) -> Result<Tensor, Report> {
    let classes = session.run(&input(line))?.swap_remove(0).1;
    match classes.dims() {
        [1, _, count] if *count == alphabet.len() => Ok(classes),
        _ => {
            Err(Diagnostic::input("demo::recognizer", format!("the recognizer gave {classes:?} for {} characters", alphabet.len())).into())
        }
    }
}

/// The alphabet: blank first, then the model's characters, then a space.
pub fn alphabet(characters: &str) -> Vec<String> {
    let mut alphabet = vec![String::new()];
    alphabet.extend(characters.lines().map(String::from));
    alphabet.push(" ".into());
    alphabet
}

/// The likeliest class of every step, repetitions and blanks removed.
pub fn decode(classes: &Tensor, alphabet: &[String]) -> String {
    let mut text = String::new();
    let mut last = 0;
    for step in classes.slice::<f32>().chunks(alphabet.len()) {
        let best = (1..step.len()).fold(0, |best, i| if step[i] > step[best] { i } else { best });
        if best != last {
            text.push_str(&alphabet[best]);
        }
        last = best;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repetitions_and_blanks_go() {
        let alphabet = alphabet("a\nb");
        assert_eq!(alphabet.len(), 4);
        let steps = [1, 1, 0, 1, 2, 2, 3];
        let values: Vec<f32> = steps.iter().flat_map(|&s| (0..4).map(move |i| if i == s { 1.0 } else { 0.0 })).collect();
        assert_eq!(decode(&Tensor::f32s(&[1, 7, 4], &values), &alphabet), "aab ");
    }
}
