//! The ways to round by the name that a pipeline gives them.

use crate::quantize::rounder::{Method, Nearest, Recipe, Rounder, Soft};
use mokume_ir::diag::{Diagnostic, nearest};

/// What suits the calibration data: soft rounding, or the nearest levels for products where that does better on what is held out.
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

/// What a pipeline says of rounding.
pub struct Asked<'a> {
    /// One of the names.
    pub name: &'a str,
    /// There is more to lose than to gain: `auto` takes the nearest levels.
    pub careful: bool,
    /// Ways that aim at the float model are among those to choose from.
    pub retarget: bool,
    /// How often scales are fitted to codes.
    pub refits: usize,
    /// The mean of every output is corrected.
    pub bias: bool,
}

impl Asked<'_> {
    /// The ways to round, among which every product takes the best; none for rounding to nearest, which needs no calibration data.
    ///
    /// Errors  `quantize::rounder` when there is no such name.
    pub fn rounders(&self) -> Result<Vec<Box<dyn Rounder>>, Diagnostic> {
        let method = NAMES.iter().find(|row| row.0 == self.name).ok_or_else(|| unknown(self.name))?.1;
        Ok(match method {
            None => vec![],
            Some(Method::Nearest) => self.measured(),
            Some(_) if self.name == AUTO && self.careful => self.measured(),
            Some(method) if self.name == AUTO => self.ways(method).into_iter().chain(self.measured()).collect(),
            Some(method) => self.ways(method),
        })
    }
    fn ways(&self, method: Method) -> Vec<Box<dyn Rounder>> {
        let ways = Recipe::ways(method).into_iter().filter(|way| self.retarget || !way.retarget);
        ways.map(|way| Box::new(Recipe { refits: self.refits, bias: self.bias, ..way }) as Box<dyn Rounder>).collect()
    }
    /// The nearest levels, for scales that are best for the inputs.
    fn measured(&self) -> Vec<Box<dyn Rounder>> {
        let nearest = Recipe { method: Method::Nearest, refits: 0, bias: true, ..Recipe::default() };
        if self.bias { vec![Box::new(nearest)] } else { vec![Box::new(Nearest {})] }
    }
}

fn unknown(name: &str) -> Diagnostic {
    let names = || NAMES.iter().map(|row| row.0);
    let error = Diagnostic::input("quantize::rounder", format!("option `rounder` of pass `quantize` does not know `{name}`"));
    match nearest(name, names()) {
        Some(near) => error.help(format!("did you mean `{near}`?")),
        None => error.help(format!("rounders are {}", names().collect::<Vec<_>>().join(", "))),
    }
}
