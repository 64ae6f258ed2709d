//! Numbers that are learned, and the optimizer that moves them.
//!
//! Source  Kingma and Ba, "Adam: A Method for Stochastic Optimization", 2015, algorithm 1 (no weight decay, so AdamW is the same).

use mokume_ir::constant::Constant;

const BETA1: f32 = 0.9;
const BETA2: f32 = 0.999;
const EPSILON: f32 = 1e-8;

/// A tensor that is learned.
#[derive(Debug, Clone)]
pub struct Parameter {
    /// The input of the module that takes it.
    pub name: String,
    /// Sizes.
    pub dims: Vec<usize>,
    /// Numbers now.
    pub values: Vec<f32>,
    /// Step size.
    pub rate: f32,
    /// Least number that it may reach, by projection after every step.
    pub least: f32,
    first: Vec<f32>,
    second: Vec<f32>,
    steps: i32,
}

impl Parameter {
    /// A parameter that begins with `values`.
    pub fn new(name: impl Into<String>, dims: &[usize], values: Vec<f32>, rate: f32) -> Self {
        let zeros = vec![0.0; values.len()];
        Parameter {
            name: name.into(),
            dims: dims.into(),
            values,
            rate,
            least: f32::NEG_INFINITY,
            first: zeros.clone(),
            second: zeros,
            steps: 0,
        }
    }
    /// The same, kept at or above `least`.
    pub fn at_least(self, least: f32) -> Self {
        Parameter { least, ..self }
    }
    /// As an input of a run.
    pub fn named(&self) -> (String, Constant) {
        (self.name.clone(), Constant::f32s(&self.dims, &self.values))
    }
    /// One step against the gradient. Numbers that are not finite leave their place as it is.
    pub fn step(&mut self, gradient: &[f32]) {
        self.steps += 1;
        let (fix1, fix2) = (1.0 - BETA1.powi(self.steps), 1.0 - BETA2.powi(self.steps));
        let moments = self.first.iter_mut().zip(&mut self.second);
        for ((value, (first, second)), &g) in self.values.iter_mut().zip(moments).zip(gradient).filter(|(_, g)| g.is_finite()) {
            *first = BETA1 * *first + (1.0 - BETA1) * g;
            *second = BETA2 * *second + (1.0 - BETA2) * g * g;
            let step = (*first / fix1) / ((*second / fix2).sqrt() + EPSILON);
            *value = (*value - self.rate * step).max(self.least);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_step_is_the_rate_against_the_sign() {
        let mut parameter = Parameter::new("p", &[3], vec![1.0, 1.0, 0.5], 0.1).at_least(0.45);
        parameter.step(&[5.0, -0.01, 3.0]);
        for (value, want) in parameter.values.iter().zip([0.9, 1.1, 0.45]) {
            assert!((value - want).abs() < 1e-5, "{value} instead of {want}");
        }
    }

    #[test]
    fn a_parabola_is_descended() {
        let mut parameter = Parameter::new("p", &[1], vec![4.0], 0.05);
        (0..500).for_each(|_| {
            let slope = 2.0 * (parameter.values[0] - 1.0);
            parameter.step(&[slope]);
        });
        assert!((parameter.values[0] - 1.0).abs() < 1e-2, "{}", parameter.values[0]);
    }
}
