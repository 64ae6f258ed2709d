//! Every number by itself: the scale whose squared error, weighted by the inputs, is least, then the nearest level.

use super::{Format, Method, Moments, Recipe, RoundError, Rounded, Rounder, Weight};

/// Round to nearest: what everything else is compared to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Nearest {}

impl Rounder for Nearest {
    fn name(&self) -> String {
        "nearest".to_string()
    }
    fn round(&self, weight: &Weight<'_>, moments: &Moments, format: &Format) -> Result<Rounded, RoundError> {
        let recipe = Recipe { method: Method::Nearest, refits: 0, ..Recipe::default() };
        recipe.round(weight, moments, format)
    }
}
