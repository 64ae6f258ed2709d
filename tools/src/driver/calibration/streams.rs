//! Files of tokens: text, `.npy`, `.bin`, `.jsonl`.

use crate::driver::compare::numbers;
use crate::driver::{archive, tokens};
use mokume_ir::diag::{Diagnostic, Report};
use mokume_ir::types::Elem;
use mokume_runtime::file;
use mokume_runtime::tensor::Tensor;
use serde::Deserialize;
use std::path::Path;
use tokenizers::Tokenizer;

/// Bytes of a token in a `.bin` file, little endian.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum TokenWidth {
    /// Two.
    #[default]
    U16,
    /// Four.
    U32,
}

/// What a file holds.
#[derive(Debug, PartialEq)]
pub(super) enum Tokens {
    /// One after the other.
    Stream(Vec<i64>),
    /// Already cut.
    Windows(Vec<Vec<i64>>),
}

/// Reads a file by its extension; every other one is text. The tokenizer is opened for text only.
pub(super) fn read(path: &Path, width: TokenWidth, tokenizer: &dyn Fn() -> Result<Tokenizer, Report>) -> Result<Tokens, Report> {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("npy") => of_array(path, &archive::read_tensor(path)?),
        Some("bin") => of_bytes(path, &file::read(path)?, width).map(Tokens::Stream),
        Some("jsonl") => of_lines(path, &tokens::read_text(path)?, tokenizer).map(Tokens::Stream),
        _ => {
            let text = tokens::read_text(path)?;
            Ok(Tokens::Stream(tokens::encode(&tokenizer()?, &text)?))
        }
    }
}

/// One dimension is a stream, two are windows.
fn of_array(path: &Path, tensor: &Tensor) -> Result<Tokens, Report> {
    use Elem::*;
    let is_whole = matches!(tensor.elem(), I64 | I32 | I16 | U64 | U32 | U16 | U8);
    let values = numbers(tensor).filter(|_| is_whole).map(|values| values.into_iter().map(|v| v as i64).collect::<Vec<_>>());
    match (values, tensor.dims()) {
        (Some(values), [_]) => Ok(Tokens::Stream(values)),
        (Some(values), &[_, length]) if length > 0 => Ok(Tokens::Windows(values.chunks(length).map(<[i64]>::to_vec).collect())),
        _ => {
            let message = format!("{} holds no tokens but {:?} {}", path.display(), tensor.dims(), tensor.elem());
            Err(Diagnostic::input("calibration::tokens", message).help("give whole numbers, in one dimension or as rows").into())
        }
    }
}

fn of_bytes(path: &Path, data: &[u8], width: TokenWidth) -> Result<Vec<i64>, Report> {
    let size = if width == TokenWidth::U16 { 2 } else { 4 };
    if !data.len().is_multiple_of(size) {
        let message = format!("{} has {} bytes, which are no tokens of {size}", path.display(), data.len());
        return Err(Diagnostic::input("calibration::tokens", message).help("--calib-tokens u16 or u32").into());
    }
    let token = |bytes: &[u8]| bytes.iter().rev().fold(0, |token, &byte| token << 8 | i64::from(byte));
    Ok(data.chunks_exact(size).map(token).collect())
}

/// A line: tokens, or an object with tokens or text.
#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    Tokens(Vec<u32>),
    Object {
        #[serde(alias = "input_ids")]
        tokens: Vec<u32>,
    },
    Text {
        text: String,
    },
}

fn of_lines(path: &Path, data: &str, tokenizer: &dyn Fn() -> Result<Tokenizer, Report>) -> Result<Vec<i64>, Report> {
    let (mut stream, mut opened) = (Vec::new(), None);
    for (number, line) in data.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let line = serde_json::from_str(line).map_err(|_| unreadable_line(path, number + 1))?;
        match line {
            Line::Tokens(tokens) | Line::Object { tokens } => stream.extend(tokens.into_iter().map(i64::from)),
            Line::Text { text } => {
                let tokenizer = opened.take().map_or_else(tokenizer, Ok)?;
                stream.extend(tokens::encode(&tokenizer, &text)?);
                opened = Some(tokenizer);
            }
        }
    }
    Ok(stream)
}

fn unreadable_line(path: &Path, number: usize) -> Report {
    let finding = Diagnostic::input("calibration::tokens", format!("line {number} of {} has no tokens and no text", path.display()));
    finding.help("write [1, 2, 3] or {\"tokens\": [1, 2, 3]} or {\"text\": \"…\"}").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn none() -> Result<Tokenizer, Report> {
        Err(Diagnostic::input("test", "no tokenizer").into())
    }

    #[test]
    fn bytes_are_little_endian() {
        let path = Path::new("x.bin");
        assert_eq!(of_bytes(path, &[1, 2, 255, 255], TokenWidth::U16).unwrap(), [513, 65535]);
        assert_eq!(of_bytes(path, &[1, 2, 0, 0], TokenWidth::U32).unwrap(), [513]);
        assert!(of_bytes(path, &[1, 2, 3], TokenWidth::U16).is_err());
    }

    #[test]
    fn lines_are_arrays_or_objects() {
        let path = Path::new("x.jsonl");
        let lines = "[1, 2]\n\n{\"input_ids\": [3], \"more\": 1}\n{\"tokens\": [4]}\n";
        assert_eq!(of_lines(path, lines, &none).unwrap(), [1, 2, 3, 4]);
        assert!(of_lines(path, "[1]\n[-1]", &none).unwrap_err().to_string().contains("line 2"));
        assert!(of_lines(path, "{\"text\": \"a\"}", &none).unwrap_err().to_string().contains("no tokenizer"));
    }

    #[test]
    fn arrays_are_streams_or_rows() {
        let path = Path::new("x.npy");
        assert_eq!(of_array(path, &Tensor::i64s(&[3], &[1, 2, 3])).unwrap(), Tokens::Stream(vec![1, 2, 3]));
        assert_eq!(of_array(path, &Tensor::i64s(&[2, 1], &[1, 2])).unwrap(), Tokens::Windows(vec![vec![1], vec![2]]));
        assert!(of_array(path, &Tensor::f32s(&[1], &[1.0])).is_err());
    }
}
