//! The ways to round by the name that a pipeline gives them.

use crate::quantize::rounder::{Method, Nearest, Recipe, Rounder, Soft};
use mokume_ir::diag::{Diagnostic, nearest};

/// Ways to round that need calibration data.
type Rounders = Vec<Box<dyn Rounder>>;

/// A name, and the ways to round among which every product takes the best.
type Row = (&'static str, fn() -> Rounders);

/// Every name.
const NAMES: &[Row] = &[
    ("nearest", Vec::new),
    ("measured", || vec![Box::new(Nearest {})]),
    ("descent", || ways(Method::Descent)),
    ("gptq", || ways(Method::Gptq)),
    ("soft", || ways(Method::Soft(Soft::default()))),
];

fn ways(method: Method) -> Rounders {
    Recipe::ways(method).into_iter().map(|recipe| Box::new(recipe) as Box<dyn Rounder>).collect()
}

/// The ways to round called `name`; none for rounding to nearest, which needs no calibration data.
///
/// Errors  `quantize::rounder` when there is no such name.
pub fn rounders(name: &str) -> Result<Rounders, Diagnostic> {
    if let Some((_, make)) = NAMES.iter().find(|row| row.0 == name) {
        return Ok(make());
    }
    let names = || NAMES.iter().map(|row| row.0);
    let error = Diagnostic::input("quantize::rounder", format!("option `rounder` of pass `quantize` does not know `{name}`"));
    Err(match nearest(name, names()) {
        Some(near) => error.help(format!("did you mean `{near}`?")),
        None => error.help(format!("rounders are {}", names().collect::<Vec<_>>().join(", "))),
    })
}
