//! The options of `quantize` in the words of the IR.

use super::calibrate::{Range, Ranges};
use super::mixed::plan::{Goal, Plan as Widths};
use super::mixed::stored::{Activations, stored_bits};
use super::mixed::width::Width;
use super::product::quantized;
use super::quantize::Quantize;
use super::round::Rounding;
use super::rounder::Format;
use super::sites::Site;
use super::stream::Planned;
use crate::pass::PassError;
use crate::term::Term;
use mokume_ir::diag::Diagnostic;
use mokume_ir::ids::{FuncId, ValueId};
use mokume_ir::quant::{Granularity, Levels, QuantType, common_block};
use std::collections::HashSet;

/// Bits of activations that have more than others.
pub const WIDE: u8 = 8;

/// The options in the words of the IR.
pub struct Plan {
    /// Codes of weights.
    pub weights: Rounding,
    /// Codes of activations; none where they stay float.
    pub activations: Option<Activations>,
    /// Weights that share a scale; 0 is one scale per output channel.
    pub group: usize,
    /// Values that have more bits than `activations`.
    pub escaped: HashSet<(FuncId, ValueId)>,
    /// What weights have instead of `weights`.
    pub widths: Widths,
}

impl Plan {
    /// What the weight of a product will look like.
    pub fn planned(&self, site: &Site) -> Planned {
        self.widths.get(&site.key()).copied().unwrap_or_else(|| {
            let format = Format { rounding: self.weights, group: self.group };
            Planned { format, stored: stored_bits(site, &format, self.activations) as f64 / site.elements(), predicted: None }
        })
    }
    /// The activations of a product of `function`, within their range where `ranges` has one. None where they stay float.
    pub fn quantized(&self, function: FuncId, site: &Site, ranges: &Ranges) -> Option<Term> {
        let (x, activations) = ((function, site.x), self.activations?);
        let range = ranges.get(&x).copied();
        if self.escaped.contains(&x) {
            // Parts of rows were chosen for few bits.
            let fixed = range.filter(|range| matches!(range, Range::Fixed(..)));
            return Some(quantized(site, Activations { bits: WIDE, ..activations }, fixed));
        }
        Some(quantized(site, activations, range))
    }
    /// The formats of weights that have a width of their own.
    pub fn own_formats(&self, sites: &[Site]) -> Vec<Format> {
        sites.iter().filter_map(|site| Some(self.widths.get(&site.key())?.format)).collect()
    }
}

impl Quantize {
    /// What the options say.
    ///
    /// Errors  for levels, bits and groups that there are not, or that do not go together.
    pub(super) fn plan(&self) -> Result<Plan, PassError> {
        let levels = if self.symmetric { level_option("levels", &self.levels)? } else { Levels::Unsigned };
        check_bits("w", self.w, levels)?;
        check_bits("embedding_w", self.embedding_w, Levels::Signed)?;
        let a_levels = level_option("a_levels", &self.a_levels)?;
        let activations = (self.a < 16).then_some(Activations { bits: self.a, levels: a_levels, group: self.a_group });
        if activations.is_some() {
            check_bits("a", self.a, a_levels)?;
            self.check_groups()?;
        }
        let weights = Rounding { bits: self.w, levels, search: self.search && self.w < 8, half_scales: self.group > 0 };
        Ok(Plan { weights, activations, group: self.group, escaped: HashSet::new(), widths: Widths::new() })
    }

    /// What widths by weight are to reach, if they are asked for.
    pub(super) fn goal(&self) -> Result<Option<Goal>, PassError> {
        match (self.budget > 0.0, self.target_ppl > 0.0) {
            (true, true) => Err(Diagnostic::input("quantize::goal", "pass `quantize` takes either budget or target_ppl").into()),
            (true, false) => Ok(Some(Goal::Bits(self.budget))),
            (false, true) => Ok(Some(Goal::Perplexity(self.target_ppl))),
            (false, false) => Ok(None),
        }
    }

    /// The formats among which weights choose.
    pub(super) fn formats(&self, plan: &Plan) -> Result<Vec<Format>, PassError> {
        let rounding = |width: &Width| -> Result<Rounding, PassError> {
            let rounding = width.rounding(plan.weights)?;
            Ok(Rounding { search: self.search && rounding.bits < 8, ..rounding })
        };
        self.widths.iter().map(|width| Ok(Format { rounding: rounding(width)?, group: self.group })).collect()
    }

    /// Groups of activations are multiples or parts of those of weights.
    fn check_groups(&self) -> Result<(), PassError> {
        let [activations, weights] = [("a_group", self.a_group), ("group", self.group)].map(|(option, size)| match u32::try_from(size) {
            Ok(size) => Ok((size > 0).then_some(size)),
            Err(_) => Err(format!("{option}={size} is too large")),
        });
        let fits = activations.and_then(|activations| common_block(activations, weights?));
        fits.map(drop).map_err(|why| Diagnostic::input("quantize::groups", format!("pass `quantize`: {why}")).into())
    }
}

fn level_option(option: &str, name: &str) -> Result<Levels, PassError> {
    let names = || Levels::ALL.map(Levels::name).join(", ");
    Levels::from_name(name).ok_or_else(|| {
        let error = Diagnostic::input("quantize::levels", format!("option `{option}` of pass `quantize` does not know `{name}`"));
        error.help(format!("levels are {}", names())).into()
    })
}

fn check_bits(option: &str, bits: u8, levels: Levels) -> Result<(), PassError> {
    let ty = QuantType { bits, levels, granularity: Granularity::Tensor, zero_point: false };
    if ty.is_valid() {
        return Ok(());
    }
    let needs = match levels {
        Levels::Five => "3 bits",
        Levels::Ternary => "2 bits",
        _ => "1 to 8 bits",
    };
    let message = format!("pass `quantize` cannot take {option}={bits}: {} levels need {needs}", levels.name());
    Err(Diagnostic::input("quantize::bits", message).into())
}
