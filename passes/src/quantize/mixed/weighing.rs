//! How much errors of the outputs of a product count: a number per output and one per position, `g²` is about their product.

use mokume_ir::constant::Constant;

/// Of one product.
#[derive(Debug, Clone, PartialEq)]
pub struct Weighing {
    /// Part of every output in the whole; the sum is 1.
    pub rows: Vec<f64>,
    /// `Σ_o g²` of every position, sample by sample.
    pub positions: Vec<Vec<f64>>,
}

impl Weighing {
    /// Of a product with so many outputs, before any sample.
    pub fn new(rows: usize) -> Self {
        Weighing { rows: vec![0.0; rows], positions: vec![] }
    }
    /// Where nothing is known: every output and every position alike.
    pub fn even(rows: usize, samples: usize) -> Self {
        Weighing { rows: vec![1.0 / rows.max(1) as f64; rows], positions: vec![vec![1.0]; samples] }
    }
    /// Counts the gradient of a sample: outputs along `axis`.
    ///
    /// Errors  when it is no f32 tensor with as many outputs.
    pub fn add(&mut self, gradient: &Constant, axis: usize) -> Result<(), String> {
        let (dims, values) = (gradient.dims(), gradient.to_f32s().ok_or("a gradient is not f32")?);
        let outputs = self.rows.len();
        if dims.get(axis) != Some(&outputs) {
            return Err(format!("a gradient of {dims:?} is not that of {outputs} outputs"));
        }
        let inner: usize = dims[axis + 1..].iter().product();
        let mut positions = vec![0.0; values.len() / outputs.max(1)];
        for (line, values) in values.chunks_exact(inner.max(1)).enumerate() {
            let (outer, output) = (line / outputs, line % outputs);
            for (position, &g) in positions[outer * inner..].iter_mut().zip(values) {
                let square = f64::from(g) * f64::from(g);
                *position += square;
                self.rows[output] += square;
            }
        }
        self.positions.push(positions);
        Ok(())
    }
    /// With parts for rows.
    pub fn finish(mut self) -> Self {
        let total: f64 = self.rows.iter().sum();
        if total > 0.0 {
            self.rows.iter_mut().for_each(|row| *row /= total);
        }
        self
    }
    /// What the roots of `count` rows of inputs of a sample are to be scaled by: positions alike where not all are looked at.
    pub fn scales(&self, sample: usize, count: usize) -> Vec<f32> {
        let positions = &self.positions[sample];
        if positions.len() == count {
            return positions.iter().map(|square| square.sqrt() as f32).collect();
        }
        let mean = positions.iter().sum::<f64>() / count.max(1) as f64;
        vec![mean.sqrt() as f32; count]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_along_an_axis() {
        let gradient = Constant::f32s(&[2, 2], &[1.0, 2.0, 0.0, 3.0]);
        let mut last = Weighing::new(2);
        last.add(&gradient, 1).unwrap();
        let last = last.finish();
        assert_eq!((last.rows[0], last.rows[1], &last.positions[0][..]), (1.0 / 14.0, 13.0 / 14.0, &[5.0, 9.0][..]));
        let mut first = Weighing::new(2);
        first.add(&Constant::f32s(&[1, 2, 2], &[1.0, 2.0, 0.0, 3.0]), 1).unwrap();
        assert_eq!((&first.rows[..], &first.positions[0][..]), (&[5.0, 9.0][..], &[1.0, 13.0][..]));
        assert_eq!(first.scales(0, 2), [1.0, 13f32.sqrt()]);
        assert_eq!(first.scales(0, 7), [2f32.sqrt(); 7]);
        assert!(Weighing::new(3).add(&gradient, 1).is_err());
    }
}
