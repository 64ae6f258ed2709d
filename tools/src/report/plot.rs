//! Bars in SVG, drawn by hand: one per layer, with a scale at the left and the value in a tooltip.

use super::html::escape;
use std::fmt::Write;

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 220.0;
const LEFT: f64 = 56.0;
const BELOW: f64 = 22.0;
const ABOVE: f64 = 8.0;

/// A bar.
#[derive(Debug, Clone, PartialEq)]
pub struct Bar {
    /// What it is for.
    pub name: String,
    /// Its height.
    pub value: f64,
}

/// How heights are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// From 0.
    Linear,
    /// Powers of ten; 0 has no bar.
    Log,
}

/// Bars side by side, in their order. `what` labels the scale, `along` the row of bars.
pub fn bars(bars: &[Bar], scale: Scale, what: &str, along: &str) -> String {
    let axis = Axis::of(bars, scale);
    let mut svg = format!(r#"<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{} by {}">"#, escape(what), escape(along));
    axis.ticks().into_iter().for_each(|tick| draw_tick(&mut svg, &axis, tick));
    let step = (WIDTH - LEFT) / bars.len().max(1) as f64;
    // A gap between bars as long as they are wide enough to have one.
    let width = (step - 1.0).max(step * 0.8).min(28.0);
    for (index, bar) in bars.iter().enumerate() {
        let (x, y) = (LEFT + (index as f64 + 0.5) * step - width / 2.0, axis.y(bar.value));
        let height = HEIGHT - BELOW - y;
        let tip = format!("{}: {}", bar.name, number(bar.value));
        // Writing to a string does not fail.
        let _ = write!(
            svg,
            r#"<rect class="bar" x="{x:.1}" y="{y:.1}" width="{width:.2}" height="{height:.1}"><title>{}</title></rect>"#,
            escape(&tip)
        );
    }
    let (middle, bottom) = ((LEFT + WIDTH) / 2.0, HEIGHT - 5.0);
    let _ = write!(svg, r#"<text x="{middle}" y="{bottom}" text-anchor="middle">{}</text></svg>"#, escape(along));
    svg
}

fn draw_tick(svg: &mut String, axis: &Axis, value: f64) {
    let (y, end, text) = (axis.y(value), LEFT - 6.0, LEFT);
    let _ = write!(
        svg,
        r#"<line class="grid" x1="{text}" x2="{WIDTH}" y1="{y:.1}" y2="{y:.1}"/><text x="{end}" y="{:.1}" text-anchor="end">{}</text>"#,
        y + 4.0,
        number(value)
    );
}

/// The scale at the left.
struct Axis {
    scale: Scale,
    low: f64,
    high: f64,
}

impl Axis {
    fn of(bars: &[Bar], scale: Scale) -> Self {
        let values = || bars.iter().map(|bar| bar.value).filter(|value| value.is_finite() && *value > 0.0);
        let largest = values().fold(0.0, f64::max);
        match scale {
            Scale::Linear => Axis { scale, low: 0.0, high: if largest > 0.0 { largest * 1.05 } else { 1.0 } },
            Scale::Log => {
                let smallest = values().fold(largest, f64::min);
                let (low, high) = (smallest.log10().floor(), largest.log10().ceil());
                let known = low.is_finite() && high.is_finite();
                Axis { scale, low: if known { low } else { -1.0 }, high: if known { high.max(low + 1.0) } else { 0.0 } }
            }
        }
    }
    fn y(&self, value: f64) -> f64 {
        let place = match self.scale {
            Scale::Linear => value,
            Scale::Log if value > 0.0 => value.log10(),
            Scale::Log => self.low,
        };
        let share = ((place - self.low) / (self.high - self.low)).clamp(0.0, 1.0);
        HEIGHT - BELOW - share * (HEIGHT - BELOW - ABOVE)
    }
    fn ticks(&self) -> Vec<f64> {
        match self.scale {
            Scale::Log => {
                let every = ((self.high - self.low) / 6.0).ceil().max(1.0);
                let count = ((self.high - self.low) / every) as usize;
                (0..=count).map(|i| 10f64.powf(self.low + i as f64 * every)).collect()
            }
            Scale::Linear => {
                let step = round_step(self.high / 5.0);
                (0..=(self.high / step) as usize).map(|i| i as f64 * step).collect()
            }
        }
    }
}

/// 1, 2 or 5 times a power of ten, not below `least`.
fn round_step(least: f64) -> f64 {
    let power = 10f64.powf(least.log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|factor| factor * power).find(|&step| step >= least).unwrap_or(power * 10.0)
}

/// Short: `0.0012`, `4.5`, `1e-6`.
pub fn number(value: f64) -> String {
    match value.abs() {
        0.0 => "0".into(),
        size if !(1e-3..1e6).contains(&size) => format!("{value:.1e}").replace(".0e", "e"),
        size => {
            let digits = (2 - size.log10().floor() as i32).clamp(0, 5) as usize;
            let text = format!("{value:.digits$}");
            if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').into() } else { text }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let all = [0.0, 4.5, 0.00123, 0.000012, 1234.0, 100.0, 12_345_678.0].map(number);
        assert_eq!(all, ["0", "4.5", "0.00123", "1.2e-5", "1234", "100", "1.2e7"]);
    }

    #[test]
    fn steps_are_round() {
        assert_eq!([0.9, 1.1, 2.5, 7.0].map(round_step), [1.0, 2.0, 5.0, 10.0]);
    }

    #[test]
    fn every_bar_is_inside_and_named() {
        let data: Vec<Bar> = (0..300).map(|i| Bar { name: format!("<{i}>"), value: f64::from(i) * 1e-5 }).collect();
        for scale in [Scale::Linear, Scale::Log] {
            let svg = bars(&data, scale, "error", "layer");
            assert_eq!(svg.matches("<rect").count(), 300);
            assert!(svg.contains("&lt;299&gt;: 0.00299") && !svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
        assert!(!bars(&[], Scale::Log, "x", "y").contains("NaN"));
        assert!(!bars(&[Bar { name: "a".into(), value: f64::INFINITY }], Scale::Log, "x", "y").contains("NaN"));
    }
}
