//! The ways to round by the name that a pipeline gives them.

use super::HELD_OUT;
use crate::quantize::rounder::{Method, Nearest, Recipe, Rounder, Soft};
use mokume_ir::diag::{Diagnostic, nearest};

/// What suits the calibration data: soft rounding, or the nearest levels for products where that does better on what is held out. Nearest
/// levels alone where there is little to gain and little data, as rounders fit what is particular to it.
pub const AUTO: &str = "auto";

/// Every name, and how codes are chosen.
const NAMES: &[(&str, Option<Method>)] = &[
    ("nearest", None),
    (AUTO, Some(Method::Soft(Soft::DEFAULT))),
    ("measured", Some(Method::Nearest)),
    ("descent", Some(Method::Descent)),
    ("gptq", Some(Method::Gptq)),
    ("soft", Some(Method::Soft(Soft::DEFAULT))),
];

/// The ways to round called `name`, among which every product takes the best; none for rounding to nearest, which needs no
/// calibration data. `auto` is careful where weights have so many `bits` and there are so few `samples` that there is more to lose than
/// to gain. Without `retarget` none aims at the float model; scales are fitted to codes `refits`
/// times; with `bias` the mean of every output is corrected.
///
/// Errors  `quantize::rounder` when there is no such name.
pub fn rounders(
    name: &str,
    (bits, samples): (u8, usize),
    retarget: bool,
    refits: usize,
    bias: bool,
) -> Result<Vec<Box<dyn Rounder>>, Diagnostic> {
    let measured = || if bias { ways(Method::Nearest, false, 0, bias) } else { vec![Box::new(Nearest {}) as Box<dyn Rounder>] };
    Ok(match NAMES.iter().find(|row| row.0 == name).ok_or_else(|| unknown(name))?.1 {
        None => vec![],
        Some(Method::Nearest) => measured(),
        Some(_) if name == AUTO && bits >= 8 && samples < HELD_OUT => measured(),
        Some(method) if name == AUTO => ways(method, retarget, refits, bias).into_iter().chain(measured()).collect(),
        Some(method) => ways(method, retarget, refits, bias),
    })
}

fn ways(method: Method, retarget: bool, refits: usize, bias: bool) -> Vec<Box<dyn Rounder>> {
    let ways = Recipe::ways(method).into_iter().filter(|way| retarget || !way.retarget);
    ways.map(|way| Box::new(Recipe { refits, bias, ..way }) as Box<dyn Rounder>).collect()
}

fn unknown(name: &str) -> Diagnostic {
    let names = || NAMES.iter().map(|row| row.0);
    let error = Diagnostic::input("quantize::rounder", format!("option `rounder` of pass `quantize` does not know `{name}`"));
    match nearest(name, names()) {
        Some(near) => error.help(format!("did you mean `{near}`?")),
        None => error.help(format!("rounders are {}", names().collect::<Vec<_>>().join(", "))),
    }
}
