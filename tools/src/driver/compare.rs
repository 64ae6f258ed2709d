//! Comparison of tensors: cosine, signal to quantization noise, maximum error.

use mokume_runtime::tensor::Tensor;
use serde::Serialize;

/// How far a tensor is from its reference.
#[derive(Debug, Clone, Serialize)]
pub struct Difference {
    /// Which tensor: an output, or a layer by the user's node name.
    pub name: String,
    /// Cosine of the angle between the two; 1 when both are zero.
    pub cosine: f64,
    /// Signal to noise in dB: 10 log10(Σ ref² / Σ (ref - got)²); none for equal tensors.
    pub sqnr_db: Option<f64>,
    /// Largest absolute error over the largest absolute reference (over 1 when that is 0).
    pub max_error: f64,
}

impl Difference {
    /// Squared error over squared reference.
    pub fn relative_noise(&self) -> f64 {
        self.sqnr_db.map_or(0.0, |sqnr| 10f64.powf(-sqnr / 10.0))
    }
}

/// Compares two tensors as real numbers; none when their sizes differ or they hold no numbers.
pub fn difference(name: &str, reference: &Tensor, got: &Tensor) -> Option<Difference> {
    if reference.dims() != got.dims() {
        return None;
    }
    let (reference, got) = (numbers(reference)?, numbers(got)?);
    let mut sums = Sums::default();
    reference.iter().zip(&got).for_each(|(&r, &g)| sums.add(r, g));
    Some(sums.difference(name))
}

#[derive(Default)]
struct Sums {
    dot: f64,
    reference: f64,
    got: f64,
    noise: f64,
    largest: f64,
    worst: f64,
}

impl Sums {
    fn add(&mut self, reference: f64, got: f64) {
        if reference == got || (reference.is_nan() && got.is_nan()) {
            let finite = if reference.is_finite() { reference } else { 0.0 };
            self.dot += finite * finite;
            self.reference += finite * finite;
            self.got += finite * finite;
            self.largest = self.largest.max(finite.abs());
            return;
        }
        self.dot += reference * got;
        self.reference += reference * reference;
        self.got += got * got;
        self.noise += (reference - got) * (reference - got);
        self.largest = self.largest.max(reference.abs());
        let error = (reference - got).abs();
        self.worst = if error.is_nan() { f64::INFINITY } else { self.worst.max(error) };
    }
    fn difference(&self, name: &str) -> Difference {
        let norms = (self.reference * self.got).sqrt();
        let cosine = if self.noise == 0.0 {
            1.0
        } else if norms > 0.0 {
            self.dot / norms
        } else {
            0.0
        };
        let sqnr_db = (self.noise > 0.0).then(|| 10.0 * (self.reference / self.noise).log10());
        let scale = if self.largest > 0.0 { self.largest } else { 1.0 };
        Difference { name: name.into(), cosine, sqnr_db, max_error: self.worst / scale }
    }
}

/// The elements as f64, for every numeric type with a native form.
pub fn numbers(tensor: &Tensor) -> Option<Vec<f64>> {
    use mokume_ir::types::Elem::*;
    Some(match tensor.elem() {
        F32 => tensor.slice::<f32>().iter().map(|&v| v.into()).collect(),
        F64 => tensor.slice::<f64>().to_vec(),
        F16 => tensor.slice::<half::f16>().iter().map(|v| v.to_f64()).collect(),
        BF16 => tensor.slice::<half::bf16>().iter().map(|v| v.to_f64()).collect(),
        I64 => tensor.slice::<i64>().iter().map(|&v| v as f64).collect(),
        I32 => tensor.slice::<i32>().iter().map(|&v| v.into()).collect(),
        I16 => tensor.slice::<i16>().iter().map(|&v| v.into()).collect(),
        I8 | I4 | I2 => tensor.slice::<i8>().iter().map(|&v| v.into()).collect(),
        U64 => tensor.slice::<u64>().iter().map(|&v| v as f64).collect(),
        U32 => tensor.slice::<u32>().iter().map(|&v| v.into()).collect(),
        U16 => tensor.slice::<u16>().iter().map(|&v| v.into()).collect(),
        U8 | U4 | U2 | Bool => tensor.slice::<u8>().iter().map(|&v| v.into()).collect(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measures_angle_noise_and_error() {
        let reference = Tensor::f32s(&[2], &[3.0, 4.0]);
        let same = difference("x", &reference, &reference).unwrap();
        assert_eq!((same.cosine, same.sqnr_db, same.max_error), (1.0, None, 0.0));
        let got = Tensor::f32s(&[2], &[3.0, 3.5]);
        let other = difference("x", &reference, &got).unwrap();
        assert!((other.cosine - 0.997_6).abs() < 1e-3, "{other:?}");
        assert!((other.sqnr_db.unwrap() - 20.0).abs() < 1e-6);
        assert_eq!(other.max_error, 0.125);
        assert!(difference("x", &reference, &Tensor::f32s(&[1], &[3.0])).is_none());
    }

    #[test]
    fn a_nan_where_a_number_was_is_the_worst_error() {
        let reference = Tensor::f32s(&[1], &[1.0]);
        let got = Tensor::f32s(&[1], &[f32::NAN]);
        assert!(difference("x", &reference, &got).unwrap().max_error.is_infinite());
    }
}
