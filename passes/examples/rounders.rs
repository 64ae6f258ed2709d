//! Rounds weights of real layers in several ways and prints how far outputs are off on tokens that were not calibrated with.
//!
//! Reads `NAME.w` (f32, `[rows, cols]`), `NAME.train` and `NAME.held` (f64: cols, tokens, sums, second moments) from a folder.

#![allow(clippy::print_stdout, reason = "an example prints its table")]

use mokume_ir::quant::Levels;
use mokume_passes::quantize::round::Rounding;
use mokume_passes::quantize::rounder::{Format, Method, Moments, Recipe, Rounder, Weight, heldout};
use std::error::Error;
use std::path::Path;
use std::time::Instant;

/// A weight and moments of its inputs.
struct Layer {
    name: String,
    values: Vec<f32>,
    train: Moments,
    held: Moments,
}

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [folder, formats, filter, more @ ..] = &args[..] else { return Err("arguments: FOLDER FORMATS NAMES [RECIPES]".into()) };
    let (layers, rounders) = (layers(Path::new(folder), filter)?, rounders(more)?);
    formats.split(',').try_for_each(|format| table(format, &layers, &rounders))
}

type Rounders = Vec<(String, Box<dyn Rounder>)>;

/// GPTQ, to which all others are compared, and those in files of lines like `NAME {"refits": 0}`, or a few.
fn rounders(files: &[String]) -> Result<Rounders, Box<dyn Error>> {
    let mut lines = FEW.to_string();
    for (i, file) in files.iter().enumerate() {
        lines = if i == 0 { String::new() } else { lines } + &std::fs::read_to_string(file)?;
    }
    let gptq: Box<dyn Rounder> = Box::new(Recipe { method: Method::Gptq, refits: 0, ..Recipe::default() });
    let mut all: Rounders = vec![("gptq".to_string(), gptq)];
    for line in lines.lines() {
        let Some((name, recipe)) = line.split_once('{') else { continue };
        let recipe: Recipe = serde_json::from_str(&format!("{{{recipe}"))?;
        all.push((name.trim().to_string(), Box::new(recipe)));
    }
    Ok(all)
}

const FEW: &str = r#"
nearest {"method": "nearest", "refits": 0}
gptq, scales once {"method": "gptq", "refits": 1, "sweeps": 0}
gptq, in full {"method": "gptq"}
descent, in full {"method": "descent"}
soft, codes alone {"method": {"soft": {"first": 0}}, "refits": 0}
soft, in full {"method": {"soft": {}}}
"#;

fn table(name: &str, layers: &[Layer], rounders: &Rounders) -> Result<(), Box<dyn Error>> {
    let format = format(name)?;
    println!("{name:<28} {:>8} {:>8} {:>8}  per layer", "held", "train", "seconds");
    let mut reference: Vec<(f64, f64)> = vec![];
    let mut lines = vec![];
    for (name, rounder) in rounders {
        let start = Instant::now();
        let mut errors = vec![];
        for layer in layers {
            let weight = Weight { rows: layer.values.len() / layer.train.k, cols: layer.train.k, values: &layer.values };
            let rounded = rounder.round(&weight, &layer.train, &format)?;
            errors.push((heldout(&weight, &rounded, &format, &layer.held)?, rounded.loss));
        }
        if name == "gptq" {
            reference = errors.clone();
        }
        lines.push((name, errors, start.elapsed().as_secs_f64()));
    }
    for (name, errors, seconds) in lines {
        let ratio = |pick: fn(&(f64, f64)) -> f64| errors.iter().zip(&reference).map(|(a, b)| pick(a) / pick(b)).collect::<Vec<f64>>();
        let mean = |all: &[f64]| all.iter().sum::<f64>() / all.len() as f64;
        let (held, train) = (ratio(|e| e.0), ratio(|e| e.1));
        let each: Vec<String> = held.iter().map(|x| format!("{x:.3}")).collect();
        println!("{name:<28} {:>8.4} {:>8.4} {seconds:>8.1}  {}", mean(&held), mean(&train), each.join(" "));
    }
    let names: Vec<&str> = layers.iter().map(|layer| layer.name.as_str()).collect();
    let errors: Vec<String> = reference.iter().map(|e| format!("{:.4}", e.0)).collect();
    println!("layers: {}\nheld-out error of gptq: {}", names.join(" "), errors.join(" "));
    Ok(())
}

fn format(name: &str) -> Result<Format, Box<dyn Error>> {
    let (bits, levels) = match name {
        "w2" => (2, Levels::Odd),
        "w3" => (3, Levels::Odd),
        "w4" => (4, Levels::Odd),
        "five" => (3, Levels::Five),
        "ternary" => (2, Levels::Ternary),
        "s4" => (4, Levels::Signed),
        "u4" => (4, Levels::Unsigned),
        _ => return Err(format!("no format {name}").into()),
    };
    Ok(Format { rounding: Rounding { bits, levels, search: true, half_scales: true }, group: 64 })
}

fn layers(folder: &Path, filter: &str) -> Result<Vec<Layer>, Box<dyn Error>> {
    let mut names = vec![];
    for entry in std::fs::read_dir(folder)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        names.extend(name.strip_suffix(".w").filter(|name| filter.split(',').any(|part| name.contains(part))).map(str::to_string));
    }
    names.sort();
    names.into_iter().map(|name| layer(folder, name)).collect()
}

fn layer(folder: &Path, name: String) -> Result<Layer, Box<dyn Error>> {
    let bytes = std::fs::read(folder.join(format!("{name}.w")))?;
    let values = bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
    let part = |part: &str| moments(&folder.join(format!("{name}.{part}")));
    Ok(Layer { values, train: part("train")?, held: part("held")?, name })
}

fn moments(path: &Path) -> Result<Moments, Box<dyn Error>> {
    let numbers: Vec<f64> = std::fs::read(path)?.as_chunks::<8>().0.iter().map(|b| f64::from_le_bytes(*b)).collect();
    let k = numbers[0] as usize;
    Ok(Moments { k, tokens: numbers[1], mean: numbers[2..2 + k].to_vec(), c: numbers[2 + k..].to_vec(), float: None })
}
