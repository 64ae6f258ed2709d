//! Samples of a measurement, and what is said about them.

use serde::Serialize;
use std::time::{Duration, Instant};

/// Median and spread of samples.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// The middle one.
    pub median: f64,
    /// A tenth lie below.
    pub p10: f64,
    /// A tenth lie above.
    pub p90: f64,
    /// How many there are.
    pub count: usize,
}

impl Spread {
    /// Of samples in any order; zeros when there are none.
    pub fn of(mut samples: Vec<f64>) -> Self {
        samples.sort_by(f64::total_cmp);
        let at = |part: f64| samples.get((samples.len().saturating_sub(1) as f64 * part).round() as usize).copied().unwrap_or(0.0);
        Spread { median: at(0.5), p10: at(0.1), p90: at(0.9), count: samples.len() }
    }
    /// In another unit.
    pub fn times(self, factor: f64) -> Self {
        Spread { median: self.median * factor, p10: self.p10 * factor, p90: self.p90 * factor, ..self }
    }
}

/// `12.34 (11.90 to 13.05)`
impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let digits = f.precision().unwrap_or(2);
        write!(f, "{:.digits$} ({:.digits$} to {:.digits$})", self.median, self.p10, self.p90)
    }
}

/// What `work` gives, and the seconds it took.
pub fn timed<T>(work: impl FnOnce() -> T) -> (T, f64) {
    let start = Instant::now();
    let result = work();
    (result, start.elapsed().as_secs_f64())
}

/// Seconds of each run of `work`, which is repeated for about `time` and at least `least` times; the first run warms up and is
/// not counted.
///
/// Errors  those of `work`.
pub fn repeat<E>(time: Duration, least: usize, mut work: impl FnMut() -> Result<(), E>) -> Result<Vec<f64>, E> {
    work()?;
    let (start, mut samples) = (Instant::now(), Vec::new());
    while samples.len() < least || start.elapsed() < time {
        let (result, seconds) = timed(&mut work);
        result?;
        samples.push(seconds);
    }
    Ok(samples)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_the_middle_and_the_tenths() {
        let spread = Spread::of((0..=100).rev().map(f64::from).collect());
        assert_eq!(spread, Spread { median: 50.0, p10: 10.0, p90: 90.0, count: 101 });
        assert_eq!(format!("{spread:.1}"), "50.0 (10.0 to 90.0)");
        assert_eq!(Spread::of(vec![]).median, 0.0);
    }

    #[test]
    fn the_first_run_is_not_counted() {
        let mut runs = 0;
        let samples = repeat(Duration::ZERO, 3, || -> Result<(), ()> {
            runs += 1;
            Ok(())
        });
        assert_eq!((samples.map(|samples| samples.len()), runs), (Ok(3), 4));
    }
}
