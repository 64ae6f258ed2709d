//! What a model is for, as far as its outputs tell: where its loss is measured, and how it is curved there.
//!
//! Language models have `logits`; their loss is the cross-entropy of tokens. For other models it is the squared distance of every
//! output from what it was, over its square. Both are curved as the covariance of random gradients: of labels drawn from what the
//! model predicts, of random signs. Chance depends on sample and position alone.

use mokume_ir::constant::Constant;
use mokume_ir::graph::Graph;
use mokume_ir::ids::ValueId;
use mokume_ir::types::Elem;

/// The names by which inputs and outputs of language models are known.
pub const TOKENS: &str = "input_ids";
/// See [`TOKENS`].
pub const LOGITS: &str = "logits";

/// A loss of outputs of a model.
#[derive(Debug, Clone, PartialEq)]
pub enum Loss {
    /// Cross-entropy of a token per row of the logits, a mean over rows.
    Tokens(ValueId),
    /// Squared distances, over squares.
    Squares(Vec<ValueId>),
}

impl Loss {
    /// That of a model; none when it has no output of f32 that is no state.
    pub fn of(graph: &Graph) -> Option<Self> {
        let is_state = |index: usize| graph.states.iter().any(|state| state.output as usize == index);
        let is_real = |value: ValueId| graph.ty(value).elem() == Some(Elem::F32) && graph.constant(value).is_none();
        let ports = graph.outputs().iter().enumerate().filter(|(index, port)| !is_state(*index) && is_real(port.value));
        let ports: Vec<_> = ports.map(|(_, port)| port).collect();
        match ports.iter().find(|port| port.name == LOGITS) {
            Some(port) => Some(Loss::Tokens(port.value)),
            None if ports.is_empty() => None,
            None => Some(Loss::Squares(ports.into_iter().map(|port| port.value).collect())),
        }
    }
    /// What it is, for reports.
    pub fn unit(&self) -> &'static str {
        match self {
            Loss::Tokens(_) => "nats per token",
            Loss::Squares(_) => "of the squared outputs",
        }
    }
    /// The outputs that it looks at.
    pub fn ends(&self) -> Vec<ValueId> {
        match self {
            Loss::Tokens(logits) => vec![*logits],
            Loss::Squares(outputs) => outputs.clone(),
        }
    }
    /// A random gradient by the outputs of sample number `sample`, in the order of [`Loss::ends`]; none where they are no f32 tensors.
    pub fn gradient(&self, sample: usize, outputs: &[&Constant]) -> Option<Vec<Constant>> {
        let values = outputs.iter().map(|output| output.to_f32s()).collect::<Option<Vec<_>>>()?;
        let gradients = values.into_iter().enumerate().map(|(index, values)| match self {
            Loss::Tokens(_) => drawn(sample, &values, outputs[index].dims().last().copied()?),
            Loss::Squares(_) => Some(signs(sample, index, &values)),
        });
        let tensors = gradients.zip(outputs).map(|(gradient, output)| Some(Constant::f32s(&output.dims(), &gradient?)));
        tensors.collect()
    }
}

/// Of the predictions of one sample: the sum of the negative log-likelihoods of its tokens but the first, and their number; none when the
/// logits are no f32 tensor with a row per token.
pub fn surprise(logits: &Constant, tokens: &Constant) -> Option<(f64, usize)> {
    let (values, tokens, width) = (logits.to_f32s()?, tokens.to_i64s()?, logits.dims().last().copied()?);
    let rows: Vec<&[f32]> = values.chunks_exact(width.max(1)).collect();
    let sequences = logits.dims().first().copied().filter(|&count| count > 0 && rows.len() == tokens.len())?;
    let (mut sum, mut count) = (0.0, 0);
    let each = tokens.len() / sequences;
    for (rows, tokens) in rows.chunks(each.max(1)).zip(tokens.chunks(each.max(1))) {
        for (row, &next) in rows.iter().zip(tokens.iter().skip(1)) {
            let largest = row.iter().fold(f32::NEG_INFINITY, |a, &b| a.max(b));
            let total = row.iter().map(|&x| f64::from(x - largest).exp()).sum::<f64>().ln();
            sum += total - f64::from(row.get(usize::try_from(next).ok()?)? - largest);
            count += 1;
        }
    }
    Some((sum, count))
}

