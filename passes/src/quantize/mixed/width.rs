//! A width that weights may have, as a pipeline names it.

use crate::quantize::round::Rounding;
use mokume_ir::diag::Diagnostic;
use mokume_ir::quant::{Granularity, Levels, QuantType};
use serde::{Deserialize, Serialize};

/// `4`: bits, with the levels of the option `levels`; `odd2`, `signed3`, `unsigned4`: levels and bits; `five`, `ternary`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Width {
    /// Bits.
    Bits(u8),
    /// Levels with their bits.
    Named(String),
}

impl Width {
    /// As in `names`, separated by spaces.
    pub fn list(names: &str) -> Vec<Width> {
        names.split_whitespace().map(|name| name.parse().map_or_else(|_| Width::Named(name.into()), Width::Bits)).collect()
    }
    /// `plain` with this width; `plain` says which levels a bare number of bits has.
    ///
    /// Errors  `quantize::widths` when there is no such width.
    pub fn rounding(&self, plain: Rounding) -> Result<Rounding, Diagnostic> {
        let (levels, bits) = match self {
            Width::Bits(bits) => (plain.levels, *bits),
            Width::Named(name) => named(name).ok_or_else(|| unknown(name))?,
        };
        let ty = QuantType { bits, levels, granularity: Granularity::Tensor, zero_point: false };
        if ty.is_valid() { Ok(Rounding { bits, levels, ..plain }) } else { Err(unknown(&name(&Rounding { bits, levels, ..plain }))) }
    }
}

/// `signed4`, `odd2`, `five`.
pub fn name(rounding: &Rounding) -> String {
    match rounding.levels {
        levels @ (Levels::Five | Levels::Ternary) => levels.name().to_string(),
        levels => format!("{}{}", levels.name(), rounding.bits),
    }
}

fn named(name: &str) -> Option<(Levels, u8)> {
    match Levels::from_name(name) {
        Some(Levels::Five) => return Some((Levels::Five, 3)),
        Some(Levels::Ternary) => return Some((Levels::Ternary, 2)),
        _ => {}
    }
    let digits = name.find(|c: char| c.is_ascii_digit())?;
    Some((Levels::from_name(&name[..digits])?, name[digits..].parse().ok()?))
}

fn unknown(name: &str) -> Diagnostic {
    let error = Diagnostic::input("quantize::widths", format!("option `widths` of pass `quantize` does not know `{name}`"));
    error.help("widths are 1 to 8 bits, or levels with bits: odd2, signed3, unsigned4, five, ternary")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        let plain = Rounding { bits: 8, levels: Levels::Signed, search: true, half_scales: true };
        let of = |text: &str| Width::list(text)[0].rounding(plain).map(|rounding| name(&rounding)).map_err(|error| error.to_string());
        for (text, expected) in [("4", "signed4"), ("odd2", "odd2"), ("five", "five"), ("ternary", "ternary"), ("unsigned3", "unsigned3")] {
            assert_eq!(of(text).as_deref(), Ok(expected));
        }
        for wrong in ["9", "0", "odd", "odd9", "five2", "old2", "oddé"] {
            assert!(of(wrong).is_err_and(|error| error.contains("does not know")), "{wrong}");
        }
    }
}
