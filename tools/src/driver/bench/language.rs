//! Speed of language models: prompts at once, then tokens one by one, as llama-bench measures `pp` and `tg`.

use super::model::{OpRow, profile};
use super::samples::{Spread, timed};
use crate::driver::generate::Generator;
use crate::driver::inputs::SplitMix;
use mokume_ir::diag::Report;
use serde::Serialize;

/// Runs whose ops are averaged in a profile of decoding.
const PROFILED_STEPS: usize = 16;

/// What to measure.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Lengths of prompts.
    pub prompts: Vec<usize>,
    /// Tokens to decode one by one.
    pub tokens: usize,
    /// Tokens in the state before decoding begins.
    pub context: usize,
    /// Every phase is measured once per round.
    pub rounds: usize,
}

/// A phase: a prompt, or decoding.
#[derive(Debug, Clone, Serialize)]
pub struct Phase {
    /// `pp512`, `tg64`, or `tg64@512` after a context.
    pub name: String,
    /// Tokens of a round.
    pub tokens: usize,
    /// Tokens fed at once.
    pub batch: usize,
    /// Tokens per second over whole rounds.
    pub tokens_per_second: Spread,
    /// Milliseconds of a step: of a token when decoding, of all of a prompt.
    pub step_ms: Spread,
    /// What the ops of a step took, when asked for.
    pub ops: Vec<OpRow>,
}

/// Measures all phases, round by round, so that slow minutes of the machine touch all alike; a round before them warms up.
///
/// Errors  when a run fails.
pub fn measure(generator: &mut Generator, plan: &Plan, profiled: bool) -> Result<Vec<Phase>, Report> {
    let work: Vec<Work> = plan.work();
    let mut text = Text::of(generator)?;
    let mut samples = vec![(Vec::new(), Vec::new()); work.len()];
    for round in 0..=plan.rounds {
        for (work, (rates, steps)) in work.iter().zip(&mut samples) {
            let seconds = work.run(generator, &mut text)?;
            if round > 0 {
                rates.push(work.tokens() as f64 / seconds.iter().sum::<f64>());
                steps.extend(seconds.iter().map(|s| s * 1e3));
            }
        }
    }
    let phases = work.iter().zip(samples).map(|(work, (rates, steps))| {
        let ops = if profiled { work.profile(generator, &mut text)? } else { Vec::new() };
        let (tokens_per_second, step_ms) = (Spread::of(rates), Spread::of(steps));
        Ok(Phase { name: work.name(), tokens: work.tokens(), batch: work.batch, tokens_per_second, step_ms, ops })
    });
    phases.collect()
}

impl Plan {
    fn work(&self) -> Vec<Work> {
        let prompts = self.prompts.iter().map(|&batch| Work { context: 0, batch, steps: 1 });
        let decode = (self.tokens > 0).then_some(Work { context: self.context, batch: 1, steps: self.tokens });
        prompts.chain(decode).collect()
    }
}

/// `steps` times `batch` tokens after `context` tokens.
struct Work {
    context: usize,
    batch: usize,
    steps: usize,
}

impl Work {
    fn name(&self) -> String {
        match (self.batch, self.context) {
            (1, 0) => format!("tg{}", self.steps),
            (1, context) => format!("tg{}@{context}", self.steps),
            (batch, _) => format!("pp{batch}"),
        }
    }
    fn tokens(&self) -> usize {
        self.batch * self.steps
    }
    /// Seconds of every step.
    fn run(&self, generator: &mut Generator, text: &mut Text) -> Result<Vec<f64>, Report> {
        self.begin(generator, text)?;
        (0..self.steps)
            .map(|_| {
                let tokens = text.tokens(self.batch);
                let (result, seconds) = timed(|| generator.step(&tokens));
                result.map(|_| seconds)
            })
            .collect()
    }
    fn profile(&self, generator: &mut Generator, text: &mut Text) -> Result<Vec<OpRow>, Report> {
        self.begin(generator, text)?;
        let steps = (0..self.steps.min(PROFILED_STEPS)).map(|_| generator.step_profiled(&text.tokens(self.batch)));
        let steps = steps.collect::<Result<Vec<_>, _>>()?;
        Ok(profile(generator.program(), &steps))
    }
    fn begin(&self, generator: &mut Generator, text: &mut Text) -> Result<(), Report> {
        generator.reset();
        if self.context > 0 {
            generator.step(&text.tokens(self.context))?;
        }
        Ok(())
    }
}

/// Random tokens: what is computed does not depend on which they are.
struct Text {
    random: SplitMix,
    vocabulary: u64,
}

impl Text {
    fn of(generator: &mut Generator) -> Result<Self, Report> {
        generator.reset();
        let vocabulary = generator.step(&[1])?.dims()[2] as u64;
        Ok(Text { random: SplitMix(0), vocabulary })
    }
    fn tokens(&mut self, count: usize) -> Vec<i64> {
        (0..count).map(|_| (self.random.bits() % self.vocabulary) as i64).collect()
    }
}