/// `p - onehot(label)` of every row, over the root of the number of rows; labels are drawn from `p`.
fn drawn(sample: usize, logits: &[f32], width: usize) -> Option<Vec<f32>> {
    let rows = logits.len().checked_div(width).filter(|&rows| rows > 0)?;
    let scale = 1.0 / (rows as f64).sqrt();
    let mut gradient = Vec::with_capacity(logits.len());
    for (row, logits) in logits.chunks_exact(width).enumerate() {
        let largest = logits.iter().fold(f32::NEG_INFINITY, |a, &b| a.max(b));
        let weights: Vec<f64> = logits.iter().map(|&x| f64::from(x - largest).exp()).collect();
        let total: f64 = weights.iter().sum();
        let mut left = uniform(sample, row) * total;
        let label = weights.iter().position(|weight| (left -= weight, left < 0.0).1).unwrap_or(width - 1);
        let start = gradient.len();
        gradient.extend(weights.iter().map(|weight| (scale * weight / total) as f32));
        gradient[start + label] -= scale as f32;
    }
    Some(gradient)
}

/// Random signs over the root of half the sum of squares: `½ Σ (g δ)²` is the squared distance over the squares.
fn signs(sample: usize, output: usize, values: &[f32]) -> Vec<f32> {
    let square: f64 = values.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
    let size = if square > 0.0 { (2.0 / square).sqrt() as f32 } else { 0.0 };
    let seed = sample.wrapping_mul(31).wrapping_add(output);
    (0..values.len()).map(|at| if uniform(seed, at) < 0.5 { size } else { -size }).collect()
}

/// A number from 0 to 1 that looks like chance.
///
/// Source  SplitMix64: Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", 2014.
fn uniform(seed: usize, at: usize) -> f64 {
    let mut x = ((seed as u64) << 40 | at as u64).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((x ^ x >> 31) >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_drawn_as_often_as_they_are_likely() {
        let rows = 20_000;
        let logits: Vec<f32> = [0.5f32.ln(), 0.3f32.ln(), 0.2f32.ln()].repeat(rows);
        let gradient = drawn(3, &logits, 3).unwrap();
        let scale = (rows as f32).sqrt();
        for (label, expected) in [0.5f32, 0.3, 0.2].into_iter().enumerate() {
            let drawn = gradient.chunks(3).filter(|row| row[label] < 0.0).count() as f32 / rows as f32;
            assert!((drawn - expected).abs() < 0.015, "{label}: {drawn}");
        }
        assert!(gradient.chunks(3).all(|row| row.iter().sum::<f32>().abs() * scale < 1e-4));
    }

    #[test]
    fn surprise_is_that_of_the_next_token() {
        let logits = Constant::f32s(&[1, 3, 2], &[0.0, 0.0, 3f32.ln(), 0.0, 9.0, 9.0]);
        let (sum, count) = surprise(&logits, &Constant::i64s(&[1, 3], &[0, 1, 0])).unwrap();
        assert!(count == 2 && (sum - 2f64.ln() - (4f64 / 3.0).ln()).abs() < 1e-6, "{sum}");
        assert_eq!(surprise(&logits, &Constant::i64s(&[1, 2], &[0, 1])), None);
        assert_eq!(surprise(&logits, &Constant::i64s(&[1, 3], &[0, 7, 0])), None);
    }

    #[test]
    fn random_signs_measure_the_squared_distance() {
        let values = [3.0, -4.0, 0.0, 5.0];
        let gradient = signs(0, 0, &values);
        let expected: f32 = values.iter().map(|x| x * x).sum();
        let found: f32 = gradient.iter().zip(values).map(|(g, x)| 0.5 * g * g * x * x).sum();
        assert!((found - 1.0).abs() < 1e-6 && (gradient[0].powi(2) - 2.0 / expected).abs() < 1e-6);
        let many = signs(7, 1, &[1.0; 10_000]);
        assert!(many.iter().sum::<f32>().abs() < 300.0 * many[0].abs());
    }
}
